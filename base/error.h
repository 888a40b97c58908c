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

/*
 * error_set: sets the sentence. error_errno: "fmt: strerror(-code)". error_wrap: puts "fmt: " in front of the sentence
 * that is there. Each returns `code`, so `return error_set(e, -EINVAL, "...")` works; macros, so that a static
 * analyser sees which code that is.
 */
#define error_set(e, code, ...)	  error_with(error_fill, e, code, __VA_ARGS__)
#define error_errno(e, code, ...) error_with(error_fill_errno, e, code, __VA_ARGS__)
#define error_wrap(e, code, ...)  error_with(error_fill_wrap, e, code, __VA_ARGS__)

#define error_with(fill, e, code, ...)                                                             \
	({                                                                                         \
		int error_code_ = (code);                                                          \
		fill(e, error_code_, __VA_ARGS__);                                                 \
		error_code_;                                                                       \
	})
void error_fill(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);
void error_fill_errno(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);
void error_fill_wrap(struct error *e, int code, const char *fmt, ...) printf_like(3, 4);
