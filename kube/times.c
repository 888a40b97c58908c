/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3339 times, as Kubernetes and its plugins write them: 2026-11-23T07:00:00Z, fractions and offsets allowed. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "kube/internal.h"

int kube_time_parse(const char *text, nsec_t *t)
{
	struct tm tm = {.tm_isdst = 0};
	int used = 0, hours = 0, minutes = 0, offset = 0;
	time_t s;

	if (sscanf(text, "%4d-%2d-%2d%*1[Tt]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 ||
	    !used)
		return -EINVAL;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 ||
	    tm.tm_hour < 0 || tm.tm_min < 0 || tm.tm_sec < 0)
		return -EINVAL;
	text += used;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if (*text == '+' || *text == '-') {
		used = 0;
		if (sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || hours < 0 ||
		    minutes < 0 || hours > 23 || minutes > 59)
			return -EINVAL;
		offset = (hours * 60 + minutes) * (*text == '-' ? -60 : 60);
		text += 1 + used;
	} else if (*text == 'Z' || *text == 'z') {
		text++;
	} else {
		return -EINVAL;
	}
	if (*text)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	s = timegm(&tm) - offset;
	if (s < 0)
		return -EINVAL;
	*t = (nsec_t)s * NSEC_PER_SEC;
	return 0;
}
