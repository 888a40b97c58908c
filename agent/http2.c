/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 connections: joined with the application. */
#include <sys/uio.h>

#include "agent/internal.h"
#include "base/stream.h"

void http2_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n)
{
	const struct iovec held[2] = {{.iov_base = (void *)(uintptr_t)first, .iov_len = n}};

	if (app)
		capture_join(a, port, client, app, held);
	else
		client->ops->abort(client);
}
