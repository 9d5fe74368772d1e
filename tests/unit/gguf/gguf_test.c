/* Good files read as written; each way to be bad has its message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_build.h"

static const uint64_t row32[] = {32}, two_rows[] = {32, 2}, one[] = {1};

/* ---- good files ------------------------------------------------------------------------------ */

static void a_file_reads_as_written(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    build_init(&b);
    build_str(&b, "general.architecture", "llama");
    build_u32(&b, "llama.block_count", 30);
    build_f32(&b, "llama.eps", 1e-5f);
    build_bool(&b, "add", 1);
    const char *const words[] = {"a", "", "ccc"};
    build_strings(&b, "words", words, 3);
    build_tensor(&b, "first", FG_F32, 1, row32, 0);
    build_tensor(&b, "second", FG_Q4_0, 2, two_rows, 128);
    const struct fg_str file = build_finish(&b, 128 + 36);
    if (fg_gguf_parse(file.ptr, file.len, &g, &err) != FG_OK)
        fail_msg("%s", err.text);
    struct fg_str text;
    uint32_t u;
    float f;
    bool flag;
    struct fg_gguf_array list;
    assert_int_equal(fg_gguf_str(g, "general.architecture", &text, &err), FG_OK);
    assert_true(fg_str_is(text, "llama"));
    assert_int_equal(fg_gguf_u32(g, "llama.block_count", &u, &err), FG_OK);
    assert_int_equal(u, 30);
    assert_int_equal(fg_gguf_f32(g, "llama.eps", &f, &err), FG_OK);
    assert_true(f == 1e-5f);
    assert_int_equal(fg_gguf_bool(g, "add", &flag, &err), FG_OK);
    assert_true(flag);
    assert_int_equal(fg_gguf_array(g, "words", &list, &err), FG_OK);
    assert_int_equal(list.count, 3);
    const void *cursor = list.data;
    for (int i = 0; i < 3; i++)
        assert_true(fg_str_is(fg_gguf_next_string(&cursor), words[i]));
    assert_true(fg_gguf_has(g, "add"));
    assert_false(fg_gguf_has(g, "ad"));
    assert_int_equal(fg_gguf_tensor_count(g), 2);
    const struct fg_gguf_tensor *t = fg_gguf_tensor_find(g, "second");
    assert_non_null(t);
    assert_int_equal(t->dims, 2);
    assert_int_equal(t->shape[1], 2);
    assert_int_equal(t->shape[3], 1);
    assert_int_equal(t->bytes, 36);
    assert_ptr_equal(t, fg_gguf_tensor_at(g, 1));
    assert_int_equal(*(const uint8_t *)t->data, (uint8_t)(128 * 7));
    assert_null(fg_gguf_tensor_find(g, "third"));
    assert_null(fg_gguf_tensor_at(g, 2));
    assert_int_equal(fg_gguf_file_bytes(g), file.len);
    fg_gguf_close(g);
    build_done(&b);
}

static void version_2_and_other_alignments_are_read(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    build_init(&b);
    b.bytes.ptr[4] = 2;
    b.alignment = 256;
    build_u32(&b, "general.alignment", 256);
    build_tensor(&b, "t", FG_F32, 1, row32, 256);
    const struct fg_str file = build_finish(&b, 256 + 128);
    if (fg_gguf_parse(file.ptr, file.len, &g, &err) != FG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(((const char *)fg_gguf_tensor_at(g, 0)->data - file.ptr) % 256, 0);
    fg_gguf_close(g);
    build_done(&b);
}

static void the_same_pair_twice_is_one(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    build_init(&b);
    build_u32(&b, "k", 1);
    build_u32(&b, "k", 1);
    const struct fg_str file = build_finish(&b, 0);
    assert_int_equal(fg_gguf_parse(file.ptr, file.len, &g, &err), FG_OK);
    fg_gguf_close(g);
    build_done(&b);
}

static void values_convert_only_without_loss(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    const int8_t minus = -1;
    const uint64_t large = 1ull << 32, fits = UINT32_MAX;
    const double twice = 0.5, huge = 1e300;
    build_init(&b);
    build_key(&b, "minus", FG_GGUF_I8);
    build_raw(&b, &minus, 1);
    build_key(&b, "large", FG_GGUF_U64);
    build_u64_raw(&b, large);
    build_key(&b, "fits", FG_GGUF_U64);
    build_u64_raw(&b, fits);
    build_key(&b, "half", FG_GGUF_F64);
    build_raw(&b, &twice, 8);
    build_key(&b, "huge", FG_GGUF_F64);
    build_raw(&b, &huge, 8);
    build_u32(&b, "seven", 7);
    build_u32(&b, "odd", (1u << 24) + 1);
    build_str(&b, "text", "7");
    const struct fg_str file = build_finish(&b, 0);
    assert_int_equal(fg_gguf_parse(file.ptr, file.len, &g, &err), FG_OK);
    uint32_t u = 99;
    float f = 99;
    bool flag = true;
    struct fg_str s = {0};
    struct fg_gguf_array list;
    assert_int_equal(fg_gguf_u32(g, "minus", &u, &err), FG_INVALID);
    assert_string_equal(err.text, "key minus: -1 does not fit u32");
    assert_int_equal(fg_gguf_u32(g, "large", &u, &err), FG_INVALID);
    assert_int_equal(fg_gguf_u32(g, "text", &u, &err), FG_INVALID);
    assert_string_equal(err.text, "key text: a value of type string does not fit an integer");
    assert_int_equal(fg_gguf_u32(g, "half", &u, &err), FG_INVALID);
    assert_int_equal(fg_gguf_u32(g, "none", &u, &err), FG_NOT_FOUND);
    assert_int_equal(u, 99);
    assert_int_equal(fg_gguf_u32(g, "fits", &u, &err), FG_OK);
    assert_int_equal(u, UINT32_MAX);
    assert_int_equal(fg_gguf_f32(g, "huge", &f, &err), FG_INVALID);
    assert_int_equal(fg_gguf_f32(g, "odd", &f, &err), FG_INVALID);
    assert_int_equal(fg_gguf_f32(g, "text", &f, &err), FG_INVALID);
    assert_true(f == 99);
    assert_int_equal(fg_gguf_f32(g, "half", &f, &err), FG_OK);
    assert_true(f == 0.5f);
    assert_int_equal(fg_gguf_f32(g, "seven", &f, &err), FG_OK);
    assert_true(f == 7);
    assert_int_equal(fg_gguf_bool(g, "seven", &flag, &err), FG_INVALID);
    assert_int_equal(fg_gguf_str(g, "seven", &s, &err), FG_INVALID);
    assert_int_equal(fg_gguf_array(g, "seven", &list, &err), FG_INVALID);
    assert_int_equal(fg_gguf_u32(g, "minus", &u, NULL), FG_INVALID);
    fg_gguf_close(g);
    build_done(&b);
}

static void metadata_says_what_json_can(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    int32_t many[17] = {0};
    const uint64_t top = UINT64_MAX;
    build_init(&b);
    build_str(&b, "broken",
              "a\xff"
              "b");
    build_f32(&b, "nan", NAN);
    build_i32s(&b, "short", many, 16);
    build_i32s(&b, "long", many, 17);
    build_key(&b, "top", FG_GGUF_U64);
    build_u64_raw(&b, top);
    build_bool(&b, "yes", 1);
    const struct fg_str file = build_finish(&b, 0);
    assert_int_equal(fg_gguf_parse(file.ptr, file.len, &g, &err), FG_OK);
    json_t *few = fg_gguf_metadata(g, false), *all = fg_gguf_metadata(g, true);
    assert_string_equal(json_string_value(json_object_get(few, "broken")), "a\xef\xbf\xbd"
                                                                           "b");
    assert_true(json_is_null(json_object_get(few, "nan")));
    assert_int_equal(json_array_size(json_object_get(few, "short")), 16);
    assert_true(json_is_null(json_object_get(few, "long")));
    assert_int_equal(json_array_size(json_object_get(all, "long")), 17);
    assert_true(json_number_value(json_object_get(few, "top")) == 18446744073709551616.0);
    assert_true(json_is_true(json_object_get(few, "yes")));
    json_decref(few);
    json_decref(all);
    fg_gguf_close(g);
    build_done(&b);
}

/* ---- bad files ------------------------------------------------------------------------------- */

typedef void make(struct build *);

static void finish(struct build *b, size_t data)
{
    build_finish(b, data);
}
static void big_endian(struct build *b)
{
    memcpy(b->bytes.ptr + 4, "\0\0\0\3", 4);
}
static void version_1(struct build *b)
{
    b->bytes.ptr[4] = 1;
}
static void version_4(struct build *b)
{
    b->bytes.ptr[4] = 4;
}
static void other_magic(struct build *b)
{
    memcpy(b->bytes.ptr, "tjgg", 4);
}
static void many_tensors(struct build *b)
{
    build_counts(b, 100001, 0);
}
static void all_tensors(struct build *b)
{
    build_counts(b, UINT64_MAX, 0);
}
static void more_tensors_than_bytes(struct build *b)
{
    build_counts(b, 1000, 0);
}
static void all_pairs(struct build *b)
{
    build_counts(b, 0, UINT64_MAX);
}
static void more_pairs_than_bytes(struct build *b)
{
    build_counts(b, 0, 50000);
}
static void long_key(struct build *b)
{
    build_u64_raw(b, UINT64_MAX);
    build_u64_raw(b, 0);
    build_counts(b, 0, 1);
}
static void key_past_the_end(struct build *b)
{
    build_u64_raw(b, 60000);
    build_u64_raw(b, 0);
    build_counts(b, 0, 1);
}
static void empty_key(struct build *b)
{
    build_u32(b, "", 1);
    finish(b, 0);
}
static void zero_in_key(struct build *b)
{
    b->pairs++;
    build_str_raw(b, FG_STR("a\0b"));
    build_u32_raw(b, FG_GGUF_U8);
    build_raw(b, "x", 1);
    finish(b, 0);
}
static void type_13(struct build *b)
{
    build_key(b, "k", 13);
    build_u64_raw(b, 0);
    finish(b, 0);
}
static void type_minus(struct build *b)
{
    build_key(b, "k", -1);
    build_u64_raw(b, 0);
    finish(b, 0);
}
static void cut_value(struct build *b)
{
    build_key(b, "long enough a key", FG_GGUF_U64);
    build_raw(b, "abc", 3);
    finish(b, 0);
}
static void huge_string(struct build *b)
{
    build_key(b, "k", FG_GGUF_STRING);
    build_u64_raw(b, (64ull << 20) + 1);
    finish(b, 0);
}
static void cut_string(struct build *b)
{
    build_key(b, "k", FG_GGUF_STRING);
    build_u64_raw(b, 9);
    build_u64_raw(b, 0);
    finish(b, 0);
}
static void bool_2(struct build *b)
{
    build_bool(b, "key", 2);
    finish(b, 0);
}
static void bools_3(struct build *b)
{
    build_array(b, "key", FG_GGUF_BOOL, 2);
    build_raw(b, "\1\3", 2);
    finish(b, 0);
}
static void huge_array(struct build *b)
{
    build_array(b, "k", FG_GGUF_U8, (16ull << 20) + 1);
    finish(b, 0);
}
static void array_past_the_end(struct build *b)
{
    build_array(b, "k", FG_GGUF_F64, 1000);
    finish(b, 64);
}
static void strings_past_the_end(struct build *b)
{
    build_array(b, "k", FG_GGUF_STRING, 1000);
    finish(b, 64);
}
static void string_in_array_too_long(struct build *b)
{
    build_array(b, "k", FG_GGUF_STRING, 2);
    build_str_raw(b, FG_STR("a"));
    build_u64_raw(b, 100);
    finish(b, 0);
}
static void array_in_array(struct build *b)
{
    build_array(b, "nested", FG_GGUF_ARRAY, 1);
    build_u32_raw(b, FG_GGUF_U8);
    build_u64_raw(b, 1);
    build_raw(b, "x", 1);
    finish(b, 0);
}
static void array_of_99(struct build *b)
{
    build_array(b, "k", 99, 1);
    build_u64_raw(b, 1);
    finish(b, 0);
}
static void two_values(struct build *b)
{
    build_u32(b, "k", 1);
    build_u32(b, "k", 2);
    finish(b, 0);
}
static void two_types(struct build *b)
{
    build_u32(b, "k", 1);
    build_key(b, "k", FG_GGUF_I32);
    build_u32_raw(b, 1);
    finish(b, 0);
}
static void aligned_to(struct build *b, uint32_t to)
{
    build_u32(b, "general.alignment", to);
    finish(b, 0);
}
static void alignment_0(struct build *b)
{
    aligned_to(b, 0);
}
static void alignment_24(struct build *b)
{
    aligned_to(b, 24);
}
static void alignment_4(struct build *b)
{
    aligned_to(b, 4);
}
static void alignment_large(struct build *b)
{
    aligned_to(b, 1u << 17);
}
static void alignment_text(struct build *b)
{
    build_str(b, "general.alignment", "32");
    finish(b, 0);
}
static void split(struct build *b)
{
    build_u32(b, "split.count", 3);
    build_u32(b, "split.no", 1);
    finish(b, 0);
}
static void tensor(struct build *b, const char *name, int32_t type, uint32_t dims,
                   const uint64_t *shape, uint64_t offset, size_t data)
{
    build_tensor(b, name, type, dims, shape, offset);
    finish(b, data);
}
static void tensor_name_empty(struct build *b)
{
    tensor(b, "", FG_F32, 1, one, 0, 64);
}
static void tensor_name_64(struct build *b)
{
    tensor(b, "0123456789012345678901234567890123456789012345678901234567890123", FG_F32, 1, one, 0,
           64);
}
static void no_dims(struct build *b)
{
    tensor(b, "t", FG_F32, 0, one, 0, 64);
}
static void five_dims(struct build *b)
{
    const uint64_t shape[5] = {1, 1, 1, 1, 1};
    tensor(b, "t", FG_F32, 5, shape, 0, 64);
}
static void dims_minus(struct build *b)
{
    b->tensors++;
    build_str_raw(b, FG_STR("t"));
    build_u32_raw(b, UINT32_MAX);
    finish(b, 64);
}
static void zero_dim(struct build *b)
{
    const uint64_t shape[2] = {32, 0};
    tensor(b, "t", FG_F32, 2, shape, 0, 64);
}
static void dim_too_large(struct build *b)
{
    const uint64_t shape[1] = {(1ull << 40) + 1};
    tensor(b, "t", FG_F32, 1, shape, 0, 64);
}
static void product_overflows(struct build *b)
{
    const uint64_t shape[2] = {1ull << 40, 1ull << 40};
    tensor(b, "t", FG_F32, 2, shape, 0, 64);
}
static void bytes_overflow(struct build *b)
{
    const uint64_t shape[2] = {1ull << 40, 1ull << 22};
    tensor(b, "t", FG_F32, 2, shape, 0, 64);
}
static void no_whole_block(struct build *b)
{
    const uint64_t shape[1] = {33};
    tensor(b, "t", FG_Q4_0, 1, shape, 0, 64);
}
static void unknown_type(struct build *b)
{
    tensor(b, "t\n", 4, 1, row32, 0, 64);
}
static void negative_type(struct build *b)
{
    tensor(b, "t", -2, 1, row32, 0, 64);
}
static void unaligned_offset(struct build *b)
{
    tensor(b, "t", FG_F32, 1, one, 4, 64);
}
static void offset_past_the_end(struct build *b)
{
    tensor(b, "t", FG_F32, 1, one, 1024, 64);
}
static void offset_wraps(struct build *b)
{
    tensor(b, "t", FG_F32, 1, one, UINT64_MAX - 31, 64);
}
static void data_cut(struct build *b)
{
    tensor(b, "t", FG_F32, 1, row32, 0, 127);
}
static void no_data(struct build *b)
{
    tensor(b, "t", FG_F32, 1, row32, 0, 0);
}
static void tensor_twice(struct build *b)
{
    build_tensor(b, "t", FG_F32, 1, one, 0);
    tensor(b, "t", FG_F32, 1, one, 32, 64);
}
static void tensors_overlap(struct build *b)
{
    build_tensor(b, "b", FG_F32, 1, row32, 64);
    tensor(b, "a", FG_F32, 1, row32, 0, 256);
}
static void tensors_on_one_place(struct build *b)
{
    build_tensor(b, "b", FG_F32, 1, row32, 0);
    tensor(b, "a", FG_F32, 1, row32, 0, 256);
}

static const struct bad {
    const char *name;
    make *make;
    int32_t status;
    const char *says;
} bad[] = {
    {"big-endian", big_endian, FG_UNSUPPORTED, "big-endian"},
    {"version 1", version_1, FG_UNSUPPORTED, "version 1 is not supported (2 and 3 are)"},
    {"version 4", version_4, FG_UNSUPPORTED, "version 4"},
    {"magic", other_magic, FG_INVALID, "this is no GGUF file (it begins with 74 6a 67 67)"},
    {"many tensors", many_tensors, FG_INVALID, "100001 tensors (at most 100000)"},
    {"all tensors", all_tensors, FG_INVALID, "18446744073709551615 tensors"},
    {"tensors in no bytes", more_tensors_than_bytes, FG_INVALID, "1000 tensors in a file with 0"},
    {"all pairs", all_pairs, FG_INVALID, "18446744073709551615 keys"},
    {"pairs in no bytes", more_pairs_than_bytes, FG_INVALID, "50000 keys in a file with 0"},
    {"long key", long_key, FG_INVALID, "a key of 18446744073709551615 bytes (at most 65536)"},
    {"key past the end", key_past_the_end, FG_INVALID, "ends within a key (60000 bytes needed, 8"},
    {"empty key", empty_key, FG_INVALID, "a key is empty"},
    {"zero in key", zero_in_key, FG_INVALID, "a key has a zero byte"},
    {"type 13", type_13, FG_INVALID, "13 is no type of values"},
    {"type -1", type_minus, FG_INVALID, "4294967295 is no type of values"},
    {"cut value", cut_value, FG_INVALID, "ends within a value (8 bytes needed, 3 left)"},
    {"huge string", huge_string, FG_INVALID, "a string of 67108865 bytes"},
    {"cut string", cut_string, FG_INVALID, "ends within a string (9 bytes needed, 8 left)"},
    {"bool 2", bool_2, FG_INVALID, "2 is no truth value"},
    {"bools", bools_3, FG_INVALID, "3 is no truth value"},
    {"huge array", huge_array, FG_INVALID, "an array of 16777217 elements (at most 16777216)"},
    {"array past the end", array_past_the_end, FG_INVALID, "ends within an array (1000 "},
    {"strings past the end", strings_past_the_end, FG_INVALID, "ends within an array (1000 "},
    {"long string in array", string_in_array_too_long, FG_INVALID, "ends within a string of an"},
    {"array in array", array_in_array, FG_UNSUPPORTED, "nested: an array of arrays"},
    {"array of 99", array_of_99, FG_INVALID, "99 is no type of array elements"},
    {"two values", two_values, FG_INVALID, "key k is there twice with two values"},
    {"two types", two_types, FG_INVALID, "key k is there twice"},
    {"alignment 0", alignment_0, FG_INVALID, "general.alignment is 0"},
    {"alignment 24", alignment_24, FG_INVALID, "general.alignment is 24"},
    {"alignment 4", alignment_4, FG_INVALID, "general.alignment is 4"},
    {"alignment large", alignment_large, FG_INVALID, "general.alignment is 131072"},
    {"alignment text", alignment_text, FG_INVALID, "general.alignment: a value of type string"},
    {"split", split, FG_UNSUPPORTED, "this is part 2 of 3 of a split model"},
    {"empty tensor name", tensor_name_empty, FG_INVALID, "a tensor name is empty"},
    {"long tensor name", tensor_name_64, FG_INVALID, "a tensor name of 64 bytes (at most 63)"},
    {"no dimensions", no_dims, FG_INVALID, "tensor t: 0 dimensions (1 to 4)"},
    {"five dimensions", five_dims, FG_INVALID, "tensor t: 5 dimensions"},
    {"-1 dimensions", dims_minus, FG_INVALID, "tensor t: 4294967295 dimensions"},
    {"zero dimension", zero_dim, FG_INVALID, "tensor t: dimension 1 is 0"},
    {"large dimension", dim_too_large, FG_INVALID, "tensor t: dimension 0 is 1099511627777"},
    {"product overflows", product_overflows, FG_INVALID, "tensor t: its size overflows"},
    {"bytes overflow", bytes_overflow, FG_INVALID, "tensor t: its size overflows"},
    {"no whole block", no_whole_block, FG_INVALID, "tensor t: rows of 33 are no blocks of 32"},
    {"unknown type", unknown_type, FG_UNSUPPORTED, "tensor t?: type 4 is not known"},
    {"negative type", negative_type, FG_UNSUPPORTED, "tensor t: type -2 is not known"},
    {"unaligned", unaligned_offset, FG_INVALID, "tensor t: offset 4 is not aligned to 32"},
    {"offset past the end", offset_past_the_end, FG_INVALID, "tensor t needs 4 bytes at 1024"},
    {"offset wraps", offset_wraps, FG_INVALID, "tensor t needs 4 bytes at 18446744073709551584"},
    {"data cut", data_cut, FG_INVALID,
     "tensor t needs 128 bytes at 0 of the data, the file has 127"},
    {"no data", no_data, FG_INVALID, "tensor t needs 128 bytes at 0 of the data, the file has 0"},
    {"tensor twice", tensor_twice, FG_INVALID, "tensor t is there twice"},
    {"overlap", tensors_overlap, FG_INVALID, "tensors a and b overlap"},
    {"one place", tensors_on_one_place, FG_INVALID, "overlap"},
};

static void each_bad_file_has_its_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct build b;
        struct fg_gguf *g = NULL;
        struct fg_error err = {0};
        build_init(&b);
        bad[i].make(&b);
        const int32_t rc = fg_gguf_parse(b.bytes.ptr, b.bytes.len, &g, &err);
        if (rc != bad[i].status || !strstr(err.text, bad[i].says))
            fail_msg("%s: status %d (expected %d): %s", bad[i].name, rc, bad[i].status, err.text);
        if (!strstr(err.text, "at byte "))
            fail_msg("%s: no offset: %s", bad[i].name, err.text);
        assert_null(g);
        build_done(&b);
    }
}

/* Copied to the heap each time, so that the sanitizer sees a read past the end. */
static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct build b;
    build_init(&b);
    build_str(&b, "general.architecture", "llama");
    const char *const words[] = {"a", "bb"};
    build_strings(&b, "words", words, 2);
    build_bool(&b, "flag", 0);
    build_tensor(&b, "t", FG_Q8_0, 2, two_rows, 0);
    const struct fg_str file = build_finish(&b, 68);
    for (size_t n = 0; n < file.len; n++) {
        char *copy = malloc(n ? n : 1);
        struct fg_gguf *g = NULL;
        struct fg_error err = {0};
        assert_non_null(copy);
        memcpy(copy, file.ptr, n);
        if (fg_gguf_parse(copy, n, &g, &err) == FG_OK)
            fail_msg("%zu of %zu bytes were taken", n, file.len);
        if (!err.text[0])
            fail_msg("%zu of %zu bytes: no message", n, file.len);
        free(copy);
    }
    build_done(&b);
}

/* Every byte of the tables set to every kind of value: refused or read, never past the end. */
static void a_changed_byte_does_no_harm(void **state)
{
    (void)state;
    static const unsigned char values[] = {0, 1, 2, 8, 9, 127, 128, 255};
    struct build b;
    build_init(&b);
    build_str(&b, "general.architecture", "llama");
    const int32_t ids[] = {1, 2, 3};
    build_i32s(&b, "ids", ids, 3);
    build_tensor(&b, "t", FG_Q8_0, 2, two_rows, 0);
    const struct fg_str file = build_finish(&b, 68);
    char *copy = malloc(file.len);
    assert_non_null(copy);
    for (size_t at = 0; at < file.len - 68; at++) {
        for (size_t i = 0; i < sizeof values; i++) {
            struct fg_gguf *g = NULL;
            memcpy(copy, file.ptr, file.len);
            copy[at] = (char)values[i];
            if (fg_gguf_parse(copy, file.len, &g, NULL) != FG_OK)
                continue;
            json_decref(fg_gguf_metadata(g, true));
            for (uint64_t t = 0; t < fg_gguf_tensor_count(g); t++) {
                const struct fg_gguf_tensor *one_of = fg_gguf_tensor_at(g, t);
                const char *end = (const char *)one_of->data + one_of->bytes;
                assert_true(end <= copy + file.len);
            }
            fg_gguf_close(g);
        }
    }
    free(copy);
    build_done(&b);
}

static void many_keys_are_found_fast(void **state)
{
    (void)state;
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    char key[32];
    build_init(&b);
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "key.%u", i);
        build_u32(&b, key, i);
    }
    const struct fg_str file = build_finish(&b, 0);
    assert_int_equal(fg_gguf_parse(file.ptr, file.len, &g, &err), FG_OK);
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t value = 0;
        snprintf(key, sizeof key, "key.%u", i);
        assert_int_equal(fg_gguf_u32(g, key, &value, NULL), FG_OK);
        assert_int_equal(value, i);
    }
    fg_gguf_close(g);
    build_done(&b);
}

/* ---- on disk --------------------------------------------------------------------------------- */

static void what_is_no_file_is_refused_by_name(void **state)
{
    (void)state;
    char dir[] = "/tmp/fg-gguf-XXXXXX", path[64];
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(fg_gguf_open(dir, &g, &err), FG_INVALID);
    assert_non_null(strstr(err.text, "is no regular file"));
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    assert_int_equal(fg_gguf_open(path, &g, &err), FG_NOT_FOUND);
    assert_string_equal(err.text, "model.gguf: cannot open: No such file or directory");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(fg_gguf_open(path, &g, &err), FG_INVALID);
    assert_string_equal(err.text, "model.gguf: the file is empty");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fg_gguf_open(path, &g, &err), FG_INVALID); /* does not hang */
    assert_non_null(strstr(err.text, "is no regular file"));
    assert_null(g);
    unlink(path);
    rmdir(dir);
}

static void dropped_pages_can_be_read_again(void **state)
{
    (void)state;
    char path[] = "/tmp/fg-gguf-XXXXXX";
    struct build b;
    struct fg_gguf *g = NULL;
    struct fg_error err = {0};
    const uint64_t shape[] = {32, 1024};
    const int fd = mkstemp(path);
    build_init(&b);
    build_str(&b, "general.name", "kept");
    build_tensor(&b, "t", FG_F32, 2, shape, 0);
    const struct fg_str file = build_finish(&b, 32 * 1024 * 4);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.ptr, file.len), file.len);
    close(fd);
    if (fg_gguf_open(path, &g, &err) != FG_OK)
        fail_msg("%s", err.text);
    fg_gguf_drop_pages(g);
    const struct fg_gguf_tensor *t = fg_gguf_tensor_find(g, "t");
    assert_memory_equal(t->data, file.ptr + file.len - t->bytes, t->bytes);
    struct fg_str name;
    assert_int_equal(fg_gguf_str(g, "general.name", &name, &err), FG_OK);
    assert_true(fg_str_is(name, "kept"));
    fg_gguf_close(g);
    build_done(&b);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_reads_as_written),
        cmocka_unit_test(version_2_and_other_alignments_are_read),
        cmocka_unit_test(the_same_pair_twice_is_one),
        cmocka_unit_test(values_convert_only_without_loss),
        cmocka_unit_test(metadata_says_what_json_can),
        cmocka_unit_test(each_bad_file_has_its_message),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_changed_byte_does_no_harm),
        cmocka_unit_test(many_keys_are_found_fast),
        cmocka_unit_test(what_is_no_file_is_refused_by_name),
        cmocka_unit_test(dropped_pages_can_be_read_again),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
