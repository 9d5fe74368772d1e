/* Differential check of the JSON reader against jansson, shared by unit and fuzz tests. */
#ifndef FG_TEST_JSON_COMPARE_H
#define FG_TEST_JSON_COMPARE_H

#include "util/str.h"

/* NULL: both agree (or the difference is one we mean); else what they disagree about. */
const char *json_compare(struct fg_str text);
/* Reads text and writes it again with the writer; false when the reader refuses it. */
bool json_rewrite(struct fg_str text, struct fg_buf *out);

#endif
