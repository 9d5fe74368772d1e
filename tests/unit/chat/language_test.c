/*
 * The language, a line for each thing. What is expected was written by jinja2 3.1 as transformers
 * sets it up; tests/golden/test_jinja.py compares more of it when jinja2 is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "chat.h"

struct line {
    const char *source, *expected;
};

static void check(const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct outcome o = render_text(lines[i].source, "Hello");
        if (o.rc != FG_OK)
            fail_msg("%s: %s", lines[i].source, o.err.text);
        if (strcmp(o.text, lines[i].expected) != 0)
            fail_msg("%s: expected \"%s\", got \"%s\"", lines[i].source, lines[i].expected, o.text);
        done(&o);
    }
}
#define CHECK(lines) check(lines, sizeof(lines) / sizeof *(lines))

static void operators_are_python_s(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}", "3 3 -4 2 3.5"},
        {"{{ 2 ** 3 ** 2 }} {{ 2 ** -1 }} {{ -7.5 % 2 }}", "64 0.5 0.5"},
        {"{{ 0.1 + 0.2 }} {{ 1e20 }} {{ 1e-7 }} {{ 1.0 }}", "0.30000000000000004 1e+20 1e-07 1.0"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }}", "True False True True"},
        {"{{ 'a' ~ 1 ~ none ~ true ~ x }}", "a1NoneTrue"},
        {"{{ 'ab' * 2 }}{{ [1] + [2] }}{{ (1,) * 2 }}", "abab[1, 2](1, 1)"},
        {"{{ 'b' in 'abc' }} {{ 3 not in [1, 2] }} {{ 'k' in {'k': 1} }}", "True True True"},
        {"{{ not 1 in [2] }} {{ '' or none or 'x' }} {{ 1 and 0 }}", "True x 0"},
        {"{{ 1 if false else 2 if false else 3 }}|{{ 1 if false }}", "3|"},
        {"{{ 1 is not none and 2 is not string }} {{ -1 | abs }}", "True 1"},
    };
    CHECK(lines);
}

static void slices_count_characters(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{{ 'grüße'[2:4] }} {{ 'grüße'[-1] }} {{ 'grüße' | length }}", "üß e 5"},
        {"{{ 'abcdef'[::2] }} {{ 'abc'[::-1] }} {{ 'abcdef'[4:1:-1] }}", "ace cba edc"},
        {"{{ [1, 2, 3][1:] }} {{ (1, 2)[:-1] }} {{ 'abc'[10:] }}|{{ 'abc'[9] }}|",
         "[2, 3] (1,) ||"},
        {"{{ messages[::-1][0].content }} {{ messages[-1]['role'] }}", "Hello user"},
    };
    CHECK(lines);
}

static void white_space_goes_as_transformers_sets_it(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
        {"a  {%- if true -%}  b  {%- endif -%}  c", "abc"},
        {"  {{ 1 }}\n{{ 2 }}\n", "  1\n2"},
        {"x {# c #}\ny\n  {# c #}\n  z", "x y\n  z"},
        {"a\n  {%+ if true %} b {% endif +%}\nc", "a\n   b \nc"},
        {"{% raw %}{{ no }}{% endraw %}|{{ '}}' }}", "{{ no }}|}}"},
        {"a\r\nb\rc\n\n", "a\nb\nc\n"},
        {"{{- 'x' -}}   \n  {{- 'y' -}}  ", "xy"},
    };
    CHECK(lines);
}

static void loops_know_where_they_are(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{% for i in 'abc' %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }} "
         "{% endfor %}",
         "12TrueFalse 21FalseFalse 30FalseTrue "},
        {"{% for i in range(5) if i is odd %}{{ loop.length }}{{ i }}{% else %}no{% endfor %}",
         "2123"},
        {"{% for i in [] %}x{% else %}none{% endfor %}", "none"},
        {"{% for i in [1, 2] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}",
         "<1>2;1<2>;"},
        {"{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"},
        {"{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}"
         "{% endif %}{{ i }}{% endfor %}",
         "02"},
        {"{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"},
    };
    CHECK(lines);
}

static void names_live_where_they_were_set(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}{{ x }}",
         "19191"},
        {"{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}"
         "{{ ns.n }}",
         "3"},
        {"{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set x | upper %}ab{% endset %}{{ x }}", "21AB"},
        {"{% with a = 1 %}{{ a }}{% endwith %}[{{ a }}]", "1[]"},
        {"{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c=4) }}",
         "121|124"},
        {"{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "2"},
        {"{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(a) m() %}{{ a }}!{% endcall %}",
         "[1!]"},
        {"{% filter upper %}a{{ 'b' }}{% endfilter %}{% generation %}c{% endgeneration %}", "ABc"},
    };
    CHECK(lines);
}

static void undefined_is_empty_until_it_is_used(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{{ x }}|{{ x is defined }}|{{ x | length }}|{{ x == y }}|{{ 'a' in x }}",
         "|False|0|True|False"},
        {"{{ {}.a is defined }}{{ none.a is defined }}{{ ''.__class__ is defined }}",
         "FalseFalseFalse"},
        {"{{ x | default('d') }} {{ '' | default('d', true) }} {{ none | d('x') }}", "d d None"},
        {"{% if false %}{{ 1 | nope }}{{ x.y }}{% endif %}ok", "ok"},
    };
    CHECK(lines);
}

static void values_print_as_in_python(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{{ [1, 'a', \"it's\", none, true, 1.5, {'k': (1,)}, ()] }}",
         "[1, 'a', \"it's\", None, True, 1.5, {'k': (1,)}, ()]"},
        {"{{ {'b': [1, 2.5, none], 'c': \"q\\\"\\n/é\"} | tojson }}",
         "{\"b\": [1, 2.5, null], \"c\": \"q\\\"\\n/é\"}"},
        {"{{ {'a': [1], 'e': []} | tojson(indent=2) }}",
         "{\n  \"a\": [\n    1\n  ],\n  \"e\": []\n}"},
        {"{{ 'é🎉' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}",
         "\"\\u00e9\\ud83c\\udf89\" {\"a\": 2, \"b\": 1}"},
        {"{{ '%s %5.2f' % ('a', 1.5) }} {{ '{} {x:>3}'.format(1, x='r') }}", "a  1.50 1   r"},
    };
    CHECK(lines);
}

static void filters_tests_and_methods_are_there(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"{{ ' x ' | trim }}{{ 'ab' | upper | reverse }}{{ [2, 1] | sort | join('-') }}", "xBA1-2"},
        {"{{ [{'r': 'u', 'n': 1}, {'r': 'a'}] | selectattr('r', 'equalto', 'u') | "
         "map(attribute='n') "
         "| list }}",
         "[1]"},
        {"{{ [1, 2, 3] | select('odd') | list }} {{ {'b': 1, 'a': 2} | dictsort }}",
         "[1, 3] [('a', 2), ('b', 1)]"},
        {"{{ [1, 1.0, 2] | unique | list }} {{ '42' | int + 1 }} {{ 2.5 | round }}",
         "[1, 2] 43 2.0"},
        {"{{ 'a\nb' | indent(2) }} {{ '<' | e }} {{ [1, 2] | last }}", "a\n  b &lt; 2"},
        {"{{ 'a,b'.split(',') }} {{ 'xax'.strip('x') }} {{ 'a'.startswith(('b', 'a')) }}",
         "['a', 'b'] a True"},
        {"{{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.keys() | list }} {{ 'a-b'.title() }}",
         "2 ['a'] A-B"},
        {"{{ 3 is odd }} {{ [] is sequence }} {{ {} is mapping }} {{ true is boolean }} {{ 1 is in "
         "[1] }}",
         "True True True True True"},
        {"{% set l = [1] %}{% set _ = l.append(2) %}{{ l.pop(0) }}{{ l }}", "1[2]"},
        {"{{ strftime_now('%Y') in ['2025', '2026'] }} {{ dict(a=1) }} {{ range(3) | list }}",
         "True {'a': 1} [0, 1, 2]"},
    };
    CHECK(lines);
}

/* Each fails in the line it says. */
static void an_error_names_its_line_and_its_cause(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"a\n{{ x.y }}", "line 2: 'x' is undefined"},
        {"\n\n{% if true %}\n{{ 1 + 'a' }}\n{% endif %}",
         "line 4: int and str do not go together here"},
        {"{{ raise_exception('roles: ' ~ messages[0].role) }}", "line 1: roles: user"},
        {"a\n{% for x in 5 %}{% endfor %}", "line 2: a int cannot be iterated"},
        {"\n{{ 1 | nope }}", "line 2: there is no filter 'nope'"},
        {"\n{{ 1 is nope }}", "line 2: there is no test 'nope'"},
        {"\n{{ nope() }}", "line 2: 'nope' is undefined"},
        {"\n{{ 'abc'[::0] }}", "line 2: the step of a slice must not be 0"},
        {"a\n{% if x %}\n", "'endif' is missing for what began in line 2"},
        {"a\n{{ 'x", "line 2: a text without an end"},
        {"a\n{{ 1", "line 2: a tag without an end"},
        {"a\n{# x", "line 2: a comment without an end"},
        {"\n\n{{ 1 + }}", "line 3: an expression is missing"},
        {"\n{% include 'x' %}", "line 2: the tag 'include' is not known"},
        {"\n{% import 'x' as y %}", "line 2: the tag 'import' is not known"},
        {"\n{% break %}", "line 2: 'break' outside of a loop"},
        {"\n{% for x in y recursive %}{% endfor %}", "line 2: recursive loops are not supported"},
        {"{% macro m(a) %}{% endmacro %}\n{{ m(1, 2) }}", "macro 'm' takes 1 arguments, not 2"},
        {"{{ $ }}", "line 1: a character that means nothing here"},
        {"{{ 99999999999999999999 }}", "line 1: a number that does not fit 64 bits"},
        {"\xff", "the template is no valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct outcome o = render_text(lines[i].source, "Hello");
        if (o.rc != FG_INVALID || !strstr(o.err.text, lines[i].expected))
            fail_msg("%s: expected \"%s\", got %d \"%s\" %s", lines[i].source, lines[i].expected,
                     o.rc, o.err.text, o.text ? o.text : "");
        done(&o);
    }
}

static void a_cut_message_is_valid_utf8(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "{{ raise_exception('x' ~ 'ä' * 150) }}",
        "{% äääääääääääääääääääääxääääääääääääääääääääääää %}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct outcome o = render_text(sources[i], "Hello");
        bool broken;
        assert_int_equal(o.rc, FG_INVALID);
        const struct fg_str text = fg_str_of(o.err.text);
        assert_int_equal(fg_utf8_valid(text, &broken), text.len);
        done(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_are_python_s),
        cmocka_unit_test(slices_count_characters),
        cmocka_unit_test(white_space_goes_as_transformers_sets_it),
        cmocka_unit_test(loops_know_where_they_are),
        cmocka_unit_test(names_live_where_they_were_set),
        cmocka_unit_test(undefined_is_empty_until_it_is_used),
        cmocka_unit_test(values_print_as_in_python),
        cmocka_unit_test(filters_tests_and_methods_are_there),
        cmocka_unit_test(an_error_names_its_line_and_its_cause),
        cmocka_unit_test(a_cut_message_is_valid_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
