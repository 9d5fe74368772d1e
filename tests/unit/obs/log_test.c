/* The log: its lines, its quoting, a sink that does not take them, rotation, many threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "obs/log.h"
#include "util/clock.h"
#include "util/str.h"

static char place[64], file[96];

static int make_place(void **state)
{
    (void)state;
    snprintf(place, sizeof place, "/tmp/fg-log-XXXXXX");
    if (!mkdtemp(place))
        return -1;
    snprintf(file, sizeof file, "%s/log", place);
    return 0;
}

static int drop_place(void **state)
{
    (void)state;
    fg_log_close();
    unlink(file);
    return rmdir(place);
}

static char *read_all(const char *path)
{
    static char text[1 << 20];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    size_t n = 0;
    for (ssize_t got; fd >= 0 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

static void matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&re);
}

static void a_line_has_time_level_event_and_values(void **state)
{
    (void)state;
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    fg_log(FG_LOG_INFO, "model_loaded", "model=%s ms=%d", "smol", 120);
    fg_log(FG_LOG_ERROR, "bare", "%s", "");
    fg_log_close();
    matches(read_all(file),
            "^ts=20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z level=info "
            "event=model_loaded model=smol ms=120\nts=[^ ]+ level=error event=bare \n$");
}

static void the_level_decides_what_is_written(void **state)
{
    (void)state;
    assert_int_equal(fg_log_open(file, FG_LOG_WARN, NULL), FG_OK);
    assert_int_equal(fg_log_level(), FG_LOG_WARN);
    fg_log(FG_LOG_INFO, "hidden", "a=1");
    fg_log_set_level(FG_LOG_DEBUG);
    fg_log(FG_LOG_DEBUG, "shown", "a=1");
    fg_log_close();
    fg_log_set_level(FG_LOG_INFO);
    assert_null(strstr(read_all(file), "hidden"));
    assert_non_null(strstr(read_all(file), "level=debug event=shown a=1\n"));
}

static void an_unquoted_value_cannot_make_a_second_line(void **state)
{
    (void)state;
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    fg_log(FG_LOG_INFO, "evil", "v=%s", "a\nlevel=error\x1b[2J\x7f");
    fg_log_close();
    matches(read_all(file), "event=evil v=a\\?level=error\\?\\[2J\\?\n$");
}

static void a_long_line_is_cut_between_characters(void **state)
{
    (void)state;
    static char value[9000];
    for (size_t i = 0; i + 3 < sizeof value; i += 3)
        memcpy(value + i, "\xe2\x82\xac", 3);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    fg_log(FG_LOG_INFO, "long", "v=%s", value);
    fg_log_close();
    const char *text = read_all(file);
    size_t n = strlen(text);
    bool broken;
    assert_in_range(n, 4000, 4096);
    assert_int_equal(text[n - 1], '\n');
    assert_int_equal(fg_utf8_valid((struct fg_str){text, n}, &broken), n);
}

static void quoting_escapes_what_a_log_reader_could_trip_over(void **state)
{
    (void)state;
    char out[200];
    static const char odd[] =
        "a \"b\" \\ = \n\r\t\b\f\x01\x1b\x7f\xc2\x9b \xe2\x82\xac \xff\xc0\xaf.";
    assert_string_equal(fg_log_quote(FG_STR("plain"), out, sizeof out), "\"plain\"");
    assert_string_equal(fg_log_quote((struct fg_str){NULL, 0}, out, sizeof out), "\"\"");
    assert_string_equal(fg_log_quote((struct fg_str){"a\0b", 3}, out, sizeof out), "\"a\\u0000b\"");
    assert_string_equal(
        fg_log_quote((struct fg_str){odd, sizeof odd - 1}, out, sizeof out),
        "\"a \\\"b\\\" \\\\ = \\n\\r\\t\\b\\f\\u0001\\u001b\\u007f\\u009b \xe2\x82\xac "
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.\"");
}

static void quoting_fits_any_room(void **state)
{
    (void)state;
    char out[2000];
    static char text[3000];
    memset(text, '\n', sizeof text);
    for (size_t room = 0; room < 40; room++) {
        memset(out, 'x', sizeof out);
        fg_log_quote((struct fg_str){text, sizeof text}, out, room);
        assert_int_equal(out[room], 'x');
        if (room)
            assert_true(strlen(out) < room);
    }
    assert_in_range(strlen(fg_log_quote((struct fg_str){text, sizeof text}, out, sizeof out)), 1020,
                    1024);
}

static void reopening_after_rotation_starts_a_new_file(void **state)
{
    (void)state;
    char old[112];
    snprintf(old, sizeof old, "%s.1", file);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    fg_log(FG_LOG_INFO, "before", "n=1");
    for (int i = 0; i < 500 && !strstr(read_all(file), "before"); i++)
        usleep(10000);
    assert_int_equal(rename(file, old), 0);
    assert_int_equal(fg_log_reopen(), FG_OK);
    fg_log(FG_LOG_INFO, "after", "n=2");
    fg_log_close();
    assert_non_null(strstr(read_all(old), "event=before"));
    assert_null(strstr(read_all(old), "event=after"));
    assert_non_null(strstr(read_all(file), "event=after"));
    unlink(old);
}

static void reopening_that_fails_keeps_the_old_file(void **state)
{
    (void)state;
    char moved[80];
    snprintf(moved, sizeof moved, "%s.away", place);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    assert_int_equal(rename(place, moved), 0);
    assert_int_equal(fg_log_reopen(), FG_INVALID);
    fg_log(FG_LOG_INFO, "still", "here=1");
    fg_log_close();
    assert_int_equal(rename(moved, place), 0);
    assert_non_null(strstr(read_all(file), "event=still"));
}

static void a_path_that_cannot_be_opened_is_named(void **state)
{
    (void)state;
    struct fg_error err;
    assert_int_equal(fg_log_open("/nowhere/log", FG_LOG_INFO, &err), FG_INVALID);
    assert_string_equal(err.text, "log_path \"/nowhere/log\": No such file or directory");
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, &err), FG_BUSY);
}

static void a_sink_nobody_reads_drops_lines_and_says_so_later(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    uint64_t before = fg_log_dropped(), began = fg_clock_ns();
    for (int i = 0; i < 8000; i++)
        fg_log(FG_LOG_INFO, "flood", "i=%d text=%s", i,
               "fifty characters of text to fill the pipe with");
    assert_true(fg_clock_ns() - began < 5 * FG_NS_PER_S);
    assert_true(fg_log_dropped() > before);
    static char text[1 << 20];
    size_t len = 0;
    bool told = false;
    for (int i = 0; i < 2000 && !told && len + 1 < sizeof text; i++) { /* now somebody reads */
        ssize_t n = read(reader, text + len, sizeof text - 1 - len);
        if (n <= 0) {
            usleep(5000);
            fg_log(FG_LOG_INFO, "again", "n=%d", i);
            continue;
        }
        len += (size_t)n;
        told = memmem(text, len, "event=log_dropped lines=", 24) != NULL;
    }
    assert_true(told);
    close(reader);
    fg_log_close();
}

static void closing_does_not_wait_for_a_dead_sink(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    for (int i = 0; i < 3000; i++)
        fg_log(FG_LOG_INFO, "flood", "i=%d text=%s", i,
               "fifty characters of text to fill the pipe with");
    uint64_t began = fg_clock_ns();
    fg_log_close();
    assert_true(fg_clock_ns() - began < 3 * FG_NS_PER_S);
    close(reader);
}

static void a_sink_that_went_away_costs_lines_and_not_the_process(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    close(reader); /* SIGPIPE from now on */
    uint64_t before = fg_log_dropped();
    fg_log(FG_LOG_INFO, "lost", "n=1");
    for (int i = 0; i < 500 && fg_log_dropped() == before; i++)
        usleep(10000);
    assert_true(fg_log_dropped() > before);
    fg_log_close();
}

static void without_an_open_log_lines_go_to_stderr(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO), fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    fg_log(FG_LOG_INFO, "early", "n=1");
    fg_log_close(); /* closing what is not open is nothing */
    assert_int_equal(fg_log_reopen(), FG_OK);
    assert_int_equal(fg_log_open(NULL, FG_LOG_INFO, NULL), FG_OK);
    fg_log(FG_LOG_INFO, "open", "n=2");
    fg_log_close();
    fg_log(FG_LOG_INFO, "late", "n=3");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd);
    matches(read_all(file), "event=early n=1\nts=[^\n]+event=open n=2\nts=[^\n]+event=late n=3\n$");
}

static void *say_much(void *ctx)
{
    for (int i = 0; i < 300; i++)
        fg_log(FG_LOG_INFO, "thread", "name=%s i=%d", (const char *)ctx, i);
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state)
{
    (void)state;
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    assert_int_equal(fg_log_open(file, FG_LOG_INFO, NULL), FG_OK);
    uint64_t before = fg_log_dropped();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, say_much, names[i]), 0);
    for (int i = 0; i < 20; i++)
        (void)fg_log_reopen();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uint64_t dropped = fg_log_dropped() - before;
    fg_log_close();
    size_t lines = 0;
    for (char *save, *line = strtok_r(read_all(file), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save), lines++)
        matches(line, "^ts=[^ ]+ level=(info event=thread name=[abcd] i=[0-9]+|"
                      "warn event=log_dropped lines=[0-9]+)$");
    assert_true(lines + dropped >= 1200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_event_and_values),
        TEST(the_level_decides_what_is_written),
        TEST(an_unquoted_value_cannot_make_a_second_line),
        TEST(a_long_line_is_cut_between_characters),
        TEST(quoting_escapes_what_a_log_reader_could_trip_over),
        TEST(quoting_fits_any_room),
        TEST(reopening_after_rotation_starts_a_new_file),
        TEST(reopening_that_fails_keeps_the_old_file),
        TEST(a_path_that_cannot_be_opened_is_named),
        TEST(a_sink_nobody_reads_drops_lines_and_says_so_later),
        TEST(closing_does_not_wait_for_a_dead_sink),
        TEST(a_sink_that_went_away_costs_lines_and_not_the_process),
        TEST(without_an_open_log_lines_go_to_stderr),
        TEST(lines_of_many_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
