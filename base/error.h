/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors of the control path carry a sentence that the user will read.
 *
 * Functions return 0, a negative errno (passed up unchanged) or a positive code of the module's own
 * enum (the caller must handle it). Where a `struct error *` is a parameter it is filled whenever
 * the result is not 0; NULL is allowed. The sentence names the subject and the cause, and ends with
 * the remedy where there is one; no trailing newline. It is printed once, at the top. The data path
 * has no strings: it counts.
 */
#pragma once

#include "base/util.h"

struct error {
	char text[1024];
};

/* Set the sentence; returns `code`, so `return error_set(e, -EINVAL, "...")` works. */
int error_set(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);

/* Set "fmt: strerror(-code)". */
int error_errno(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);

/* Put "fmt: " in front of the sentence that is there; returns `code`. */
int error_wrap(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);
