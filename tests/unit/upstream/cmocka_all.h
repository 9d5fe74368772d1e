/* What cmocka wants to be included before it. */
#ifndef FG_TEST_UPSTREAM_CMOCKA_ALL_H
#define FG_TEST_UPSTREAM_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
