/* SPDX-License-Identifier: Apache-2.0 */
/* `culvert-manager invite`: one line that admits one laptop or agent. Nothing is stored (decision 7). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/duration.h"
#include "base/file.h"
#include "manager/internal.h"

enum { EXPIRES_DEFAULT_S = 24 * 3600 };

static const char usage[] =
	"Usage: culvert-manager invite laptop|agent NAME --config FILE [--expires TIME] [--output "
	"FILE]\n"
	"\n"
	"Prints an invite: one line that holds the manager's endpoints, its key, and a secret "
	"that\n"
	"admits one laptop or one agent called NAME. Used once, it belongs to the key that used "
	"it.\n"
	"A newer invite of the same NAME, once used, shuts the former key out.\n"
	"\n"
	"  --config FILE    the manager's configuration\n"
	"  --expires TIME   must be used within this time: 90s, 30m, 24h, 7d (default 24h)\n"
	"  --output FILE    write it there, mode 0600, instead of to standard output\n"
	"\n"
	"Example: culvert-manager invite laptop ana --config /etc/culvert/manager.yaml --output "
	"ana.invite\n";

struct options {
	const char *role, *name, *config, *output;
	unsigned long expires_s;
};

static int fail_usage(const char *what, const char *value)
{
	fprintf(stderr, "culvert-manager invite: %s%s; see culvert-manager invite --help\n", what,
		value);
	return 2;
}

/* 0 go on, 2 wrong usage, -1 help was printed. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"expires", required_argument, NULL, 'e'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.expires_s = EXPIRES_DEFAULT_S};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'o':
			o->output = optarg;
			break;
		case 'e':
			o->expires_s = duration_parse(optarg, false, DURATION_YEAR);
			if (!o->expires_s)
				return fail_usage("--expires needs a time such as 30m or 24h, not ",
						  optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return -1;
		default:
			return fail_usage("wrong option", "");
		}
	}
	if (argc - optind != 2)
		return fail_usage("needs laptop or agent, and a name", "");
	o->role = argv[optind];
	o->name = argv[optind + 1];
	if (strcmp(o->role, "laptop") && strcmp(o->role, "agent"))
		return fail_usage("the role must be laptop or agent, not ", o->role);
	if (!name_valid(o->name))
		return fail_usage("a name has 1 to 63 letters, digits, '.', '_' and '-'; not so: ",
				  o->name);
	if (!o->config)
		return fail_usage("--config FILE is missing", "");
	return 0;
}

static int warn_if_known(void *arg, const struct peer_record *p, struct error *e)
{
	const struct invite_claim *claim = arg;

	(void)e;
	if (p->role == claim->role && !strcmp(p->name, claim->name))
		fprintf(stderr,
			"culvert-manager invite: there is a%s '%s' already: using this invite "
			"shuts its present key out\n",
			p->role == ROLE_LAPTOP ? " laptop" : "n agent", p->name);
	return 0;
}

static int make(struct invite *inv, const struct options *o, const struct config *cfg,
		struct error *e)
{
	const struct store_visitor known = {.peer = warn_if_known, .arg = &inv->claim};
	struct store *s = NULL;
	nsec_t stamp;
	int r = store_open(&s, cfg->state, false, e);

	if (r)
		return r;
	*inv = (struct invite){.nendpoints = cfg->nendpoints};
	crypto_random(inv->claim.id, INVITE_ID_LEN);
	inv->claim.role = !strcmp(o->role, "laptop") ? ROLE_LAPTOP : ROLE_AGENT;
	inv->claim.expiry = clock_real() / NSEC_PER_SEC + o->expires_s;
	snprintf(inv->claim.name, sizeof(inv->claim.name), "%s", o->name);
	memcpy(inv->manager, store_identity(s)->pub, KEY_LEN);
	memcpy(inv->endpoint, cfg->endpoint, sizeof(inv->endpoint));
	invite_psk(inv->psk, store_secret(s), &inv->claim);
	store_load(s, &stamp, &known, NULL); /* the manager will tell what is wrong with it */
	store_close(s);
	return 0;
}

static int deliver(const struct invite *inv, const struct options *o, struct error *e)
{
	char text[INVITE_TEXT_MAX + 2];
	int len = invite_format(inv, text, INVITE_TEXT_MAX), r = 0;

	if (len < 0)
		return error_errno(e, len, "invite");
	text[len] = '\n';
	text[len + 1] = '\0';
	if (o->output)
		r = file_write_atomic(o->output, text, (size_t)len + 1, 0600, e);
	else if (fputs(text, stdout) == EOF || fflush(stdout))
		r = error_errno(e, -errno, "standard output");
	crypto_wipe(text, sizeof(text));
	return r;
}

int invite_main(int argc, char **argv)
{
	struct config *cfg = NULL;
	struct options o;
	struct invite inv;
	struct error e;
	int r = parse(&o, argc, argv);

	if (r)
		return r < 0 ? 0 : r;
	if (config_load(&cfg, o.config, false, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 2;
	}
	if (cfg->nendpoints == 0) {
		fprintf(stderr,
			"%s: 'listen' is a wildcard address, so 'endpoints' must say where the "
			"manager can be "
			"reached: a list of ADDRESS:PORT\n",
			o.config);
		config_free(cfg);
		return 2;
	}
	r = make(&inv, &o, cfg, &e);
	if (r == 0)
		r = deliver(&inv, &o, &e);
	crypto_wipe(&inv, sizeof(inv));
	if (r)
		fprintf(stderr, "culvert-manager invite: %s\n", e.text);
	config_free(cfg);
	return r ? 1 : 0;
}
