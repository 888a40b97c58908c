/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on stderr, one each, "LEVEL subject: what happened". Programs log; libraries return
 * codes (debug apart). A line names its subject first: "peer laptop-3: handshake timed out after 5
 * s". Not for the packet path: that counts, and a program logs a counter's first hit by
 * log_limited().
 */
#pragma once

#include "base/clock.h"
#include "base/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Which lines are written; INFO unless set. `name` (static storage) prefixes each line. */
void log_setup(const char *name, enum log_level level);
bool log_enabled(enum log_level level);

void log_error(const char *fmt, ...) printf_like(1, 2);
void log_warn(const char *fmt, ...) printf_like(1, 2);
void log_info(const char *fmt, ...) printf_like(1, 2);
void log_debug(const char *fmt, ...) printf_like(1, 2);

/* At most one line per `every` for one `struct log_limit` (zero-initialised, static or in an
 * object); the next line that gets through says how many were held back. */
struct log_limit {
	nsec_t last;
	unsigned held;
};
void log_limited(struct log_limit *l, nsec_t every, const char *fmt, ...) printf_like(3, 4);
