/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks. */
#include "base/clock.h"

#include <time.h>

static nsec_t read_clock(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

nsec_t clock_boot(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

nsec_t clock_real(void)
{
	return read_clock(CLOCK_REALTIME);
}
