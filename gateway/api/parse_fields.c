/*
 * api/parse_fields.c - fields that several dialects share: sampling, stops, logit_bias, options,
 * keep_alive. Ranges are those of threats.md section 5; Ollama's options are wider.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/parse.h"
#include "obs/log.h"

enum { MAX_STOPS = 16, MAX_STOP_BYTES = 256, MAX_BIAS = 10000 };

static bool is_ollama(const struct fg_parse *p)
{
    return p->call->route->dialect == FG_DIALECT_OLLAMA;
}

bool fg_take_model(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    if (v->kind != FG_JSON_STRING)
        return fg_parse_type(p, f->name, v, is_ollama(p) ? "string" : "a string");
    if (v->text.len || !p->ask->has_model) { /* "model":"" beside "name":"m" */
        p->ask->model = v->text;
        p->ask->has_model = v->text.len > 0;
    }
    return true;
}

static bool add_stop(struct fg_parse *p, const char *name, struct fg_str text)
{
    struct fg_options *o = p->options;
    if (text.len == 0)
        return true; /* stops nothing */
    if (text.len > MAX_STOP_BYTES)
        return fg_parse_fault(p, name, "'%s': a stop string is at most %d bytes", name,
                              MAX_STOP_BYTES);
    if (o->stop_count == MAX_STOPS)
        return fg_parse_fault(p, name, "'%s': at most %d stop strings", name, MAX_STOPS);
    struct fg_str *stops = fg_parse_grow(p, o->stops, o->stop_count, sizeof(*stops));
    if (!stops)
        return false;
    o->stops = stops;
    o->stops[o->stop_count++] = text;
    return true;
}

static bool take_stops(struct fg_parse *p, const struct fg_json_value *v, const char *name,
                       const char *wrong)
{
    p->options->has_stops = true;
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_fault(p, name, "%s", wrong);
    struct fg_json_value item;
    while (fg_json_next(&p->json, NULL)) {
        if (fg_json_read(&p->json, &item) != FG_JSON_STRING)
            return item.kind ? fg_parse_fault(p, name, "%s", wrong) : false;
        if (!add_stop(p, name, item.text))
            return false;
    }
    return p->json.status == FG_OK;
}

bool fg_take_stop(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    p->options->has_stops = true;
    if (v->kind == FG_JSON_STRING)
        return add_stop(p, f->name, v->text);
    return take_stops(p, v, f->name,
                      "Invalid type for 'stop': expected a string or an array of strings.");
}

bool fg_take_stop_list(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    return take_stops(p, v, f->name, "option \"stop\" must be of type array");
}

/* ---- sampling ------------------------------------------------------------------------------ */

static const struct number { /* where a sampling field goes, and its range in OpenAI's dialect */
    const char *name;
    uint32_t bit;
    size_t offset;
    bool is_int;
    double least, most;
} numbers[] = {
    {"temperature", FG_SET_TEMPERATURE, offsetof(struct fg_sampling, temperature), false, 0, 2},
    {"top_p", FG_SET_TOP_P, offsetof(struct fg_sampling, top_p), false, 0, 1},
    {"min_p", FG_SET_MIN_P, offsetof(struct fg_sampling, min_p), false, 0, 1},
    {"typical_p", FG_SET_TYPICAL_P, offsetof(struct fg_sampling, typical_p), false, 0, 1},
    {"repeat_penalty", FG_SET_REPEAT_PENALTY, offsetof(struct fg_sampling, repeat_penalty), false,
     0, 10},
    {"presence_penalty", FG_SET_PRESENCE_PENALTY, offsetof(struct fg_sampling, presence_penalty),
     false, -2, 2},
    {"frequency_penalty", FG_SET_FREQUENCY_PENALTY,
     offsetof(struct fg_sampling, frequency_penalty), false, -2, 2},
    {"top_k", FG_SET_TOP_K, offsetof(struct fg_sampling, top_k), true, -1, INT32_MAX},
    {"repeat_last_n", FG_SET_REPEAT_LAST_N, offsetof(struct fg_sampling, repeat_last_n), true, -1,
     INT32_MAX},
};

/* A JSON number as the integer it is, also 40.0; false: it is none. */
static bool whole_number(const struct fg_json_value *v, int64_t *out)
{
    if (v->kind == FG_JSON_INT) {
        *out = v->is_big ? INT64_MAX : v->integer;
        return true;
    }
    if (v->kind != FG_JSON_REAL || v->real != floor(v->real) || fabs(v->real) > 9e15)
        return false;
    *out = (int64_t)v->real;
    return true;
}

static const struct number *find_number(struct fg_str name, bool folds)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (folds ? fg_str_ieq(name, fg_str_of(numbers[i].name)) : fg_str_is(name, numbers[i].name))
            return &numbers[i];
    return NULL;
}

static void store_number(struct fg_options *o, const struct number *n, double value)
{
    char *at = (char *)&o->sampling + n->offset;
    if (n->is_int)
        *(int32_t *)(void *)at = value > INT32_MAX ? INT32_MAX
                                 : value < -1      ? -1
                                                   : (int32_t)value;
    else
        *(float *)(void *)at = (float)value;
    o->sampling.set |= n->bit;
}

bool fg_take_sampling(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    const struct number *n = find_number(fg_str_of(f->name), false);
    int64_t whole;
    if (!n || (v->kind != FG_JSON_INT && v->kind != FG_JSON_REAL) ||
        (n->is_int && !whole_number(v, &whole)))
        return fg_parse_type(p, f->name, v, n && n->is_int ? "an integer" : "a number");
    if (!(v->real >= n->least && v->real <= n->most))
        return fg_parse_fault(p, f->name, "Invalid value for '%s': expected a value from %g to %g.",
                              f->name, n->least, n->most);
    store_number(p->options, n, v->real);
    return true;
}

bool fg_take_seed(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    if (v->kind != FG_JSON_INT)
        return fg_parse_type(p, f->name, v, "an integer");
    p->options->sampling.seed = (uint64_t)v->integer; /* all 64 bits, signed or not */
    p->options->sampling.set |= FG_SET_SEED;
    return true;
}

/* ---- logit_bias: {"id": bias} or [[id, bias], ...] ------------------------------------------- */

static bool add_bias(struct fg_parse *p, int64_t token, const struct fg_json_value *v)
{
    struct fg_ask *a = p->ask;
    double bias = v->real;
    if (v->kind == FG_JSON_BOOL && !v->boolean)
        bias = -100; /* llama-server: false forbids the token */
    else if (v->kind != FG_JSON_INT && v->kind != FG_JSON_REAL)
        return fg_parse_type(p, "logit_bias", v, "numbers");
    if (!(bias >= -100 && bias <= 100))
        return fg_parse_fault(p, "logit_bias", "'logit_bias': a bias is a number from -100 to 100");
    if (token < 0 || token > INT32_MAX)
        return true; /* outside any vocabulary */
    if (a->bias_count == MAX_BIAS)
        return fg_parse_fault(p, "logit_bias", "'logit_bias': too many entries");
    struct fg_bias *items = fg_parse_grow(p, a->bias, a->bias_count, sizeof(*items));
    if (!items)
        return false;
    a->bias = items;
    a->bias[a->bias_count++] = (struct fg_bias){(int32_t)token, (float)bias};
    return true;
}

static bool bias_pair(struct fg_parse *p)
{
    struct fg_json_value id, bias;
    bool good = fg_json_next(&p->json, NULL) && fg_json_read(&p->json, &id) == FG_JSON_INT &&
                fg_json_next(&p->json, NULL) && fg_json_read(&p->json, &bias) != FG_JSON_NONE;
    if (good)
        fg_json_skip(&p->json, &bias);
    if (!good || fg_json_next(&p->json, NULL))
        return fg_parse_fault(p, "logit_bias", "'logit_bias': expected pairs of token id and bias");
    return add_bias(p, id.is_big ? -1 : id.integer, &bias);
}

bool fg_take_bias(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_json_value item;
    struct fg_str key;
    int64_t token;
    if (v->kind == FG_JSON_OBJECT) {
        while (fg_json_next(&p->json, &key)) {
            if (!fg_str_i64(key, &token))
                return fg_parse_fault(p, f->name, "'logit_bias': a key is no token id");
            if (fg_json_read(&p->json, &item) >= FG_JSON_ARRAY || !add_bias(p, token, &item))
                return item.kind >= FG_JSON_ARRAY ? fg_parse_type(p, f->name, &item, "numbers")
                                                  : false;
        }
        return p->json.status == FG_OK;
    }
    if (v->kind != FG_JSON_ARRAY)
        return fg_parse_type(p, f->name, v, "an object");
    while (fg_json_next(&p->json, NULL)) {
        if (fg_json_read(&p->json, &item) != FG_JSON_ARRAY)
            return fg_parse_type(p, f->name, &item, "pairs of token id and bias");
        if (!bias_pair(p))
            return false;
    }
    return p->json.status == FG_OK;
}

/* ---- Ollama's options ------------------------------------------------------------------------ */

static bool option_type(struct fg_parse *p, const char *name, const char *wanted)
{
    return fg_parse_fault(p, name, "option \"%s\" must be of type %s", name, wanted);
}

static bool take_option_int(struct fg_parse *p, const char *name, const struct fg_json_value *v,
                            struct fg_ask_int *out)
{
    int64_t value;
    if (!whole_number(v, &value))
        return option_type(p, name, "integer");
    if (out)
        *out = (struct fg_ask_int){true, value};
    return true;
}

static bool take_option_number(struct fg_parse *p, const struct number *n,
                               const struct fg_json_value *v)
{
    int64_t whole;
    if (n->is_int && !whole_number(v, &whole))
        return option_type(p, n->name, "integer");
    if (v->kind != FG_JSON_INT && v->kind != FG_JSON_REAL)
        return option_type(p, n->name, "float32");
    if (n->bit == FG_SET_TEMPERATURE && v->real < 0)
        return fg_parse_fault(p, n->name, "option \"temperature\" must not be negative");
    if (fabs(v->real) > 1e30)
        return option_type(p, n->name, "float32");
    store_number(p->options, n, v->real);
    return true;
}

static bool take_option(struct fg_parse *p, struct fg_str key, const struct fg_json_value *v)
{
    static const char *const unused_ints[] = {"num_keep", "num_batch", "num_gpu", "main_gpu",
                                              "num_thread"}; /* load-time hints: typed, no effect */
    const struct number *n = find_number(key, true);
    if (n)
        return take_option_number(p, n, v);
    if (fg_str_ieq(key, FG_STR("num_predict")))
        return take_option_int(p, "num_predict", v, &p->options->predict);
    if (fg_str_ieq(key, FG_STR("num_ctx")))
        return take_option_int(p, "num_ctx", v, &p->options->context);
    if (fg_str_ieq(key, FG_STR("stop")))
        return fg_take_stop_list(p, v, &(struct fg_field){.name = "stop"});
    if (fg_str_ieq(key, FG_STR("seed"))) {
        struct fg_ask_int seed;
        if (!take_option_int(p, "seed", v, &seed))
            return false;
        if (seed.value != -1 || v->is_big) { /* -1 is random */
            p->options->sampling.seed = v->kind == FG_JSON_INT ? (uint64_t)v->integer
                                                               : (uint64_t)seed.value;
            p->options->sampling.set |= FG_SET_SEED;
        }
        return true;
    }
    if (fg_str_ieq(key, FG_STR("use_mmap")))
        return v->kind == FG_JSON_BOOL ? true : option_type(p, "use_mmap", "boolean");
    for (size_t i = 0; i < sizeof(unused_ints) / sizeof(*unused_ints); i++)
        if (fg_str_ieq(key, fg_str_of(unused_ints[i])))
            return take_option_int(p, unused_ints[i], v, NULL);
    fg_json_skip(&p->json, v);
    return p->json.status == FG_OK;
}

bool fg_take_options(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_json_value item;
    struct fg_str key;
    if (v->kind != FG_JSON_OBJECT)
        return fg_parse_type(p, f->name, v,
                             is_ollama(p) ? "map[string]interface {}" : "an object");
    while (fg_json_next(&p->json, &key)) {
        if (fg_json_read(&p->json, &item) == FG_JSON_NULL)
            continue;
        if (item.kind == FG_JSON_NONE || !take_option(p, key, &item))
            return false;
    }
    return p->json.status == FG_OK;
}

bool fg_take_num_ctx(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    return take_option_int(p, f->name, v, &p->options->context);
}

void fg_parse_layer(struct fg_call *call, struct fg_str json, struct fg_options *out)
{
    if (json.len == 0)
        return;
    struct fg_parse p = {.call = call, .ask = call->ask, .arena = call->arena, .options = out};
    struct fg_json_value v;
    fg_json_init(&p.json, json, call->arena, 0);
    if (fg_json_read(&p.json, &v) == FG_JSON_OBJECT)
        if (!fg_take_options(&p, &v, &(struct fg_field){.name = "params"})) {
            char name[300];
            fg_log(FG_LOG_WARN, "model_params", "model=%s error=\"params layer is not usable\"",
                   call->entry ? fg_log_quote(call->entry->name, name, sizeof(name)) : "?");
        }
    fg_json_done(&p.json);
}

/* ---- keep_alive ------------------------------------------------------------------------------ */

bool fg_take_keep_alive(struct fg_parse *p, const struct fg_json_value *v, const struct fg_field *f)
{
    struct fg_ask *a = p->ask;
    struct fg_error err;
    a->keep_alive_set = true;
    if (v->kind == FG_JSON_STRING) {
        if (fg_conf_duration(v->text, &a->keep_alive_ns, &err) != FG_OK)
            return fg_parse_fault(p, f->name, "%.200s", err.text);
        return true;
    }
    if (v->kind == FG_JSON_INT || v->kind == FG_JSON_REAL) {
        double ns = v->real * 1e9;
        a->keep_alive_ns = v->real < 0 || ns >= 9e18 ? -1 : (int64_t)ns;
        return true;
    }
    if (v->kind == FG_JSON_NONE)
        return false;
    static const char *const go[] = {"bool", "float64", "float64", "string", "[]interface {}",
                                     "map[string]interface {}"};
    return fg_parse_fault(p, f->name, "Unsupported type: '%s'", go[v->kind - FG_JSON_BOOL]);
}
