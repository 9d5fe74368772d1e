/*
 * The options of the fake backend: one JSON object, every key of which may stand at the top (for
 * all models) or in an entry of "models" (for one). README.md lists them. An unknown key is an
 * error, so that a test does not pass because its script was misspelled.
 */
#include "fake/fake.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

static const char default_text[] =
    "This is the fake backend. It says the same few words to everybody, at the pace that its "
    "script asks for, and it means none of them.";

enum kind { KIND_INT = 0, KIND_REAL = 1, KIND_TEXT = 2, KIND_FLAG = 3, KIND_NAME = 4 };
struct choice {
    const char *name;
    int64_t value;
};
static const struct choice statuses[] = {
    {"invalid", FG_INVALID},         {"not_found", FG_NOT_FOUND}, {"unsupported", FG_UNSUPPORTED},
    {"busy", FG_BUSY},               {"no_memory", FG_NO_MEMORY}, {"timeout", FG_TIMEOUT},
    {"device_lost", FG_DEVICE_LOST}, {"internal", FG_INTERNAL},   {"too_long", FG_TOO_LONG},
    {NULL, 0}};
static const struct choice garbages[] = {
    {"utf8", FG_FAKE_BAD_UTF8},      {"kind", FG_FAKE_BAD_KIND},
    {"two_ends", FG_FAKE_TWO_ENDS},  {"talks_on", FG_FAKE_TALKS_ON},
    {"ignores_pause", FG_FAKE_IGNORES_PAUSE},
    {NULL, 0}};
static const struct choice abilities[] = {
    {"chat", FG_CAN_CHAT},         {"complete", FG_CAN_COMPLETE}, {"embed", FG_CAN_EMBED},
    {"logprobs", FG_CAN_LOGPROBS}, {"resume", FG_CAN_RESUME},     {"tokenize", FG_CAN_TOKENIZE},
    {NULL, 0}};

#define AT(field) offsetof(struct fg_fake_script, field)
enum { DAY_MS = 86400000, MANY = 1 << 20 };
static const struct key {
    const char *name;
    int32_t kind;
    size_t at;
    double least, most;
    const struct choice *choices;
} keys[] = {
    {"name", KIND_TEXT, AT(name), 1, 200, NULL},
    {"text", KIND_TEXT, AT(text), 1, 1 << 20, NULL},
    {"tokens", KIND_INT, AT(tokens), 0, MANY, NULL},
    {"chunk", KIND_INT, AT(chunk), 1, 256, NULL},
    {"first_ms", KIND_INT, AT(first_ms), 0, DAY_MS, NULL},
    {"tokens_per_s", KIND_REAL, AT(tokens_per_s), 0, 1e9, NULL},
    {"busy_share", KIND_REAL, AT(busy_share), 0, 1, NULL},
    {"max_running", KIND_INT, AT(max_running), 1, 1 << 16, NULL},
    {"context", KIND_INT, AT(context), 2, MANY, NULL},
    {"embedding", KIND_INT, AT(embedding), 1, 1 << 16, NULL},
    {"crash_after", KIND_INT, AT(crash_after), 0, MANY, NULL},
    {"hang_after", KIND_INT, AT(hang_after), 0, MANY, NULL},
    {"deaf", KIND_FLAG, AT(deaf), 0, 0, NULL},
    {"fail_after", KIND_INT, AT(fail_after), 0, MANY, NULL},
    {"fail_status", KIND_NAME, AT(fail_status), 0, 0, statuses},
    {"fail_text", KIND_TEXT, AT(fail_text), 0, 200, NULL},
    {"garbage", KIND_NAME, AT(garbage), 0, 0, garbages},
    {"garbage_after", KIND_INT, AT(garbage_after), 0, MANY, NULL},
    {"refuse", KIND_NAME, AT(refuse), 0, 0, statuses},
    {"load_ms", KIND_INT, AT(load_ms), 0, DAY_MS, NULL},
    {"load_error", KIND_TEXT, AT(load_error), 1, 200, NULL},
    {"load_crash", KIND_FLAG, AT(load_crash), 0, 0, NULL},
    {"echo", KIND_FLAG, AT(echo), 0, 0, NULL},
    {"stamps", KIND_FLAG, AT(stamps), 0, 0, NULL},
    {"thread", KIND_FLAG, AT(thread), 0, 0, NULL},
};

static int32_t no_memory(struct fg_error *err)
{
    return fg_fail(err, FG_NO_MEMORY, "fake: no memory for the options");
}

static int32_t read_number(const struct key *key, const json_t *v, void *to, struct fg_error *err)
{
    const bool whole = key->kind == KIND_INT;
    const double number = json_number_value(v);
    if (!(whole ? json_is_integer(v) : json_is_number(v)) || number < key->least ||
        number > key->most)
        return fg_fail(err, FG_INVALID, "fake: option \"%s\" must be %s of %g to %g", key->name,
                       whole ? "an integer" : "a number", key->least, key->most);
    if (whole)
        *(int64_t *)to = json_integer_value(v);
    else
        *(double *)to = number;
    return FG_OK;
}

static int32_t read_text(const struct key *key, const json_t *v, char **to, struct fg_error *err)
{
    const size_t len = json_string_length(v);
    if (!json_is_string(v) || (double)len < key->least || (double)len > key->most ||
        strlen(json_string_value(v)) != len)
        return fg_fail(err, FG_INVALID, "fake: option \"%s\" must be a text of %g to %g bytes",
                       key->name, key->least, key->most);
    char *copy = strdup(json_string_value(v));
    if (!copy)
        return no_memory(err);
    free(*to);
    *to = copy;
    return FG_OK;
}

static int32_t read_name(const char *key, const struct choice *choices, const json_t *v,
                         int64_t *to, struct fg_error *err)
{
    for (size_t i = 0; json_is_string(v) && choices[i].name; i++)
        if (strcmp(choices[i].name, json_string_value(v)) == 0) {
            *to = choices[i].value;
            return FG_OK;
        }
    return fg_fail(err, FG_INVALID, "fake: option \"%s\" has no value %.60s", key,
                   json_is_string(v) ? json_string_value(v) : "of that type");
}

static int32_t read_can(const json_t *v, int64_t *can, struct fg_error *err)
{
    int64_t bits = 0, bit;
    if (!json_is_array(v))
        return fg_fail(err, FG_INVALID, "fake: option \"can\" must be a list");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const int32_t rc = read_name("can", abilities, json_array_get(v, i), &bit, err);
        if (rc != FG_OK)
            return rc;
        bits |= bit;
    }
    *can = bits;
    return FG_OK;
}

static int32_t read_key(const struct key *key, const json_t *v, struct fg_fake_script *s,
                        struct fg_error *err)
{
    void *to = (char *)s + key->at;
    switch (key->kind) {
    case KIND_TEXT:
        return read_text(key, v, to, err);
    case KIND_NAME:
        return read_name(key->name, key->choices, v, to, err);
    case KIND_FLAG:
        if (!json_is_boolean(v))
            return fg_fail(err, FG_INVALID, "fake: option \"%s\" must be true or false", key->name);
        *(bool *)to = json_is_true(v);
        return FG_OK;
    default:
        return read_number(key, v, to, err);
    }
}

static int32_t read_option(const char *name, const json_t *v, struct fg_fake_script *s,
                           struct fg_error *err)
{
    if (strcmp(name, "can") == 0)
        return read_can(v, &s->can, err);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].name, name) == 0)
            return read_key(&keys[i], v, s, err);
    return fg_fail(err, FG_INVALID, "fake: there is no option \"%.60s\"", name);
}

static void script_done(struct fg_fake_script *s)
{
    free(s->name);
    free(s->text);
    free(s->load_error);
    free(s->fail_text);
}

static bool copy_text(const char *from, char **to)
{
    *to = from ? strdup(from) : NULL;
    return *to || !from;
}

static bool script_copy(const struct fg_fake_script *from, struct fg_fake_script *to)
{
    *to = *from;
    to->name = to->text = to->load_error = to->fail_text = NULL;
    return copy_text(from->name, &to->name) && copy_text(from->text, &to->text) &&
           copy_text(from->load_error, &to->load_error) &&
           copy_text(from->fail_text, &to->fail_text);
}

static int32_t read_model(const json_t *v, const struct fg_fake_script *defaults,
                          struct fg_fake_script *s, struct fg_error *err)
{
    const char *name;
    json_t *value;
    int32_t rc = FG_OK;
    if (!script_copy(defaults, s))
        return no_memory(err);
    if (json_is_string(v))
        return read_option("name", v, s, err);
    if (!json_is_object(v) || !json_object_get(v, "name"))
        return fg_fail(err, FG_INVALID,
                       "fake: an entry of \"models\" must be a name or an object with a \"name\"");
    json_object_foreach ((json_t *)v, name, value) {
        rc = read_option(name, value, s, err);
        if (rc != FG_OK)
            return rc;
    }
    return rc;
}

static int32_t read_models(const json_t *list, struct fg_fake_config *c, struct fg_error *err)
{
    json_t *one = list ? NULL : json_string("fake");
    const size_t n = list ? json_array_size(list) : 1;
    int32_t rc = FG_OK;
    if (n > 1024 || (list && !json_is_array(list)))
        rc = fg_fail(err, FG_INVALID, "fake: option \"models\" must be a list of at most 1024");
    c->models = calloc(n ? n : 1, sizeof *c->models);
    if (!c->models)
        rc = no_memory(err);
    for (size_t i = 0; i < n && rc == FG_OK; i++) {
        c->count = (uint32_t)i + 1;
        rc = read_model(list ? json_array_get(list, i) : one, &c->defaults, &c->models[i], err);
    }
    json_decref(one);
    return rc;
}

static int32_t read_all(const json_t *root, struct fg_fake_config *c, struct fg_error *err)
{
    const char *name;
    json_t *value;
    int32_t rc = FG_OK;
    json_object_foreach ((json_t *)root, name, value) {
        if (strcmp(name, "models") == 0)
            continue;
        if (strcmp(name, "files") == 0 && json_is_boolean(value))
            c->files = json_is_true(value);
        else
            rc = read_option(name, value, &c->defaults, err);
        if (rc != FG_OK)
            return rc;
    }
    return read_models(json_object_get(root, "models"), c, err);
}

int32_t fg_fake_config_parse(struct fg_str text, struct fg_fake_config *c, struct fg_error *err)
{
    *c = (struct fg_fake_config){
        .defaults = {.chunk = 1,
                     .max_running = 64,
                     .context = 8192,
                     .embedding = 64,
                     .crash_after = FG_FAKE_NEVER,
                     .hang_after = FG_FAKE_NEVER,
                     .fail_after = FG_FAKE_NEVER,
                     .fail_status = FG_INTERNAL,
                     .can = FG_CAN_CHAT | FG_CAN_COMPLETE | FG_CAN_EMBED | FG_CAN_LOGPROBS |
                            FG_CAN_RESUME | FG_CAN_TOKENIZE},
    };
    c->defaults.text = strdup(default_text);
    c->defaults.fail_text = strdup("fake: the script says so");
    if (!c->defaults.text || !c->defaults.fail_text)
        return no_memory(err);
    json_error_t why;
    json_t *root = text.len ? json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &why)
                            : json_object();
    int32_t rc = FG_OK;
    if (!root)
        rc = text.len ? fg_fail(err, FG_INVALID, "fake: the options are no JSON: %s", why.text)
                      : no_memory(err);
    else if (!json_is_object(root))
        rc = fg_fail(err, FG_INVALID, "fake: the options must be one JSON object");
    else
        rc = read_all(root, c, err);
    json_decref(root);
    return rc;
}

void fg_fake_config_done(struct fg_fake_config *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        script_done(&c->models[i]);
    free(c->models);
    script_done(&c->defaults);
}
