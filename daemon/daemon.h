/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon: the laptop's member of the overlay, run as the user without any capability. It takes
 * orders from the command line over a Unix socket of its user (docs/control.md), and asks
 * culvert-helper for what needs root.
 */
#pragma once

/* argv[0] is "daemon". Serves until `quit`, SIGTERM or SIGINT; the exit code of the program. */
int daemon_main(int argc, char **argv);
