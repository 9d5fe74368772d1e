/* See chat.h. */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

#include "util/arena.h"

static char *joined(const struct fg_template_output *out, bool marks)
{
    struct fg_buf b = {0};
    for (size_t i = 0; i < out->count; i++) {
        const bool mark = marks && !out->pieces[i].special;
        fg_buf_add(&b, mark ? FG_STR("«") : FG_STR(""));
        fg_buf_add(&b, out->pieces[i].text);
        fg_buf_add(&b, mark ? FG_STR("»") : FG_STR(""));
    }
    fg_buf_addc(&b, '\0');
    return b.ptr;
}

struct outcome render(struct fg_str source, const struct fg_template_input *in)
{
    struct outcome o = {.arena = fg_arena_open(0, 256 << 20)};
    struct fg_template *t = NULL;
    o.rc = fg_template_compile(source, &t, &o.err);
    if (o.rc == FG_OK)
        o.rc = fg_template_render(t, in, o.arena, &o.out, &o.err);
    if (o.rc == FG_OK)
        o.text = joined(&o.out, false);
    fg_template_close(t);
    return o;
}

struct outcome render_text(const char *source, const char *text)
{
    const struct fg_part part = text_part(text);
    const struct fg_message m = message(FG_ROLE_USER, &part, 1);
    const struct fg_template_input in = {.messages = &m,
                                         .message_count = 1,
                                         .add_generation_prompt = true,
                                         .bos = FG_STR("<s>"),
                                         .eos = FG_STR("</s>"),
                                         .now_s = 1767225600};
    return render(fg_str_of(source), &in);
}

void done(struct outcome *o)
{
    fg_arena_close(o->arena);
    free(o->text);
    *o = (struct outcome){0};
}

struct fg_message message(int32_t role, const struct fg_part *parts, uint32_t count)
{
    return (struct fg_message){role, count, parts};
}

struct fg_part text_part(const char *text)
{
    return (struct fg_part){.kind = FG_PART_TEXT, .data = fg_str_of(text)};
}

char *marked(const struct outcome *o)
{
    return joined(&o->out, true);
}
