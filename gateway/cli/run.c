/*
 * Loads the model first (with a sign of life), then streams answers; see run.h. In a conversation
 * Ctrl-C ends the answer and not the program; with a prompt as argument it ends the program, which
 * closes the connection, which ends the answer.
 */
#include "cli/run.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "util/clock.h"

struct answer {
    struct fg_buf text;
    json_t *last; /* the line with the timing, once it came */
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
    int code =
        fg_client_post("/api/generate", json_pack("{s:s}", "model", model), NULL, NULL, &answer);
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
        fg_client_print(text);
        fflush(stdout);
        fg_buf_add(&a->text, text);
    }
    if (json_is_true(json_object_get(line, "done")) && !a->last)
        a->last = json_incref(line);
    return !ferror(stdout);
}

/* One turn: the question joins the messages, and so does the answer. */
static int turn(const char *model, json_t *messages, const char *question, bool verbose)
{
    struct answer a = {.last = NULL};
    json_t *said = json_pack("{s:s, s:s}", "role", "user", "content", question);
    if (!said) {
        fprintf(stderr, "fluxgate: the prompt is not UTF-8 text\n");
        return 2;
    }
    json_array_append_new(messages, said);
    json_t *body = json_pack("{s:s, s:O}", "model", model, "messages", messages);
    int code = fg_client_post("/api/chat", body, on_line, &a, NULL);
    if (a.text.len)
        putchar('\n');
    if (code == 0 && verbose && a.last)
        print_timing(a.last);
    if (code == 0)
        json_array_append_new(messages, json_pack("{s:s, s:s%}", "role", "assistant", "content",
                                                  a.text.ptr ? a.text.ptr : "", a.text.len));
    else
        json_array_remove(messages, json_array_size(messages) - 1);
    json_decref(a.last);
    fg_buf_done(&a.text);
    return code;
}

static void on_interrupt(int number)
{
    (void)number;
    fg_client_interrupt();
}

/* Into out, without the line end; three quotes open a text of many lines and close it.
 * 1: there is one; 0: the end of the input; -1: Ctrl-C. */
static int read_question(struct fg_buf *out)
{
    char *line = NULL;
    size_t room = 0;
    bool many = false;
    int result = 1;
    out->len = 0;
    fputs(">>> ", stderr);
    for (bool over = false; !over;) {
        errno = 0;
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0) {
            result = errno == EINTR ? -1 : 0;
            clearerr(stdin);
            break;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        struct fg_str text = {line, (size_t)n};
        if (!many && fg_str_starts(text, FG_STR("\"\"\""))) {
            many = true;
            text = fg_str_from(text, 3);
        }
        bool last = many && fg_str_ends(text, FG_STR("\"\"\""));
        if (last)
            text.len -= 3;
        over = !many || last;
        if (!fg_buf_add(out, text) || (!over && !fg_buf_addc(out, '\n')))
            break; /* 64 MiB: what fits is asked */
        if (!over)
            fputs("... ", stderr);
    }
    free(line);
    return result > 0 && !fg_buf_addc(out, '\0') ? 0 : result;
}

static int converse(const char *model, json_t *messages, bool verbose)
{
    struct fg_buf question = {0};
    struct sigaction catch = {.sa_handler = on_interrupt}; /* no SA_RESTART: getline ends */
    int code = 0, got;
    sigaction(SIGINT, &catch, NULL);
    fprintf(stderr,
            "Talk to %s. /clear forgets, \"\"\" opens and closes many lines, Ctrl-C ends an "
            "answer,\n/bye or Ctrl-D ends.\n",
            model);
    while (code != 3 && (got = read_question(&question)) != 0) {
        if (got < 0) {
            fputs("\n", stderr);
            continue;
        }
        if (strcmp(question.ptr, "/bye") == 0)
            break;
        if (strcmp(question.ptr, "/clear") == 0)
            json_array_clear(messages);
        else if (question.ptr[0])
            code = turn(model, messages, question.ptr, verbose);
    }
    fg_buf_done(&question);
    return code == 3 ? 3 : 0;
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

struct order {
    const char *model;
    struct fg_buf prompt; /* terminated when it has a length */
    bool verbose;
};

static int read_order(int argc, char **argv, struct order *o)
{
    bool plain = false; /* after "--", or in the prompt, nothing is an option */
    for (int i = 2; i < argc; i++) {
        const char *arg = argv[i];
        if (!plain && !o->prompt.len && strcmp(arg, "--verbose") == 0) {
            o->verbose = true;
        } else if (!plain && !o->prompt.len && strcmp(arg, "--") == 0) {
            plain = true;
        } else if (!plain && !o->prompt.len && arg[0] == '-' && arg[1]) {
            fprintf(stderr, "fluxgate run: unknown option %.40s\n", arg);
            return 2;
        } else if (!o->model) {
            o->model = arg;
        } else if (!fg_buf_printf(&o->prompt, "%s%s", o->prompt.len ? " " : "", arg)) {
            return 2;
        }
    }
    if (o->prompt.len && !fg_buf_addc(&o->prompt, '\0'))
        return 2;
    if (!o->model)
        fprintf(stderr, "usage: fluxgate run [--verbose] MODEL [PROMPT]\n");
    return o->model ? 0 : 2;
}

/* A prompt that comes through a pipe. */
static int read_pipe(struct order *o)
{
    if (!read_all(stdin, &o->prompt)) {
        fprintf(stderr, "fluxgate: the prompt is too large\n");
        return 2;
    }
    size_t len = o->prompt.len - 1;
    if (memchr(o->prompt.ptr, 0, len) || len == 0) {
        fprintf(stderr, "fluxgate: the prompt is %s\n", len ? "not text" : "empty");
        return 2;
    }
    return 0;
}

int fg_cli_run(int argc, char **argv)
{
    struct order o = {0};
    int code = read_order(argc, argv, &o);
    if (!code && !o.prompt.len && !isatty(STDIN_FILENO))
        code = read_pipe(&o);
    if (!code)
        code = load(o.model);
    if (!code) {
        json_t *messages = json_array();
        code = o.prompt.len ? turn(o.model, messages, o.prompt.ptr, o.verbose)
                            : converse(o.model, messages, o.verbose);
        json_decref(messages);
    }
    fg_buf_done(&o.prompt);
    return code;
}
