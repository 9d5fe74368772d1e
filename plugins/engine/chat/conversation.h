/*
 * chat/conversation.h - a request's messages and tools as the values a template expects.
 */
#ifndef FG_CHAT_CONVERSATION_H
#define FG_CHAT_CONVERSATION_H

#include "engine/chat/run.h"
#include "engine/chat/template.h"

/* What a template wants; found out by trying when it is compiled. */
struct fg_habits {
    bool parts;       /* content as a list of parts, not as a text */
    bool no_system;   /* refuses or drops system messages: they go in front of what follows */
    bool text_args;   /* the arguments of a tool call as JSON text, not as a dict */
    bool empty_tools; /* goes through tools even when there are none */
    bool thinking;    /* reads message.thinking, not message.reasoning_content */
};
/* The variables of a rendering, into the run's scope. `open` of the messages: -1, or the index of
 * the one whose text is tagged FG_TAG_OPEN. */
void fg_conversation_set(struct fg_run *, const struct fg_habits *,
                         const struct fg_template_input *, int64_t open);

#endif
