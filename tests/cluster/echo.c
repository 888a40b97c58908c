/* SPDX-License-Identifier: Apache-2.0 */
/* echo PORT: sends every UDP datagram back to where it came from. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in self = {.sin_family = AF_INET};
	struct sockaddr_in peer;
	char buf[65536];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	self.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self))) {
		perror("echo");
		return 1;
	}
	for (;;) {
		socklen_t len = sizeof(peer);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len);

		if (n >= 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&peer, len);
	}
}
