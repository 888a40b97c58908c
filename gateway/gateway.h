/* SPDX-License-Identifier: Apache-2.0 */
/* gateway: the program that lets visitors in to previews, and serves the dashboard (docs/previews.md). */
#pragma once

int gateway_main(int argc, char **argv);
