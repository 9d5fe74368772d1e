/* Counts in a window against counting it anew each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/sample/history.h"
#include "engine/sample/rng.h"

static uint32_t counted(const struct fg_history *h, int32_t token)
{
    for (size_t i = 0; i < h->capacity; i++)
        if (h->slots[i].used && h->slots[i].token == token)
            return h->slots[i].count;
    return 0;
}

static void check_window(int32_t limit, uint32_t kinds)
{
    enum { TOKENS = 3000 };
    static int32_t all[TOKENS];
    struct fg_rng rng;
    struct fg_history h;
    fg_rng_seed(&rng, kinds, 0);
    fg_history_init(&h, limit);
    for (int n = 0; n < TOKENS; n++) {
        all[n] = (int32_t)(fg_rng_next(&rng) % kinds);
        assert_true(fg_history_add(&h, all[n]));
        if (n % 37)
            continue;
        const int from = limit < 0 || n + 1 <= limit ? 0 : n + 1 - limit;
        for (int32_t token = 0; token < (int32_t)kinds && token < 300; token++) {
            uint32_t want = 0;
            for (int i = from; i <= n; i++)
                want += all[i] == token;
            assert_int_equal(counted(&h, token), want);
        }
    }
    struct fg_history copy;
    assert_true(fg_history_copy(&copy, &h));
    assert_true(fg_history_add(&copy, 1));
    assert_int_equal(counted(&h, 2), counted(&copy, 2) + (limit > 0 && all[TOKENS - limit] == 2));
    fg_history_done(&copy);
    fg_history_done(&h);
}

static void counts_are_those_of_the_window(void **state)
{
    (void)state;
    check_window(64, 10);
    check_window(64, 5000); /* table rebuilt again and again */
    check_window(1, 3);
    check_window(-1, 200);
}

static void nothing_is_remembered_with_limit_0(void **state)
{
    (void)state;
    struct fg_history h;
    fg_history_init(&h, 0);
    assert_true(fg_history_add(&h, 5));
    assert_int_equal(h.capacity, 0);
    fg_history_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_the_window),
        cmocka_unit_test(nothing_is_remembered_with_limit_0),
    };
    return cmocka_run_group_tests_name("sample/history", tests, NULL, NULL);
}
