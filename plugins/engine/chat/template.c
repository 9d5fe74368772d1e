/*
 * The public side: compiling, finding out a template's habits, rendering into pieces, leaving a
 * final assistant message open. See template.h.
 */
#include "engine/chat/template.h"

#include <stdlib.h>
#include <string.h>

#include "engine/chat/conversation.h"
#include "engine/chat/native.h"
#include "engine/chat/parse.h"
#include "util/error.h"

enum {
    COMPILE_MOST = 64 << 20,
    TRY_MOST = 64 << 20,
    TRY_STEPS = FG_RUN_STEPS / 16, /* for a conversation of two or three short messages */
};

const char fg_template_chatml[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct fg_template {
    struct fg_arena *arena;
    struct fg_program program;
    struct fg_habits habits;
};

/* ---- one rendering --------------------------------------------------------------------------- */

static int32_t render(const struct fg_template *t, const struct fg_habits *habits,
                      const struct fg_template_input *in, int64_t open, int64_t steps,
                      struct fg_arena *arena, struct fg_tagged *out, struct fg_error *err)
{
    const struct fg_program *g = &t->program;
    struct fg_weave text;
    struct fg_run r = {
        .program = g,
        .arena = arena,
        .out = &text,
        .captured = FG_UNDEFINED,
        .now_s = in->now_s,
        .fuel = steps * FG_RUN_STEP,
        .name_loop = fg_program_name(g, FG_STR("loop")),
        .name_caller = fg_program_name(g, FG_STR("caller")),
        .name_varargs = fg_program_name(g, FG_STR("varargs")),
        .name_kwargs = fg_program_name(g, FG_STR("kwargs")),
    };
    fg_weave_open(&text, &r);
    r.scope = fg_scope_open(&r, NULL);
    fg_conversation_set(&r, habits, in, open);
    fg_exec(&r, g->body);
    if (!fg_run_ok(&r)) {
        if (err)
            *err = r.error;
        return r.status;
    }
    *out = fg_weave_text(&text);
    return FG_OK;
}

/* ---- habits ---------------------------------------------------------------------------------- */

#define MARK "fluxgate-mark"

/* Does it render, and is the mark in what it renders? as_repr: a list or dict that holds it was
 * printed as Python would, which no template means to do. */
static bool shows_mark(const struct fg_template *t, const struct fg_habits *habits,
                       const struct fg_message *messages, uint32_t count, bool *renders,
                       bool *as_repr)
{
    const struct fg_template_input in = {
        .messages = messages, .message_count = count, .add_generation_prompt = true, .now_s = 1};
    struct fg_arena *arena = fg_arena_open(0, TRY_MOST);
    struct fg_tagged out;
    *renders = arena && render(t, habits, &in, -1, TRY_STEPS, arena, &out, NULL) == FG_OK;
    const bool shown = *renders && fg_tagged_find(out, FG_STR(MARK), 0) != SIZE_MAX;
    if (as_repr)
        *as_repr = *renders && fg_tagged_find(out, FG_STR("'" MARK "'"), 0) != SIZE_MAX;
    fg_arena_close(arena);
    return shown;
}

/* The first of these that brings a user's text out; none: they stay as they are. */
static void find_content_habit(struct fg_template *t)
{
    static const struct fg_habits tries[] = {
        {0}, {.parts = true}, {.empty_tools = true}, {.parts = true, .empty_tools = true}};
    const struct fg_part text = {.kind = FG_PART_TEXT, .data = FG_STR(MARK)};
    const struct fg_message user = {FG_ROLE_USER, 1, &text};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        bool renders, as_repr;
        if (!shows_mark(t, &tries[i], &user, 1, &renders, &as_repr) || as_repr)
            continue;
        t->habits.parts = tries[i].parts;
        t->habits.empty_tools = tries[i].empty_tools;
        return;
    }
}

static void find_system_habit(struct fg_template *t)
{
    const struct fg_part mark = {.kind = FG_PART_TEXT, .data = FG_STR(MARK)};
    const struct fg_part other = {.kind = FG_PART_TEXT, .data = FG_STR("hello")};
    const struct fg_message both[] = {{FG_ROLE_SYSTEM, 1, &mark}, {FG_ROLE_USER, 1, &other}};
    bool renders;
    if (shows_mark(t, &t->habits, both, 2, &renders, NULL))
        return;
    t->habits.no_system = true; /* unless nothing helps: then the error is the template's own */
    t->habits.no_system = shows_mark(t, &t->habits, both, 2, &renders, NULL);
}

static void find_call_habit(struct fg_template *t)
{
    const struct fg_part text = {.kind = FG_PART_TEXT, .data = FG_STR("hello")};
    const struct fg_part call = {.kind = FG_PART_TOOL_CALL,
                                 .data = FG_STR("{\"key\": \"" MARK "\"}"),
                                 .name = FG_STR("tool"),
                                 .id = FG_STR("call12345")};
    const struct fg_part result = {.kind = FG_PART_TOOL_RESULT,
                                   .data = FG_STR("hello"),
                                   .name = FG_STR("tool"),
                                   .id = FG_STR("call12345")};
    const struct fg_message all[] = {
        {FG_ROLE_USER, 1, &text}, {FG_ROLE_ASSISTANT, 1, &call}, {FG_ROLE_TOOL, 1, &result}};
    struct fg_habits other = t->habits;
    bool renders, as_repr;
    if (shows_mark(t, &t->habits, all, 3, &renders, &as_repr) && !as_repr)
        return;
    other.text_args = true;
    t->habits.text_args = shows_mark(t, &other, all, 3, &renders, NULL);
}

/* ---- compiling ------------------------------------------------------------------------------- */

int32_t fg_template_compile(struct fg_str source, struct fg_template **out, struct fg_error *err)
{
    struct fg_template *t = calloc(1, sizeof *t);
    int32_t rc = FG_OK;
    if (t)
        t->arena = fg_arena_open(0, COMPILE_MOST);
    if (!t || !t->arena)
        rc = fg_fail(err, FG_NO_MEMORY, "no memory to compile a chat template");
    if (rc == FG_OK)
        rc = fg_parse_program(source, t->arena, &t->program, err);
    if (rc != FG_OK) {
        fg_template_close(t);
        return rc;
    }
    t->habits.thinking = memmem(source.ptr, source.len, "thinking", 8) != NULL &&
                         memmem(source.ptr, source.len, "reasoning_content", 17) == NULL;
    find_content_habit(t);
    find_system_habit(t);
    find_call_habit(t);
    *out = t;
    return FG_OK;
}

void fg_template_close(struct fg_template *t)
{
    if (!t)
        return;
    fg_arena_close(t->arena);
    free(t);
}

/* ---- rendering ------------------------------------------------------------------------------- */

static int32_t check_texts(const struct fg_template_input *in, struct fg_error *err)
{
    bool broken;
    for (uint32_t i = 0; i < in->message_count; i++)
        for (uint32_t k = 0; k < in->messages[i].part_count; k++) {
            const struct fg_part *part = &in->messages[i].parts[k];
            const bool bytes = part->kind == FG_PART_IMAGE;
            if ((!bytes && fg_utf8_valid(part->data, &broken) != part->data.len) ||
                fg_utf8_valid(part->name, &broken) != part->name.len ||
                fg_utf8_valid(part->id, &broken) != part->id.len)
                return fg_fail(err, FG_INVALID, "message %u is no valid UTF-8", i);
        }
    for (uint32_t i = 0; i < in->tool_count; i++)
        if (fg_utf8_valid(in->tools[i].name, &broken) != in->tools[i].name.len ||
            fg_utf8_valid(in->tools[i].description, &broken) != in->tools[i].description.len ||
            fg_utf8_valid(in->tools[i].schema_json, &broken) != in->tools[i].schema_json.len)
            return fg_fail(err, FG_INVALID, "tool %u is no valid UTF-8", i);
    return FG_OK;
}

static bool calls_tools(const struct fg_message *m)
{
    for (uint32_t i = 0; i < m->part_count; i++)
        if (m->parts[i].kind == FG_PART_TOOL_CALL)
            return true;
    return false;
}

static bool has_text(const struct fg_message *m)
{
    for (uint32_t i = 0; i < m->part_count; i++)
        if (m->parts[i].kind == FG_PART_TEXT && m->parts[i].data.len)
            return true;
    return false;
}

/* Behind the last byte that the open message wrote; 0: nothing of it is there. */
static size_t open_end(const struct fg_tagged *t)
{
    size_t end = t->len;
    while (end && fg_tagged_at(t, end - 1) != FG_TAG_OPEN)
        end--;
    return end;
}

/* An answer that was begun: the template lays it out, and what it writes behind it is cut off.
 * Where the text does not come out (it is empty, or the template wants no such message), it is
 * put behind a new turn. */
static int32_t render_open(const struct fg_template *t, const struct fg_template_input *in,
                           struct fg_arena *arena, struct fg_tagged *out, struct fg_error *err)
{
    struct fg_template_input now = *in;
    const struct fg_message *last = &in->messages[in->message_count - 1];
    now.add_generation_prompt = false;
    int32_t rc = render(t, &t->habits, &now, in->message_count - 1, FG_RUN_STEPS, arena, out, err);
    const size_t end = rc == FG_OK ? open_end(out) : 0;
    if (end) {
        *out = fg_tagged_part(*out, 0, end);
        return FG_OK;
    }
    if (rc == FG_NO_MEMORY || (rc != FG_OK && in->message_count == 1))
        return rc;
    now.add_generation_prompt = true;
    now.message_count--;
    rc = render(t, &t->habits, &now, -1, FG_RUN_STEPS, arena, out, err);
    if (rc != FG_OK || !has_text(last))
        return rc;
    struct fg_run r = {.arena = arena, .fuel = (int64_t)FG_RUN_STEPS * FG_RUN_STEP};
    struct fg_weave w;
    fg_weave_open(&w, &r);
    fg_weave_add(&w, *out);
    for (uint32_t i = 0; i < last->part_count; i++)
        if (last->parts[i].kind == FG_PART_TEXT)
            fg_weave_put(&w, last->parts[i].data, FG_TAG_DATA);
    *out = fg_weave_text(&w);
    if (r.status != FG_OK && err)
        *err = r.error;
    return r.status;
}

/* Runs of one origin. Specials are looked for in the template's own only. */
static int32_t to_pieces(const struct fg_tagged *t, struct fg_arena *arena,
                         struct fg_template_output *out, struct fg_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < t->len; i++)
        count += i == 0 || !fg_tagged_at(t, i) != !fg_tagged_at(t, i - 1);
    struct fg_piece *pieces = fg_arena_zalloc(arena, count ? count : 1, sizeof *pieces);
    if (!pieces)
        return fg_fail(err, FG_NO_MEMORY, "no memory to render the chat template");
    size_t n = 0;
    for (size_t i = 0, from = 0; i < t->len; i++) {
        if (i + 1 < t->len && !fg_tagged_at(t, i) == !fg_tagged_at(t, i + 1))
            continue;
        pieces[n++] =
            (struct fg_piece){{t->ptr + from, i + 1 - from}, fg_tagged_at(t, i) == FG_TAG_TEMPLATE};
        from = i + 1;
    }
    *out = (struct fg_template_output){pieces, n};
    return FG_OK;
}

int32_t fg_template_render(const struct fg_template *t, const struct fg_template_input *in,
                           struct fg_arena *arena, struct fg_template_output *out,
                           struct fg_error *err)
{
    struct fg_tagged text;
    int32_t rc = check_texts(in, err);
    if (rc != FG_OK)
        return rc;
    const struct fg_message *last = in->message_count ? &in->messages[in->message_count - 1] : NULL;
    if (last && last->role == FG_ROLE_ASSISTANT && !calls_tools(last))
        rc = render_open(t, in, arena, &text, err);
    else
        rc = render(t, &t->habits, in, -1, FG_RUN_STEPS, arena, &text, err);
    return rc == FG_OK ? to_pieces(&text, arena, out, err) : rc;
}
