/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two resolv files: the text (resolv.c) and the file on disk (resolv_file.c). */
#pragma once

#include "dns/dns.h"

/* The text that names the stub, made from what was there before. malloc'ed. 0 or -ENOMEM. */
int resolv_render(char **text, size_t *len, const char *before, size_t before_len,
		  const char *const *search, unsigned nsearch, unsigned ndots, const char *backup);
