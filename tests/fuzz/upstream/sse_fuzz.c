/* Any bytes as a stream: events and lines are the same however they are cut, no limit is passed,
 * and the OpenAI reader takes or refuses each of them. The first byte chooses the cuts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "upstream/openai.h"
#include "upstream/records.h"

enum { LIMIT = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int32_t drop(void *ctx, struct fg_event *ev)
{
    bool broken = false;
    (void)ctx;
    if (fg_utf8_valid(ev->text, &broken) != ev->text.len) {
        fprintf(stderr, "text that is no whole UTF-8\n");
        abort();
    }
    return FG_FLOW_GO;
}

static void collect(struct fg_str text, size_t step, bool is_lines, struct fg_buf *out)
{
    struct fg_sse sse;
    struct fg_lines lines;
    struct fg_sse_event ev = {.name = FG_STR("")};
    fg_sse_init(&sse, LIMIT);
    fg_lines_init(&lines, LIMIT);
    for (size_t at = 0; at < text.len; at += step) {
        struct fg_str in = {text.ptr + at, step < text.len - at ? step : text.len - at};
        while ((is_lines ? fg_ndjson_next(&lines, &in, &ev.data) : fg_sse_next(&sse, &in, &ev)) ==
               FG_RECORD_READY) {
            if (ev.data.len > LIMIT)
                abort();
            fg_buf_printf(out, "%zu %zu:", ev.name.len, ev.data.len);
            fg_buf_add(out, ev.name);
            fg_buf_add(out, ev.data);
        }
    }
    if (is_lines ? fg_ndjson_last(&lines, &ev.data) : fg_sse_last(&sse, &ev))
        fg_buf_add(out, ev.data);
    fg_sse_done(&sse);
    fg_lines_done(&lines);
}

static void compare(struct fg_str text, size_t step, bool is_lines)
{
    struct fg_buf whole = {0}, cut = {0};
    collect(text, text.len ? text.len : 1, is_lines, &whole);
    collect(text, step, is_lines, &cut);
    if (!fg_str_eq(fg_buf_str(&whole), fg_buf_str(&cut))) {
        fprintf(stderr, "cut every %zu bytes it reads otherwise\n", step);
        abort();
    }
    fg_buf_done(&whole);
    fg_buf_done(&cut);
}

static void read_all(struct fg_str text, int32_t op)
{
    static const struct fg_str inputs[2] = {{"a", 1}, {"b", 1}};
    const struct fg_request q = {.size = sizeof q,
                                 .op = op,
                                 .choices = 2,
                                 .logprobs = 1,
                                 .inputs = inputs,
                                 .input_count = 2};
    struct fg_reader r = {.say = drop, .arena = fg_arena_open(0, (size_t)1 << 20)};
    struct fg_sse sse;
    struct fg_sse_event ev;
    fg_sse_init(&sse, (size_t)1 << 16);
    if (r.arena && fg_reader_init(&r, &q, NULL) == FG_OK)
        while (fg_sse_next(&sse, &text, &ev) == FG_RECORD_READY && !r.error.status) {
            (void)fg_openai_read(&r, ev.name, ev.data);
            fg_arena_reset(r.arena);
        }
    fg_reader_done(&r);
    fg_sse_done(&sse);
    fg_arena_close(r.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_fault fault;
    if (size < 1)
        return 0;
    const struct fg_str text = {(const char *)data + 1, size - 1};
    compare(text, 1 + data[0] % 16, false);
    compare(text, 1 + data[0] % 16, true);
    read_all(text, data[0] & 16 ? FG_OP_EMBED : FG_OP_CHAT);
    fg_openai_fault(data[0] & 32 ? 400 : 0, text, &fault);
    return 0;
}
