/* SPDX-License-Identifier: Apache-2.0 */
/* A node's key pair, its file, and the overlay addresses that follow from the public key. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "crypto/crypto.h"

void identity_generate(struct identity *id)
{
	crypto_random(id->priv, KEY_LEN);
	crypto_scalarmult_curve25519_base(id->pub, id->priv);
}

int identity_from_private(struct identity *id, const uint8_t priv[static KEY_LEN])
{
	static const uint8_t zero[KEY_LEN];

	/* Clamping makes a key of any 32 bytes; all zero is somebody's uninitialised memory. */
	if (!sodium_memcmp(priv, zero, KEY_LEN))
		return -EINVAL;
	memcpy(id->priv, priv, KEY_LEN);
	crypto_scalarmult_curve25519_base(id->pub, id->priv);
	return 0;
}

/* --- the key file ----------------------------------------------------------------------------- */

/* Makes the file's folder and locks it until the descriptor is closed. */
static int folder_lock(const char *path, struct error *e)
{
	cleanup(free_ptr) char *folder = strdup(path);
	cleanup(close_fd) int fd = -1;

	if (!folder)
		return error_errno(e, -ENOMEM, "key file %s", path);
	char *slash = strrchr(folder, '/');
	const char *where = slash ? "/" : ".";
	if (slash && slash != folder) {
		*slash = '\0';
		where = folder;
		int ret = dir_make(where, 0700, e);
		if (ret)
			return ret;
	}
	fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX))
		return error_errno(e, -errno, "key file %s: locking its folder", path);
	int ret = fd;
	fd = -1;
	return ret;
}

static int key_file_make(struct identity *id, const char *path, struct error *e)
{
	char text[KEY_TEXT_LEN];

	identity_generate(id);
	key_format(id->priv, text);
	text[KEY_TEXT_LEN - 1] = '\n'; /* a line, not a string */
	int ret = file_write_atomic(path, text, sizeof(text), 0600, e);
	crypto_wipe(text, sizeof(text));
	if (ret)
		crypto_wipe(id, sizeof(*id));
	return ret;
}

/* Reads at most `size` bytes; the number, or negative errno. */
static ssize_t read_some(int fd, char *buf, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, buf + got, size - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* The mode is looked at on the open file, so that it belongs to the bytes that are read. */
static int key_file_check(int fd, const char *path, struct error *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_errno(e, -errno, "key file %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EINVAL, "key file %s: not a regular file", path);
	if (st.st_mode & 077)
		return error_set(e, -EPERM,
				 "key file %s: others may read or change it (mode %04o); "
				 "close it with: chmod 600 %s",
				 path, st.st_mode & 07777u, path);
	return 0;
}

/* -ENOENT: there is none (and no sentence). */
static int key_file_read(struct identity *id, const char *path, struct error *e)
{
	/* One byte more than a key and a line's end, one for NUL. */
	char text[KEY_TEXT_LEN + 2] = {0};
	uint8_t priv[KEY_LEN];
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : error_errno(e, -errno, "key file %s", path);
	int ret = key_file_check(fd, path, e);
	if (ret)
		return ret;
	ssize_t n = read_some(fd, text, sizeof(text) - 1);
	if (n < 0) {
		ret = error_errno(e, (int)n, "key file %s", path);
		goto out;
	}
	if (n == KEY_TEXT_LEN && text[n - 1] == '\n')
		text[n - 1] = '\0';
	if (key_parse(priv, text) || identity_from_private(id, priv))
		ret = error_set(e, -EINVAL,
				"key file %s: does not hold a private key (one line of %d base64 "
				"characters); restore it, or remove it to get a new key",
				path, KEY_TEXT_LEN - 1);
out:
	crypto_wipe(text, sizeof(text));
	crypto_wipe(priv, sizeof(priv));
	return ret;
}

int identity_load(struct identity *id, const char *path, struct error *e)
{
	int ret = key_file_read(id, path, e);

	if (ret != -ENOENT)
		return ret;
	/* Two programs that start at once must not each make a key:
	 * the second finds the first's. */
	cleanup(close_fd) int lock = folder_lock(path, e);
	if (lock < 0)
		return lock;
	ret = key_file_read(id, path, e);
	return ret == -ENOENT ? key_file_make(id, path, e) : ret;
}

/* --- overlay addresses ------------------------------------------------------------------------ */

static const uint8_t overlay_base[2] = {0xfd, 0xc7};
static const char address_label[] = "culvert address";

struct prefix overlay_prefix(void)
{
	uint8_t b[16] = {overlay_base[0], overlay_base[1]};

	return (struct prefix){.addr = ipaddr_v6(b), .len = 16};
}

static struct ipaddr overlay_addr(const uint8_t pub[static KEY_LEN], uint8_t host)
{
	uint8_t in[sizeof(address_label) - 1 + KEY_LEN], hash[32];
	uint8_t b[16] = {overlay_base[0], overlay_base[1]};

	memcpy(in, address_label, sizeof(address_label) - 1);
	memcpy(in + sizeof(address_label) - 1, pub, KEY_LEN);
	crypto_generichash_blake2b(hash, sizeof(hash), in, sizeof(in), NULL, 0);
	memcpy(b + 2, hash, 6);
	b[15] = host;
	return ipaddr_v6(b);
}

struct prefix overlay_prefix_of(const uint8_t pub[static KEY_LEN])
{
	return (struct prefix){.addr = overlay_addr(pub, 0), .len = 64};
}

struct ipaddr overlay_stack_addr(const uint8_t pub[static KEY_LEN])
{
	return overlay_addr(pub, 1);
}

struct ipaddr overlay_kernel_addr(const uint8_t pub[static KEY_LEN])
{
	return overlay_addr(pub, 2);
}
