/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager: the hub in the cluster. Every laptop and agent is its peer; its exit dials the cluster's addresses for laptops;
 * it keeps the intercepts and tells agents the rules. Static platform: workloads come from a file (docs/manager.md).
 */
#pragma once

/* The program: 0 done, 1 failed (said on stderr), 2 wrong usage or configuration. */
int manager_main(int argc, char **argv);
