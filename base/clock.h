/* SPDX-License-Identifier: Apache-2.0 */
/* Time. All protocol code takes `now` as a parameter; only programs and node/ read a clock. */
#pragma once

#include <stdint.h>

/* Nanoseconds. As a point in time: of CLOCK_BOOTTIME, which goes on during sleep;
 * 0 = never/unset. */
typedef uint64_t nsec_t;

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

nsec_t clock_boot(void);
/* Nanoseconds since 1970 UTC, for stamps that leave the machine (TAI64N, expiry, records). */
nsec_t clock_real(void);
