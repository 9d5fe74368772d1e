/* Every field of a request as text, so that two sides of a wire can compare what they see. */
#ifndef WICKED_DIGEST_H
#define WICKED_DIGEST_H

#include <stdio.h>
#include <string.h>

#include <fluxgate/plugin.h>

struct digest {
    char text[4096];
    size_t len;
};

static inline void digest_add(struct digest *d, const char *name, const void *ptr, size_t len)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const unsigned char *)ptr)[i]) * 1099511628211u;
    int n = snprintf(d->text + d->len, sizeof d->text - d->len, "%s=%zu:%08x ", name, len,
                     (unsigned)(hash ^ hash >> 32));
    if (n > 0 && (size_t)n < sizeof d->text - d->len)
        d->len += (size_t)n;
}

static inline void digest_str(struct digest *d, const char *name, struct fg_str s)
{
    digest_add(d, name, s.ptr, s.len);
}

static inline void digest_messages(struct digest *d, const struct fg_request *r)
{
    for (uint32_t i = 0; i < r->message_count; i++) {
        const struct fg_message *m = &r->messages[i];
        digest_add(d, "role", &m->role, sizeof m->role);
        for (uint32_t k = 0; k < m->part_count; k++) {
            digest_add(d, "kind", &m->parts[k].kind, sizeof m->parts[k].kind);
            digest_str(d, "data", m->parts[k].data);
            digest_str(d, "name", m->parts[k].name);
            digest_str(d, "pid", m->parts[k].id);
        }
    }
}

static inline void digest_sampling(struct digest *d, const struct fg_sampling *s)
{
    if (!s)
        return;
    digest_add(d, "sampling", s, offsetof(struct fg_sampling, bias));
    for (uint32_t i = 0; i < s->bias_count; i++)
        digest_add(d, "bias", &s->bias[i], sizeof s->bias[i]);
}

static inline void digest_request(struct digest *d, const struct fg_request *r)
{
    d->len = 0;
    d->text[0] = '\0';
    const uint32_t numbers[] = {(uint32_t)r->op, r->flags,        r->max_tokens,
                                r->choices,      r->top_logprobs, r->logprobs};
    digest_add(d, "numbers", numbers, sizeof numbers);
    digest_str(d, "id", r->id);
    digest_messages(d, r);
    for (uint32_t i = 0; i < r->tool_count; i++) {
        digest_str(d, "tool", r->tools[i].name);
        digest_str(d, "about", r->tools[i].description);
        digest_str(d, "schema", r->tools[i].schema_json);
    }
    digest_str(d, "choice", r->tool_choice);
    for (uint32_t i = 0; i < r->input_count; i++)
        digest_str(d, "input", r->inputs[i]);
    digest_add(d, "tokens", r->input_tokens, r->input_token_count * sizeof *r->input_tokens);
    for (uint32_t i = 0; i < r->stop_count; i++)
        digest_str(d, "stop", r->stops[i]);
    digest_sampling(d, r->sampling);
    digest_str(d, "schema", r->schema_json);
    digest_str(d, "thinking", r->thinking);
    digest_str(d, "options", r->options_json);
    digest_add(d, "resume", r->resume_tokens, r->resume_count * sizeof *r->resume_tokens);
    digest_str(d, "scope", r->cache_scope);
}

#endif
