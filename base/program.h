/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that run all day have in common: options, and what is set before the loop. */
#pragma once

#include "base/log.h"

/* Before anything of libevent: SIGPIPE, SIGHUP and SIGXFSZ do not end us (nothing is read again on a hang-up; a file
 * size limit is an error like a full disk), the soft limit of descriptors is raised to the hard one, memory_setup(). */
void program_start(void);

/* Of a program that is configured by a file: `--config FILE [--debug]`, `--version`, `--help`. Sets up the log under
 * `name` (static). -1 = go on with *config, else the exit code: what was asked for is printed. */
int program_options(const char *name, const char *usage, int argc, char **argv,
		    const char **config);
