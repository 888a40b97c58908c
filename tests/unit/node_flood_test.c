/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that prove nothing: who opens many makes room for them himself. */
#include "node_sides.h"

#include <sys/resource.h>

#include "thin_stream.h"

static int far_end[2 * NODE_UNPROVEN];

static struct path open_from(unsigned i, const struct ipaddr *from)
{
	struct error e = {0};
	struct path path;
	struct thin *t;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	far_end[i] = fd[1];
	t = thin_new(base, fd[0]);
	if (node_add_stream(a.node, &t->s, from, &path, &e))
		fail_msg("%s", e.text);
	carriers_reap(a.node);
	return path;
}

static void a_flood_takes_no_place_of_others(void **state)
{
	const struct ipaddr flood = ipaddr_v4((const uint8_t[]){10, 244, 0, 66});
	const struct ipaddr good = ipaddr_v4((const uint8_t[]){172, 18, 0, 2});
	struct path early, late, first, last;

	(void)state;
	early = open_from(0, &good);
	first = open_from(1, &flood);
	for (unsigned i = 2; i < NODE_UNPROVEN; i++)
		open_from(i, &flood);
	assert_non_null(node_path_stats(a.node, &first));
	late = open_from(NODE_UNPROVEN, &good);
	assert_null(node_path_stats(a.node, &first));
	for (unsigned i = NODE_UNPROVEN + 1; i < ARRAY_SIZE(far_end); i++)
		last = open_from(i, &flood);
	assert_int_equal(a.node->n_unproven, NODE_UNPROVEN);
	assert_non_null(node_path_stats(a.node, &early));
	assert_non_null(node_path_stats(a.node, &late));
	assert_non_null(node_path_stats(a.node, &last));
	for (unsigned i = 0; i < ARRAY_SIZE(far_end); i++)
		close(far_end[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_flood_takes_no_place_of_others)};
	struct rlimit files;
	int r;

	if (crypto_init())
		return 1;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	base = event_base_new();
	make_side(&a, NULL);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	node_free(a.node);
	event_base_free(base);
	return r;
}
