/* SPDX-License-Identifier: Apache-2.0 */
/* For programs built with AddressSanitizer: it keeps 256 MB of freed memory by default, which is more than their pods may have. */

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=16";
}
