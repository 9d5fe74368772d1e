/*
 * What the tests of templates share: a rendering with its pieces and its error, freed by done().
 */
#ifndef TESTS_UNIT_CHAT_H
#define TESTS_UNIT_CHAT_H

#include "engine/chat/template.h"

struct outcome {
    int32_t rc;
    struct fg_error err;
    struct fg_arena *arena;
    struct fg_template_output out;
    char *text; /* all pieces, with a NUL */
};

/* Compiles and renders; compiling may be what fails. */
struct outcome render(struct fg_str source, const struct fg_template_input *in);
/* One message of a user. */
struct outcome render_text(const char *source, const char *text);
void done(struct outcome *);
struct fg_message message(int32_t role, const struct fg_part *parts, uint32_t count);
struct fg_part text_part(const char *text);
/* Pieces as text with what a message said in «». */
char *marked(const struct outcome *);

#endif
