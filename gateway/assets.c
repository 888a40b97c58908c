/* SPDX-License-Identifier: Apache-2.0 */
/* The files of web/ inside the binary; CMake lists them. */
#include "gateway/internal.h"

#define ASSET(n, name, path)                                                                       \
	__asm__(".section .rodata\n"                                                               \
		"gateway_asset_" #n ":\n"                                                          \
		".incbin \"" path "\"\n"                                                           \
		"gateway_asset_end_" #n ":\n"                                                      \
		".byte 0\n"                                                                        \
		".previous\n");                                                                    \
	extern const char gateway_asset_##n[], gateway_asset_end_##n[];
#include GATEWAY_ASSETS
#undef ASSET

static const struct {
	const char *name, *start, *end;
} assets[] = {
#define ASSET(n, name, path) {name, gateway_asset_##n, gateway_asset_end_##n},
#include GATEWAY_ASSETS
#undef ASSET
};

const char *asset_find(const char *name, size_t *len)
{
	for (size_t i = 0; i < ARRAY_SIZE(assets); i++) {
		if (!strcmp(assets[i].name, name)) {
			*len = (size_t)(assets[i].end - assets[i].start);
			return assets[i].start;
		}
	}
	return NULL;
}
