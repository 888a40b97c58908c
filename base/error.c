/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences for the user, wrapped with context on the way up. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

enum { HALF = sizeof(((struct error *)0)->text) / 2 };

void error_fill(struct error *e, int code, const char *fmt, ...)
{
	(void)code;
	if (!e)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
}

void error_fill_errno(struct error *e, int code, const char *fmt, ...)
{
	if (!e)
		return;
	char what[HALF];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(e->text, sizeof(e->text), "%s: %s", what, strerror(-code));
}

void error_fill_wrap(struct error *e, int code, const char *fmt, ...)
{
	(void)code;
	if (!e)
		return;
	struct error inner = *e;
	char context[HALF];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	size_t room = sizeof(e->text) - strlen(context) - sizeof(": ");
	snprintf(e->text, sizeof(e->text), "%s: %.*s", context, (int)room, inner.text);
}
