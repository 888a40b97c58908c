/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences for the user, wrapped with context on the way up. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *e, int code, const char *fmt, ...)
{
	if (!e)
		return code;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

int error_errno(struct error *e, int code, const char *fmt, ...)
{
	if (!e)
		return code;
	char what[sizeof(e->text) / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return error_set(e, code, "%s: %s", what, strerror(-code));
}

int error_wrap(struct error *e, int code, const char *fmt, ...)
{
	if (!e)
		return code;
	struct error inner = *e;
	char context[sizeof(e->text) / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	size_t room = sizeof(e->text) - strlen(context) - sizeof(": ");
	return error_set(e, code, "%s: %.*s", context, (int)room, inner.text);
}
