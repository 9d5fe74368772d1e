/*
 * Templates that want too much (threats.md section 9): each ends in time with FG_INVALID, and one
 * that is starved of memory with FG_NO_MEMORY.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat.h"
#include "util/arena.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 20
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWER 20
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Within 2 s, of which compiling may take its share of trying out. */
static void check_refused(struct fg_str source, const char *why)
{
    const struct fg_part part = text_part("Hello");
    const struct fg_message m = message(FG_ROLE_USER, &part, 1);
    const struct fg_template_input in = {.messages = &m, .message_count = 1};
    const double began = cpu_s();
    struct outcome o = render(source, &in);
    const double took = cpu_s() - began;
    if (o.rc != FG_INVALID || !strstr(o.err.text, why))
        fail_msg("%.60s: expected \"%s\", got %d \"%s\" %.60s", source.ptr, why, o.rc, o.err.text,
                 o.text ? o.text : "");
    if (took > 2.0 * SLOWER)
        fail_msg("%.60s: took %.1f s", source.ptr, took);
    done(&o);
}

static void endless_work_runs_out_of_fuel(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% "
        "endfor %}",
        "{% set s = 'ab' * 4000000 %}{% for i in range(99999) %}{% if 'abc' in s %}x{% endif %}{% "
        "endfor %}",
        "{% set s = ' ' * 8000000 %}{% for i in range(99999) %}{% set t = s | trim %}{% endfor %}",
        "{% set s = 'ä' * 4000000 %}{% for i in range(99999) %}{% set t = s | upper %}{% endfor %}",
        "{% set s = 'a' * 80000 %}{% for i in range(99999) %}{{ s.rfind('a') }}{% endfor %}",
        "{% set s = 'a' * 8000000 %}{% for i in range(99999) %}{{ s.startswith(s) }}{% endfor %}",
        "{% set s = 'a' * 8000000 %}{% set d = {s: 1} %}{% set s = s ~ '' %}{% for i in "
        "range(99999) %}{{ d[s] }}{% endfor %}",
        "{% set l = range(99999) | list %}{% for i in range(999) %}{% set t = l | sort %}{% endfor "
        "%}",
        "{{ range(99999) | unique | list | length }}",
        "{% set l = range(99999) | list %}{% for i in range(99999) %}{% set _ = l.pop(0) %}{% "
        "endfor %}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        check_refused(fg_str_of(sources[i]), "steps");
}

static void what_grows_has_a_limit(void **state)
{
    (void)state;
    static const struct {
        const char *source, *why;
    } some[] = {
        {"{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
         "{% endfor %}",
         "16 MiB"},
        {"{{ 'a' * 9000000 }}{{ 'a' * 9000000 }}", "16 MiB"},
        {"{{ 'a' * 10**9 }}", "16 MiB"},
        {"{{ 'ab' * 9223372036854775807 }}", "16 MiB"},
        {"{{ 'a'.ljust(10**9) }}", "16 MiB"},
        {"{{ '%1000000000s' % 'a' }}", "16 MiB"},
        {"{{ 'a\n' | indent(10**9) }}", "16 MiB"},
        {"{% set s = 'ab' * 1000000 %}{{ s.join(s) }}", "16 MiB"},
        {"{% set s = 'ab' * 1000000 %}{% for i in range(9) %}{{ s }}{% endfor %}", "16 MiB"},
        {"{% set s = ' ' * 8000000 %}{{ [[[1, 2, 3]]] | tojson(indent=s) }}", "16 MiB"},
        {"{{ [1] * 10**9 }}", "192 MiB"},
        {"{% set s = 'a' * 8000000 %}{{ s | list | length }}", "192 MiB"},
        {"{{ range(10**12) }}", "more than 100000 numbers"},
        {"{{ [1] | batch(10**12, 0) | list }}", "192 MiB"},
        {"{{ [[1]] | tojson(indent=10**9) }}", "an indent of up to 64"},
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        check_refused(fg_str_of(some[i].source), some[i].why);
}

static void integers_do_not_wrap(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "{{ (-9223372036854775807 - 1) // -1 }}", "{{ -(-9223372036854775807 - 1) }}",
        "{{ (-9223372036854775807 - 1) | abs }}", "{{ 9223372036854775807 + 1 }}",
        "{{ 9223372036854775807 * 2 }}",          "{{ 10 ** 10 ** 10 }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        check_refused(fg_str_of(sources[i]), "does not fit 64 bits");
    struct outcome o = render_text(
        "{{ (-9223372036854775807 - 1) % -1 }}{{ 'abc'[-9223372036854775807:9223372036854775807:"
        "9223372036854775807] }}{{ range(-9223372036854775807, 9223372036854775807, "
        "9223372036854775806) | length }}{{ (-1) ** 9223372036854775807 }}",
        "x");
    assert_int_equal(o.rc, FG_OK);
    assert_string_equal(o.text, "0a3-1");
    done(&o);
}

static void recursion_ends(void **state)
{
    (void)state;
    check_refused(FG_STR("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "more than 64 deep");
    check_refused(
        FG_STR("{% macro f(n) %}{% for i in [1, 2] %}{{ f(n + 1) }}{% endfor %}{% endmacro %}"
               "{{ f(0) }}"),
        "more than 64 deep");
    check_refused(FG_STR("{% macro m() %}{{ caller() }}{% endmacro %}{% macro r() %}{% call m() %}"
                         "{{ r() }}{% endcall %}{% endmacro %}{{ r() }}"),
                  "more than 64 deep");
    check_refused(FG_STR("{% set l = [1] %}{% set _ = l.append(l) %}{{ l }}"), "deep");
    check_refused(FG_STR("{% set l = [1] %}{% set _ = l.append(l) %}{{ l | tojson }}"), "deep");
    check_refused(FG_STR("{% set l = [1] %}{% set _ = l.append(l) %}{% set m = [1] %}"
                         "{% set _ = m.append(m) %}{{ l == m }}"),
                  "deep");
}

static void check_repeated(const char *before, const char *again, const char *middle,
                           const char *after, const char *end, const char *why)
{
    struct fg_buf b = {0};
    fg_buf_add(&b, fg_str_of(before));
    for (int i = 0; i < 20000; i++)
        fg_buf_add(&b, fg_str_of(again));
    fg_buf_add(&b, fg_str_of(middle));
    for (int i = 0; i < 20000; i++)
        fg_buf_add(&b, fg_str_of(after));
    fg_buf_add(&b, fg_str_of(end));
    fg_buf_addc(&b, '\0');
    check_refused((struct fg_str){b.ptr, b.len - 1}, why);
    fg_buf_done(&b);
}

static void nesting_in_the_source_ends(void **state)
{
    (void)state;
    check_repeated("{{ ", "(", "1", ")", " }}", "nested");
    check_repeated("{{ ", "[", "1", "]", " }}", "nested");
    check_repeated("{{ ", "not ", "1", "", " }}", "more than 128 deep");
    check_repeated("{{ ", "-", "1", "", " }}", "more than 128 deep");
    check_repeated("{{ ", "1 if 0 else ", "1", "", " }}", "more than 128 deep");
    check_repeated("", "{%if 1%}", "", "", "", "more than 128 deep");
    check_repeated("{{ 1", "+1", "", "", " }}", "deep");
    check_repeated("{{ 1", " and 1", "", "", " }}", "deep");
    check_repeated("{{ x", ".a", "", "", " }}", "deep");
    check_repeated("{{ x", "()", "", "", " }}", "deep");
    check_repeated("{{ 1", "|string", "", "", " }}", "deep");
    check_repeated("", "{#", "", "", "", "without an end");
    check_repeated("", "{%raw%}", "", "", "", "without an end");
}

static void a_source_has_a_length_and_so_many_names(void **state)
{
    (void)state;
    char *long_one = calloc(300000, 1);
    memset(long_one, 'a', 299999);
    check_refused((struct fg_str){long_one, 299999}, "bytes");
    free(long_one);
    struct fg_buf b = {0};
    for (int i = 0; i < 5000; i++)
        fg_buf_printf(&b, "{%%set a%d=1%%}", i);
    check_refused(fg_buf_str(&b), "names");
    fg_buf_done(&b);
}

/* Every allocation fails once: at each limit it is FG_NO_MEMORY or it worked. */
static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    static const char source[] =
        "{% macro m(a, b=[1]) %}{{ a ~ b }}{{ caller() if caller else '' }}{% endmacro %}"
        "{% set ns = namespace(x=1) %}{% for k, v in {'a': 1, 'b': [1, 2]}.items() %}"
        "{% set ns.x = ns.x + 1 %}{{ m(k, b=v) }}{{ [k, v] | map('string') | join(', ') }}"
        "{{ {'k': v} | tojson(indent=2) }}{{ 'a b'.split() | sort | first | upper }}{% endfor %}"
        "{% call m(1) %}x{% endcall %}{% set t %}{{ messages[0].content[1:] }}{% endset %}{{ t }}"
        "{{ '%s-%d' % (t, 3) }}{{ '{}'.format(t) }}{{ t | replace('l', 'L') | indent }}";
    const struct fg_part part = text_part("Hello");
    const struct fg_message m = message(FG_ROLE_USER, &part, 1);
    const struct fg_template_input in = {.messages = &m, .message_count = 1};
    struct fg_template *t;
    struct fg_error err = {0};
    if (fg_template_compile(fg_str_of(source), &t, &err) != FG_OK)
        fail_msg("%s", err.text);
    int32_t rc = FG_NO_MEMORY;
    size_t limit = 16, failed = 0;
    for (; rc != FG_OK && limit < 1 << 20; limit += 16) {
        struct fg_template_output out;
        struct fg_arena *arena = fg_arena_open(16, limit);
        rc = fg_template_render(t, &in, arena, &out, &err);
        assert_true(rc == FG_OK || rc == FG_NO_MEMORY);
        failed += rc != FG_OK;
        fg_arena_close(arena);
    }
    assert_int_equal(rc, FG_OK);
    assert_true(failed > 100);
    fg_template_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_work_runs_out_of_fuel),
        cmocka_unit_test(what_grows_has_a_limit),
        cmocka_unit_test(integers_do_not_wrap),
        cmocka_unit_test(recursion_ends),
        cmocka_unit_test(nesting_in_the_source_ends),
        cmocka_unit_test(a_source_has_a_length_and_so_many_names),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
