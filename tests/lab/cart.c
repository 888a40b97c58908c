/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shop: a tiny HTTP server, made to be stopped in a debugger.
 *   cart PORT           the new version, as its developer runs it on the laptop, on 127.0.0.1
 *   cart PORT GREETING  what runs in a pod: serves everybody, and says who it is
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int visits;
static const char *greeting;
static int port = 3000;

/* Where the demo sets its breakpoint. */
__attribute__((noinline)) static int handle_request(const char *path, char *answer, size_t size)
{
	visits++;
	char body[512];
	int n = greeting
			? snprintf(body, sizeof(body), "%s port %d path %s\n", greeting, port, path)
			: snprintf(body, sizeof(body), "hello from the laptop, visit %d, path %s\n",
				   visits, path);
	return snprintf(answer, size,
			"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n,
			body);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
	if (argc > 1)
		port = atoi(argv[1]);
	if (argc > 2) {
		greeting = argv[2];
		sa.sin_addr.s_addr = htonl(INADDR_ANY);
	}
	sa.sin_port = htons((unsigned short)port);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&sa, sizeof(sa)) || listen(s, 64)) {
		perror("cart");
		return 1;
	}
	for (;;) {
		char request[4096], path[256] = "?", answer[1024];
		int c = accept(s, NULL, NULL);
		ssize_t n = read(c, request, sizeof(request) - 1);
		if (n > 0) {
			request[n] = '\0';
			sscanf(request, "%*s %255s", path);
			int len = handle_request(path, answer, sizeof(answer));
			if (write(c, answer, (size_t)len) != len)
				perror("cart");
		}
		close(c);
	}
}
