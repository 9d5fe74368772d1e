/* See rig.h. */
#include "rig.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/str.h"

static void host_log(const struct fg_host *host, int32_t level, struct fg_str text)
{
    struct rig *r = host->ctx;
    (void)level;
    snprintf(r->log, sizeof r->log, "%.*s", FG_STR_ARG(text));
    r->logs++;
}

static void host_device_changed(const struct fg_host *host, uint32_t device)
{
    (void)device;
    ((struct rig *)host->ctx)->device_changes++;
}

static const void *host_extension(const struct fg_host *host, const char *id)
{
    (void)host;
    (void)id;
    return NULL;
}

static void on_gone(void *ctx, const char *reason)
{
    struct rig *r = ctx;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    r->gone++;
}

const char *rig_file(char *path, size_t room, const char *name)
{
    snprintf(path, room, "%s/tests/wicked/%s", FG_TEST_BIN, name);
    return path;
}

const char *rig_host(void)
{
    return FG_TEST_BIN "/bin/fg-plugin-host";
}

static void start_worker(struct rig *r)
{
    r->host = (struct fg_host){.size = sizeof r->host,
                               .abi = FG_ABI,
                               .ctx = r,
                               .emit = fg_stream_emit,
                               .log = host_log,
                               .device_changed = host_device_changed,
                               .extension = host_extension};
    assert_int_equal(fg_worker_open(0, &r->worker, NULL), FG_OK);
    assert_int_equal(fg_worker_start(r->worker, NULL), FG_OK);
}

int32_t rig_open(struct rig *r, const char *host_path, const char *name, const char *config,
                 uint64_t short_ns, struct fg_error *err)
{
    char path[512];
    const struct fg_remote_ask ask = {
        .name = name,
        .host_path = host_path ? host_path : rig_host(),
        .plugin_path = rig_file(path, sizeof path, "wicked.so"),
        .config_json = config,
        .host = &r->host,
        .gone = on_gone,
        .ctx = r,
        .load_timeout_ns = short_ns,
        .call_timeout_ns = short_ns,
        .hang_ns = short_ns,
        .write_ns = short_ns,
    };
    memset(r, 0, sizeof *r);
    start_worker(r);
    return fg_remote_open(&ask, &r->table, &r->backend, &r->pid, err);
}

void rig_open_here(struct rig *r)
{
    char path[512];
    memset(r, 0, sizeof *r);
    start_worker(r);
    void *dl = dlopen(rig_file(path, sizeof path, "wicked.so"), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(dl);
    const struct fg_plugin *(*entry)(uint32_t);
    *(void **)&entry = dlsym(dl, "fg_plugin_entry");
    r->table = entry(FG_ABI);
    assert_int_equal(r->table->open(&r->host, FG_STR("{}"), &r->backend, NULL), FG_OK);
}

void rig_load(struct rig *r)
{
    const struct fg_model_spec spec = {
        .size = sizeof spec, .name = FG_STR("m"), .path = FG_STR("/m.gguf")};
    assert_int_equal(r->table->load(r->backend, &spec, &r->model, NULL), FG_OK);
}

void rig_close(struct rig *r)
{
    if (r->model)
        r->table->unload(r->model);
    if (r->backend)
        r->table->close(r->backend);
    fg_worker_close(r->worker);
}

/* ---- jobs ---- */

static void take(struct rig_job *j, const struct fg_event *ev)
{
    if (ev->kind == FG_EV_STARTED)
        j->starteds++;
    if (ev->kind == FG_EV_TEXT) {
        size_t n = sizeof j->text - 1 - j->text_len;
        n = ev->text.len < n ? ev->text.len : n;
        memcpy(j->text + j->text_len, ev->text.ptr ? ev->text.ptr : "", n);
        j->text_len += n;
        j->text_bytes += ev->text.len;
        if (ev->token_count == 1 && ev->tokens[0] != j->texts)
            j->out_of_order++;
        j->texts++;
    }
    if (ev->kind == FG_EV_EMBEDDING) {
        j->values = ev->value_count;
        j->last_value = ev->values[ev->value_count - 1];
    }
    if (ev->kind == FG_EV_DONE || ev->kind == FG_EV_FAILED) {
        j->lasts++;
        j->last_kind = ev->kind;
        j->last_code = ev->code;
        j->prompt_tokens = ev->usage ? ev->usage->prompt_tokens : 0;
        snprintf(j->last_text, sizeof j->last_text, "%.*s", FG_STR_ARG(ev->text));
    }
    if (j->look)
        j->look(j, ev);
}

static void finish(struct rig_job *j)
{
    if (j->job)
        j->rig->table->release(j->job);
    fg_stream_close(j->stream);
    j->over = 1;
}

static void on_ready(void *ctx)
{
    struct rig_job *j = ctx;
    const struct fg_event *ev;
    bool resume = false;
    if (j->held)
        return;
    while ((ev = fg_stream_next(j->stream, &resume))) {
        if (resume) {
            j->resumes++;
            j->rig->table->resume(j->job);
        }
        take(j, ev);
        if (fg_stream_is_over(j->stream)) {
            finish(j);
            return;
        }
        if (j->want_cancel >= 0 && j->texts >= j->want_cancel) {
            j->want_cancel = -1;
            fg_stream_stop(j->stream);
            j->rig->table->cancel(j->job);
        }
    }
    if (resume) {
        j->resumes++;
        j->rig->table->resume(j->job);
    }
}

static void run_start(struct fg_task *task)
{
    struct rig_job *j = FG_CONTAINER(task, struct rig_job, task);
    struct rig *r = j->rig;
    if (fg_stream_open(r->worker, on_ready, j, &j->stream, NULL) != FG_OK)
        abort();
    j->submitted = r->table->submit(r->model, &j->request, j->stream, &j->job, &j->err);
    j->started = 1;
    if (j->submitted != FG_OK) {
        j->job = NULL;
        finish(j);
    }
}

void rig_start_request(struct rig *r, struct rig_job *j)
{
    j->rig = r;
    j->want_cancel = j->want_cancel ? j->want_cancel : -1;
    j->request.size = sizeof j->request;
    j->task.run = run_start;
    assert_true(fg_worker_post(r->worker, &j->task));
}

void rig_start(struct rig *r, struct rig_job *j, const char *words)
{
    j->input = fg_str_of(words);
    j->request.op = FG_OP_COMPLETE;
    j->request.inputs = &j->input;
    j->request.input_count = 1;
    rig_start_request(r, j);
}

void rig_start_held(struct rig *r, struct rig_job *j, const char *words)
{
    j->held = 1;
    rig_start(r, j, words);
    assert_true(rig_until(&j->started, 1, 5));
}

static void run_unhold(struct fg_task *task)
{
    struct rig_job *j = FG_CONTAINER(task, struct rig_job, unhold);
    j->held = 0;
    on_ready(j);
}

void rig_unhold(struct rig_job *j)
{
    j->unhold.run = run_unhold;
    assert_true(fg_worker_post(j->rig->worker, &j->unhold));
}

static void run_cancel(struct fg_task *task)
{
    struct rig_job *j = FG_CONTAINER(task, struct rig_job, cancel);
    if (j->over || fg_stream_is_over(j->stream))
        return;
    fg_stream_stop(j->stream);
    j->rig->table->cancel(j->job);
}

void rig_cancel(struct rig_job *j)
{
    j->cancel.run = run_cancel;
    assert_true(fg_worker_post(j->rig->worker, &j->cancel));
}

bool rig_until(atomic_int *value, int at_least, int seconds)
{
    for (int i = 0; i < seconds * 1000; i++) {
        if (*value >= at_least)
            return true;
        usleep(1000);
    }
    return false;
}

bool rig_wait(struct rig_job *j, int seconds)
{
    return rig_until(&j->over, 1, seconds);
}
