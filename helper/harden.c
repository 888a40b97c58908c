/* SPDX-License-Identifier: Apache-2.0 */
/* Root with four capabilities is still root over root's files, but loads no module, traces nobody,
 * kills nobody. */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "helper/internal.h"

/*
 * CAP_NET_ADMIN: TUN, addresses, routes. CAP_NET_BIND_SERVICE: port 53. For resolv.conf of another
 * owner or without write permission, which is put back as it was: CAP_CHOWN, CAP_DAC_OVERRIDE.
 */
int harden(struct error *e)
{
	const uint32_t keep = 1U << CAP_NET_ADMIN | 1U << CAP_NET_BIND_SERVICE | 1U << CAP_CHOWN |
			      1U << CAP_DAC_OVERRIDE;
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = keep, .permitted = keep}};

	/* No program started from here could gain anything back; none is. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(e, -errno, "no_new_privs");
	if (syscall(SYS_capset, &head, data) < 0)
		return error_errno(e, -errno, "culvert-helper must be started as root; capset");
	return 0;
}
