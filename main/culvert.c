/* SPDX-License-Identifier: Apache-2.0 */
/* culvert: the command line, and with `culvert daemon` the daemon. */
#include <string.h>

#include "cli/cli.h"
#include "daemon/daemon.h"

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "daemon"))
		return daemon_main(argc - 1, argv + 1);
	return cli_main(argc, argv);
}
