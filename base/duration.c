/* SPDX-License-Identifier: Apache-2.0 */
/* duration: numbers with a unit of time. */
#include <string.h>

#include "base/duration.h"

unsigned duration_parse(const char *text, bool bare, unsigned most)
{
	static const char units[] = "smhd";
	static const unsigned seconds[] = {1, 60, 3600, 86400};
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : units;
	unsigned n = 0;

	if (digits < 1 || digits > 9 || !unit || (!text[digits] && !bare) ||
	    (text[digits] && text[digits + 1]))
		return 0;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (unsigned)(text[i] - '0');
	return n <= most / seconds[unit - units] ? n * seconds[unit - units] : 0;
}
