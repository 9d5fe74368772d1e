/*
 * Expressions of a template, with jinja2's precedence: if-else, or, and, not, comparisons, + -,
 * ~, * / // %, **, signs, and behind a primary its attributes, calls, filters and tests.
 */
#include <string.h>

#include "engine/chat/native.h"
#include "engine/chat/parser.h"

static const struct fg_node *unary(struct fg_parser *p, bool with_filters);

/* ---- values ---------------------------------------------------------------------------------- */

static struct fg_node *constant(struct fg_parser *p, struct fg_value value)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_CONST);
    if (n)
        n->value = value;
    fg_parser_next(p);
    return n;
}

/* Texts that follow each other are one. */
static const struct fg_node *text(struct fg_parser *p)
{
    struct fg_str all = p->token->text;
    for (const struct fg_token *t = p->token + 1; t->kind == FG_TOKEN_TEXT; t++) {
        char *joined = fg_arena_alloc(p->arena, all.len + t->text.len);
        if (!joined)
            return fg_parser_no_memory(p);
        if (all.len)
            memcpy(joined, all.ptr, all.len);
        if (t->text.len)
            memcpy(joined + all.len, t->text.ptr, t->text.len);
        all = (struct fg_str){joined, all.len + t->text.len};
        if (all.len > FG_PARSE_SOURCE)
            return fg_parser_fail(p, "a text that is too long");
        fg_parser_next(p);
    }
    struct fg_tagged *own = fg_arena_alloc(p->arena, sizeof *own);
    if (!own)
        return fg_parser_no_memory(p);
    *own = fg_tagged_of(all, FG_TAG_TEMPLATE);
    return constant(p, (struct fg_value){.kind = FG_KIND_TEXT, .text = own});
}

static const struct fg_node *word(struct fg_parser *p)
{
    const struct fg_str name = p->token->text;
    if (fg_str_is(name, "true") || fg_str_is(name, "True"))
        return constant(p, fg_value_bool(true));
    if (fg_str_is(name, "false") || fg_str_is(name, "False"))
        return constant(p, fg_value_bool(false));
    if (fg_str_is(name, "none") || fg_str_is(name, "None"))
        return constant(p, FG_NONE);
    struct fg_node *n = fg_parser_node(p, FG_NODE_NAME);
    if (n)
        n->name = fg_parser_name(p, name);
    fg_parser_next(p);
    return n;
}

/* Up to the closing sign; a comma may stand behind the last one. *commas: how many there were. */
static void items(struct fg_parser *p, struct fg_nodes *list, int close, uint32_t *commas)
{
    *commas = 0;
    while (!fg_parser_is_sign(p, close) && p->status == FG_OK) {
        if (list->count) {
            if (!fg_parser_expect_sign(p, ','))
                return;
            (*commas)++;
            if (fg_parser_is_sign(p, close))
                break;
        }
        fg_parser_push(p, list, fg_parse_expression(p));
    }
    fg_parser_next(p);
}

static const struct fg_node *list_or_tuple(struct fg_parser *p, int close, enum fg_form form)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_ITEMS);
    struct fg_nodes list = {0};
    uint32_t commas;
    fg_parser_next(p);
    items(p, &list, close, &commas);
    if (form == FG_FORM_TUPLE && list.count == 1 && !commas)
        return list.at[0]; /* only brackets */
    if (n)
        n->op = (uint8_t)form;
    fg_parser_take(n, &list);
    return n;
}

static const struct fg_node *dict(struct fg_parser *p)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_DICT);
    struct fg_nodes list = {0};
    fg_parser_next(p);
    while (!fg_parser_is_sign(p, '}') && p->status == FG_OK) {
        if (list.count && !fg_parser_expect_sign(p, ','))
            break;
        if (fg_parser_is_sign(p, '}'))
            break;
        fg_parser_push(p, &list, fg_parse_expression(p));
        if (!fg_parser_expect_sign(p, ':'))
            break;
        fg_parser_push(p, &list, fg_parse_expression(p));
    }
    fg_parser_next(p);
    fg_parser_take(n, &list);
    return n;
}

static const struct fg_node *primary(struct fg_parser *p)
{
    switch (p->token->kind) {
    case FG_TOKEN_NAME:
        return word(p);
    case FG_TOKEN_TEXT:
        return text(p);
    case FG_TOKEN_INT:
        return constant(p, fg_value_int(p->token->integer));
    case FG_TOKEN_FLOAT:
        return constant(p, fg_value_real(p->token->real));
    default:
        break;
    }
    if (fg_parser_is_sign(p, '('))
        return list_or_tuple(p, ')', FG_FORM_TUPLE);
    if (fg_parser_is_sign(p, '['))
        return list_or_tuple(p, ']', FG_FORM_LIST);
    if (fg_parser_is_sign(p, '{'))
        return dict(p);
    return fg_parser_fail(p, "an expression is missing");
}

/* ---- behind a value -------------------------------------------------------------------------- */

static void arguments(struct fg_parser *p, struct fg_node *n)
{
    struct fg_nodes list = {0};
    bool named = false;
    fg_parser_next(p); /* ( */
    while (!fg_parser_is_sign(p, ')') && p->status == FG_OK) {
        if (list.count && !fg_parser_expect_sign(p, ','))
            return;
        if (fg_parser_is_sign(p, ')'))
            break;
        if (fg_parser_is_sign(p, '*') || fg_parser_is_sign(p, FG_SIGN_POWER)) {
            fg_parser_fail(p, "* and ** in a call are not supported");
            return;
        }
        const struct fg_token *behind = p->token + 1;
        if (p->token->kind == FG_TOKEN_NAME && behind->kind == FG_TOKEN_SIGN &&
            behind->sign == '=') {
            struct fg_node *word = fg_parser_node(p, FG_NODE_KEYWORD);
            if (!word)
                return;
            word->name = fg_parser_name(p, p->token->text);
            fg_parser_next(p);
            fg_parser_next(p);
            word->a = fg_parse_expression(p);
            fg_parser_push(p, &list, word);
            named = true;
        } else {
            if (named)
                fg_parser_fail(p, "an argument without a name behind one with a name");
            fg_parser_push(p, &list, fg_parse_expression(p));
        }
    }
    fg_parser_next(p);
    fg_parser_take(n, &list);
}

static const struct fg_node *call(struct fg_parser *p, const struct fg_node *on)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_CALL);
    if (!n)
        return NULL;
    n->a = on;
    arguments(p, n);
    return n;
}

static const struct fg_node *attribute(struct fg_parser *p, const struct fg_node *on)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_ATTR);
    fg_parser_next(p);
    if (!n)
        return NULL;
    n->a = on;
    if (p->token->kind == FG_TOKEN_INT) {
        n->kind = FG_NODE_INDEX;
        n->b = constant(p, fg_value_int(p->token->integer));
    } else {
        n->text = fg_parser_expect_name(p);
    }
    return n;
}

/* [expression] or [from:to:step]. */
static const struct fg_node *subscript(struct fg_parser *p, const struct fg_node *on)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_INDEX);
    struct fg_nodes bounds = {0};
    fg_parser_next(p);
    const struct fg_node *first = fg_parser_is_sign(p, ':') ? NULL : fg_parse_expression(p);
    fg_parser_push(p, &bounds, first);
    while (bounds.count < 3 && fg_parser_skip_sign(p, ':')) {
        const bool empty = fg_parser_is_sign(p, ':') || fg_parser_is_sign(p, ']');
        fg_parser_push(p, &bounds, empty ? NULL : fg_parse_expression(p));
    }
    if (!fg_parser_expect_sign(p, ']') || !n)
        return NULL;
    n->a = on;
    n->b = first;
    if (bounds.count > 1) {
        n->kind = FG_NODE_SLICE;
        while (bounds.count < 3)
            fg_parser_push(p, &bounds, NULL);
        fg_parser_take(n, &bounds);
    }
    return n;
}

static const struct fg_node *postfix(struct fg_parser *p, const struct fg_node *n)
{
    while (p->status == FG_OK) {
        if (fg_parser_is_sign(p, '.'))
            n = attribute(p, n);
        else if (fg_parser_is_sign(p, '['))
            n = subscript(p, n);
        else if (fg_parser_is_sign(p, '('))
            n = call(p, n);
        else
            break;
    }
    return n;
}

const struct fg_node *fg_parse_filters(struct fg_parser *p, const struct fg_node *on, bool begun)
{
    while (p->status == FG_OK && (begun || fg_parser_skip_sign(p, '|'))) {
        struct fg_node *n = fg_parser_node(p, FG_NODE_FILTER);
        begun = false;
        if (!n)
            return NULL;
        n->a = on;
        n->text = fg_parser_expect_name(p);
        n->native = fg_filter_find(n->text);
        if (fg_parser_is_sign(p, '('))
            arguments(p, n);
        on = n;
    }
    return on;
}

/* What can be a test's argument without brackets. */
static bool argument_here(const struct fg_parser *p)
{
    static const char *const words[] = {"else", "or", "and", "if", "is", "in", "not"};
    const uint8_t kind = p->token->kind;
    if (kind == FG_TOKEN_NAME) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (fg_parser_is_word(p, words[i]))
                return false;
        return true;
    }
    return kind == FG_TOKEN_TEXT || kind == FG_TOKEN_INT || kind == FG_TOKEN_FLOAT ||
           fg_parser_is_sign(p, '[') || fg_parser_is_sign(p, '{');
}

static const struct fg_node *test(struct fg_parser *p, const struct fg_node *on)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_TEST);
    fg_parser_next(p); /* is */
    const bool negated = fg_parser_skip_word(p, "not");
    if (!n)
        return NULL;
    n->a = on;
    n->text = fg_parser_expect_name(p);
    n->native = fg_test_find(n->text);
    if (fg_parser_is_sign(p, '(')) {
        arguments(p, n);
    } else if (argument_here(p)) {
        struct fg_nodes list = {0};
        fg_parser_push(p, &list, postfix(p, primary(p)));
        fg_parser_take(n, &list);
    }
    if (fg_parser_is_word(p, "is"))
        return fg_parser_fail(p, "tests cannot follow each other");
    if (!negated)
        return n;
    struct fg_node *not = fg_parser_node(p, FG_NODE_NOT);
    if (not )
        not ->a = n;
    return not ;
}

static const struct fg_node *filters_and_tests(struct fg_parser *p, const struct fg_node *n)
{
    while (p->status == FG_OK) {
        if (fg_parser_is_sign(p, '|'))
            n = fg_parse_filters(p, n, false);
        else if (fg_parser_is_word(p, "is"))
            n = test(p, n);
        else if (fg_parser_is_sign(p, '('))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators ------------------------------------------------------------------------------- */

static const struct fg_node *unary(struct fg_parser *p, bool with_filters)
{
    const struct fg_node *n;
    if (!fg_parser_deeper(p))
        return NULL;
    if (fg_parser_is_sign(p, '-') || fg_parser_is_sign(p, '+')) {
        struct fg_node *sign = fg_parser_node(p, FG_NODE_SIGNED);
        if (!sign)
            return NULL;
        sign->op = p->token->sign;
        fg_parser_next(p);
        sign->a = unary(p, false);
        n = sign;
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    if (with_filters)
        n = filters_and_tests(p, n);
    p->depth--;
    return n;
}

static const struct fg_node *math(struct fg_parser *p, int level);

static const struct fg_node *concat(struct fg_parser *p, int level)
{
    const struct fg_node *first = math(p, level + 1);
    if (!fg_parser_is_sign(p, '~'))
        return first;
    struct fg_node *n = fg_parser_node(p, FG_NODE_CONCAT);
    struct fg_nodes list = {0};
    fg_parser_push(p, &list, first);
    while (fg_parser_skip_sign(p, '~'))
        fg_parser_push(p, &list, math(p, level + 1));
    fg_parser_take(n, &list);
    return n;
}

/* Operators that take two numbers (or texts, or lists), the weakest first; all group to the left.
 */
static const struct fg_node *math(struct fg_parser *p, int level)
{
    static const uint8_t signs[][5] = {
        {'+', '-'}, {'~'}, {'*', '/', FG_SIGN_FLOOR, '%'}, {FG_SIGN_POWER}};
    if (level == 4)
        return unary(p, true);
    if (level == 1)
        return concat(p, level);
    const struct fg_node *left = math(p, level + 1);
    while (p->token->kind == FG_TOKEN_SIGN && strchr((const char *)signs[level], p->token->sign)) {
        struct fg_node *n = fg_parser_node(p, FG_NODE_MATH);
        if (!n)
            return NULL;
        n->op = p->token->sign;
        fg_parser_next(p);
        n->a = left;
        n->b = math(p, level + 1);
        left = n;
    }
    return left;
}

/* The comparison that stands here, -1: none. "not in" is taken only whole. */
static int comparison(struct fg_parser *p)
{
    static const struct {
        uint8_t sign, op;
    } signs[] = {
        {FG_SIGN_EQUAL, FG_COMPARE_EQUAL},
        {FG_SIGN_UNEQUAL, FG_COMPARE_UNEQUAL},
        {'<', FG_COMPARE_LESS},
        {FG_SIGN_LESS_EQUAL, FG_COMPARE_LESS_EQUAL},
        {'>', FG_COMPARE_MORE},
        {FG_SIGN_MORE_EQUAL, FG_COMPARE_MORE_EQUAL},
    };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (fg_parser_skip_sign(p, signs[i].sign))
            return signs[i].op;
    if (fg_parser_skip_word(p, "in"))
        return FG_COMPARE_IN;
    if (fg_parser_is_word(p, "not") && p->token[1].kind == FG_TOKEN_NAME &&
        fg_str_is(p->token[1].text, "in")) {
        fg_parser_next(p);
        fg_parser_next(p);
        return FG_COMPARE_NOT_IN;
    }
    return -1;
}

static const struct fg_node *compare(struct fg_parser *p)
{
    const struct fg_node *first = math(p, 0);
    struct fg_nodes list = {0};
    struct fg_node *n = NULL;
    int op;
    while (p->status == FG_OK && (op = comparison(p)) >= 0) {
        struct fg_node *operand = fg_parser_node(p, FG_NODE_OPERAND);
        if (!n)
            n = fg_parser_node(p, FG_NODE_COMPARE);
        if (!n || !operand)
            return NULL;
        operand->op = (uint8_t)op;
        operand->a = math(p, 0);
        fg_parser_push(p, &list, operand);
    }
    if (!n)
        return first;
    n->a = first;
    fg_parser_take(n, &list);
    return n;
}

static const struct fg_node * not(struct fg_parser * p)
{
    if (!fg_parser_is_word(p, "not"))
        return compare(p);
    struct fg_node *n = fg_parser_node(p, FG_NODE_NOT);
    fg_parser_next(p);
    if (!n || !fg_parser_deeper(p))
        return NULL;
    n->a = not(p);
    p->depth--;
    return n;
}

static const struct fg_node *both(struct fg_parser *p)
{
    const struct fg_node *left = not(p);
    while (fg_parser_skip_word(p, "and")) {
        struct fg_node *n = fg_parser_node(p, FG_NODE_AND);
        if (!n)
            return NULL;
        n->a = left;
        n->b = not(p);
        left = n;
    }
    return left;
}

const struct fg_node *fg_parse_plain(struct fg_parser *p)
{
    const struct fg_node *left = both(p);
    while (fg_parser_skip_word(p, "or")) {
        struct fg_node *n = fg_parser_node(p, FG_NODE_OR);
        if (!n)
            return NULL;
        n->a = left;
        n->b = both(p);
        left = n;
    }
    return left;
}

const struct fg_node *fg_parse_expression(struct fg_parser *p)
{
    if (!fg_parser_deeper(p))
        return NULL;
    const struct fg_node *first = fg_parse_plain(p);
    while (fg_parser_is_word(p, "if")) {
        struct fg_node *n = fg_parser_node(p, FG_NODE_CHOICE);
        fg_parser_next(p);
        if (!n)
            return NULL;
        n->a = fg_parse_plain(p);
        n->b = first;
        if (fg_parser_skip_word(p, "else"))
            n->c = fg_parse_expression(p);
        first = n;
    }
    p->depth--;
    return first;
}

/* ---- lists without brackets ------------------------------------------------------------------ */

static bool tuple_ends(const struct fg_parser *p)
{
    return p->token->kind == FG_TOKEN_PRINT_END || p->token->kind == FG_TOKEN_BLOCK_END ||
           p->token->kind == FG_TOKEN_END || fg_parser_is_sign(p, ')') ||
           fg_parser_is_sign(p, '=') || fg_parser_is_word(p, "in") || fg_parser_is_word(p, "if");
}

const struct fg_node *fg_parse_tuple(struct fg_parser *p, bool with_if)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_ITEMS);
    struct fg_nodes list = {0};
    const struct fg_node *first = with_if ? fg_parse_expression(p) : fg_parse_plain(p);
    if (!fg_parser_is_sign(p, ','))
        return first;
    fg_parser_push(p, &list, first);
    while (fg_parser_skip_sign(p, ',') && !tuple_ends(p))
        fg_parser_push(p, &list, with_if ? fg_parse_expression(p) : fg_parse_plain(p));
    if (n)
        n->op = FG_FORM_TUPLE;
    fg_parser_take(n, &list);
    return n;
}

static const struct fg_node *single_target(struct fg_parser *p, bool with_attribute)
{
    if (fg_parser_is_sign(p, '(')) {
        fg_parser_next(p);
        if (!fg_parser_deeper(p))
            return NULL;
        const struct fg_node *inner = fg_parse_target(p, with_attribute);
        p->depth--;
        fg_parser_expect_sign(p, ')');
        return inner;
    }
    struct fg_node *n = fg_parser_node(p, FG_NODE_NAME);
    if (!n)
        return NULL;
    n->name = fg_parser_name(p, fg_parser_expect_name(p));
    if (with_attribute && fg_parser_is_sign(p, '.'))
        return attribute(p, n);
    return n;
}

const struct fg_node *fg_parse_target(struct fg_parser *p, bool with_attribute)
{
    struct fg_node *n = fg_parser_node(p, FG_NODE_ITEMS);
    struct fg_nodes list = {0};
    const struct fg_node *first = single_target(p, with_attribute);
    if (!fg_parser_is_sign(p, ','))
        return first;
    fg_parser_push(p, &list, first);
    while (fg_parser_skip_sign(p, ',') && !tuple_ends(p))
        fg_parser_push(p, &list, single_target(p, with_attribute));
    if (n)
        n->op = FG_FORM_TUPLE;
    fg_parser_take(n, &list);
    return n;
}
