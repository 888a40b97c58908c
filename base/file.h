/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files: read with a bound, write so that a crash or a full disk leaves the old content. */
#pragma once

#include "base/error.h"

/* Reads all of `path` into *data (malloc'ed, NUL after the end, *len without it); -EFBIG above
 * `max`. */
int file_read(const char *path, size_t max, char **data, size_t *len, struct error *e);

/* Writes to a temporary file beside `path`, fsyncs file and folder, renames. On error `path` is as
 * it was. */
int file_write_atomic(const char *path, const void *data, size_t len, unsigned mode,
		      struct error *e);

/* mkdir -p with `mode` for what it creates; an existing folder is fine. */
int dir_make(const char *path, unsigned mode, struct error *e);
