/* Routes, methods, origins and hosts; llama-server's routes; refusals of the parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static void assert_has(const char *needle)
{
    if (!strstr(world_body(), needle))
        fail_msg("no %s in %s", needle, world_body());
}

static void t03_the_root_says_it_runs(void **state)
{
    (void)state;
    world_send(FG_GET, "/", NULL);
    assert_string_equal(world_body(), "Ollama is running");
    assert_int_equal(world.x.status, 200);
    world_send(FG_HEAD, "/", NULL);
    assert_int_equal(world.x.status, 200);
    world_send(FG_HEAD, "/api/tags", NULL);
    assert_int_equal(world.x.status, 200);
}

static void t04_the_version_is_dotted_integers(void **state)
{
    (void)state;
    world_send(FG_GET, "/api/version", NULL);
    int a, b, c, n = 0;
    assert_int_equal(sscanf(world_body(), "{\"version\":\"%d.%d.%d\"}%n", &a, &b, &c, &n), 3);
    assert_int_equal(n, (int)strlen(world_body()));
    assert_true(a > 0 || b > 14 || (b == 14 && c >= 3));
}

static void unknown_routes_answer_in_their_dialect(void **state)
{
    (void)state;
    static const char *const plain[] = {"/nope", "/api/nope", "/api/pull", "/api/create", "/api/copy",
                                        "/api/blobs/sha256:0", "/api/experimental/web_search"};
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
        world_send(FG_POST, plain[i], "{}");
        assert_int_equal(world.x.status, 404);
        assert_string_equal(world.x.type, "text/plain");
        assert_string_equal(world_body(), "404 page not found");
    }
    world_send(FG_GET, "/v1/responses", NULL);
    assert_int_equal(world.x.status, 404);
    assert_has("\"message\":\"Invalid URL (GET /v1/responses)\"");
    world_send(FG_POST, "/v1/messages", "{}");
    assert_int_equal(world.x.status, 404);
    assert_has("{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\"");
}

static void wrong_methods_name_the_right_ones(void **state)
{
    (void)state;
    world_send(FG_GET, "/api/chat", NULL);
    assert_int_equal(world.x.status, 405);
    assert_string_equal(world_body(), "405 method not allowed");
    assert_string_equal(world_reply_header("Allow"), "POST");
    world_send(FG_DELETE, "/v1/models", NULL);
    assert_int_equal(world.x.status, 405);
    assert_string_equal(world_reply_header("Allow"), "GET, HEAD");
    assert_has("method_not_allowed");
    world_send(FG_POST, "/api/me", "{}");
    assert_int_equal(world.x.status, 401);
}

static void t24_origins_are_checked_and_preflight_answered(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        int status;
    } cases[] = {{"http://localhost:3000", 200}, {"https://127.0.0.1", 200}, {"app://x", 200},
                 {"vscode-webview://a", 200}, {"https://a.good.example", 200},
                 {"http://evil.example", 403}, {"http://localhost.evil.example", 403},
                 {"http://localhost:evil", 403}, {"null", 403}, {"https://good.example.evil", 403}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        world.x.header_count = 0;
        world_header("Origin", cases[i].origin);
        world_send(FG_GET, "/api/version", NULL);
        if (world.x.status != cases[i].status)
            fail_msg("%s: %d", cases[i].origin, world.x.status);
        bool allowed = cases[i].status == 200;
        assert_string_equal(world_reply_header("Access-Control-Allow-Origin"),
                            allowed ? cases[i].origin : "");
        if (!allowed)
            assert_int_equal(world.x.body.len, 0);
        world_send(FG_OPTIONS, "/v1/chat/completions", NULL);
        assert_int_equal(world.x.status, allowed ? 204 : 403);
    }
    world.x.header_count = 0;
    world_header("Origin", "http://localhost");
    world_send(FG_OPTIONS, "/any/thing", NULL);
    assert_int_equal(world.x.status, 204);
    assert_true(strstr(world_reply_header("Access-Control-Allow-Headers"), "x-api-key") != NULL);
    assert_string_equal(world_reply_header("Access-Control-Max-Age"), "43200");
}

static void foreign_hosts_are_refused_on_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        int status;
    } cases[] = {{"localhost:11434", 200}, {"127.0.0.1", 200}, {"[::1]:11434", 200},
                 {"192.168.1.5", 200}, {"box.local", 200}, {"a.internal:80", 200},
                 {"x.localhost", 200}, {"evil.example", 403}, {"evil.example:11434", 403},
                 {"8.8.8.8", 403}, {"[2001:db8::1]", 403}, {".local", 403}, {"local", 403},
                 {"127.0.0.1.evil.example", 403}, {"[::1", 403}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        world.x.header_count = 0;
        world_header("Host", cases[i].host);
        world_send(FG_GET, "/api/version", NULL);
        if (world.x.status != cases[i].status)
            fail_msg("%s: %d", cases[i].host, world.x.status);
    }
}

static void compressed_bodies_are_415(void **state)
{
    (void)state;
    world_header("Content-Encoding", "gzip");
    world_send(FG_POST, "/api/chat", "x");
    assert_int_equal(world.x.status, 415);
}

static void parser_refusals_have_the_dialects_shape(void **state)
{
    (void)state;
    const struct fg_http_handler *h = fg_api_handler(world.api);
    static const struct {
        const char *path, *start;
    } cases[] = {{"/v1/chat/completions", "{\"error\":{\"message\":\"too big\""},
                 {"/api/chat", "{\"error\":\"too big\"}"},
                 {"/v1/messages", "{\"type\":\"error\""},
                 {"", "{\"error\":\"too big\"}"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct fg_buf b = {0};
        h->refusal(h->ctx, 413, fg_str_of(cases[i].path), "too big", &b);
        assert_true(fg_str_starts(fg_buf_str(&b), fg_str_of(cases[i].start)));
        fg_buf_done(&b);
    }
}

static void native_routes_answer(void **state)
{
    (void)state;
    static const int32_t ids[] = {5, 6}, half[] = {7};
    static const struct fg_event tokens[] = {{.kind = FG_EV_TEXT, .tokens = ids, .token_count = 2},
                                             {.kind = FG_EV_DONE}};
    static const struct fg_event pieces[] = {
        {.kind = FG_EV_TEXT, .text = FG_STR("ab"), .tokens = ids, .token_count = 1},
        {.kind = FG_EV_TEXT, .text = FG_STR("\xe2"), .tokens = half, .token_count = 1},
        {.kind = FG_EV_DONE}};
    static const struct fg_event text[] = {{.kind = FG_EV_TEXT, .text = FG_STR("hey")},
                                           {.kind = FG_EV_DONE}};
    world_script(tokens, 2);
    world_send(FG_POST, "/tokenize", "{\"content\":\"x\"}");
    assert_string_equal(world_body(), "{\"tokens\":[5,6]}");
    world_script(pieces, 3);
    world_send(FG_POST, "/tokenize", "{\"content\":\"x\",\"with_pieces\":true}");
    assert_string_equal(world_body(),
                        "{\"tokens\":[{\"id\":5,\"piece\":\"ab\"},{\"id\":7,\"piece\":[226]}]}");
    world_script(text, 2);
    world_send(FG_POST, "/detokenize", "{\"tokens\":[5]}");
    assert_string_equal(world_body(), "{\"content\":\"hey\"}");
    world_send(FG_POST, "/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
    assert_string_equal(world_body(), "{\"prompt\":\"hey\"}");
    world_send(FG_POST, "/detokenize", "{\"tokens\":[\"x\"]}");
    assert_int_equal(world.x.status, 400);
    assert_has("{\"error\":{\"code\":400,\"message\":");
    world_send(FG_GET, "/health", NULL);
    assert_string_equal(world_body(), "{\"status\":\"ok\"}");
    world_send(FG_GET, "/ready", NULL);
    assert_int_equal(world.x.status, 503);
    assert_has("no model");
    world_send(FG_GET, "/metrics", NULL);
    assert_int_equal(world.x.status, 200);
    world_send(FG_GET, "/api/fluxgate/health", NULL);
    assert_has("\"reasons\":[]");
}

static void operators_ask_for_cards_and_reasons(void **state)
{
    (void)state;
    static const char *const good[] = {"model=a%2Fb%3ac", "x=1&model=a/b:c&y", "model=a/b:c"};
    static const char *const bad[] = {
        "", "model", "model=", "Model=smol", "model=%ff", "x=model=smol"};
    world_send(FG_GET, "/api/fluxgate/gpus?history=5", NULL);
    assert_int_equal(world.x.status, 200);
    assert_has("\"gpus\":[]");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char path[100];
        snprintf(path, sizeof path, "/api/fluxgate/explain?%s", good[i]);
        world_send(FG_GET, path, NULL);
        assert_string_equal(world_body(), "{\"model\":\"a/b:c\"}");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[100];
        snprintf(path, sizeof path, "/api/fluxgate/explain?%s", bad[i]);
        world_send(FG_GET, path, NULL);
        assert_int_equal(world.x.status, 400);
    }
    world_send(FG_GET, "/api/fluxgate/explain?model=nope", NULL);
    assert_int_equal(world.x.status, 404);
    assert_has("model 'nope' not found");
    world_send(FG_POST, "/api/fluxgate/gpus", "{}");
    assert_int_equal(world.x.status, 405);
}

static const struct fg_event one_word[] = {
    {.size = sizeof(struct fg_event), .kind = FG_EV_TEXT, .text = {"hi", 2}},
    {.size = sizeof(struct fg_event), .kind = FG_EV_DONE},
};

static void a_model_that_came_lately_is_found_by_one_look(void **state)
{
    (void)state;
    static const char chat[] =
        "{\"model\":\"a/b:c\",\"stream\":false,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    static const char *const roads[] = {"/v1/chat/completions", "/api/chat"};
    world_script(one_word, 2);
    for (int i = 0; i < 2; i++) {
        world.comes_late = true;
        world.looks = 0;
        world_send(FG_POST, roads[i], chat);
        assert_int_equal(world.x.status, 200);
        assert_non_null(strstr(world_body(), "hi"));
        assert_int_equal(world.looks, 1);
        world_send(FG_POST, roads[i], chat); /* known: no look */
        assert_int_equal(world.looks, 1);
    }
    world_send(FG_POST, "/v1/chat/completions", "{\"model\":\"nope\",\"messages\":[]}");
    world_send(FG_GET, "/v1/models/nope", NULL);
    assert_int_equal(world.x.status, 404);
    assert_int_equal(world.looks, 2); /* a bad body is told before; an unknown name looks once */
    world.looks = 0;
    world_send(FG_GET, "/v1/models/a/b:c", NULL);
    assert_int_equal(world.x.status, 200);
    world_send(FG_POST, "/api/show", "{\"model\":\"nope\\\\\"}"); /* fits no grammar */
    assert_int_equal(world.looks, 1);
}

static void a_client_may_leave_while_the_hub_looks(void **state)
{
    (void)state;
    world.look_is_deferred = true;
    world_send(FG_GET, "/api/tags", NULL);
    assert_int_equal(world.x.status, 0);
    world_leave();
    world_look(); /* finds nobody */
    world_send(FG_GET, "/v1/models", NULL);
    assert_int_equal(world.x.status, 0);
    world_look();
    assert_int_equal(world.x.status, 200);
    assert_non_null(strstr(world_body(), "smol:135m"));
    world_leave();
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(t03_the_root_says_it_runs),
        T(t04_the_version_is_dotted_integers),
        T(a_model_that_came_lately_is_found_by_one_look),
        T(a_client_may_leave_while_the_hub_looks),
        T(unknown_routes_answer_in_their_dialect),
        T(wrong_methods_name_the_right_ones),
        T(t24_origins_are_checked_and_preflight_answered),
        T(foreign_hosts_are_refused_on_loopback),
        T(compressed_bodies_are_415),
        T(parser_refusals_have_the_dialects_shape),
        T(native_routes_answer),
        T(operators_ask_for_cards_and_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
