/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines on stderr; one write(2) each, so that lines of several processes do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static const char *log_name = "culvert";
static enum log_level log_level = LOG_LEVEL_INFO;

static const char *const level_str[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_setup(const char *name, enum log_level level)
{
	log_name = name;
	log_level = level;
}

bool log_enabled(enum log_level level)
{
	return level <= log_level;
}

static void vlog(enum log_level level, const char *fmt, va_list ap)
{
	if (!log_enabled(level))
		return;
	struct timespec ts;
	struct tm tm;
	char line[2048];
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000,
			      log_name, level_str[level]);
	int m = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	n = MIN(n + (size_t)MAX(m, 0), sizeof(line) - 2);
	/* Names come from others: none may begin a line of its own or steer a terminal. */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	ssize_t ignored = write(STDERR_FILENO, line, n);
	(void)ignored;
}

#define LOG_FUNCTION(name, level)                                                                  \
	void name(const char *fmt, ...)                                                            \
	{                                                                                          \
		va_list ap;                                                                        \
		va_start(ap, fmt);                                                                 \
		vlog(level, fmt, ap);                                                              \
		va_end(ap);                                                                        \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

void log_limited(struct log_limit *l, nsec_t every, const char *fmt, ...)
{
	nsec_t now = clock_boot();
	if (l->last && now - l->last < every) {
		l->held++;
		return;
	}
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (l->held)
		log_warn("%s (and %u more like it)", line, l->held);
	else
		log_warn("%s", line);
	l->last = now;
	l->held = 0;
}
