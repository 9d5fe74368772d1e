/*
 * The options of one remote server (README.md lists them). An unknown key is an error. The key
 * comes from the options, a file or the environment and goes nowhere but into the head of requests;
 * a message names the place it was looked for in, never what was there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "openai/openai.h"
#include "util/error.h"

enum { KEY_MAX = 8192, HEADERS_MAX = 32 };
static const uint32_t everything = FG_CAN_CHAT | FG_CAN_COMPLETE | FG_CAN_EMBED | FG_CAN_TOOLS |
                                   FG_CAN_SEE | FG_CAN_THINK | FG_CAN_LOGPROBS | FG_CAN_SCHEMA;

static int32_t no_memory(struct fg_error *err)
{
    return fg_fail(err, FG_NO_MEMORY, "openai: no memory for the options");
}

static int32_t wrong(struct fg_error *err, const char *name, const char *expected)
{
    return fg_fail(err, FG_INVALID, "openai: option \"%.60s\" must be %s", name, expected);
}

/* ---- plain values ---------------------------------------------------------------------------- */

#define AT(field) offsetof(struct fg_remote_config, field)
enum { DAY_MS = 86400000 };
static const struct number {
    const char *name;
    size_t at;
    uint32_t least, most;
} numbers[] = {
    {"connect_ms", AT(times.connect), 10, 600000},
    {"first_byte_ms", AT(times.first_byte), 10, DAY_MS},
    {"idle_ms", AT(times.idle), 10, DAY_MS},
    {"keep_ms", AT(times.keep), 10, DAY_MS},
    {"keep_connections", AT(keep_max), 0, 4096},
    {"discover_s", AT(discover_s), 1, 86400},
    {"breaker_failures", AT(breaker_limit), 1, 1000},
    {"breaker_ms", AT(breaker_ms), 10, DAY_MS},
    {"probe_ms", AT(probe_ms), 10, 600000},
    {"line_bytes", AT(line_bytes), 1024, 64 << 20},
    {"max_running", AT(max_running), 1, 16384},
    {"context", AT(context), 0, 1 << 30},
};
static const struct flag {
    const char *name;
    size_t at;
} flags[] = {
    {"verify", AT(verify)},
    {"include_usage", AT(dialect.include_usage)},
    {"send_thinking", AT(dialect.send_thinking)},
};
static const struct word { /* an option with a few words to choose from */
    const char *name;
    const char *words[3];
    size_t at;      /* of a const char * */
    size_t enum_at; /* or of an int32_t: the word's place; 0: none */
} words[] = {
    {"max_tokens_field", {"max_tokens", "max_completion_tokens"}, AT(dialect.max_tokens_field), 0},
    {"repeat_penalty_field",
     {"repeat_penalty", "repetition_penalty"},
     AT(dialect.repeat_penalty_field),
     0},
    {"thinking", {"effort", "template"}, 0, AT(dialect.thinking)},
};

static int32_t take_number(const struct number *n, const json_t *v, void *to, struct fg_error *err)
{
    const json_int_t value = json_integer_value(v);
    if (!json_is_integer(v) || value < (json_int_t)n->least || value > (json_int_t)n->most)
        return fg_fail(err, FG_INVALID, "openai: option \"%s\" must be an integer of %u to %u",
                       n->name, n->least, n->most);
    *(uint32_t *)to = (uint32_t)value;
    return FG_OK;
}

static int32_t take_word(const struct word *w, const json_t *v, struct fg_remote_config *c,
                         struct fg_error *err)
{
    for (int32_t i = 0; json_is_string(v) && w->words[i]; i++) {
        if (strcmp(w->words[i], json_string_value(v)) != 0)
            continue;
        if (w->enum_at)
            *(int32_t *)(void *)((char *)c + w->enum_at) = i;
        else
            *(const char **)(void *)((char *)c + w->at) = w->words[i];
        return FG_OK;
    }
    return fg_fail(err, FG_INVALID, "openai: option \"%s\" must be \"%s\" or \"%s\"", w->name,
                   w->words[0], w->words[1]);
}

static int32_t take_text(const char *name, const json_t *v, char **to, struct fg_error *err)
{
    const size_t len = json_string_length(v);
    if (!json_is_string(v) || !len || len > 4096 || strlen(json_string_value(v)) != len)
        return wrong(err, name, "a text of 1 to 4096 bytes");
    free(*to);
    *to = strdup(json_string_value(v));
    return *to ? FG_OK : no_memory(err);
}

static int32_t take_can(const json_t *v, uint32_t *can, struct fg_error *err)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } all[] = {{"chat", FG_CAN_CHAT},         {"complete", FG_CAN_COMPLETE},
               {"embed", FG_CAN_EMBED},       {"tools", FG_CAN_TOOLS},
               {"see", FG_CAN_SEE},           {"think", FG_CAN_THINK},
               {"logprobs", FG_CAN_LOGPROBS}, {"schema", FG_CAN_SCHEMA}};
    static const char expected[] =
        "a list of chat, complete, embed, tools, see, think, logprobs, schema";
    uint32_t bits = 0;
    if (!json_is_array(v) || !json_array_size(v))
        return wrong(err, "can", expected);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *word = json_string_value(json_array_get(v, i));
        size_t k = 0;
        while (word && k < sizeof all / sizeof *all && strcmp(all[k].name, word) != 0)
            k++;
        if (!word || k == sizeof all / sizeof *all)
            return wrong(err, "can", expected);
        bits |= all[k].bit;
    }
    *can = bits;
    return FG_OK;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* {"model": theirs, "can": ..., "context": ..., "max_running": ...}; "name" within a list. */
static int32_t take_model_object(const json_t *v, const char *name, struct fg_remote_config *c,
                                 struct fg_error *err)
{
    struct fg_remote_model like = {
        .can = c->can, .context = c->context, .max_running = c->max_running};
    const char *ours = name, *theirs = NULL, *key;
    json_t *member;
    int32_t rc = FG_OK;
    json_object_foreach((json_t *)v, key, member)
    {
        if (strcmp(key, "model") == 0 && json_is_string(member))
            theirs = json_string_value(member);
        else if (strcmp(key, "name") == 0 && json_is_string(member) && !name)
            ours = json_string_value(member);
        else if (strcmp(key, "can") == 0)
            rc = take_can(member, &like.can, err);
        else if (strcmp(key, "context") == 0)
            rc = take_number(&(struct number){key, 0, 0, 1 << 30}, member, &like.context, err);
        else if (strcmp(key, "max_running") == 0)
            rc = take_number(&(struct number){key, 0, 1, 16384}, member, &like.max_running, err);
        else
            rc = fg_fail(err, FG_INVALID, "openai: a model has no option \"%.60s\" of that type",
                         key);
        if (rc != FG_OK)
            return rc;
    }
    ours = ours ? ours : theirs;
    theirs = theirs ? theirs : ours;
    if (!ours || !ours[0] || !theirs[0] || strlen(ours) > 255 || strlen(theirs) > 255)
        return wrong(err, "models", "names of 1 to 255 bytes");
    return fg_remote_models_add(&c->models, &like, fg_str_of(ours), fg_str_of(theirs))
               ? FG_OK
               : no_memory(err);
}

static int32_t take_model(const json_t *v, const char *name, struct fg_remote_config *c,
                          struct fg_error *err)
{
    int32_t rc;
    if (json_is_object(v))
        return take_model_object(v, name, c, err);
    if (!json_is_string(v))
        return wrong(err, "models", "a list of names, or a map of our names to theirs");
    json_t *object = json_pack("{s:O}", "model", v);
    if (!object)
        return no_memory(err);
    rc = take_model_object(object, name, c, err);
    json_decref(object);
    return rc;
}

static int32_t take_models(const json_t *v, struct fg_remote_config *c, struct fg_error *err)
{
    const char *name;
    json_t *member;
    size_t i;
    int32_t rc = FG_OK;
    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, name, member)
        {
            rc = take_model(member, name, c, err);
            if (rc != FG_OK)
                return rc;
        }
        return FG_OK;
    }
    if (!json_is_array(v))
        return wrong(err, "models", "a list of names, or a map of our names to theirs");
    json_array_foreach(v, i, member)
    {
        rc = take_model(member, NULL, c, err);
        if (rc != FG_OK)
            return rc;
    }
    return FG_OK;
}

/* ---- headers and the key --------------------------------------------------------------------- */

static bool is_field_value(struct fg_str v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.ptr[i] < 0x20 || v.ptr[i] == 0x7f)
            return false;
    return v.len > 0;
}

static bool is_field_name(const char *name)
{
    static const char *const never[] = {
        "host",         "content-length",  "transfer-encoding", "connection", "te",
        "upgrade",      "expect",          "keep-alive",        "trailer",    "accept-encoding",
        "content-type", "proxy-connection"};
    for (const char *c = name; *c; c++)
        if (!((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
              strchr("!#$%&'*+-.^_`|~", *c)))
            return false;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (fg_str_ieq(fg_str_of(name), fg_str_of(never[i])))
            return false;
    return name[0] != '\0';
}

static bool add_field(struct fg_remote_config *c, const char *name, const char *before,
                      struct fg_str value)
{
    char *copy = strndup(value.ptr, value.len);
    struct fg_str *grown = realloc(c->secrets, (c->secret_count + 1) * sizeof *grown);
    if (grown)
        c->secrets = grown;
    if (!copy || !grown) {
        free(copy);
        return false;
    }
    c->secrets[c->secret_count++] = (struct fg_str){copy, value.len};
    return fg_buf_add(&c->fields, fg_str_of(name)) && fg_buf_add(&c->fields, FG_STR(": ")) &&
           fg_buf_add(&c->fields, fg_str_of(before)) && fg_buf_add(&c->fields, value) &&
           fg_buf_add(&c->fields, FG_STR("\r\n"));
}

static int32_t take_headers(const json_t *v, struct fg_remote_config *c, struct fg_error *err)
{
    const char *name;
    json_t *member;
    if (!json_is_object(v) || json_object_size(v) > HEADERS_MAX)
        return wrong(err, "headers", "a map of names to texts");
    json_object_foreach((json_t *)v, name, member)
    {
        const struct fg_str value = {json_string_value(member), json_string_length(member)};
        if (!is_field_name(name))
            return fg_fail(err, FG_INVALID, "openai: option \"headers\": \"%.60s\" cannot be set",
                           name);
        if (!json_is_string(member) || value.len > KEY_MAX || !is_field_value(value))
            return fg_fail(err, FG_INVALID,
                           "openai: option \"headers\": the value of \"%.60s\" is no header value",
                           name);
        if (!add_field(c, name, "", value))
            return no_memory(err);
    }
    return FG_OK;
}

static int32_t set_key(struct fg_remote_config *c, struct fg_str key, const char *place,
                       struct fg_error *err)
{
    key = fg_str_trim(key);
    if (!key.len || key.len > KEY_MAX || !is_field_value(key))
        return fg_fail(err, FG_INVALID, "openai: there is no proper key in %.150s", place);
    return add_field(c, "Authorization", "Bearer ", key) ? FG_OK : no_memory(err);
}

static void warn(const struct fg_host *host, const char *text)
{
    host->log(host, FG_LOG_WARN, fg_str_of(text));
}

static int32_t key_from_file(const struct fg_host *host, const char *path,
                             struct fg_remote_config *c, struct fg_error *err)
{
    char key[KEY_MAX + 1];
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fg_fail(err, FG_INVALID, "openai: api_key_file \"%.120s\": %s", path,
                       strerror(errno));
    const bool is_open_to_all = fstat(fd, &st) == 0 && (st.st_mode & 077) != 0;
    const ssize_t n = read(fd, key, sizeof key);
    close(fd);
    if (is_open_to_all)
        warn(host, "key_file_mode text=\"api_key_file can be read by others: chmod 600 is due\"");
    const int32_t rc = set_key(c, (struct fg_str){key, n > 0 ? (size_t)n : 0}, path, err);
    explicit_bzero(key, sizeof key);
    return rc;
}

static int32_t take_key(const json_t *root, const struct fg_host *host, struct fg_remote_config *c,
                        struct fg_error *err)
{
    const json_t *given = json_object_get(root, "api_key");
    const json_t *file = json_object_get(root, "api_key_file");
    const json_t *variable = json_object_get(root, "api_key_env");
    if ((given != NULL) + (file != NULL) + (variable != NULL) > 1)
        return fg_fail(err, FG_INVALID,
                       "openai: one of api_key, api_key_file and api_key_env is enough");
    if ((given && !json_is_string(given)) || (file && !json_is_string(file)) ||
        (variable && !json_is_string(variable)))
        return wrong(err, given ? "api_key" : file ? "api_key_file" : "api_key_env", "a text");
    if (given)
        return set_key(c, (struct fg_str){json_string_value(given), json_string_length(given)},
                       "the option api_key", err);
    if (file)
        return key_from_file(host, json_string_value(file), c, err);
    if (!variable)
        return FG_OK;
    const char *key = getenv(json_string_value(variable));
    if (!key)
        return fg_fail(err, FG_INVALID, "openai: the environment has no \"%.100s\" (api_key_env)",
                       json_string_value(variable));
    return set_key(c, fg_str_of(key), "the variable of api_key_env", err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int32_t take_url(const json_t *v, struct fg_remote_config *c, struct fg_error *err)
{
    if (!json_is_string(v))
        return fg_fail(err, FG_INVALID,
                       "openai: option \"base_url\" is missing: "
                       "https://HOST/v1, mostly");
    return fg_url_parse((struct fg_str){json_string_value(v), json_string_length(v)}, &c->url, err);
}

static int32_t take_option(const char *key, const json_t *v, struct fg_remote_config *c,
                           struct fg_error *err)
{
    static const char *const elsewhere[] = {"base_url",    "api_key", "api_key_file",
                                            "api_key_env", "models",  "can"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].name) == 0)
            return take_number(&numbers[i], v, (char *)c + numbers[i].at, err);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(key, flags[i].name) == 0) {
            *((bool *)c + flags[i].at) = json_is_true(v);
            return json_is_boolean(v) ? FG_OK : wrong(err, key, "true or false");
        }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(key, words[i].name) == 0)
            return take_word(&words[i], v, c, err);
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(key, elsewhere[i]) == 0)
            return FG_OK;
    if (strcmp(key, "prefix") == 0)
        return take_text(key, v, &c->prefix, err);
    if (strcmp(key, "ca_file") == 0)
        return take_text(key, v, &c->ca_file, err);
    if (strcmp(key, "headers") == 0)
        return take_headers(v, c, err);
    if (strcmp(key, "discover") == 0) {
        c->discover = json_is_true(v);
        return json_is_boolean(v) ? FG_OK : wrong(err, key, "true or false");
    }
    return fg_fail(err, FG_INVALID, "openai: there is no option \"%.60s\"", key);
}

static int32_t take_all(const json_t *root, const struct fg_host *host, struct fg_remote_config *c,
                        struct fg_error *err)
{
    const char *key;
    json_t *v;
    const json_t *models = json_object_get(root, "models"), *can = json_object_get(root, "can");
    int32_t rc = take_url(json_object_get(root, "base_url"), c, err);
    c->discover = !models;
    json_object_foreach((json_t *)root, key, v)
    {
        if (rc == FG_OK)
            rc = take_option(key, v, c, err);
    }
    if (rc == FG_OK && can)
        rc = take_can(can, &c->can, err);
    if (rc == FG_OK && models) /* last: they take over what stands beside them */
        rc = take_models(models, c, err);
    if (rc == FG_OK)
        rc = take_key(root, host, c, err);
    if (rc == FG_OK && !c->discover && !c->models.count)
        return fg_fail(err, FG_INVALID,
                       "openai: no models are named, and none are looked for "
                       "(discover is false)");
    return rc;
}

int32_t fg_remote_config_parse(struct fg_str json, const struct fg_host *host,
                               struct fg_remote_config *c, struct fg_error *err)
{
    *c = (struct fg_remote_config){
        .times = {.connect = 10000, .first_byte = 600000, .idle = 120000, .keep = 60000},
        .dialect = {.max_tokens_field = "max_tokens",
                    .repeat_penalty_field = "repeat_penalty",
                    .include_usage = true,
                    .send_thinking = true},
        .verify = true,
        .discover_s = 300,
        .keep_max = 256,
        .breaker_limit = 5,
        .breaker_ms = 10000,
        .probe_ms = 30000,
        .line_bytes = 4 << 20,
        .can = everything,
        .max_running = 1024,
    };
    json_error_t where; /* its text is not told: it may quote what it stumbled over */
    json_t *root = json_loadb(json.ptr ? json.ptr : "", json.len, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        json_decref(root);
        return fg_fail(err, FG_INVALID, "openai: the options are no JSON object");
    }
    const int32_t rc = take_all(root, host, c, err);
    json_decref(root);
    return rc;
}

void fg_remote_config_done(struct fg_remote_config *c)
{
    for (uint32_t i = 0; i < c->secret_count; i++) {
        explicit_bzero((char *)c->secrets[i].ptr, c->secrets[i].len);
        free((char *)c->secrets[i].ptr);
    }
    if (c->fields.ptr)
        explicit_bzero(c->fields.ptr, c->fields.capacity);
    fg_buf_done(&c->fields);
    free(c->secrets);
    free(c->prefix);
    free(c->ca_file);
    fg_remote_models_done(&c->models);
}
