/* SPDX-License-Identifier: Apache-2.0 */
/* The values of --port and --on-down as the user types them. */
#include <errno.h>
#include <stdio.h>

#include "base/duration.h"
#include "intercept/internal.h"

/* A decimal number of 1..max, all of `text`; 0 otherwise. */
static unsigned number(const char *text, size_t len, unsigned max)
{
	unsigned v = 0;

	if (len == 0 || len > 9)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(text[i] - '0');
	}
	return v <= max ? v : 0;
}

int intercept_port_parse(struct intercept_request *req, const char *text, struct error *e)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	const char *id = colon ? colon + 1 : "";
	unsigned local = number(text, len, UINT16_MAX);

	if (!local)
		return error_set(
			e, -EINVAL,
			"--port '%.100s': the part before ':' must be a port number of this "
			"computer, 1 to 65535; write LOCAL or LOCAL:SERVICEPORT, such as "
			"3000:http.",
			text);
	if (colon && !port_id_valid(id))
		return error_set(
			e, -EINVAL,
			"--port '%.100s': the part after ':' must be the name or the number of a "
			"service port; write LOCAL:SERVICEPORT, such as 3000:http or 5353:53/udp.",
			text);
	if (req->nports == INTERCEPT_PORTS)
		return error_set(e, -EINVAL, "--port: at most %d ports in one intercept.",
				 INTERCEPT_PORTS);
	req->port[req->nports].local = (uint16_t)local;
	snprintf(req->port[req->nports].id, sizeof(req->port[0].id), "%s", id);
	req->nports++;
	return 0;
}

int intercept_on_down_parse(struct intercept_request *req, const char *text, struct error *e)
{
	enum { HOLD_DEFAULT_S = 30, HOLD_MAX_S = 24 * 3600 };
	unsigned hold = 0;

	if (!strcmp(text, "pod")) {
		req->on_down = ON_DOWN_POD;
	} else if (!strcmp(text, "fail")) {
		req->on_down = ON_DOWN_FAIL;
	} else if (!strncmp(text, "hold", 4) && (!text[4] || text[4] == '=')) {
		hold = text[4] ? duration_parse(text + 5, true, HOLD_MAX_S) : HOLD_DEFAULT_S;
		if (!hold)
			return error_set(e, -EINVAL,
					 "--on-down '%.100s': the time must be 1s to 24h, such as "
					 "hold=30s.",
					 text);
		req->on_down = ON_DOWN_HOLD;
	} else {
		return error_set(
			e, -EINVAL,
			"--on-down '%.100s' is not known; write pod, hold, hold=TIME or fail.",
			text);
	}
	req->hold_s = hold;
	return 0;
}
