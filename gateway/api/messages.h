/* api/messages.h - reading lists of messages, in both dialects. */
#ifndef FG_API_MESSAGES_H
#define FG_API_MESSAGES_H

#include "api/parse.h"

fg_take fg_take_messages_openai, fg_take_messages_ollama;
/* Adds one message of one text; index UINT32_MAX: at the end, else before that one. */
bool fg_messages_add(struct fg_parse *, int32_t role, struct fg_str text, uint32_t index);
/* The model's own system text and first messages, put before the request's. */
bool fg_messages_prepend_model(struct fg_call *, struct fg_str system);

#endif
