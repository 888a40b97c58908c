/* SPDX-License-Identifier: Apache-2.0 */
/* Inside transport/: what every kind of transport has, and has to bring. */
#pragma once

#include "transport/transport.h"

/* NULL: nothing to do, or not of this kind. */
struct transport_kind {
	void (*free)(struct transport *t);
	void (*close)(struct transport *t);
	int (*local)(const struct transport *t, union sockaddr_any *sa);
	void (*send)(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		     size_t stride);
	void (*flush)(struct transport *t);
	bool (*full)(const struct transport *t);
	size_t (*mtu)(struct transport *t, const struct path *to);
	void (*rebind)(struct transport *t);
};

struct transport {
	const struct transport_kind *kind;
	uint32_t id;
	const struct transport_ops *ops;
	void *arg;
	struct transport_stats stats;
};
