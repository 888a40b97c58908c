/* SPDX-License-Identifier: Apache-2.0 */
/* A token before anybody has said that it is true. The first byte chooses: with an audience, or without. */
#include <stdlib.h>
#include <string.h>

#include "manager/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error e = {.text = ""};
	struct jwt j;
	char *copy;

	if (size < 1)
		return 0;
	copy = malloc(size); /* an exact copy, so that a read beyond its end is seen */
	memcpy(copy, data + 1, size - 1);
	if (jwt_read(&j, copy, size - 1, *data & 1 ? "culvert" : NULL, &e)) {
		if (!*e.text)
			abort();
	} else if (!memchr(j.issuer, 0, sizeof(j.issuer)) || !*j.issuer ||
		   (*data & 1 && (!*j.uid || !*j.pod || !*j.ns))) {
		abort();
	}
	free(copy);
	return 0;
}
