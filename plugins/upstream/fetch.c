/* See site.h: one small GET whose whole body is wanted, such as a list of models. */
#include <stdio.h>
#include <string.h>

#include "upstream/site.h"

static struct fg_fetch *fetch_of(struct fg_exchange *ex)
{
    return FG_CONTAINER(ex, struct fg_fetch, ex);
}

static void over(struct fg_fetch *f, int32_t status, const char *text)
{
    f->is_running = false;
    f->done(f, status, text);
}

static void on_head(struct fg_exchange *ex, const struct fg_reply *reply)
{
    fetch_of(ex)->http_status = reply->status;
}

static size_t on_body(struct fg_exchange *ex, struct fg_str piece)
{
    struct fg_fetch *f = fetch_of(ex);
    if (!fg_buf_add(&f->body, piece)) {
        fg_exchange_stop(ex);
        over(f, FG_DEVICE_LOST, "its answer is larger than allowed");
    }
    return piece.len;
}

static void on_end(struct fg_exchange *ex, int32_t status, int32_t trouble, const char *text)
{
    (void)trouble;
    over(fetch_of(ex), status, text);
}

static void on_more(struct fg_exchange *ex)
{
    (void)ex;
}

static const struct fg_handler handler = {
    .head = on_head, .body = on_body, .more = on_more, .end = on_end};

void fg_fetch_start(struct fg_site *site, struct fg_fetch *f, const char *path, size_t body_limit)
{
    fg_fetch_done(f);
    f->request.limit = 64 << 10;
    f->body.limit = body_limit;
    f->http_status = 0;
    f->ex.handler = &handler;
    (void)fg_site_head(site, &f->request, "GET", path, "application/json");
    f->ex.request = fg_buf_str(&f->request);
    f->is_running = true;
    if (f->request.failed)
        over(f, FG_NO_MEMORY, "no memory for a request");
    else
        fg_client_send(site->client, &f->ex);
}

void fg_fetch_done(struct fg_fetch *f)
{
    fg_buf_done(&f->request);
    fg_buf_done(&f->body);
}
