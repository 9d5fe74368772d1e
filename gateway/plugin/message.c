/*
 * See message.h. A pack function and its view beside each other; both name every pointer of the
 * struct, in the same order.
 */
#include "plugin/message.h"

#include <string.h>

#include "util/str.h"

static bool head(struct fg_view *v, void *to, size_t bytes)
{
    if (v->len < bytes)
        return false;
    memcpy(to, v->base, bytes);
    return true;
}

/* ---- structs of strings ------------------------------------------------------------------------
 */

bool fg_hello_view(struct fg_view *v, struct fg_msg_hello *m)
{
    return v->len == sizeof *m && head(v, m, sizeof *m) && m->magic == FG_MSG_MAGIC;
}

size_t fg_open_pack(const struct fg_msg_open *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_msg_open to = {.path = fg_pack_str(&p, m->path)};
    to.config_json = fg_pack_str(&p, m->config_json);
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

bool fg_open_view(struct fg_view *v, struct fg_msg_open *m)
{
    if (!head(v, m, sizeof *m))
        return false;
    m->path = fg_view_str(v, m->path);
    m->config_json = fg_view_str(v, m->config_json);
    return !v->bad;
}

size_t fg_reply_pack(const struct fg_msg_reply *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_msg_reply to = *m;
    to.text = fg_pack_str(&p, m->text);
    to.name = fg_pack_str(&p, m->name);
    to.version = fg_pack_str(&p, m->version);
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

bool fg_reply_view(struct fg_view *v, struct fg_msg_reply *m)
{
    if (!head(v, m, sizeof *m))
        return false;
    m->text = fg_view_str(v, m->text);
    m->name = fg_view_str(v, m->name);
    m->version = fg_view_str(v, m->version);
    return !v->bad && m->status >= FG_OK && m->status <= FG_TOO_LONG;
}

size_t fg_inspect_pack(const struct fg_msg_inspect *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_msg_inspect to = {.path = fg_pack_str(&p, m->path), .flags = m->flags};
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

bool fg_inspect_view(struct fg_view *v, struct fg_msg_inspect *m)
{
    if (!head(v, m, sizeof *m))
        return false;
    m->path = fg_view_str(v, m->path);
    return !v->bad;
}

/* ---- models ------------------------------------------------------------------------------------
 */

size_t fg_spec_pack(const struct fg_model_spec *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_model_spec to = *m;
    to.size = sizeof to;
    to.name = fg_pack_str(&p, m->name);
    to.path = fg_pack_str(&p, m->path);
    to.options_json = fg_pack_str(&p, m->options_json);
    to.progress = NULL; /* the other side has its own */
    to.progress_ctx = NULL;
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

bool fg_spec_view(struct fg_view *v, struct fg_model_spec *m)
{
    if (!head(v, m, sizeof *m) || m->size != sizeof *m)
        return false;
    m->name = fg_view_str(v, m->name);
    m->path = fg_view_str(v, m->path);
    m->options_json = fg_view_str(v, m->options_json);
    m->progress = NULL;
    m->progress_ctx = NULL;
    return !v->bad;
}

size_t fg_info_pack(const struct fg_model_info *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_model_info to = {0};
    memcpy(&to, m, m->size < sizeof to ? m->size : sizeof to);
    to.size = sizeof to;
    to.name = fg_pack_str(&p, to.name);
    to.family = fg_pack_str(&p, to.family);
    to.quantization = fg_pack_str(&p, to.quantization);
    to.digest = fg_pack_str(&p, to.digest);
    to.device = fg_pack_str(&p, to.device);
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

bool fg_info_view(struct fg_view *v, struct fg_model_info *m)
{
    if (!head(v, m, sizeof *m) || m->size != sizeof *m)
        return false;
    m->name = fg_view_str(v, m->name);
    m->family = fg_view_str(v, m->family);
    m->quantization = fg_view_str(v, m->quantization);
    m->digest = fg_view_str(v, m->digest);
    m->device = fg_view_str(v, m->device);
    return !v->bad;
}

/* ---- a request ---------------------------------------------------------------------------------
 */

static struct fg_message *pack_messages(struct fg_pack *p, const struct fg_request *r)
{
    struct fg_message *all = fg_pack_array(p, r->messages, r->message_count, sizeof *r->messages);
    for (uint32_t i = 0; all && i < r->message_count; i++) {
        struct fg_message m = r->messages[i];
        const struct fg_part *from = m.parts;
        m.parts = fg_pack_array(p, from, m.part_count, sizeof *from);
        m.part_count = m.parts ? m.part_count : 0;
        for (uint32_t k = 0; k < m.part_count; k++) {
            struct fg_part part = from[k];
            part.data = fg_pack_str(p, part.data);
            part.name = fg_pack_str(p, part.name);
            part.id = fg_pack_str(p, part.id);
            fg_pack_set(p, (void *)m.parts, k, &part, sizeof part);
        }
        fg_pack_set(p, all, i, &m, sizeof m);
    }
    return all;
}

static const struct fg_sampling *pack_sampling(struct fg_pack *p, const struct fg_sampling *from)
{
    if (!from)
        return NULL;
    struct fg_sampling to = {0};
    memcpy(&to, from, from->size < sizeof to ? from->size : sizeof to);
    to.size = sizeof to;
    void *place = fg_pack_array(p, &to, 1, sizeof to);
    to.bias = fg_pack_array(p, to.bias, to.bias_count, sizeof *to.bias);
    to.bias_count = to.bias ? to.bias_count : 0;
    fg_pack_set(p, place, 0, &to, sizeof to);
    return place;
}

size_t fg_submit_pack(const struct fg_msg_submit *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_msg_submit out = *m;
    struct fg_request *to = &out.request;
    const struct fg_request r = *to;
    to->size = sizeof *to;
    to->id = fg_pack_str(&p, r.id);
    to->messages = pack_messages(&p, &r);
    to->tools = fg_pack_strings(&p, r.tools, r.tool_count, sizeof *r.tools);
    to->tool_choice = fg_pack_str(&p, r.tool_choice);
    to->inputs = fg_pack_strings(&p, r.inputs, r.input_count, sizeof *r.inputs);
    to->input_tokens =
        fg_pack_array(&p, r.input_tokens, r.input_token_count, sizeof *r.input_tokens);
    to->stops = fg_pack_strings(&p, r.stops, r.stop_count, sizeof *r.stops);
    to->sampling = pack_sampling(&p, r.sampling);
    to->schema_json = fg_pack_str(&p, r.schema_json);
    to->thinking = fg_pack_str(&p, r.thinking);
    to->options_json = fg_pack_str(&p, r.options_json);
    to->resume_tokens = fg_pack_array(&p, r.resume_tokens, r.resume_count, sizeof *r.resume_tokens);
    to->cache_scope = fg_pack_str(&p, r.cache_scope);
    fg_pack_set(&p, NULL, 0, &out, sizeof out);
    return p.at;
}

static struct fg_message *view_messages(struct fg_view *v, struct fg_request *r)
{
    struct fg_message *all = fg_view_copy(v, r->messages, &r->message_count, sizeof *all);
    for (uint32_t i = 0; i < r->message_count; i++) {
        struct fg_message *m = &all[i];
        struct fg_part *parts = fg_view_copy(v, m->parts, &m->part_count, sizeof *parts);
        for (uint32_t k = 0; k < m->part_count; k++) {
            parts[k].data = fg_view_str(v, parts[k].data);
            parts[k].name = fg_view_str(v, parts[k].name);
            parts[k].id = fg_view_str(v, parts[k].id);
        }
        m->parts = parts;
    }
    return all;
}

static struct fg_sampling *view_sampling(struct fg_view *v, const struct fg_sampling *offset)
{
    uint32_t one = 1;
    struct fg_sampling *s = fg_view_copy(v, offset, &one, sizeof *s);
    if (!s)
        return NULL;
    v->bad |= s->size != sizeof *s;
    s->bias = fg_view_array(v, s->bias, &s->bias_count, sizeof *s->bias);
    return s;
}

bool fg_submit_view(struct fg_view *v, struct fg_msg_submit *m)
{
    struct fg_request *r = &m->request;
    if (!head(v, m, sizeof *m) || r->size != sizeof *r)
        return false;
    r->id = fg_view_str(v, r->id);
    r->messages = view_messages(v, r);
    r->tools = fg_view_strings(v, r->tools, &r->tool_count, sizeof *r->tools);
    r->tool_choice = fg_view_str(v, r->tool_choice);
    r->inputs = fg_view_strings(v, r->inputs, &r->input_count, sizeof *r->inputs);
    r->input_tokens =
        fg_view_array(v, r->input_tokens, &r->input_token_count, sizeof *r->input_tokens);
    r->stops = fg_view_strings(v, r->stops, &r->stop_count, sizeof *r->stops);
    r->sampling = view_sampling(v, r->sampling);
    r->schema_json = fg_view_str(v, r->schema_json);
    r->thinking = fg_view_str(v, r->thinking);
    r->options_json = fg_view_str(v, r->options_json);
    r->resume_tokens =
        fg_view_array(v, r->resume_tokens, &r->resume_count, sizeof *r->resume_tokens);
    r->cache_scope = fg_view_str(v, r->cache_scope);
    return !v->bad;
}

/* ---- numbers -----------------------------------------------------------------------------------
 */

size_t fg_numbers_pack(const struct fg_msg_numbers *m, void *block)
{
    struct fg_pack p = fg_pack_begin(block, sizeof *m);
    struct fg_msg_numbers to = *m;
    to.devices = fg_pack_array(&p, m->devices, m->device_count, sizeof *m->devices);
    struct fg_msg_metric *all = fg_pack_array(&p, m->metrics, m->metric_count, sizeof *m->metrics);
    for (uint32_t i = 0; all && i < m->metric_count; i++) {
        struct fg_msg_metric one = m->metrics[i];
        one.name = fg_pack_str(&p, (struct fg_str){one.name.ptr, one.name.len + 1});
        one.labels = fg_pack_str(&p, (struct fg_str){one.labels.ptr, one.labels.len + 1});
        fg_pack_set(&p, all, i, &one, sizeof one);
    }
    to.metrics = all;
    fg_pack_set(&p, NULL, 0, &to, sizeof to);
    return p.at;
}

static bool is_metric_name(struct fg_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
              (i && c >= '0' && c <= '9')))
            return false;
    }
    return s.len > 0 && s.len <= 128;
}

/* name="value",... as the page of metrics has it; may be empty. */
static bool is_labels(struct fg_str s)
{
    bool in_value = false, broken = false;
    size_t start = 0;
    if (s.len > 1024 || fg_utf8_valid(s, &broken) != s.len)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return false;
        if (in_value && c == '\\') {
            if (i + 1 >= s.len || !memchr("\\\"n", s.ptr[++i], 3))
                return false;
            continue;
        }
        if (!in_value && c == '=') {
            if (!is_metric_name((struct fg_str){s.ptr + start, i - start}) || i + 1 >= s.len ||
                s.ptr[++i] != '"')
                return false;
            in_value = true;
        } else if (in_value && c == '"') {
            in_value = false;
            start = i + 2;
            if (i + 1 < s.len && (s.ptr[++i] != ',' || i + 1 == s.len))
                return false;
        }
    }
    return !in_value && (s.len == 0 || s.ptr[s.len - 1] == '"');
}

static bool view_text(struct fg_view *v, struct fg_str *s)
{
    struct fg_str all = fg_view_str(v, *s);
    if (!all.len || memchr(all.ptr, 0, all.len) != all.ptr + all.len - 1)
        return false;
    *s = (struct fg_str){all.ptr, all.len - 1};
    return true;
}

bool fg_numbers_view(struct fg_view *v, struct fg_msg_numbers *m)
{
    if (!head(v, m, sizeof *m))
        return false;
    struct fg_device *devices = fg_view_copy(v, m->devices, &m->device_count, sizeof *m->devices);
    for (uint32_t i = 0; i < m->device_count; i++) {
        devices[i].size = sizeof *devices;
        devices[i].name[sizeof devices[i].name - 1] = '\0';
        devices[i].id[sizeof devices[i].id - 1] = '\0';
        devices[i].reason[sizeof devices[i].reason - 1] = '\0';
    }
    struct fg_msg_metric *metrics =
        fg_view_copy(v, m->metrics, &m->metric_count, sizeof *m->metrics);
    uint32_t good = 0;
    for (uint32_t i = 0; i < m->metric_count; i++) {
        struct fg_msg_metric one = metrics[i];
        if (!view_text(v, &one.name) || !view_text(v, &one.labels))
            return false;
        if (is_metric_name(one.name) && is_labels(one.labels))
            metrics[good++] = one;
    }
    m->devices = devices;
    m->metrics = metrics;
    m->metric_count = good;
    return !v->bad;
}
