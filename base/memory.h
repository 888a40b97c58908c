/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a program that runs all day. */
#pragma once

/* Gives memory that lies free in the heap back to the kernel, when it is much: after a burst of
 * connections glibc would keep it for ever. To be called every few seconds; not from the data
 * path. */
void memory_tidy(void);
