/* SPDX-License-Identifier: Apache-2.0 */
/* resolv.conf: its text, and that it comes back exactly, from whatever it was and whatever
 * happened. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "dns/dns.h"
#include "private_net.h"

static char folder[32], path[64], state[64];

static const char laptop[] = "# made by hand\n"
			     "nameserver 192.0.2.1\n"
			     "nameserver fd00::53\n"
			     "search corp.example lan\n"
			     "options edns0 ndots:2\n";

static const char *const search[] = {"shop.svc.cluster.local", "svc.cluster.local",
				     "cluster.local"};

static int install(struct resolv_conf *before, struct error *e)
{
	return resolv_install(path, state, search, 3, 5, before, e);
}

static void put(const char *file, const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void assert_content(const char *file, const char *text)
{
	char *data;
	size_t len;

	assert_int_equal(file_read(file, 1 << 20, &data, &len, NULL), 0);
	assert_string_equal(data, text);
	free(data);
}

static bool names_the_stub(void)
{
	char *data;
	size_t len;

	assert_int_equal(file_read(path, 1 << 20, &data, &len, NULL), 0);
	bool names = strstr(data, "nameserver " DNS_STUB_ADDR "\n");
	free(data);
	return names;
}

static void assert_no_backup(void)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/resolv.conf.ours", state);
	assert_int_equal(access(file, F_OK), -1);
	snprintf(file, sizeof(file), "%s/resolv.conf.before", state);
	assert_int_equal(access(file, F_OK), -1);
}

static int fresh(void **test)
{
	(void)test;
	if (private_folder(folder, "1m") < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/etc/resolv.conf", folder);
	snprintf(state, sizeof(state), "%s/state", folder);
	return mkdir(strcat(strcpy((char[64]){0}, folder), "/etc"), 0755);
}

static int done(void **test)
{
	(void)test;
	private_folder_end(folder);
	return 0;
}

/* --- the text --------------------------------------------------------------------------------- */

static void text_is_read(void **test)
{
	static const char text[] = "nameserver 192.0.2.1 # comment\n"
				   "  nameserver\tfe80::1%lo\n"
				   "nameserver nonsense\n"
				   "nameserver " DNS_STUB_ADDR "\n"
				   "domain one.example\n"
				   "search two.example three.example\n"
				   "nameserver 192.0.2.3\n"
				   "nameserver 192.0.2.4"; /* a fourth, and no newline */
	struct resolv_conf rc;

	(void)test;
	resolv_parse(&rc, text, sizeof(text) - 1);
	char buf[ADDR_STRLEN];
	assert_int_equal(rc.nresolvers, 3);
	assert_string_equal(sockaddr_format(&rc.resolver[0], buf), "192.0.2.1:53");
	assert_int_equal(rc.resolver[1].in6.sin6_scope_id, if_nametoindex("lo"));
	assert_string_equal(sockaddr_format(&rc.resolver[2], buf), "192.0.2.3:53");
	assert_int_equal(rc.nsearch, 2);
	assert_string_equal(rc.search[0], "two.example");
	resolv_parse(&rc, "", 0);
	assert_int_equal(rc.nresolvers + rc.nsearch, 0);
}

static void nsswitch_says_who_is_asked(void **test)
{
	(void)test;
	assert_true(
		nsswitch_resolves("passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n"));
	assert_true(nsswitch_resolves(" hosts:\tmymachines resolve"));
	assert_false(nsswitch_resolves("hosts: files dns\nnetworks: resolve\n"));
	assert_false(nsswitch_resolves("#hosts: resolve\nhosts: files #resolve\n"));
	assert_false(nsswitch_resolves("hosts: files resolved\n"));
	assert_false(nsswitch_resolves(""));
}

/* Programs ask systemd-resolved when resolv.conf names nobody else. */
static void resolv_conf_says_who_is_asked(void **test)
{
	bool by_nss = resolved_is_asked("/nowhere"); /* this machine's nsswitch.conf */

	(void)test;
	put(path, "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
	assert_true(resolved_is_asked(path));
	put(path, "nameserver 127.0.0.54\n");
	assert_true(resolved_is_asked(path));
	put(path, "nameserver 127.0.0.53\nnameserver 192.0.2.1\n");
	assert_int_equal(resolved_is_asked(path), by_nss);
	put(path, laptop);
	assert_int_equal(resolved_is_asked(path), by_nss);
	put(path, "");
	assert_int_equal(resolved_is_asked(path), by_nss);
	unlink(path);
	assert_int_equal(resolved_is_asked(path), by_nss);
}

static void text_is_written(void **test)
{
	struct resolv_conf before, after;
	struct error e;
	char *data;
	size_t len;

	(void)test;
	put(path, laptop);
	assert_int_equal(install(&before, &e), 0);
	assert_int_equal(before.nresolvers, 2);
	assert_int_equal(before.nsearch, 2);
	assert_int_equal(file_read(path, 1 << 20, &data, &len, NULL), 0);
	assert_non_null(strstr(
		data,
		"\nnameserver " DNS_STUB_ADDR "\n"
		"search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lan\n"
		"options edns0 ndots:2\n"
		"options ndots:5\n"));
	assert_non_null(strstr(data, "# Written by culvert-helper"));
	resolv_parse(&after, data, len);
	assert_int_equal(after.nresolvers, 0); /* the stub is nobody's resolver but the programs' */
	free(data);
	assert_int_equal(resolv_restore(path, state, &e), 0);
}

static void domains_cannot_smuggle(void **test)
{
	static const char *const bad[] = {"a b", "a\nnameserver 192.0.2.66", "", ".", "a\t", "-x",
					  "a;b"};
	struct resolv_conf before;
	struct error e;

	(void)test;
	put(path, laptop);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(resolv_install(path, state, &bad[i], 1, 0, &before, &e), -EINVAL);
	assert_content(path, laptop);
	assert_no_backup();
}

/* --- there and back --------------------------------------------------------------------------- */

static void plain_file_comes_back(void **test)
{
	struct resolv_conf before;
	struct error e;
	struct stat st;

	(void)test;
	put(path, laptop);
	chmod(path, 0640);
	bool chowned = chown(path, 12, 34) == 0; /* not in a user namespace */
	assert_int_equal(install(&before, &e), 0);
	assert_true(names_the_stub());
	stat(path, &st);
	assert_int_equal(st.st_mode & 07777, 0644); /* every program must be able to read it */
	stat(state, &st);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(install(&before, &e), -EBUSY);

	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_content(path, laptop);
	stat(path, &st);
	assert_int_equal(st.st_mode & 07777, 0640);
	if (chowned) {
		assert_int_equal(st.st_uid, 12);
		assert_int_equal(st.st_gid, 34);
	}
	assert_no_backup();
	assert_int_equal(resolv_restore(path, state, &e), 0); /* nothing to do */
	assert_content(path, laptop);
}

static void link_comes_back_as_a_link(void **test)
{
	struct resolv_conf before;
	struct error e;
	char target[128], text[64] = "";

	(void)test;
	snprintf(target, sizeof(target), "%s/stub-resolv.conf", folder);
	put(target, laptop);
	assert_int_equal(symlink("../stub-resolv.conf", path), 0);
	assert_int_equal(install(&before, &e), 0);
	assert_int_equal(before.nresolvers, 2);
	assert_true(names_the_stub());
	assert_content(target, laptop); /* its owner's file is not touched */
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_int_equal(readlink(path, text, sizeof(text) - 1),
			 (int)strlen("../stub-resolv.conf"));
	assert_string_equal(text, "../stub-resolv.conf");
	assert_no_backup();

	/* A link to nowhere is a resolv.conf too. */
	unlink(target);
	assert_int_equal(install(&before, &e), 0);
	assert_int_equal(before.nresolvers, 0);
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_true(readlink(path, text, sizeof(text) - 1) > 0);
}

static void nothing_comes_back_as_nothing(void **test)
{
	struct resolv_conf before;
	struct error e;

	(void)test;
	assert_int_equal(install(&before, &e), 0);
	assert_true(names_the_stub());
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_no_backup();
}

static void mount_point_is_written_in_place(void **test)
{
	struct resolv_conf before;
	struct error e;
	struct stat was, now;
	char source[128];

	(void)test;
	snprintf(source, sizeof(source), "%s/of-the-namespace", folder);
	put(source, laptop);
	chmod(source, 0604);
	put(path, "hidden below\n");
	assert_int_equal(mount(source, path, NULL, MS_BIND, NULL), 0);
	stat(path, &was);
	assert_int_equal(install(&before, &e), 0);
	assert_true(names_the_stub());
	stat(path, &now);
	assert_int_equal(was.st_ino, now.st_ino);
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_content(path, laptop);
	stat(path, &now);
	assert_int_equal(now.st_mode & 07777, 0604);
	assert_int_equal(umount(path), 0);
	assert_content(path, "hidden below\n");
	/* Nothing is left beside it. */
	snprintf(source, sizeof(source), "%s.culvert-new", path);
	assert_int_equal(access(source, F_OK), -1);
}

/* Else it would read our file and ask the stub, which would ask it. */
static void servers_behind_resolved_are_asked(void **test)
{
	struct resolv_conf before;
	struct error e;
	char buf[ADDR_STRLEN];

	(void)test;
	assert_int_equal(mount("none", "/run", "tmpfs", 0, "size=64k"), 0); /* of our own */
	assert_int_equal(mkdir("/run/systemd", 0755), 0);
	assert_int_equal(mkdir("/run/systemd/resolve", 0755), 0);
	put(path, "nameserver 127.0.0.53\nsearch lan\n");
	assert_int_equal(install(&before, &e), 0); /* without its file: as it is */
	assert_string_equal(sockaddr_format(&before.resolver[0], buf), "127.0.0.53:53");
	assert_int_equal(resolv_restore(path, state, &e), 0);

	put("/run/systemd/resolve/resolv.conf",
	    "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch .\n");
	assert_int_equal(install(&before, &e), 0);
	assert_int_equal(before.nresolvers, 2);
	assert_string_equal(sockaddr_format(&before.resolver[1], buf), "192.0.2.2:53");
	assert_string_equal(before.search[0], "lan");
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_int_equal(umount("/run"), 0);
}

static void foreign_change_is_left_alone(void **test)
{
	struct resolv_conf before;
	struct error e = {""};
	char text[64];

	(void)test;
	put(path, laptop);
	assert_int_equal(install(&before, &e), 0);
	put(path, "nameserver 203.0.113.9\n"); /* a VPN client, say */
	assert_int_equal(resolv_restore(path, state, &e), 1);
	assert_non_null(strstr(e.text, "somebody else"));
	assert_content(path, "nameserver 203.0.113.9\n");
	assert_no_backup();

	assert_int_equal(install(&before, &e), 0);
	unlink(path);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(resolv_restore(path, state, &e), 1);
	assert_true(readlink(path, text, sizeof(text)) > 0);
	assert_no_backup();
}

/* The states in which power may fail, made by hand in the order of resolv_install(). */
static void every_crash_is_recovered_from(void **test)
{
	struct resolv_conf before;
	struct error e;
	char file[128], *ours;
	size_t len;

	(void)test;
	put(path, laptop);
	assert_int_equal(install(&before, &e), 0);
	assert_int_equal(file_read(path, 1 << 20, &ours, &len, NULL), 0);
	assert_int_equal(resolv_restore(path, state, &e), 0); /* after the last step: as always */
	assert_content(path, laptop);

	snprintf(file, sizeof(file), "%s/resolv.conf.before", state);
	put(file, laptop); /* after the first */
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_content(path, laptop);
	assert_no_backup();

	put(file, laptop); /* after the second: the file is not changed yet */
	snprintf(file, sizeof(file), "%s/resolv.conf.ours", state);
	put(file, ours);
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_content(path, laptop);
	assert_no_backup();

	put(file, ours); /* and a change where there was nothing before */
	put(path, ours);
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_int_equal(access(path, F_OK), -1);
	free(ours);
}

/* Fills the file system but for `spare` bytes. */
static void fill(size_t spare)
{
	char file[128];
	static char block[4096];

	snprintf(file, sizeof(file), "%s/filler", folder);
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	off_t size = 0;
	while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
		size += (off_t)sizeof(block);
	assert_int_equal(ftruncate(fd, MAX(size - (off_t)spare, 0)), 0);
	close(fd);
}

static void full_disk_changes_nothing(void **test)
{
	struct resolv_conf before;
	struct error e;

	(void)test;
	mkdir(state, 0700);
	/* Room for none, one, two of the three files. */
	for (size_t spare = 0; spare <= 2; spare++) {
		put(path, laptop);
		fill(spare * 4096);
		assert_int_equal(install(&before, &e), -ENOSPC);
		assert_content(path, laptop);
		assert_no_backup();
	}
	/* Three fit; then the disk fills up: ours gives its room. */
	fill(3 * 4096);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(install(&before, &e), 0);
	fill(0);
	assert_int_equal(resolv_restore(path, state, &e), 0);
	assert_content(path, laptop);
	assert_no_backup();
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void full_disk_below_a_mount_point(void **test)
{
	struct resolv_conf before;
	struct error e;
	char small[32], source[64];

	(void)test;
	/* The file on a full file system of its own, folder and state elsewhere. One page holds
	 * laptop's text, so the text written must need a second. */
	static char many[4096];
	size_t n = 0;
	strcpy(many, laptop);
	for (n = strlen(many); n < 4000; n = strlen(many))
		strcat(many, "options edns0\n");
	assert_int_equal(private_folder(small, "8k"), 0); /* two pages */
	snprintf(source, sizeof(source), "%s/resolv.conf", small);
	put(source, many);
	char other[64];
	snprintf(other, sizeof(other), "%s/filler", small);
	put(other, "x"); /* the second page */
	put(path, "");
	assert_int_equal(mount(source, path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(install(&before, &e), -ENOSPC);
	assert_content(path, many);
	assert_no_backup();
	assert_int_equal(umount(path), 0);
	private_folder_end(small);
}

static int setup(void **test)
{
	(void)test;
	return private_net();
}

#define test(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(text_is_read),
		test(text_is_written),
		test(nsswitch_says_who_is_asked),
		test(resolv_conf_says_who_is_asked),
		test(domains_cannot_smuggle),
		test(plain_file_comes_back),
		test(link_comes_back_as_a_link),
		test(nothing_comes_back_as_nothing),
		test(mount_point_is_written_in_place),
		test(servers_behind_resolved_are_asked),
		test(foreign_change_is_left_alone),
		test(every_crash_is_recovered_from),
		test(full_disk_changes_nothing),
		test(full_disk_below_a_mount_point),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
