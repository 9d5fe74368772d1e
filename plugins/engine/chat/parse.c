/*
 * Statements of a template. Nesting is counted, so that neither the parser's nor the interpreter's
 * stack depends on the source; lists grow in the arena. See parse.h; expressions: expression.c.
 */
#include "engine/chat/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/chat/native.h"
#include "engine/chat/parser.h"
#include "util/error.h"

static const struct fg_token end_token = {.kind = FG_TOKEN_END};

/* ---- what both files use --------------------------------------------------------------------- */

struct fg_node *fg_parser_fail(struct fg_parser *p, const char *format, ...)
{
    if (p->status != FG_OK)
        return NULL;
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool broken;
    text[fg_utf8_valid(fg_str_of(text), &broken)] = '\0'; /* a name in it may have been cut */
    p->status = fg_fail(p->err, FG_INVALID, "line %u: %s", p->token->line, text);
    p->token = &end_token;
    return NULL;
}

struct fg_node *fg_parser_no_memory(struct fg_parser *p)
{
    if (p->status == FG_OK)
        p->status = fg_fail(p->err, FG_NO_MEMORY, "no memory to compile a chat template");
    p->token = &end_token;
    return NULL;
}

struct fg_node *fg_parser_node(struct fg_parser *p, enum fg_node_kind kind)
{
    struct fg_node *n = fg_arena_zalloc(p->arena, 1, sizeof *n);
    if (!n)
        return fg_parser_no_memory(p);
    n->kind = (uint8_t)kind;
    n->line = p->token->line;
    return n;
}

void fg_parser_push(struct fg_parser *p, struct fg_nodes *list, const struct fg_node *n)
{
    if (list->count == list->capacity) {
        const uint32_t capacity = list->capacity ? list->capacity * 2 : 4;
        const struct fg_node **at = fg_arena_zalloc(p->arena, capacity, sizeof *at);
        if (!at) {
            fg_parser_no_memory(p);
            return;
        }
        if (list->count)
            memcpy(at, list->at, list->count * sizeof *at);
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = n;
}

void fg_parser_take(struct fg_node *n, const struct fg_nodes *list)
{
    if (!n)
        return;
    n->list = list->at;
    n->count = list->count;
}

uint32_t fg_parser_name(struct fg_parser *p, struct fg_str name)
{
    enum { SLOTS = FG_PARSE_NAMES * 2 };
    uint32_t at = (uint32_t)fg_str_hash(name) % SLOTS;
    for (; p->table[at]; at = (at + 1) % SLOTS)
        if (fg_str_eq(p->names[p->table[at] - 1], name))
            return p->table[at] - 1;
    if (p->name_count == FG_PARSE_NAMES) {
        fg_parser_fail(p, "more than %d names", FG_PARSE_NAMES);
        return 0;
    }
    p->names[p->name_count] = name;
    p->table[at] = ++p->name_count;
    return p->name_count - 1;
}

uint32_t fg_program_name(const struct fg_program *g, struct fg_str name)
{
    for (uint32_t i = 0; i < g->name_count; i++)
        if (fg_str_eq(g->names[i], name))
            return i;
    return FG_PARSE_NAMES;
}

bool fg_parser_deeper(struct fg_parser *p)
{
    if (p->depth >= FG_PARSE_NESTING) {
        fg_parser_fail(p, "nested more than %d deep", FG_PARSE_NESTING);
        return false;
    }
    p->depth++;
    return p->status == FG_OK;
}

void fg_parser_next(struct fg_parser *p)
{
    if (p->token->kind != FG_TOKEN_END)
        p->token++;
}

bool fg_parser_is_sign(const struct fg_parser *p, int sign)
{
    return p->token->kind == FG_TOKEN_SIGN && p->token->sign == sign;
}

bool fg_parser_is_word(const struct fg_parser *p, const char *word)
{
    return p->token->kind == FG_TOKEN_NAME && fg_str_is(p->token->text, word);
}

bool fg_parser_skip_sign(struct fg_parser *p, int sign)
{
    if (!fg_parser_is_sign(p, sign))
        return false;
    fg_parser_next(p);
    return true;
}

bool fg_parser_skip_word(struct fg_parser *p, const char *word)
{
    if (!fg_parser_is_word(p, word))
        return false;
    fg_parser_next(p);
    return true;
}

bool fg_parser_expect_sign(struct fg_parser *p, int sign)
{
    if (fg_parser_skip_sign(p, sign))
        return true;
    if (sign < 128)
        fg_parser_fail(p, "'%c' is missing", sign);
    else
        fg_parser_fail(p, "an operator is missing");
    return false;
}

struct fg_str fg_parser_expect_name(struct fg_parser *p)
{
    if (p->token->kind != FG_TOKEN_NAME) {
        fg_parser_fail(p, "a name is missing");
        return FG_STR("");
    }
    const struct fg_str name = p->token->text;
    fg_parser_next(p);
    return name;
}

/* ---- statements ------------------------------------------------------------------------------ */

static const struct fg_node *block(struct fg_parser *p, const char *const *ends);

static bool expect_block_end(struct fg_parser *p)
{
    if (p->token->kind == FG_TOKEN_BLOCK_END) {
        fg_parser_next(p);
        return true;
    }
    fg_parser_fail(p, "'%%}' is missing");
    return false;
}

/* The body up to one of the words, which stays the current token. */
static const struct fg_node *body(struct fg_parser *p, const char *const *ends)
{
    return expect_block_end(p) ? block(p, ends) : NULL;
}

/* The same where only one word can follow; that word is taken. */
static const struct fg_node *whole(struct fg_parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    const struct fg_node *n = body(p, ends);
    fg_parser_next(p);
    return n;
}

static const struct fg_node *statement_if(struct fg_parser *p, struct fg_node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct fg_nodes list = {0};
    do {
        fg_parser_push(p, &list, fg_parse_tuple(p, false));
        fg_parser_push(p, &list, body(p, ends));
    } while (fg_parser_skip_word(p, "elif"));
    fg_parser_take(n, &list);
    if (fg_parser_skip_word(p, "else"))
        n->c = whole(p, "endif");
    else
        fg_parser_next(p);
    return n;
}

static const struct fg_node *statement_for(struct fg_parser *p, struct fg_node *n)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct fg_nodes list = {0};
    n->a = fg_parse_target(p, false);
    if (!fg_parser_skip_word(p, "in"))
        return fg_parser_fail(p, "'in' is missing");
    n->b = fg_parse_tuple(p, false);
    if (fg_parser_skip_word(p, "if"))
        n->c = fg_parse_expression(p);
    if (fg_parser_is_word(p, "recursive"))
        return fg_parser_fail(p, "recursive loops are not supported");
    p->loops++;
    fg_parser_push(p, &list, body(p, ends));
    p->loops--;
    if (fg_parser_skip_word(p, "else"))
        fg_parser_push(p, &list, whole(p, "endfor"));
    else
        fg_parser_next(p);
    fg_parser_take(n, &list);
    return n;
}

static const struct fg_node *statement_set(struct fg_parser *p, struct fg_node *n)
{
    n->a = fg_parse_target(p, true);
    if (fg_parser_skip_sign(p, '=')) {
        n->b = fg_parse_tuple(p, true);
        return n;
    }
    n->kind = FG_NODE_CAPTURE;
    if (fg_parser_is_sign(p, '|'))
        n->b = fg_parse_filters(p, fg_parser_node(p, FG_NODE_INPUT), false);
    n->c = whole(p, "endset");
    return n;
}

/* (a, b=1, c=2): NAMEs, then as many defaults as the last of them have. */
static void signature(struct fg_parser *p, struct fg_node *n)
{
    struct fg_nodes names = {0}, defaults = {0};
    if (!fg_parser_expect_sign(p, '('))
        return;
    while (!fg_parser_is_sign(p, ')') && p->status == FG_OK) {
        if (names.count && !fg_parser_expect_sign(p, ','))
            return;
        struct fg_node *name = fg_parser_node(p, FG_NODE_NAME);
        if (!name)
            return;
        name->name = fg_parser_name(p, fg_parser_expect_name(p));
        fg_parser_push(p, &names, name);
        if (fg_parser_skip_sign(p, '='))
            fg_parser_push(p, &defaults, fg_parse_expression(p));
        else if (defaults.count)
            fg_parser_fail(p, "a parameter without a default behind one that has one");
    }
    fg_parser_next(p);
    n->required = names.count;
    for (uint32_t i = 0; i < defaults.count; i++)
        fg_parser_push(p, &names, defaults.at[i]);
    fg_parser_take(n, &names);
}

/* What break and continue would leave is outside. */
static const struct fg_node *apart(struct fg_parser *p, const char *end)
{
    const uint32_t loops = p->loops;
    p->loops = 0;
    const struct fg_node *n = whole(p, end);
    p->loops = loops;
    return n;
}

static const struct fg_node *statement_macro(struct fg_parser *p, struct fg_node *n)
{
    n->name = fg_parser_name(p, fg_parser_expect_name(p));
    signature(p, n);
    n->c = apart(p, "endmacro");
    return n;
}

static const struct fg_node *statement_call(struct fg_parser *p, struct fg_node *n)
{
    struct fg_node *caller = fg_parser_node(p, FG_NODE_MACRO);
    if (!caller)
        return NULL;
    caller->name = fg_parser_name(p, FG_STR("caller"));
    if (fg_parser_is_sign(p, '('))
        signature(p, caller);
    n->a = fg_parse_expression(p);
    if (n->a && n->a->kind != FG_NODE_CALL)
        return fg_parser_fail(p, "a call is missing");
    caller->c = apart(p, "endcall");
    n->b = caller;
    return n;
}

static const struct fg_node *statement_filter(struct fg_parser *p, struct fg_node *n)
{
    n->b = fg_parse_filters(p, fg_parser_node(p, FG_NODE_INPUT), true);
    n->c = whole(p, "endfilter");
    return n;
}

static const struct fg_node *statement_with(struct fg_parser *p, struct fg_node *n)
{
    struct fg_nodes list = {0};
    while (p->token->kind != FG_TOKEN_BLOCK_END && p->status == FG_OK) {
        if (list.count && !fg_parser_expect_sign(p, ','))
            break;
        fg_parser_push(p, &list, fg_parse_target(p, false));
        if (fg_parser_expect_sign(p, '='))
            fg_parser_push(p, &list, fg_parse_expression(p));
    }
    fg_parser_take(n, &list);
    n->c = whole(p, "endwith");
    return n;
}

/* transformers marks what the assistant said for training; the text is what matters here. */
static const struct fg_node *statement_generation(struct fg_parser *p, struct fg_node *n)
{
    (void)n;
    return whole(p, "endgeneration");
}

static const struct fg_node *statement_leave(struct fg_parser *p, struct fg_node *n)
{
    if (!p->loops)
        return fg_parser_fail(p, "'%s' outside of a loop",
                              n->kind == FG_NODE_BREAK ? "break" : "continue");
    return n;
}

static const struct fg_node *statement(struct fg_parser *p)
{
    static const struct {
        const char *word;
        enum fg_node_kind kind;
        const struct fg_node *(*parse)(struct fg_parser *, struct fg_node *);
    } known[] = {
        {"if", FG_NODE_IF, statement_if},
        {"for", FG_NODE_FOR, statement_for},
        {"set", FG_NODE_SET, statement_set},
        {"macro", FG_NODE_MACRO, statement_macro},
        {"call", FG_NODE_CALL_BLOCK, statement_call},
        {"filter", FG_NODE_CAPTURE, statement_filter},
        {"with", FG_NODE_WITH, statement_with},
        {"generation", FG_NODE_BLOCK, statement_generation},
        {"break", FG_NODE_BREAK, statement_leave},
        {"continue", FG_NODE_CONTINUE, statement_leave},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!fg_parser_is_word(p, known[i].word))
            continue;
        struct fg_node *n = fg_parser_node(p, known[i].kind);
        fg_parser_next(p);
        return n ? known[i].parse(p, n) : NULL;
    }
    if (p->token->kind != FG_TOKEN_NAME)
        return fg_parser_fail(p, "the name of a tag is missing");
    const struct fg_str word = p->token->text;
    return fg_parser_fail(p, "the tag '%.*s' is not known", word.len < 40 ? (int)word.len : 40,
                          word.ptr);
}

static bool ends_here(const struct fg_parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (fg_parser_is_word(p, *ends))
            return true;
    return false;
}

static const struct fg_node *data(struct fg_parser *p)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_DATA);
    struct fg_tagged *text = fg_arena_alloc(p->arena, sizeof *text);
    if (!n || !text)
        return fg_parser_no_memory(p);
    *text = fg_tagged_of(p->token->text, FG_TAG_TEMPLATE);
    n->value = (struct fg_value){.kind = FG_KIND_TEXT, .text = text};
    fg_parser_next(p);
    return n;
}

static const struct fg_node *print(struct fg_parser *p)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_PRINT);
    fg_parser_next(p);
    const struct fg_node *what = fg_parse_tuple(p, true);
    if (p->token->kind != FG_TOKEN_PRINT_END)
        return fg_parser_fail(p, "'}}' is missing");
    fg_parser_next(p);
    if (n)
        n->a = what;
    return n;
}

/* Up to one of the words that end it (NULL: the end of the source). */
static const struct fg_node *block(struct fg_parser *p, const char *const *ends)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_BLOCK);
    const uint32_t began = p->token->line;
    struct fg_nodes list = {0};
    if (!fg_parser_deeper(p))
        return NULL;
    while (p->token->kind != FG_TOKEN_END) {
        if (p->token->kind == FG_TOKEN_DATA) {
            fg_parser_push(p, &list, data(p));
        } else if (p->token->kind == FG_TOKEN_PRINT_BEGIN) {
            fg_parser_push(p, &list, print(p));
        } else {
            fg_parser_next(p); /* {% */
            if (ends_here(p, ends))
                break;
            fg_parser_push(p, &list, statement(p));
            expect_block_end(p);
        }
    }
    p->depth--;
    while (ends && ends[1])
        ends++;
    if (ends && p->token->kind == FG_TOKEN_END && p->status == FG_OK)
        return fg_parser_fail(p, "'%s' is missing for what began in line %u", *ends, began);
    fg_parser_take(n, &list);
    return n;
}

int32_t fg_parse_program(struct fg_str source, struct fg_arena *arena, struct fg_program *out,
                         struct fg_error *err)
{
    struct fg_token *tokens;
    size_t count;
    bool broken;
    if (source.len > FG_PARSE_SOURCE)
        return fg_fail(err, FG_INVALID, "a template of %zu bytes, %d is the most", source.len,
                       FG_PARSE_SOURCE);
    if (fg_utf8_valid(source, &broken) != source.len)
        return fg_fail(err, FG_INVALID, "the template is no valid UTF-8");
    const int32_t rc = fg_lex(source, arena, &tokens, &count, err);
    if (rc != FG_OK)
        return rc;
    struct fg_parser p = {.arena = arena, .token = tokens, .err = err};
    p.names = fg_arena_zalloc(arena, FG_PARSE_NAMES, sizeof *p.names);
    p.table = fg_arena_zalloc(arena, (size_t)FG_PARSE_NAMES * 2, sizeof *p.table);
    if (!p.names || !p.table)
        return fg_fail(err, FG_NO_MEMORY, "no memory to compile a chat template");
    const struct fg_node *tree = block(&p, NULL);
    if (p.status != FG_OK)
        return p.status;
    *out = (struct fg_program){tree, p.names, p.name_count};
    return FG_OK;
}
