/* Figures of backends as Prometheus text, over backends that this file makes up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "flow/inner.h"

static const char *const names[] = {"cpu", "gpu"};

uint32_t fg_registry_count(const struct fg_registry *r)
{
    (void)r;
    return 2;
}
struct fg_backend_slot *fg_registry_at(const struct fg_registry *r, uint32_t index)
{
    (void)r;
    return (struct fg_backend_slot *)&names[index];
}
const char *fg_backend_name(const struct fg_backend_slot *slot)
{
    return *(const char *const *)(const void *)slot;
}
void fg_backend_metrics(struct fg_backend_slot *slot, fg_metric_visit *visit, void *ctx)
{
    visit(ctx, "tokens_total", "model=\"a\"", strcmp(fg_backend_name(slot), "cpu") ? 3 : 7);
    visit(ctx, "slots", "", 0.5);
    visit(ctx, "bad name", "", 1);
    visit(ctx, "broken", "x=\"1\"} 1\nfaked{y=\"2\"", 1);
    visit(ctx, "open", "x=\"1", 1);
}

static void samples_of_one_name_stand_together(void **state)
{
    (void)state;
    struct fg_hub hub = {0};
    struct fg_buf b = {0};
    assert_true(fg_hub_figures(&hub, &b));
    fg_buf_addc(&b, '\0');
    assert_string_equal(b.ptr,
                        "# HELP fluxgate_plugin_slots as the backend says\n"
                        "# TYPE fluxgate_plugin_slots gauge\n"
                        "fluxgate_plugin_slots{backend=\"cpu\"} 0.5\n"
                        "fluxgate_plugin_slots{backend=\"gpu\"} 0.5\n"
                        "# HELP fluxgate_plugin_tokens_total as the backend says\n"
                        "# TYPE fluxgate_plugin_tokens_total counter\n"
                        "fluxgate_plugin_tokens_total{backend=\"cpu\",model=\"a\"} 7\n"
                        "fluxgate_plugin_tokens_total{backend=\"gpu\",model=\"a\"} 3\n");
    fg_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_of_one_name_stand_together)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
