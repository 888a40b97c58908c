/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that run all day have in common. */
#include "base/program.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/memory.h"

void program_start(void)
{
	struct rlimit l;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* Each connection is a descriptor; the soft limit is 1024 for the sake of select(2), which nobody here uses. */
	if (!getrlimit(RLIMIT_NOFILE, &l)) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	memory_setup();
}

int program_options(const char *name, const char *usage, int argc, char **argv, const char **config)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"debug", no_argument, NULL, 'd'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	enum log_level level = LOG_LEVEL_INFO;
	int c;

	*config = NULL;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			*config = optarg;
			break;
		case 'd':
			level = LOG_LEVEL_DEBUG;
			break;
		case 'v':
			printf("%s %s\n", name, CULVERT_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!*config || optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	log_setup(name, level);
	return -1;
}
