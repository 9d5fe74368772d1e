/*
 * Messages to values. Roles, types and the names of keys are the gateway's own words and count as
 * the template's; everything else is what somebody wrote. (A template that builds <|role|> out of
 * a role must get its special token.)
 */
#include "engine/chat/conversation.h"

#include "engine/chat/native.h"
#include "engine/chat/parse.h"

static struct fg_value data(struct fg_run *r, struct fg_str s, enum fg_tag tag)
{
    return fg_value_text(r, fg_tagged_of(s, tag));
}

static void set(struct fg_run *r, const struct fg_value *dict, const char *key,
                struct fg_value value)
{
    if (fg_run_ok(r))
        fg_dict_name(r, dict->dict, key, value);
}

static const char *role_name(int32_t role)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return role >= 0 && role < 4 ? names[role] : "user";
}

static bool is_text(const struct fg_part *part)
{
    return part->kind == FG_PART_TEXT || part->kind == FG_PART_TOOL_RESULT;
}

/* ---- content --------------------------------------------------------------------------------- */

/* Texts of several parts are lines, as llama.cpp joins them. */
static void add_texts(struct fg_weave *w, const struct fg_message *m, enum fg_tag tag)
{
    bool any = w->len != 0;
    for (uint32_t i = 0; i < m->part_count; i++) {
        if (!is_text(&m->parts[i]))
            continue;
        if (any)
            fg_weave_put(w, FG_STR("\n"), (uint8_t)tag);
        fg_weave_put(w, m->parts[i].data, (uint8_t)tag);
        any = true;
    }
}

static struct fg_value part_value(struct fg_run *r, const struct fg_part *part, enum fg_tag tag)
{
    struct fg_value dict = fg_value_dict(r);
    const bool text = is_text(part);
    set(r, &dict, "type", fg_value_chars(r, text ? "text" : "image"));
    if (text)
        set(r, &dict, "text", data(r, part->data, tag));
    return dict;
}

/* system: a message to go in front of this one's text, or NULL. */
static struct fg_value content(struct fg_run *r, const struct fg_habits *habits,
                               const struct fg_message *system, const struct fg_message *m,
                               enum fg_tag tag)
{
    if (!habits->parts) {
        struct fg_weave w;
        fg_weave_open(&w, r);
        if (system)
            add_texts(&w, system, FG_TAG_DATA);
        add_texts(&w, m, tag);
        return fg_value_text(r, fg_weave_text(&w));
    }
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, 0);
    for (uint32_t i = 0; system && i < system->part_count; i++)
        fg_items_add(r, list.items, part_value(r, &system->parts[i], FG_TAG_DATA));
    for (uint32_t i = 0; i < m->part_count; i++)
        if (is_text(&m->parts[i]) || m->parts[i].kind == FG_PART_IMAGE)
            fg_items_add(r, list.items, part_value(r, &m->parts[i], tag));
    return list;
}

/* ---- tools ----------------------------------------------------------------------------------- */

static struct fg_value parsed(struct fg_run *r, struct fg_str json)
{
    struct fg_value v;
    if (fg_value_parse_json(r, json, FG_TAG_DATA, &v))
        return v;
    return data(r, json, FG_TAG_DATA);
}

static struct fg_value call_value(struct fg_run *r, const struct fg_habits *habits,
                                  const struct fg_part *part)
{
    struct fg_value call = fg_value_dict(r), function = fg_value_dict(r);
    const bool text = habits->text_args;
    set(r, &function, "name", data(r, part->name, FG_TAG_DATA));
    set(r, &function, "arguments", text ? data(r, part->data, FG_TAG_DATA) : parsed(r, part->data));
    set(r, &call, "type", fg_value_chars(r, "function"));
    set(r, &call, "function", function);
    if (part->id.len)
        set(r, &call, "id", data(r, part->id, FG_TAG_DATA));
    return call;
}

static void add_calls(struct fg_run *r, const struct fg_habits *habits, const struct fg_value *dict,
                      const struct fg_message *m)
{
    struct fg_value calls = fg_value_items(r, FG_FORM_LIST, 0);
    for (uint32_t i = 0; i < m->part_count && fg_run_ok(r); i++)
        if (m->parts[i].kind == FG_PART_TOOL_CALL)
            fg_items_add(r, calls.items, call_value(r, habits, &m->parts[i]));
    if (fg_run_ok(r) && calls.items->count)
        set(r, dict, "tool_calls", calls);
}

static struct fg_value tools_value(struct fg_run *r, const struct fg_habits *habits,
                                   const struct fg_template_input *in)
{
    if (!in->tool_count && !habits->empty_tools)
        return FG_NONE;
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, in->tool_count);
    for (uint32_t i = 0; i < in->tool_count && fg_run_ok(r); i++) {
        const struct fg_tool *tool = &in->tools[i];
        struct fg_value dict = fg_value_dict(r), function = fg_value_dict(r);
        set(r, &function, "name", data(r, tool->name, FG_TAG_DATA));
        if (tool->description.len)
            set(r, &function, "description", data(r, tool->description, FG_TAG_DATA));
        if (tool->schema_json.len)
            set(r, &function, "parameters", parsed(r, tool->schema_json));
        set(r, &dict, "type", fg_value_chars(r, "function"));
        set(r, &dict, "function", function);
        fg_items_add(r, list.items, dict);
    }
    return list;
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct fg_value message_value(struct fg_run *r, const struct fg_habits *habits,
                                     const struct fg_message *system, const struct fg_message *m,
                                     enum fg_tag tag)
{
    struct fg_value dict = fg_value_dict(r);
    set(r, &dict, "role", fg_value_chars(r, role_name(m->role)));
    set(r, &dict, "content", content(r, habits, system, m, tag));
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct fg_part *part = &m->parts[i];
        if (part->kind == FG_PART_THINKING)
            set(r, &dict, habits->thinking ? "thinking" : "reasoning_content",
                data(r, part->data, FG_TAG_DATA));
        if (part->kind == FG_PART_TOOL_RESULT && part->name.len)
            set(r, &dict, "name", data(r, part->name, FG_TAG_DATA));
        if (part->kind == FG_PART_TOOL_RESULT && part->id.len)
            set(r, &dict, "tool_call_id", data(r, part->id, FG_TAG_DATA));
    }
    add_calls(r, habits, &dict, m);
    return dict;
}

/* Where the template knows no system message: its text goes in front of the next message's. */
static struct fg_value messages_value(struct fg_run *r, const struct fg_habits *habits,
                                      const struct fg_template_input *in, int64_t open)
{
    struct fg_value list = fg_value_items(r, FG_FORM_LIST, in->message_count);
    const struct fg_message *system = NULL;
    for (uint32_t i = 0; i < in->message_count && fg_run_ok(r); i++) {
        const struct fg_message *m = &in->messages[i];
        if (habits->no_system && m->role == FG_ROLE_SYSTEM && i == 0 && in->message_count > 1) {
            system = m;
            continue;
        }
        fg_items_add(r, list.items,
                     message_value(r, habits, system, m, i == open ? FG_TAG_OPEN : FG_TAG_DATA));
        system = NULL;
    }
    return list;
}

static void variable(struct fg_run *r, const char *name, struct fg_value value)
{
    const uint32_t id = fg_program_name(r->program, fg_str_of(name));
    if (id < FG_PARSE_NAMES)
        fg_scope_set(r, r->scope, id, value);
}

static void set_thinking(struct fg_run *r, struct fg_str level)
{
    if (!level.len)
        return;
    const bool on = !fg_str_is(level, "off");
    variable(r, "enable_thinking", fg_value_bool(on));
    variable(r, "thinking", fg_value_bool(on));
    if (on && !fg_str_is(level, "on"))
        variable(r, "reasoning_effort", fg_value_text(r, fg_tagged_of(level, FG_TAG_TEMPLATE)));
}

void fg_conversation_set(struct fg_run *r, const struct fg_habits *habits,
                         const struct fg_template_input *in, int64_t open)
{
    variable(r, "messages", messages_value(r, habits, in, open));
    variable(r, "tools", tools_value(r, habits, in));
    variable(r, "documents", FG_NONE);
    variable(r, "add_generation_prompt", fg_value_bool(in->add_generation_prompt));
    variable(r, "bos_token", fg_value_text(r, fg_tagged_of(in->bos, FG_TAG_TEMPLATE)));
    variable(r, "eos_token", fg_value_text(r, fg_tagged_of(in->eos, FG_TAG_TEMPLATE)));
    set_thinking(r, in->thinking);
}
