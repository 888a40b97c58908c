/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as text, the key file and its modes, overlay addresses, timestamps. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/file.h"
#include "crypto/crypto.h"

static char folder[] = "/tmp/culvert-identity-XXXXXX";
static char path[128];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/state/key", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	char state_folder[128];

	snprintf(state_folder, sizeof(state_folder), "%s/state", folder);
	unlink(path);
	rmdir(path);
	rmdir(state_folder);
	return rmdir(folder); /* fails when a temporary file was left */
}

static unsigned mode_of(const char *p)
{
	struct stat st;

	assert_int_equal(stat(p, &st), 0);
	return st.st_mode & 07777;
}

static void write_file(const char *text, size_t len, unsigned mode)
{
	struct error e;

	assert_int_equal(dir_make(folder, 0700, &e), 0);
	char state_folder[128];
	snprintf(state_folder, sizeof(state_folder), "%s/state", folder);
	assert_int_equal(dir_make(state_folder, 0700, &e), 0);
	assert_int_equal(file_write_atomic(path, text, len, mode, &e), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void made_once(void **state)
{
	(void)state;
	struct identity a, b;
	struct error e;
	char state_folder[128];

	mode_t old = umask(0);
	assert_int_equal(identity_load(&a, path, &e), 0);
	umask(old);
	snprintf(state_folder, sizeof(state_folder), "%s/state", folder);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(mode_of(state_folder), 0700);
	assert_int_equal(identity_load(&b, path, &e), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_false(sodium_is_zero(a.priv, KEY_LEN));
	assert_memory_not_equal(a.priv, a.pub, KEY_LEN);
}

/* Eight processes that start at once end with one key. */
static void made_by_one(void **state)
{
	(void)state;
	struct identity id;
	struct error e;
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < 8; i++) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			int ret = identity_load(&id, path, &e);
			if (ret || write(pipes[1], id.pub, KEY_LEN) != KEY_LEN)
				_exit(1);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 8; i++) {
		int status;
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(identity_load(&id, path, &e), 0);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t pub[KEY_LEN];
		assert_int_equal(read(pipes[0], pub, KEY_LEN), KEY_LEN);
		assert_memory_equal(pub, id.pub, KEY_LEN);
	}
	close(pipes[0]);
	close(pipes[1]);
}

static void open_to_others(void **state)
{
	(void)state;
	static const unsigned modes[] = {0640, 0604, 0644, 0620, 0602, 0610, 0601, 0666};
	struct identity a, b;
	struct error e;

	assert_int_equal(identity_load(&a, path, &e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_int_equal(chmod(path, modes[i]), 0);
		assert_int_equal(identity_load(&b, path, &e), -EPERM);
		assert_non_null(strstr(e.text, "chmod 600 "));
		assert_non_null(strstr(e.text, path));
	}
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(identity_load(&b, path, &e), 0);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void not_a_key(void **state)
{
	(void)state;
	static const char zero[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
	static const char good[] = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n";
	struct identity id;
	struct error e;

	for (size_t len = 0; len <= sizeof(good); len++) {
		bool want = len == 44 || len == 45; /* with or without the line's end */
		write_file(good, len, 0600);
		assert_int_equal(identity_load(&id, path, &e), want ? 0 : -EINVAL);
		if (!want)
			assert_non_null(strstr(e.text, path));
	}
	write_file(zero, sizeof(zero) - 1, 0600);
	assert_int_equal(identity_load(&id, path, &e), -EINVAL);
	write_file("[section]\nkey = value\n", 22, 0600);
	assert_int_equal(identity_load(&id, path, &e), -EINVAL);

	assert_int_equal(identity_load(&id, "", &e), -ENOENT);
	assert_true(e.text[0]);

	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(identity_load(&id, path, &e), -EINVAL);
	assert_non_null(strstr(e.text, "regular file"));
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
	assert_int_equal(identity_load(&id, path, &e), -EINVAL);
}

static void key_text(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"AAAA",
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",	  /* no padding */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",	  /* bits in the padding */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",	  /* 33 bytes */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA===",	  /* nonsense */
		"AQAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAA=",	  /* the other alphabet */
		"AQAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA=",	  /* white space */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", /* a line's end */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=A",  /* 45 characters */
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",	  /* 31 bytes */
	};
	uint8_t key[KEY_LEN], back[KEY_LEN];
	char text[KEY_TEXT_LEN];

	for (unsigned i = 0; i < 100; i++) {
		crypto_random(key, KEY_LEN);
		key_format(key, text);
		assert_int_equal(strlen(text), KEY_TEXT_LEN - 1);
		assert_int_equal(key_parse(back, text), 0);
		assert_memory_equal(key, back, KEY_LEN);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(key_parse(back, bad[i]), -EINVAL);
		assert_memory_equal(key, back, KEY_LEN);
	}
}

/* The vector of docs/protocol.md. */
static void addresses(void **state)
{
	(void)state;
	uint8_t pub[KEY_LEN];
	char buf[ADDR_STRLEN];

	for (unsigned i = 0; i < KEY_LEN; i++)
		pub[i] = (uint8_t)i;
	struct prefix all = overlay_prefix(), own = overlay_prefix_of(pub);
	struct ipaddr stack = overlay_stack_addr(pub), kernel = overlay_kernel_addr(pub);
	assert_string_equal(prefix_format(&all, buf), "fdc7::/16");
	assert_string_equal(prefix_format(&own, buf), "fdc7:8cb5:1a10:63a1::/64");
	assert_string_equal(ipaddr_format(&stack, buf), "fdc7:8cb5:1a10:63a1::1");
	assert_string_equal(ipaddr_format(&kernel, buf), "fdc7:8cb5:1a10:63a1::2");
	assert_true(prefix_contains(&all, &stack));
	pub[31] ^= 0x80;
	struct prefix other = overlay_prefix_of(pub);
	assert_false(prefix_equal(&own, &other));
}

static void timestamps(void **state)
{
	(void)state;
	static const uint8_t one_ns[TAI64N_LEN] = {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 1};
	uint8_t a[TAI64N_LEN], b[TAI64N_LEN];
	nsec_t last = 0;

	tai64n_next(a, 0, &last);
	assert_memory_equal(a, one_ns, TAI64N_LEN);
	assert_int_equal(last, 1);

	nsec_t real = UINT64_C(1700000000) * NSEC_PER_SEC + 999999999;
	tai64n_next(a, real, &last);
	assert_int_equal(get_be64(a), UINT64_C(0x4000000000000000) + 10 + 1700000000);
	assert_int_equal(get_be32(a + 8), 999999999);
	/* The clock stands still, then is set back by a day: the stamps still grow. */
	tai64n_next(b, real, &last);
	assert_true(memcmp(b, a, TAI64N_LEN) > 0);
	assert_int_equal(get_be32(b + 8), 0);
	tai64n_next(a, real - 86400 * NSEC_PER_SEC, &last);
	assert_true(memcmp(a, b, TAI64N_LEN) > 0);
	assert_int_equal(last, real + 2);
}

static void private_keys(void **state)
{
	(void)state;
	/* RFC 7748 section 6.1: Alice. */
	static const char priv_hex[] =
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
	static const char pub_hex[] =
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
	uint8_t priv[KEY_LEN], pub[KEY_LEN];
	struct identity id;

	sodium_hex2bin(priv, KEY_LEN, priv_hex, 64, NULL, NULL, NULL);
	sodium_hex2bin(pub, KEY_LEN, pub_hex, 64, NULL, NULL, NULL);
	assert_int_equal(identity_from_private(&id, priv), 0);
	assert_memory_equal(id.pub, pub, KEY_LEN);
	assert_memory_equal(id.priv, priv, KEY_LEN);
	memset(priv, 0, KEY_LEN);
	assert_int_equal(identity_from_private(&id, priv), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(made_once, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(made_by_one, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(open_to_others, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(not_a_key, make_folder, remove_folder),
		cmocka_unit_test(key_text),
		cmocka_unit_test(addresses),
		cmocka_unit_test(timestamps),
		cmocka_unit_test(private_keys),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
