/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a record on the helper's socket, read as either end reads it. The first bytes may be
 * made to fit. */
#undef NDEBUG /* the assertions are the test, in release builds too */
#include <assert.h>
#include <sys/socket.h>

#include "privsep/privsep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pads or cuts to exactly `len`, so that the checks behind the size are reached too. */
static void send_padded(int sock, const uint8_t *data, size_t size, size_t len)
{
	static uint8_t buf[MAX(sizeof(struct privsep_answer), sizeof(struct privsep_request))];

	memset(buf, 0, sizeof(buf));
	memcpy(buf, data, MIN(size, len));
	assert(send(sock, buf, len, 0) == (ssize_t)len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct privsep_request q;
	static struct privsep_answer a;
	int end[2], fds[4];
	unsigned nfds;

	if (size == 0 || size > 65536 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, end) < 0)
		return 0;
	assert(send(end[0], data, size, 0) == (ssize_t)size);
	int r = privsep_recv_request(end[1], &q);
	assert(r < 0 || size == sizeof(q));
	send_padded(end[0], data, size, sizeof(q));
	r = privsep_recv_request(end[1], &q);
	assert(r < 0 || q.version == PRIVSEP_VERSION);
	send_padded(end[0], data, size, sizeof(a));
	r = privsep_recv_answer(end[1], &a, fds, &nfds);
	assert(nfds == 0);
	assert(r < 0 ||
	       (a.nfds == 0 && a.nresolvers <= PRIVSEP_RESOLVERS && a.nsearch <= PRIVSEP_SEARCH));
	assert(strlen(a.text) < sizeof(a.text));
	close(end[0]);
	close(end[1]);
	return 0;
}
