/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet half of a TUN. Each packet has a virtio_net_hdr in front: with it the kernel hands out
 * and takes TCP super-packets of up to 64 KiB, and leaves transport checksums to the other side.
 * Inside culvert nobody computes those (base/pkt.h); on the way back to the kernel a packet is
 * marked as "checksum still to be filled in", which a receiving TCP takes as right and a forwarding
 * kernel completes.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "base/ip.h"
#include "tun/tun.h"

enum {
	HEAD = 64,	     /* readable room before a packet, for who seals it in place */
	TAIL = 576,	     /* and after it */
	READS_PER_CALL = 16, /* bad packets skipped before we say "none now" */
	TCP_CHECKSUM = 16,   /* offsets in the transport header */
	UDP_CHECKSUM = 6,
};

struct tun {
	int fd;
	struct tun_stats stats;
	uint8_t buf[HEAD + PKT_MAX + TAIL];
};

int tun_open(struct tun **tp, int fd, struct error *e)
{
	int header = sizeof(struct virtio_net_hdr);
	struct ifreq ifr = {0};
	struct tun *t;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return error_errno(e, -errno, "TUN: not a TUN descriptor");
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_NO_PI))
		return error_set(e, -EINVAL, "TUN %s: made without vnet header", ifr.ifr_name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return error_errno(e, -errno, "TUN %s: vnet header size", ifr.ifr_name);
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_errno(e, -ENOMEM, "TUN %s", ifr.ifr_name);
	t->fd = fd;
	*tp = t;
	return 0;
}

void tun_close(struct tun *t)
{
	if (!t)
		return;
	close(t->fd);
	free(t);
}

int tun_fd(const struct tun *t)
{
	return t->fd;
}

const struct tun_stats *tun_stats(const struct tun *t)
{
	return &t->stats;
}

static bool is_unfragmented_tcp_udp(const struct ip_info *ip)
{
	return !ip->fragment && (ip->proto == IP_PROTO_TCP || ip->proto == IP_PROTO_UDP);
}

/* Makes *pkt of what was read; false = not for us to carry. */
static bool take(const struct virtio_net_hdr *h, uint8_t *data, size_t len, struct pkt *pkt)
{
	struct ip_info ip;
	uint16_t gso = 0;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		gso = h->gso_size;
		if (!gso)
			return false;
		break;
	default:
		return false;
	}
	if (!gso && h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (ip_parse(&ip, data, len))
			return false;
		if (!is_unfragmented_tcp_udp(&ip) && ip_complete_checksum(data, len))
			return false;
	}
	*pkt = (struct pkt){.data = data, .len = (uint32_t)len, .gso = gso};
	return true;
}

int tun_read(struct tun *t, struct pkt *pkt)
{
	for (int i = 0; i < READS_PER_CALL; i++) {
		struct virtio_net_hdr h;
		struct iovec iov[2] = {{.iov_base = &h, .iov_len = sizeof(h)},
				       {.iov_base = t->buf + HEAD, .iov_len = PKT_MAX}};
		ssize_t n = readv(t->fd, iov, 2);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return -EBADFD;
		if ((size_t)n <= sizeof(h) ||
		    !take(&h, t->buf + HEAD, (size_t)n - sizeof(h), pkt)) {
			t->stats.rx_bad++;
			continue;
		}
		t->stats.rx_packets++;
		t->stats.rx_super += pkt->gso != 0;
		return 1;
	}
	return 0;
}

/* Leaves the transport checksum to the kernel:
 * the field holds the folded sum of the pseudo header. */
static bool leave_checksum(struct virtio_net_hdr *h, uint8_t *data, const struct ip_info *ip)
{
	uint16_t field = ip->proto == IP_PROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
	uint32_t l4_len = ip->total - ip->l4;
	uint16_t sum;

	if (l4_len < (ip->proto == IP_PROTO_TCP ? 20U : 8U))
		return false;
	sum = (uint16_t)~ip_fold(ip_pseudo_sum(&ip->src, &ip->dst, ip->proto, l4_len));
	put_be16(data + ip->l4 + field, sum);
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = ip->l4;
	h->csum_offset = field;
	return true;
}

/* The header for a packet on its way to the kernel; false = malformed. */
static bool describe(struct virtio_net_hdr *h, struct pkt *pkt)
{
	struct ip_info ip;
	size_t tcp_len;

	if (ip_parse(&ip, pkt->data, pkt->len) || ip.total != pkt->len)
		return false;
	if (is_unfragmented_tcp_udp(&ip) && !leave_checksum(h, pkt->data, &ip))
		return false;
	if (!pkt->gso)
		return true;

	if (ip.proto != IP_PROTO_TCP || ip.fragment)
		return false;
	tcp_len = (size_t)(pkt->data[ip.l4 + 12] >> 4) * 4;
	if (tcp_len < 20 || ip.l4 + tcp_len > pkt->len)
		return false;
	h->gso_type = ip.src.family == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	/* CWR belongs to the first segment only: the kernel is to know,
	 * where it takes that flag. */
	if (pkt->data[ip.l4 + 13] & TCP_CWR)
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = pkt->gso;
	h->hdr_len = (uint16_t)(ip.l4 + tcp_len);
	return true;
}

void tun_write(struct tun *t, struct pkt *pkt)
{
	struct virtio_net_hdr h = {0};
	struct iovec iov[2] = {{.iov_base = &h, .iov_len = sizeof(h)},
			       {.iov_base = pkt->data, .iov_len = pkt->len}};

	if (!describe(&h, pkt)) {
		t->stats.tx_bad++;
		return;
	}
	if (writev(t->fd, iov, 2) < 0) {
		t->stats.tx_full++;
		return;
	}
	t->stats.tx_packets++;
	t->stats.tx_super += pkt->gso != 0;
}
