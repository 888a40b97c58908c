/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that are the same for every kind of transport. */
#include <errno.h>

#include "transport/internal.h"

void transport_free(struct transport *t)
{
	if (t)
		t->kind->free(t);
}

void transport_close(struct transport *t)
{
	if (t->kind->close)
		t->kind->close(t);
}

int transport_local(const struct transport *t, union sockaddr_any *sa)
{
	return t->kind->local ? t->kind->local(t, sa) : -ENOTSUP;
}

const struct transport_stats *transport_stats(const struct transport *t)
{
	return &t->stats;
}

void transport_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		    size_t stride)
{
	if (len && stride)
		t->kind->send(t, to, data, len, stride);
}

void transport_flush(struct transport *t)
{
	if (t->kind->flush)
		t->kind->flush(t);
}

bool transport_full(const struct transport *t)
{
	return t->kind->full && t->kind->full(t);
}

size_t transport_mtu(struct transport *t, const struct path *to)
{
	return t->kind->mtu(t, to);
}

void transport_rebind(struct transport *t)
{
	if (t->kind->rebind)
		t->kind->rebind(t);
}
