/* SPDX-License-Identifier: Apache-2.0 */
/* The glue: overlay/ says what and when, transport/ carries, libevent's loop drives both. */
#include <errno.h>
#include <event2/event.h>
#include <sys/timerfd.h>

#include "node/internal.h"

/* --- timers --- */

/*
 * A timerfd, since libevent's timers stop while the machine sleeps: deadlines are points of
 * CLOCK_BOOTTIME, and those that passed meanwhile are due at the wake-up.
 */
static void set_timer(struct node *n)
{
	nsec_t at = overlay_next(n->overlay);
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / NSEC_PER_SEC),
					       .tv_nsec = (long)(at % NSEC_PER_SEC)}};

	if (at == n->timer_at)
		return;
	n->timer_at = at;
	timerfd_settime(n->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void on_timer(int fd, short what, void *arg)
{
	struct node *n = arg;
	uint64_t expirations;

	(void)what;
	if (read(fd, &expirations, sizeof(expirations)) < 0)
		return;
	n->timer_at = 0;
	overlay_tick(n->overlay, clock_boot());
	node_end_turn(n);
}

static void on_turn_end(int fd, short what, void *arg)
{
	struct node *n = arg;

	(void)fd;
	(void)what;
	n->turn_pending = false;
	node_flush(n);
	carriers_reap(n);
	set_timer(n);
	if (n->writable_due && n->ops->writable) {
		n->writable_due = false;
		n->ops->writable(n->arg);
	}
}

void node_end_turn(struct node *n)
{
	if (n->turn_pending)
		return;
	n->turn_pending = true;
	event_active(n->turn_end, EV_TIMEOUT, 0);
}

void node_tell_writable(struct node *n)
{
	n->writable_due = true;
	node_end_turn(n);
}

/* --- what overlay/ calls --- */

static void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct node *n = arg;
	const struct path *path = overlay_peer_path(p);
	struct carrier *c = path ? carrier_of(n, path) : NULL;

	if (c)
		carrier_prove(c, p);
	if (n->ops->established)
		n->ops->established(n->arg, p, fresh);
}

static void on_away(void *arg, struct overlay_peer *p)
{
	struct node *n = arg;

	if (n->ops->away)
		n->ops->away(n->arg, p);
}

static void on_back(void *arg, struct overlay_peer *p)
{
	struct node *n = arg;

	if (n->ops->back)
		n->ops->back(n->arg, p);
}

static struct overlay_peer *on_admit(void *arg, const uint8_t pub[static KEY_LEN],
				     const struct overlay_credential *cred, const struct path *from)
{
	struct node *n = arg;

	return n->ops->admit ? n->ops->admit(n->arg, pub, cred, from) : NULL;
}

/* Who waited for a stream's queue need not wait on another path. */
static void on_path_changed(void *arg, struct overlay_peer *p)
{
	struct node *n = arg;

	if (n->ops->path_changed)
		n->ops->path_changed(n->arg, p);
	node_tell_writable(n);
}

static void on_sooner(void *arg)
{
	node_end_turn(arg);
}

static void on_stamp(void *arg, nsec_t last)
{
	struct node *n = arg;

	if (n->ops->stamp)
		n->ops->stamp(n->arg, last);
}

static nsec_t on_real(void *arg)
{
	(void)arg;
	return clock_real();
}

static const struct overlay_ops overlay_ops = {
	.send = node_on_send,
	.unqueue = node_on_unqueue,
	.established = on_established,
	.away = on_away,
	.back = on_back,
	.admit = on_admit,
	.path_changed = on_path_changed,
	.sooner = on_sooner,
	.stamp = on_stamp,
	.real = on_real,
};

/* No `unreachable`: an ICMP error is a hint that nobody signed,
 * so timers alone decide about peers. */
static const struct transport_ops transport_ops = {
	.receive = node_on_datagrams,
	.idle = node_on_idle,
};

/* --- life --- */

/* Three buffers in one allocation, each with the room around it that sealing and opening touch. */
static int make_buffers(struct node *n)
{
	enum {
		AROUND = AEAD_HEAD + TAG_LEN + AEAD_TAIL,
		ARENA = ROUND_UP(BATCH_BYTES + DATAGRAM_MAX, 64) + AROUND,
		SEGMENT = ROUND_UP(PKT_MAX, 64) + AROUND,
		RECEIVED = ROUND_UP(TRANSPORT_FRAME_MAX, 64) + AROUND,
	};

	n->memory = calloc(1, ARENA + SEGMENT + RECEIVED);
	if (!n->memory)
		return -ENOMEM;
	n->out.arena = n->memory + AEAD_HEAD;
	n->segment = n->memory + ARENA + AEAD_HEAD;
	n->received = n->memory + ARENA + SEGMENT + AEAD_HEAD;
	return merge_new(&n->merge, node_on_merged, n);
}

static void free_node(struct node **n)
{
	node_free(*n);
}

int node_new(struct node **np, const struct node_config *cfg, const struct node_ops *ops, void *arg,
	     struct error *e)
{
	cleanup(free_node) struct node *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return error_errno(e, -ENOMEM, "node");
	n->ops = ops;
	n->arg = arg;
	n->base = cfg->base;
	n->timer_fd = -1;
	err = make_buffers(n);
	if (!err)
		err = carriers_init(n);
	if (!err)
		err = overlay_new(&n->overlay, &overlay_ops, n, &cfg->identity, cfg->last_stamp);
	if (err)
		return error_errno(e, err, "node");
	if (cfg->cipher)
		overlay_set_cipher(n->overlay, cfg->cipher);
	n->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (n->timer_fd < 0)
		return error_errno(e, -errno, "node: timer");
	n->timer = event_new(cfg->base, n->timer_fd, EV_READ | EV_PERSIST, on_timer, n);
	n->turn_end = event_new(cfg->base, -1, 0, on_turn_end, n);
	if (!n->timer || !n->turn_end || event_add(n->timer, NULL) < 0)
		return error_errno(e, -ENOMEM, "node");
	if (cfg->bind.sa.sa_family) {
		err = transport_udp_new(&n->udp, cfg->base, &cfg->bind, UDP_ID, &transport_ops, n,
					e);
		if (err)
			return err;
	}
	*np = steal_ptr(n);
	return 0;
}

void node_free(struct node *n)
{
	if (!n)
		return;
	node_flush(n);
	carriers_free(n);
	if (n->timer)
		event_free(n->timer);
	if (n->turn_end)
		event_free(n->turn_end);
	close_fd(&n->timer_fd);
	transport_free(n->udp);
	overlay_free(n->overlay);
	merge_free(n->merge);
	free(n->memory);
	free(n);
}

struct overlay *node_overlay(struct node *n)
{
	return n->overlay;
}

int node_local(const struct node *n, union sockaddr_any *sa)
{
	return n->udp ? transport_local(n->udp, sa) : -ENOTSUP;
}

struct path node_udp_path(const struct node *n, const union sockaddr_any *remote)
{
	(void)n;
	return (struct path){.transport = UDP_ID, .remote = *remote};
}

void node_kick(struct node *n)
{
	if (n->udp)
		transport_rebind(n->udp);
	overlay_kick(n->overlay, clock_boot());
	node_end_turn(n);
}

const struct node_stats *node_stats(const struct node *n)
{
	return &n->stats;
}

struct transport *node_transport(const struct node *n, const struct path *path)
{
	struct carrier *c;

	if (path->transport == UDP_ID)
		return n->udp;
	c = carrier_of(n, path);
	return c ? c->transport : NULL;
}

bool node_ready(const struct node *n, const struct overlay_peer *p)
{
	const struct path *path = overlay_peer_path(p);
	const struct transport *t = path ? node_transport(n, path) : NULL;

	return !t || !transport_full(t);
}
