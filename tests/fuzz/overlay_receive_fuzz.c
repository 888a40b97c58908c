/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay_receive() of a node with one established peer and an admitting owner.
 *
 * The input is a list of steps: kind (1 byte), length (2 bytes, little endian), that many bytes.
 *   0  a datagram as it is                       3  time passes: first byte times 100 ms
 *   1  a datagram, given the session's index     4  we send the bytes as an inner packet
 *   2  a plaintext, sealed by the peer           5  a handshake message, given a right MAC1
 *   6  our candidates and paths change            7  as 2, in the path slot of the first byte
 * Every step comes from one of two addresses (bit 7 of kind).
 */
#include "overlay/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP_MAX = MSG_TOKEN_MAX_LEN };

static struct identity self, other;
static nsec_t now;
static uint64_t counter; /* of what the peer seals; each slot has its own window */

static void op_send(void *arg, const struct path *path, const uint8_t *data, size_t len)
{
	(void)arg;
	(void)path;
	if (!len || data[0] > MSG_TOKEN)
		abort();
}

static void op_unqueue(void *arg, struct overlay_peer *p, uint8_t *packet, size_t len)
{
	(void)arg;
	(void)p;
	(void)packet;
	if (len > STEP_MAX)
		abort();
}

static struct overlay_peer *op_admit(void *arg, const uint8_t pub[static KEY_LEN],
				     const struct overlay_credential *cred, const struct path *from)
{
	struct overlay_peer *p = NULL;
	(void)from;
	if (cred->claim && !memchr(cred->claim->name, 0, sizeof(cred->claim->name)))
		abort();
	if (cred->token &&
	    (strlen(cred->token) != cred->token_len || !token_valid(cred->token, cred->token_len)))
		abort();
	return overlay_peer_add(*(struct overlay **)arg, &p, pub, NULL, NULL, NULL) ? NULL : p;
}

static nsec_t op_real(void *arg)
{
	(void)arg;
	return now;
}

static struct path path_from(unsigned which)
{
	struct ipaddr ip = ipaddr_v4((const uint8_t[]){10, 0, 0, (uint8_t)(1 + which)});
	return (struct path){.transport = 1, .remote = sockaddr_from(&ip, 5000)};
}

static struct overlay_peer *establish(struct overlay *o)
{
	struct overlay_peer *p = NULL;
	struct prefix v6 = overlay_prefix_of(other.pub),
		      v4 = {.addr = {.family = 4, .b = {10}}, .len = 8};
	struct path path = path_from(0);
	if (overlay_peer_add(o, &p, other.pub, NULL, NULL, NULL) || overlay_route_add(o, &v6, p) ||
	    overlay_route_add(o, &v4, p))
		abort();
	overlay_peer_set_path(p, &path);
	struct keypair *kp = keypair_new(p, true, 0x01020304, now);
	if (!kp)
		abort();
	kp->remote_index = 1;
	keypair_install(p, kp);
	handshake_complete(p, true, now);
	return p;
}

static void receive(struct overlay *o, const struct path *from, const uint8_t *data, size_t len)
{
	struct pkt in = {.data = NULL};
	struct overlay_peer *who = NULL;
	uint8_t *room = calloc(2, AEAD_HEAD + len + AEAD_TAIL);
	if (!room)
		abort();
	uint8_t *copy = room + AEAD_HEAD, *scratch = copy + len + AEAD_TAIL + AEAD_HEAD;
	memcpy(copy, data, len);
	int r = overlay_receive(o, from, copy, len, scratch, &in, &who, now);
	struct ipaddr src, dst;
	if (r && (r != 1 || in.data != scratch || in.len + MSG_DATA_OVERHEAD > len ||
		  ip_addrs(in.data, in.len, &src, &dst) || overlay_route(o, &src) != who))
		abort();
	free(room);
}

static void receive_sealed(struct overlay *o, struct overlay_peer *p, const struct path *from,
			   uint8_t slot, const uint8_t *data, size_t len)
{
	uint8_t in[AEAD_HEAD + STEP_MAX + AEAD_TAIL] = {0};
	uint8_t out[AEAD_HEAD + MSG_DATA_OVERHEAD + STEP_MAX + AEAD_TAIL] = {0},
							       *msg = out + AEAD_HEAD;
	uint64_t full = ++counter | (uint64_t)slot << COUNT_BITS;
	if (!p->current)
		return;
	memcpy(in + AEAD_HEAD, data, len);
	aead_seal(&cipher_sodium, msg + MSG_DATA_HEAD_LEN, in + AEAD_HEAD, len, full,
		  p->current->keys.receive);
	put_le32(msg, MSG_DATA);
	put_le32(msg + 4, p->current->index.value);
	put_le64(msg + 8, full);
	receive(o, from, msg, len + MSG_DATA_OVERHEAD);
}

static void send_inner(struct overlay *o, struct overlay_peer *p, const uint8_t *data, size_t len)
{
	uint8_t in[AEAD_HEAD + STEP_MAX + AEAD_TAIL] = {0};
	uint8_t out[AEAD_HEAD + MSG_DATA_OVERHEAD + STEP_MAX + AEAD_TAIL] = {0};
	struct path path;
	size_t outlen;
	memcpy(in + AEAD_HEAD, data, len);
	if (overlay_seal(o, p, in + AEAD_HEAD, len, out + AEAD_HEAD, &outlen, &path, now) ==
	    -EAGAIN)
		overlay_queue(o, p, data, len, now);
}

static void change_paths(struct overlay *o, struct overlay_peer *p, uint8_t what)
{
	struct path path = path_from(what >> 3 & 7);
	path.transport = 1 + (what >> 6);
	switch (what & 7) {
	case 0:
		overlay_peer_set_path(p, &path);
		break;
	case 1:
		overlay_peer_set_path(p, NULL);
		break;
	case 2:
		overlay_path_remove(o, p, &path, now);
		break;
	case 3:
		overlay_transport_gone(o, path.transport, now);
		break;
	case 4:
		overlay_kick(o, now);
		break;
	case 5:
		overlay_peer_persist(o, p, what & 8, now);
		break;
	default:
		(void)!overlay_path_add(o, p, &path, what >> 3 & 1, now);
	}
}

/* The active path is one of the peer's, no path is there twice, and nothing is due for ever. */
static void check_paths(const struct overlay_peer *p)
{
	struct overlay_path_info all[PEER_PATHS];
	unsigned n = overlay_peer_paths(p, all), active = 0;
	for (unsigned i = 0; i < n; i++) {
		active += all[i].active;
		for (unsigned k = 0; k < i; k++)
			if (path_equal(&all[i].path, &all[k].path))
				abort();
	}
	if (active != (overlay_peer_path(p) != NULL))
		abort();
}

static void step(struct overlay *o, struct overlay_peer *p, uint8_t kind, const uint8_t *data,
		 size_t len)
{
	struct path from = path_from(kind >> 7);
	uint8_t msg[STEP_MAX];
	memcpy(msg, data, len);
	switch (kind & 0x7f) {
	case 0:
		receive(o, &from, data, len);
		break;
	case 1:
		if (len >= 8)
			put_le32(msg + 4,
				 p->current ? p->current->index.value : p->pending.index.value);
		receive(o, &from, msg, len);
		break;
	case 2:
		receive_sealed(o, p, &from, 0, data, len);
		break;
	case 3:
		now += (len ? data[0] : 1) * NSEC_PER_SEC / 10;
		overlay_tick(o, now);
		break;
	case 4:
		send_inner(o, p, data, len);
		break;
	case 5:
		if (len > 2 * MAC_LEN) {
			struct cookie_jar jar;
			cookie_jar_init(&jar, self.pub);
			cookie_add_macs(&jar, msg, len, now);
		}
		receive(o, &from, msg, len);
		break;
	case 6:
		for (size_t i = 0; i < len; i++)
			change_paths(o, p, data[i]);
		break;
	case 7:
		if (len)
			receive_sealed(o, p, &from, data[0], data + 1, len - 1);
		break;
	}
	check_paths(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t priv_self[KEY_LEN] = {8, 1}, priv_other[KEY_LEN] = {8, 2};
	static bool ready;
	if (!ready && (crypto_init() || identity_from_private(&self, priv_self) ||
		       identity_from_private(&other, priv_other)))
		abort();
	ready = true;
	now = 1000 * NSEC_PER_SEC;
	counter = 0;

	struct overlay *o = NULL;
	const struct overlay_ops ops = {
		.send = op_send, .unqueue = op_unqueue, .admit = op_admit, .real = op_real};
	if (overlay_new(&o, &ops, &o, &self, 0))
		abort();
	overlay_seed_jitter(o, 1);
	struct overlay_peer *p = establish(o);
	for (size_t at = 0; at + 3 <= size;) {
		size_t len = data[at + 1] | (size_t)data[at + 2] << 8;
		len = MIN(MIN(len, (size_t)STEP_MAX), size - at - 3);
		step(o, p, data[at], data + at + 3, len);
		at += 3 + len;
	}
	overlay_free(o);
	return 0;
}
