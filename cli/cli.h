/* SPDX-License-Identifier: Apache-2.0 */
/* cli: what people type and read. One file per command; all work is done by the daemon, asked over
 * rpc. */
#pragma once

/* Exit code: 0 done, 1 it failed (the sentence is on stderr), 2 wrong usage. */
int cli_main(int argc, char **argv);
