/* SPDX-License-Identifier: Apache-2.0 */
/* What this laptop's own network has. */
#pragma once

#include "base/addr.h"

bool laptop_has_ipv6(void);
/* On an interface other than `but`; IPv4. */
bool laptop_has_address(const struct ipaddr *a, const char *but);
