/*
 * upstream/openai.h - the OpenAI dialect: /chat/completions, /completions, /embeddings as a client,
 * streamed unless the client of the gateway waits for the whole answer anyway (FG_REQ_WHOLE): 64
 * chunks cost 14 times as much as the one value (measured). See dialect.h.
 */
#ifndef FG_UPSTREAM_OPENAI_H
#define FG_UPSTREAM_OPENAI_H

#include "upstream/dialect.h"

enum fg_openai_thinking {                           /* how fg_request.thinking is asked for */
                          FG_THINKING_EFFORT = 0,   /* reasoning_effort */
                          FG_THINKING_TEMPLATE = 1, /* chat_template_kwargs.enable_thinking: vLLM,
                                                       SGLang, llama-server */
};
struct fg_openai_options {
    const char *max_tokens_field;     /* "max_tokens" or "max_completion_tokens" */
    const char *repeat_penalty_field; /* "repeat_penalty" or "repetition_penalty" */
    bool include_usage;               /* the server takes stream_options */
    bool send_thinking;               /* earlier thinking goes back as reasoning_content */
    int32_t thinking;                 /* enum fg_openai_thinking */
};
extern const struct fg_dialect fg_dialect_openai;

/* For the above, and for tests. */
const char *fg_openai_path(int32_t op);
int32_t fg_openai_write(const struct fg_ask *, struct fg_buf *body, struct fg_error *);
bool fg_openai_read(struct fg_reader *, struct fg_str name, struct fg_str record);
void fg_openai_fault(int32_t http_status, struct fg_str body, struct fg_fault *);
/* The members of one error object; code and type may be empty. http_status 0: within a stream. */
void fg_openai_classify(int32_t http_status, struct fg_str message, struct fg_str type,
                        struct fg_str code, struct fg_fault *);

#endif
