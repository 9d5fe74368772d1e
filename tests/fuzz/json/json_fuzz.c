/* Any bytes: our reader and jansson agree, and what the writer writes is taken again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../unit/json/json_compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_str text = {(const char *)data, size};
    const char *why = json_compare(text);
    struct fg_buf once = {0}, twice = {0};
    if (!why && json_rewrite(text, &once)) {
        if (!json_rewrite(fg_buf_str(&once), &twice))
            why = "our own output is refused";
        else if (!fg_str_eq(fg_buf_str(&once), fg_buf_str(&twice)))
            why = "a copy of a copy differs";
    }
    if (why) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    fg_buf_done(&once);
    fg_buf_done(&twice);
    return 0;
}
