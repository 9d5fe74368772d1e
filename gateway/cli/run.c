/* Loads the model first (with a sign of life), then streams answers; see run.h. */
#include "cli/run.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "util/clock.h"

struct answer {
    struct fg_buf text;
    bool verbose;
};

/* A dot a second on stderr while the server loads the model; nothing in the first half second. */
struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    const char *model;
};

static void *show_waiting(void *ctx)
{
    struct waiting *w = ctx;
    uint64_t began = fg_clock_ns();
    pthread_mutex_lock(&w->lock);
    for (unsigned n = 0; !w->done; n++) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 500000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&w->over, &w->lock, &until);
        if (!w->done)
            fprintf(stderr, "\rloading %s ... %.1f s", w->model,
                    (double)(fg_clock_ns() - began) / 1e9);
        else if (n)
            fprintf(stderr, "\r\033[K");
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int load(const char *model)
{
    struct waiting w = {.model = model};
    pthread_t thread;
    json_t *answer = NULL;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.over, NULL);
    bool shown = isatty(STDERR_FILENO) && pthread_create(&thread, NULL, show_waiting, &w) == 0;
    int code = fg_client_ask("/api/generate", json_pack("{s:s}", "model", model), NULL, NULL,
                             &answer);
    if (shown) {
        pthread_mutex_lock(&w.lock);
        w.done = true;
        pthread_cond_signal(&w.over);
        pthread_mutex_unlock(&w.lock);
        pthread_join(thread, NULL);
    }
    pthread_cond_destroy(&w.over);
    pthread_mutex_destroy(&w.lock);
    json_decref(answer);
    return code;
}

static double seconds(const json_t *line, const char *key)
{
    return (double)json_integer_value(json_object_get(line, key)) / 1e9;
}

static void print_timing(const json_t *line)
{
    json_int_t prompt = json_integer_value(json_object_get(line, "prompt_eval_count"));
    json_int_t output = json_integer_value(json_object_get(line, "eval_count"));
    double prompt_s = seconds(line, "prompt_eval_duration");
    double output_s = seconds(line, "eval_duration");
    fprintf(stderr, "prompt %d tokens, %.1f/s; answer %d tokens, %.1f/s; whole %.2f s\n",
            (int)prompt, prompt_s > 0 ? (double)prompt / prompt_s : 0, (int)output,
            output_s > 0 ? (double)output / output_s : 0, seconds(line, "total_duration"));
}

static bool on_line(void *ctx, json_t *line)
{
    struct answer *a = ctx;
    const json_t *content = json_object_get(json_object_get(line, "message"), "content");
    if (json_is_string(content)) {
        struct fg_str text = {json_string_value(content), json_string_length(content)};
        fwrite(text.ptr, 1, text.len, stdout);
        fflush(stdout);
        fg_buf_add(&a->text, text);
    }
    if (json_is_true(json_object_get(line, "done")) && a->verbose) {
        putchar('\n');
        print_timing(line);
    }
    return true;
}

/* One turn: the question joins the messages, and so does the answer. */
static int turn(const char *model, json_t *messages, const char *question, bool verbose)
{
    struct answer a = {.verbose = verbose};
    json_t *said = json_pack("{s:s, s:s}", "role", "user", "content", question);
    if (!said) {
        fprintf(stderr, "fluxgate: the prompt is not UTF-8 text\n");
        return 2;
    }
    json_array_append_new(messages, said);
    int code = fg_client_ask("/api/chat",
                             json_pack("{s:s, s:O}", "model", model, "messages", messages),
                             on_line, &a, NULL);
    putchar('\n');
    if (code == 0)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s%}", "role", "assistant", "content",
                                        a.text.ptr ? a.text.ptr : "", a.text.len));
    else
        json_array_remove(messages, json_array_size(messages) - 1);
    fg_buf_done(&a.text);
    return code;
}

static int converse(const char *model, json_t *messages, bool verbose)
{
    char *line = NULL;
    size_t room = 0;
    fprintf(stderr, "Talk to %s. /clear forgets, /bye or Ctrl-D ends.\n", model);
    for (;;) {
        fputs(">>> ", stderr);
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0)
            break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (n == 0)
            continue;
        if (strcmp(line, "/bye") == 0)
            break;
        if (strcmp(line, "/clear") == 0) {
            json_array_clear(messages);
            continue;
        }
        if (turn(model, messages, line, verbose) == 3)
            break;
    }
    free(line);
    return 0;
}

static bool read_all(FILE *file, struct fg_buf *out)
{
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, file)) > 0)
        if (!fg_buf_add(out, (struct fg_str){part, n}))
            return false;
    return fg_buf_addc(out, '\0');
}

int fg_cli_run(int argc, char **argv)
{
    bool verbose = false;
    const char *model = NULL;
    struct fg_buf prompt = {0};
    int code = 2;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (!model)
            model = argv[i];
        else if (!fg_buf_printf(&prompt, "%s%s", prompt.len ? " " : "", argv[i]))
            goto done;
    }
    if (!model) {
        fprintf(stderr, "usage: fluxgate run [--verbose] MODEL [PROMPT]\n");
        goto done;
    }
    if (prompt.len == 0 && !isatty(STDIN_FILENO) && !read_all(stdin, &prompt)) {
        fprintf(stderr, "fluxgate: the prompt is too large\n");
        goto done;
    }
    code = load(model);
    if (code)
        goto done;
    json_t *messages = json_array();
    code = prompt.len ? turn(model, messages, prompt.ptr, verbose)
                      : converse(model, messages, verbose);
    json_decref(messages);
done:
    fg_buf_done(&prompt);
    return code;
}
