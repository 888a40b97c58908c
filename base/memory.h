/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a program that runs all day. */
#pragma once

/* Once, before anything of libevent is used: its record of each descriptor, which it keeps for ever, gets a place of its
 * own. In the heap each would hold a page among the memory of the connection it was made for. The heap keeps
 * some MiB at its end, for buffers that come and go. */
void memory_setup(void);

/* Gives memory that lies free in the heap back to the kernel, when it is much: after a burst of connections glibc
 * would keep it for ever. To be called every few seconds, or some seconds after the last connection ended; not from the
 * data path. */
void memory_tidy(void);
