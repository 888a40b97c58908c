/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: stands before an application's ports, passes connections through, and sends those an intercept
 * names over the overlay to a laptop. It comes up and passes traffic whatever the state of manager and network.
 */
#pragma once

/* The program: 0 done, 1 failed (said on stderr), 2 wrong usage or configuration. */
int agent_main(int argc, char **argv);
