/* SPDX-License-Identifier: Apache-2.0 */
/* The query that a browser comes back with: what is taken out of it fits, and ends where it should. */
#include "cli/callback.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *target = strndup((const char *)data, size);
	static const size_t sizes[] = {1, 8, 4096};
	char to[4096];

	for (size_t i = 0; target && i < ARRAY_SIZE(sizes); i++) {
		memset(to, 0x7f, sizeof(to));
		if (callback_query(target, "code", to, sizes[i]) && strlen(to) >= sizes[i])
			abort();
		if (sizes[i] < sizeof(to) && to[sizes[i]] != 0x7f)
			abort();
	}
	free(target);
	return 0;
}
