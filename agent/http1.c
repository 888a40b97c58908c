/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 connections. */
#include <sys/uio.h>

#include "agent/internal.h"
#include "base/stream.h"

void http1_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n, bool redial)
{
	const struct iovec held[2] = {{.iov_base = (void *)(uintptr_t)first, .iov_len = n}};

	(void)redial;
	if (app)
		capture_join(a, port, client, app, held);
	else
		client->ops->abort(client);
}
