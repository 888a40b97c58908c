/* SPDX-License-Identifier: Apache-2.0 */
/*
 * helper: the only part of culvert that is root. It makes what a daemon (the user) asks for by
 * privsep's messages, as long as that daemon's socket is open, and undoes it then, whatever the
 * reason. Its own SIGKILL leaves nothing either:
 *   TUN, addresses, routes   go with the TUN's last descriptor (the daemon closes its copy when the
 *                            helper is gone)
 *   /etc/resolv.conf         is put back by the guard, a small process that waits for the helper's
 *                            end
 * It parses nothing but fixed-size structs, and no byte from the network.
 */
#pragma once

/* culvert-helper [--socket PATH] [--allow USER|UID]... [--state DIR] [--resolv-conf PATH].
 * Returns the exit status. */
int helper_main(int argc, char **argv);
