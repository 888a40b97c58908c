/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a program that runs all day. */
#include "base/memory.h"

#include <malloc.h>

enum { FREE_MUCH = 1 << 20 };

void memory_tidy(void)
{
	struct mallinfo2 mi = mallinfo2();
	if (mi.fordblks > FREE_MUCH)
		malloc_trim(0);
}
