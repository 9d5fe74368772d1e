/* Areas and the heap cut from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/memory.h"

static void an_area_is_aligned_zero_and_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 9 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fg_area a;
        assert_int_equal(fg_area_open(sizes[i], &a, NULL), FG_OK);
        assert_int_equal((uintptr_t)a.ptr % (2 << 20), 0);
        assert_true(a.bytes >= sizes[i]);
        unsigned char *p = a.ptr;
        assert_true(p[0] == 0 && p[sizes[i] - 1] == 0);
        p[0] = p[a.bytes - 1] = 1;
        fg_area_close(&a);
        assert_null(a.ptr);
        fg_area_close(&a);
    }
}

static void what_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    struct fg_area a;
    struct fg_heap *h;
    void *p;
    assert_int_equal(fg_area_open(SIZE_MAX - 100, &a, NULL), FG_NO_MEMORY);
    assert_int_equal(fg_area_open(SIZE_MAX / 2, &a, NULL), FG_NO_MEMORY);
    assert_int_equal(fg_heap_open(&h, NULL), FG_OK);
    assert_int_equal(fg_heap_take(h, SIZE_MAX, &p, NULL), FG_NO_MEMORY);
    fg_heap_close(h);
    fg_heap_close(NULL);
}

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    enum { PIECES = 200 };
    struct fg_heap *h;
    void *piece[PIECES];
    assert_int_equal(fg_heap_open(&h, NULL), FG_OK);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(fg_heap_take(h, 1 + i * 37, &piece[i], NULL), FG_OK);
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        memset(piece[i], (int)i, 1 + i * 37);
    }
    for (uint32_t i = 0; i < PIECES; i++)
        for (uint32_t j = 0; j < 1 + i * 37; j++)
            assert_int_equal(((unsigned char *)piece[i])[j], i);
    for (uint32_t i = 0; i < PIECES; i += 2)
        fg_heap_give(h, piece[i]);
    void *large; /* larger than an area of the heap usually is; only its first page is touched */
    assert_int_equal(fg_heap_take(h, (size_t)3 << 30, &large, NULL), FG_OK);
    *(char *)large = 1;
    fg_heap_give(h, large);
    for (uint32_t i = 1; i < PIECES; i += 2)
        fg_heap_give(h, piece[i]);
    assert_int_equal(fg_heap_take(h, 100, &piece[0], NULL), FG_OK); /* from a new area */
    fg_heap_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_area_is_aligned_zero_and_whole),
        cmocka_unit_test(what_cannot_be_had_is_an_error),
        cmocka_unit_test(pieces_are_aligned_and_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
