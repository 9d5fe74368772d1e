/* api/openai_write.h - pieces of answers that the other dialect writes alike. */
#ifndef FG_API_OPENAI_WRITE_H
#define FG_API_OPENAI_WRITE_H

#include "api/inner.h"

/* "token", "logprob" and "bytes" of one token, without brackets. */
void fg_openai_put_logprob(struct fg_buf *, const struct fg_logprob *);
/* An event's tokens as objects, commas between; top: with their alternatives. */
void fg_openai_put_logprobs(struct fg_buf *, const struct fg_event *, bool top);
void fg_put_vector(struct fg_buf *, const struct fg_vector *);
void fg_put_base64(struct fg_buf *, const unsigned char *, size_t);

#endif
