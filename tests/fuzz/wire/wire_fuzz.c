/*
 * Any bytes as what a child sends: frames are cut out of them, and each payload is read as every
 * kind of message there is. Nothing may be read outside the payload, and what comes out must be
 * whole: an event is taken by a stream, a request packs into as many bytes again at most.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/event.h"
#include "plugin/message.h"
#include "plugin/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const void *ptr, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum ^= ((const uint8_t *)ptr)[i];
    __asm__ volatile("" : : "r"(sum)); /* so that the reading is not left out */
}

static void read_event(struct fg_view v)
{
    struct fg_event ev;
    if (!fg_event_view(&v, &ev))
        return;
    size_t len = fg_event_pack(&ev, NULL);
    if (len > 8 * v.len + 64) /* padding of many small parts, never a multiple of the whole */
        abort();
    void *block = malloc(len);
    if (!block)
        return;
    fg_event_pack(&ev, block);
    const struct fg_event *again = fg_event_unpack(block);
    touch(again->text.ptr, again->text.len);
    touch(again->values, again->value_count * sizeof *again->values);
    for (uint32_t i = 0; i < again->logprob_count; i++)
        touch(again->logprobs[i].bytes.ptr, again->logprobs[i].bytes.len);
    free(block);
}

static void read_submit(struct fg_view v)
{
    struct fg_msg_submit m;
    if (!fg_submit_view(&v, &m))
        return;
    size_t len = fg_submit_pack(&m, NULL);
    if (len > 8 * v.len + 1024)
        abort();
    void *block = malloc(len);
    if (block)
        fg_submit_pack(&m, block);
    free(block);
}

static void read_numbers(struct fg_view v)
{
    struct fg_msg_numbers m;
    if (!fg_numbers_view(&v, &m))
        return;
    for (uint32_t i = 0; i < m.device_count; i++)
        touch(m.devices[i].name, strlen(m.devices[i].name));
    for (uint32_t i = 0; i < m.metric_count; i++) {
        touch(m.metrics[i].name.ptr, strlen(m.metrics[i].name.ptr));
        touch(m.metrics[i].labels.ptr, strlen(m.metrics[i].labels.ptr));
    }
}

static void read_small(struct fg_view v)
{
    struct fg_msg_reply reply;
    struct fg_model_info info;
    struct fg_model_spec spec;
    struct fg_msg_open open;
    struct fg_msg_hello hello;
    struct fg_view a = v, b = v, c = v, d = v, e = v;
    if (fg_reply_view(&a, &reply))
        touch(reply.text.ptr, reply.text.len);
    if (fg_info_view(&b, &info))
        touch(info.name.ptr, info.name.len);
    if (fg_spec_view(&c, &spec))
        touch(spec.path.ptr, spec.path.len);
    if (fg_open_view(&d, &open))
        touch(open.config_json.ptr, open.config_json.len);
    (void)fg_hello_view(&e, &hello);
}

static void read_payload(const char *data, size_t len)
{
    /* A copy of its exact size, so that one byte beyond it is seen. */
    char *copy = aligned_alloc(8, (len + 7) / 8 * 8 + 8);
    struct fg_arena *arena = fg_arena_open(0, 16 << 20);
    if (copy && arena) {
        char *exact = copy; /* frames are padded to 8, and so is this */
        memcpy(exact, data, len);
        struct fg_view v = {.base = exact, .len = len, .arena = arena};
        read_event(v);
        read_submit(v);
        read_numbers(v);
        read_small(v);
    }
    fg_arena_close(arena);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_wire_reader r;
    struct fg_wire_frame f;
    if (size && data[0] & 0x80) { /* half of the time one payload, without the head in its way */
        read_payload((const char *)data + 1, size - 1);
        return 0;
    }
    if (fg_wire_reader_init(&r, -1) != FG_OK)
        return 0;
    r.len = size ? size - 1 : 0;
    r.len = r.len < r.room ? r.len : r.room;
    if (r.len)
        memcpy(r.buf, data + 1, r.len);
    while (fg_wire_next(&r, &f) > 0)
        read_payload(f.data, f.len);
    fg_wire_reader_done(&r);
    return 0;
}
