/*
 * Pages and prefixes against a naive model: what every page holds is written down token by token
 * (with the whole history behind each, as KV depends on all that came before), so a page that is
 * shared wrongly, freed while in use, or handed out twice shows at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample/rng.h"
#include "engine/sched/kv.h"
#include "util/str.h"

enum { PAGE = 4, PAGES = 24, CHAINS = 10, LEN_MOST = 60 };

struct world {
    struct fg_pages *pages;
    uint64_t kv[PAGES][PAGE]; /* hash of scope and history up to that token */
};
struct one {
    struct fg_chain chain;
    int32_t ids[LEN_MOST];
    uint32_t len, computed;
    uint32_t scope;
    bool alone;
};

static struct fg_str scope_name(uint32_t scope)
{
    static const char *const names[] = {"", "a", "bb"};
    return fg_str_of(names[scope]);
}

static uint64_t step(uint64_t h, int32_t id)
{
    return (h ^ (uint64_t)(uint32_t)id) * 0x100000001b3ull + 12345;
}

static uint64_t history(const struct one *o, uint32_t upto)
{
    uint64_t h = o->scope * 77 + (o->alone ? 0 : 1000);
    if (o->alone)
        h = (uint64_t)(uintptr_t)o; /* nobody else's */
    for (uint32_t i = 0; i <= upto; i++)
        h = step(h, o->ids[i]);
    return h;
}

static void check_holds(const struct world *w, const struct one *o)
{
    for (uint32_t i = 0; i < o->computed; i++) {
        const uint32_t page = o->chain.page[i / PAGE];
        assert_in_range(page, 0, PAGES - 1);
        assert_true(w->kv[page][i % PAGE] == history(o, i));
    }
}

static bool begin(struct world *w, struct one *o, uint32_t *reused)
{
    struct fg_kv_copy copy;
    char own[32];
    struct fg_str scope = scope_name(o->scope);
    if (o->alone) {
        snprintf(own, sizeof own, "%p", (void *)o);
        scope = fg_str_of(own);
    }
    if (fg_chain_start(&o->chain, w->pages, scope, o->alone, o->ids, o->len, &copy, reused) !=
        FG_OK)
        return false;
    for (uint32_t i = 0; i < copy.tokens; i++)
        w->kv[copy.to][i] = w->kv[copy.from][i];
    assert_true(*reused < o->len);
    o->computed = *reused;
    check_holds(w, o);
    return true;
}

static bool compute(struct world *w, struct one *o, uint32_t tokens)
{
    if (!fg_chain_reserve(&o->chain, o->computed + tokens))
        return false;
    for (uint32_t i = 0; i < tokens; i++, o->computed++)
        w->kv[o->chain.page[o->computed / PAGE]][o->computed % PAGE] = history(o, o->computed);
    fg_chain_publish(&o->chain, o->ids, o->computed);
    return true;
}

static void finish(struct one *o)
{
    fg_chain_end(&o->chain, o->ids, o->computed);
}

static void open_world(struct world *w, uint32_t max_cached)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(fg_pages_open(PAGE, PAGES, max_cached, &w->pages, NULL), FG_OK);
}

static void close_world(struct world *w)
{
    const struct fg_pages_count c = fg_pages_count(w->pages);
    assert_int_equal(c.free + c.cached, c.total);
    fg_pages_close(w->pages);
}

static struct one prompt(uint32_t len, int32_t start)
{
    struct one o = {.len = len};
    for (uint32_t i = 0; i < len; i++)
        o.ids[i] = start + (int32_t)i;
    return o;
}

static void same_prompt_recomputes_one_token(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, UINT32_MAX);
    for (uint32_t len = 1; len < 20; len++) {
        struct one a = prompt(len, (int32_t)len * 100), b = a;
        assert_true(begin(&w, &a, &reused));
        assert_int_equal(reused, 0);
        assert_true(compute(&w, &a, len));
        finish(&a);
        assert_true(begin(&w, &b, &reused));
        assert_int_equal(reused, len - 1);
        assert_true(compute(&w, &b, 1));
        check_holds(&w, &b);
        finish(&b);
    }
    close_world(&w);
}

static void a_page_is_shared_up_to_the_first_difference(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, UINT32_MAX);
    struct one a = prompt(14, 1), b = a;
    b.ids[10] = 999;
    assert_true(begin(&w, &a, &reused));
    assert_true(compute(&w, &a, 14));
    assert_true(begin(&w, &b, &reused)); /* while a runs on: whole pages shared, the rest copied */
    assert_int_equal(reused, 10);
    assert_int_equal(b.chain.page[1], a.chain.page[1]);
    assert_int_not_equal(b.chain.page[2], a.chain.page[2]);
    assert_true(compute(&w, &b, 4));
    check_holds(&w, &a);
    check_holds(&w, &b);
    finish(&a);
    check_holds(&w, &b);
    finish(&b);
    close_world(&w);
}

static void a_fork_takes_the_page_its_sibling_still_writes(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    struct fg_kv_copy copy;
    open_world(&w, UINT32_MAX);
    struct one a = prompt(11, 1), b = a;
    assert_true(begin(&w, &a, &reused) && compute(&w, &a, 11)); /* two pages and three tokens */
    assert_true(begin(&w, &b, &reused));
    assert_int_equal(reused, 8);
    assert_true(fg_chain_follow(&b.chain, &a.chain, 10, &copy));
    assert_int_equal(copy.tokens, 2);
    for (uint32_t i = 0; i < copy.tokens; i++)
        w.kv[copy.to][i] = w.kv[copy.from][i];
    b.computed = 10;
    a.len = 12;
    a.ids[11] = 77; /* the sibling goes on in its page, which is whole then */
    assert_true(compute(&w, &a, 1));
    assert_true(compute(&w, &b, 3));
    check_holds(&w, &a);
    check_holds(&w, &b);
    assert_int_not_equal(a.chain.page[2], b.chain.page[2]);
    finish(&a);
    finish(&b);
    close_world(&w);
}

static void scopes_do_not_see_each_other(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, UINT32_MAX);
    struct one a = prompt(12, 1), b = a, c = a, d = a;
    b.scope = 1;
    c.alone = true;
    assert_true(begin(&w, &a, &reused) && compute(&w, &a, 12));
    finish(&a);
    assert_true(begin(&w, &b, &reused));
    assert_int_equal(reused, 0);
    finish(&b);
    assert_true(begin(&w, &c, &reused));
    assert_int_equal(reused, 0);
    assert_true(compute(&w, &c, 12));
    const uint32_t cached = fg_pages_count(w.pages).cached;
    finish(&c);
    assert_int_equal(fg_pages_count(w.pages).cached, cached); /* nothing of it stays */
    assert_true(begin(&w, &d, &reused));
    assert_int_equal(reused, 11);
    finish(&d);
    close_world(&w);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, UINT32_MAX);
    struct one first = prompt(32, 1000), second = prompt(32, 2000), again = first;
    assert_true(begin(&w, &first, &reused) && compute(&w, &first, 32)); /* 8 pages */
    finish(&first);
    assert_true(begin(&w, &second, &reused) && compute(&w, &second, 32)); /* 8 pages */
    finish(&second);
    assert_true(begin(&w, &again, &reused)); /* first is used again: second is the older one */
    assert_int_equal(reused, 31);
    again.computed = reused;
    finish(&again);
    struct one third = prompt(40, 3000); /* 10 pages: 8 are free */
    assert_true(begin(&w, &third, &reused) && compute(&w, &third, 40));
    finish(&third);
    struct one a = prompt(32, 1000), b = prompt(32, 2000);
    assert_true(begin(&w, &a, &reused));
    assert_int_equal(reused, 31);
    finish(&a);
    assert_true(begin(&w, &b, &reused));
    assert_in_range(reused, 4, 24); /* its end was taken, its beginning is there */
    finish(&b);
    close_world(&w);
}

static void pages_in_use_are_never_taken(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, UINT32_MAX);
    struct one a = prompt(48, 1), b = prompt(48, 500), c = prompt(4, 900);
    assert_true(begin(&w, &a, &reused) && compute(&w, &a, 48));
    assert_true(begin(&w, &b, &reused) && compute(&w, &b, 48)); /* all 24 */
    assert_true(begin(&w, &c, &reused));
    assert_false(compute(&w, &c, 4));
    check_holds(&w, &a);
    check_holds(&w, &b);
    finish(&a);
    assert_true(compute(&w, &c, 4));
    finish(&b);
    finish(&c);
    close_world(&w);
}

static void the_cache_stays_within_its_limit(void **state)
{
    (void)state;
    struct world w;
    uint32_t reused;
    open_world(&w, 3);
    struct one a = prompt(32, 1), b = a;
    assert_true(begin(&w, &a, &reused) && compute(&w, &a, 32));
    finish(&a);
    assert_int_equal(fg_pages_count(w.pages).cached, 3);
    assert_true(begin(&w, &b, &reused));
    assert_int_equal(reused, 12);
    finish(&b);
    close_world(&w);
}

static void random_work_never_mixes_histories(void **state)
{
    (void)state;
    struct world w;
    static struct one all[CHAINS];
    bool live[CHAINS] = {false};
    struct fg_rng rng;
    uint64_t shared = 0;
    fg_rng_seed(&rng, 99, 0);
    open_world(&w, 12);
    memset(all, 0, sizeof all);
    for (int round = 0; round < 60000; round++) {
        const uint32_t i = (uint32_t)(fg_rng_next(&rng) % CHAINS);
        struct one *o = &all[i];
        uint32_t reused;
        if (!live[i]) {
            o->len = 1 + (uint32_t)(fg_rng_next(&rng) % 24);
            o->scope = (uint32_t)(fg_rng_next(&rng) % 3);
            o->alone = fg_rng_next(&rng) % 8 == 0;
            for (uint32_t j = 0; j < LEN_MOST; j++) /* mostly equal: prefixes meet all the time */
                o->ids[j] = fg_rng_next(&rng) % 12 == 0 ? (int32_t)(fg_rng_next(&rng) % 3) : 7;
            live[i] = begin(&w, o, &reused);
            shared += reused;
            continue;
        }
        const uint32_t what = (uint32_t)(fg_rng_next(&rng) % 8);
        if (what == 0 || o->computed >= LEN_MOST - 6) {
            finish(o);
            live[i] = false;
            continue;
        }
        const uint32_t more = 1 + (uint32_t)(fg_rng_next(&rng) % 5);
        (void)compute(&w, o, more); /* no page: it simply waits */
        for (uint32_t j = 0; j < CHAINS; j++)
            if (live[j])
                check_holds(&w, &all[j]);
    }
    assert_true(shared > 10000);
    for (uint32_t i = 0; i < CHAINS; i++)
        if (live[i])
            finish(&all[i]);
    assert_true(fg_pages_count(w.pages).cached <= 12);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_prompt_recomputes_one_token),
        cmocka_unit_test(a_page_is_shared_up_to_the_first_difference),
        cmocka_unit_test(a_fork_takes_the_page_its_sibling_still_writes),
        cmocka_unit_test(scopes_do_not_see_each_other),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(pages_in_use_are_never_taken),
        cmocka_unit_test(the_cache_stays_within_its_limit),
        cmocka_unit_test(random_work_never_mixes_histories),
    };
    return cmocka_run_group_tests_name("sched/kv", tests, NULL, NULL);
}
