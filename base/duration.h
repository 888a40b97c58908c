/* SPDX-License-Identifier: Apache-2.0 */
/* A time as people write it, on command lines and in configurations. */
#pragma once

#include <stdbool.h>

#define DURATION_YEAR (366u * 86400u)

/* "90s", "10m", "24h", "7d" in seconds, 1 to `most`; a number without a unit is seconds if `bare`. 0 = none of that. */
unsigned duration_parse(const char *text, bool bare, unsigned most);
