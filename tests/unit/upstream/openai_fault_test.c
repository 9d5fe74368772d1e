/* Error answers of servers and of the proxies before them. */
#include "cmocka_all.h"

#include "upstream/openai.h"

static void each_error_has_its_status(void **state)
{
    static const struct {
        int32_t http;
        const char *body;
        int32_t status;
        bool is_server, wants_pause;
        const char *words;
    } all[] = {
        {400, "{\"error\":{\"message\":\"bad top_k\"}}", FG_INVALID, false, false, "bad top_k"},
        {422, "{\"detail\":\"nope\"}", FG_INVALID, false, false, "nope"},
        {400, "{\"object\":\"error\",\"message\":\"flat\",\"code\":400}", FG_INVALID, false, false,
         "flat"},
        {401, "{\"error\":{\"message\":\"Incorrect API key provided: sk-secret\"}}", FG_INTERNAL,
         false, false, "api_key"},
        {403, "", FG_INTERNAL, false, false, "HTTP 403"},
        {404, "{\"error\":{\"message\":\"no model m\"}}", FG_NOT_FOUND, false, false, "no model m"},
        {404, "<html>", FG_NOT_FOUND, false, false, "HTTP 404"},
        {405, "", FG_INTERNAL, false, false, "HTTP 405"},
        {413, "", FG_INVALID, false, false, "HTTP 413"},
        {429, "{\"error\":{\"message\":\"slow down\"}}", FG_BUSY, false, true, "slow down"},
        {429, "{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}", FG_INTERNAL, false,
         false, "quota"},
        {302, "", FG_INTERNAL, false, false, "base_url"},
        {500, "{\"error\":\"oops\"}", FG_DEVICE_LOST, true, false, "oops"},
        {501, "", FG_UNSUPPORTED, false, false, "HTTP 501"},
        {502, "<html>bad gateway</html>", FG_DEVICE_LOST, true, false, "HTTP 502"},
        {503, "", FG_DEVICE_LOST, true, false, "HTTP 503"},
        {504, "", FG_DEVICE_LOST, true, false, "HTTP 504"},
        {529, "{\"error\":{}}", FG_BUSY, false, true, "HTTP 529"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_fault f = {0};
        fg_openai_fault(all[i].http, fg_str_of(all[i].body), &f);
        if (f.status != all[i].status || f.wants_pause != all[i].wants_pause ||
            !strstr(f.text, all[i].words) || strstr(f.text, "sk-secret"))
            fail_msg("%d %s: status %d, \"%s\"", all[i].http, all[i].body, f.status, f.text);
        assert_int_equal(f.is_server, all[i].is_server);
    }
}

static void a_prompt_too_long_tells_its_length(void **state)
{
    static const struct {
        int32_t http;
        const char *body;
        uint32_t tokens;
    } all[] = {
        {400,
         "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. "
         "However, your messages resulted in 9001 tokens.\",\"code\":"
         "\"context_length_exceeded\"}}",
         9001},
        {400,
         "{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context "
         "size\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":70,\"n_ctx\":64}}",
         70},
        {500, "{\"error\":\"input exceeds context window\"}", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fg_fault f = {0};
        fg_openai_fault(all[i].http, fg_str_of(all[i].body), &f);
        assert_int_equal(f.status, FG_TOO_LONG);
        assert_int_equal(f.prompt_tokens, all[i].tokens);
        assert_false(f.is_server);
    }
}

static void hostile_bodies_stay_short_and_clean(void **state)
{
    char body[4000];
    struct fg_fault f = {0};
    (void)state;
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"message\":\"a\\r\\nb\\u0007", 22);
    memcpy(body + sizeof body - 2, "\"}", 2);
    fg_openai_fault(400, (struct fg_str){body, sizeof body}, &f);
    assert_int_equal(f.status, FG_INVALID);
    assert_true(strlen(f.text) < 252);
    assert_null(strpbrk(f.text, "\r\n\a"));
    fg_openai_fault(500, (struct fg_str){"{\"error\":{\"error\":{\"error\":{", 29}, &f);
    assert_int_equal(f.status, FG_DEVICE_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_error_has_its_status),
        cmocka_unit_test(a_prompt_too_long_tells_its_length),
        cmocka_unit_test(hostile_bodies_stay_short_and_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
