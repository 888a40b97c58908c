/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz entry over every file of a corpus folder; fails when the folder is empty, so that it
 * cannot pass by accident. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path)
{
	cleanup(free_ptr) char *data = NULL;
	struct error e;
	size_t len;
	if (file_read(path, 1 << 24, &data, &len, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	/* A copy of the exact size, so that ASan sees a read past the end. */
	cleanup(free_ptr) uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		return -1;
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		for (struct dirent *d; (d = readdir(dir));) {
			char path[4096];
			snprintf(path, sizeof(path), "%s/%s", argv[i], d->d_name);
			struct stat st;
			if (stat(path, &st) || !S_ISREG(st.st_mode))
				continue;
			if (replay(path))
				return 1;
			count++;
		}
		closedir(dir);
	}
	printf("%u inputs replayed\n", count);
	return count ? 0 : 1;
}
