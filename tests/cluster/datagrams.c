/* SPDX-License-Identifier: Apache-2.0 */
/* For a pod: answers each datagram to port 9053 with "pod " and what it said. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

int main(void)
{
	char text[65536] = "pod ";
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(9053)}, from;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof(at)))
		return 1;
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n =
			recvfrom(s, text + 4, sizeof(text) - 4, 0, (struct sockaddr *)&from, &len);

		if (n >= 0)
			sendto(s, text, (size_t)n + 4, 0, (struct sockaddr *)&from, len);
	}
}
