/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of helper/ share:
 *   helper.c    options, the socket, the loop
 *   session.c   what one daemon has asked for: done and undone
 *   names.c     ...of it, DNS: by systemd-resolved or by resolv.conf
 *   drop.c      a client's socket closed without waiting for anything
 *   guard.c     the process that outlives the helper to put resolv.conf back
 *   harden.c    privileges given up at the start
 */
#pragma once

#include <sys/types.h>

#include "base/clock.h"
#include "base/log.h"
#include "privsep/privsep.h"
#include "tun/tun.h"

struct helper_options {
	const char *socket, *state, *resolv_conf;
	unsigned nallow;
	uid_t allow[16]; /* besides root */
};

/* --- guard.c ---------------------------------------------------------------------------------- */

struct guard {
	pid_t pid;  /* 0 = none */
	int socket; /* its other end sees our end */
};

/* One helper at a time owns the state folder, and with it resolv.conf; the guard shares the lock,
 * so a new helper waits for the guard of a killed one. Returns the lock's descriptor, or -EBUSY. */
int guard_lock(const char *state, struct error *e);
/* Returns when the guard is ready. */
int guard_start(struct guard *g, const struct helper_options *o, int lock, struct error *e);
/* Lets it go; what it would have undone is undone already. */
void guard_stop(struct guard *g);

/* --- names.c ---------------------------------------------------------------------------------- */

struct resolved;

struct names {
	enum privsep_dns_way way; /* 0 = none */
	struct privsep_dns *asked;
	unsigned left_out;	   /* of its domains */
	struct guard guard;	   /* of resolv.conf */
	struct resolved *resolved; /* NULL: another way, or the bus is lost */
	nsec_t again_at;	   /* it has to be told again then; 0 = not */
	struct log_limit trouble;
};

struct session;
void session_dns(struct session *s, const struct privsep_dns *q, struct privsep_answer *a,
		 int *fds);
/* systemd-resolved may end and come back, having forgotten all. The descriptor to poll for input, -1 =
 * none; `*wait_ms` is lowered to what poll() may wait. */
int names_poll(const struct session *s, int *wait_ms);
void names_look(struct session *s);
/* Undoes it, before the TUN. 0, 1 when it was left to its new owner, or negative errno. */
int names_undo(struct session *s, struct error *e);

/* --- session.c -------------------------------------------------------------------------------- */

/* What stands now for the daemon that holds the helper. Zero-initialised = nothing. */
struct session {
	const struct helper_options *options;
	int lock;
	char tun[TUN_NAME_LEN]; /* "" = none */
	int tun_fd;		/* a copy: keeps the name ours until it is removed */
	struct ipaddr addr[2];
	struct privsep_routes routes;
	struct names names;
};

/* Each fills the answer (code and text) and up to 4 descriptors that the caller
 * sends and closes. */
void session_tun(struct session *s, const struct privsep_tun *q, struct privsep_answer *a,
		 int *fds);
void session_routes(struct session *s, const struct privsep_routes *q, struct privsep_answer *a);
/* Undoes all; 0, 1 when something was left to its new owner, or the first error. `e` says it when
 * not 0. */
int session_undo(struct session *s, struct error *e);

/* --- drop.c ----------------------------------------------------------------------------------- */

/* Once, at the start: the children of drop() leave no zombies. */
void drop_setup(void);
/* Closes a client's socket, whatever lies in its queue. */
void drop(int fd);

/* --- harden.c --------------------------------------------------------------------------------- */

int harden(struct error *e);
