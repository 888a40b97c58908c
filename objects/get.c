/* SPDX-License-Identifier: Apache-2.0 */
/* Members of objects: found, bounded, read. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "objects/internal.h"

const json_t *object_find(const json_t *o, const char *const *keys, size_t n)
{
	for (size_t i = 0; o && i < n && keys[i]; i++)
		o = json_object_get(o, keys[i]);
	return o;
}

const char *object_find_text(const json_t *o, const char *const *keys, size_t n)
{
	const json_t *v = object_find(o, keys, n);
	const char *s = json_string_value(v);

	return s && strlen(s) == json_string_length(v) ? s : "";
}

bool port_name_valid(const char *name)
{
	bool letter = false;

	if (!object_name_valid(name, PORT_NAME_MAX))
		return false;
	for (const char *p = name; *p; p++) {
		if (*p == '.' || *p == '_' || (*p >= 'A' && *p <= 'Z') || !strncmp(p, "--", 2))
			return false;
		letter |= *p >= 'a' && *p <= 'z';
	}
	return letter;
}

static bool control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

int take_text(const json_t *from, const char *key, char *to, size_t size, bool may_lack,
	      struct error *e)
{
	const json_t *v = json_object_get(from, key);
	const char *s = json_string_value(v);

	if ((!v || json_is_null(v)) && may_lack) {
		*to = '\0';
		return 0;
	}
	if (!s || json_string_length(v) >= size || strlen(s) != json_string_length(v) ||
	    (!*s && !may_lack))
		return error_set(e, -EINVAL, "'%s' must be text of 1 to %zu bytes", key, size - 1);
	for (const char *p = s; *p; p++) {
		if (control(*p))
			return error_set(e, -EINVAL, "'%s' has a control character", key);
	}
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

int take_name(const json_t *from, const char *key, char *to, size_t size, struct error *e)
{
	int r = take_text(from, key, to, size, false, e);

	if (r == 0 && !object_name_valid(to, size - 1))
		return error_set(e, -EINVAL,
				 "'%s' must consist of letters, digits, '.', '_' and '-'", key);
	return r;
}

int take_port(const json_t *from, const char *key, uint16_t *to, struct error *e)
{
	const json_t *v = json_object_get(from, key);

	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > UINT16_MAX)
		return error_set(e, -EINVAL, "'%s' must be a port, 1 to 65535", key);
	*to = (uint16_t)json_integer_value(v);
	return 0;
}

void copy_text(char *to, size_t size, const char *from)
{
	size_t len = utf8_fit(from, size - 1);

	for (size_t i = 0; i < len; i++)
		to[i] = control(from[i]) ? ' ' : from[i];
	to[len] = '\0';
}

/* `n` digits at *p, which moves on. -1 when there are fewer. */
static int digits(const char **p, int n)
{
	int v = 0;

	for (; n; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v;
}

static bool skip(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* "Z", or "+01:00" as seconds. */
static bool zone(const char **p, int *offset)
{
	int sign = **p == '-' ? -1 : 1;
	int h, m;

	*offset = 0;
	if (skip(p, 'Z'))
		return true;
	if (!skip(p, '+') && !skip(p, '-'))
		return false;
	h = digits(p, 2);
	if (h < 0 || h > 23 || !skip(p, ':'))
		return false;
	m = digits(p, 2);
	if (m < 0 || m > 59)
		return false;
	*offset = sign * (h * 3600 + m * 60);
	return true;
}

int object_time(const char *text, int64_t *when)
{
	const char *p = text;
	struct tm tm = {.tm_isdst = 0}, day;
	int year, mon, offset;
	time_t t;

	year = digits(&p, 4);
	if (year < 0 || !skip(&p, '-') || (mon = digits(&p, 2)) < 1 || mon > 12 || !skip(&p, '-') ||
	    (tm.tm_mday = digits(&p, 2)) < 1 || (!skip(&p, 'T') && !skip(&p, 't')))
		return -EINVAL;
	tm.tm_hour = digits(&p, 2);
	if (tm.tm_hour < 0 || tm.tm_hour > 23 || !skip(&p, ':'))
		return -EINVAL;
	tm.tm_min = digits(&p, 2);
	if (tm.tm_min < 0 || tm.tm_min > 59 || !skip(&p, ':'))
		return -EINVAL;
	tm.tm_sec = digits(&p, 2);
	if (tm.tm_sec < 0 || tm.tm_sec > 59)
		return -EINVAL;
	if (skip(&p, '.')) {
		if (digits(&p, 1) < 0)
			return -EINVAL;
		while (*p >= '0' && *p <= '9')
			p++;
	}
	if (!zone(&p, &offset) || *p)
		return -EINVAL;
	tm.tm_year = year - 1900;
	tm.tm_mon = mon - 1;
	day = tm;
	t = timegm(&day);
	/* The 30th of February would have become the 1st or 2nd of March. */
	if (day.tm_mon != tm.tm_mon || day.tm_mday != tm.tm_mday)
		return -EINVAL;
	*when = (int64_t)t - offset;
	return 0;
}

void object_time_format(int64_t when, char text[static 21])
{
	/* What the four digits of a year can say: 1000 to 9999. */
	const time_t last = 253402300799, first = -30610224000;
	time_t t = (time_t)when;
	struct tm tm;

	t = t > last ? last : t < first ? first : t;
	gmtime_r(&t, &tm);
	strftime(text, 21, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
