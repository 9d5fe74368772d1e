/* Any bytes as a reply: the outcome and the body are the same however they are cut. The first byte
 * chooses the cuts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "upstream/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int32_t run(struct fg_str text, size_t step, struct fg_buf *body, int32_t *status)
{
    struct fg_reply r = {0};
    struct fg_str piece;
    int32_t rc = FG_REPLY_MORE;
    fg_reply_init(&r);
    for (size_t at = 0; at < text.len && rc < FG_REPLY_END; at += step) {
        struct fg_str in = {text.ptr + at, step < text.len - at ? step : text.len - at};
        while ((rc = fg_reply_next(&r, &in, &piece)) == FG_REPLY_HEAD || rc == FG_REPLY_BODY)
            if (rc == FG_REPLY_BODY) {
                fg_buf_add(body, piece);
                fg_reply_take(&r, &in, piece.len);
            }
    }
    if (rc < FG_REPLY_END)
        rc = fg_reply_eof(&r);
    *status = r.status;
    fg_reply_done(&r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_buf whole = {0}, cut = {0};
    int32_t a, b;
    if (size < 1)
        return 0;
    const struct fg_str text = {(const char *)data + 1, size - 1};
    const int32_t first = run(text, text.len ? text.len : 1, &whole, &a);
    const int32_t second = run(text, 1 + data[0] % 8, &cut, &b);
    if (first != second || (first == FG_REPLY_END && a != b) ||
        !fg_str_eq(fg_buf_str(&whole), fg_buf_str(&cut))) {
        fprintf(stderr, "cut, it ends with %d instead of %d\n", second, first);
        abort();
    }
    fg_buf_done(&whole);
    fg_buf_done(&cut);
    return 0;
}
