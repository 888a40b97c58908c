/* SPDX-License-Identifier: Apache-2.0 */
/* What lwIP asks of the compiler and the platform. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define LWIP_PLATFORM_BYTESWAP 1
#define LWIP_PLATFORM_HTONS(x) __builtin_bswap16(x)
#define LWIP_PLATFORM_HTONL(x) __builtin_bswap32(x)
#define BYTE_ORDER	       LITTLE_ENDIAN

#define LWIP_PLATFORM_DIAG(x)                                                                      \
	do {                                                                                       \
	} while (0)
/* lwIP asserts its own invariants. A broken one means that memory is not what it believes. */
#define LWIP_PLATFORM_ASSERT(x)                                                                    \
	do {                                                                                       \
		fprintf(stderr, "lwIP: %s (%s:%d)\n", (x), __FILE__, __LINE__);                    \
		abort();                                                                           \
	} while (0)
