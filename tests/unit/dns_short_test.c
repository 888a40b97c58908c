/* SPDX-License-Identifier: Apache-2.0 */
/* Short names: what a cluster's DNS does not know under the name that was asked. And settings that
 * change while the stub runs. */
#include "dns_lab.h"

/* A pod in namespace "shop" of a cluster whose zone is cluster.local. */
static void stub_of_pod(int cluster, int first)
{
	struct dns_config cfg = {.cluster = at(cluster, 53),
				 .ndomains = 5,
				 .domain = {"svc", "shop", "cluster.local", "dev", "lan"},
				 .zone = "cluster.local",
				 .ns = "shop"};

	stub_start(cluster, first, 0);
	if (first)
		cfg.resolver[cfg.nresolvers++] = at(first, 53);
	dns_stub_set(stub, &cfg);
}

static void short_names(void **state)
{
	static const char *const names[] = {"web", "web.shop", "web.shop.svc", "WEB.Shop",
					    "web.shop.svc.cluster.local"};
	char cmd[128];

	(void)state;
	stub_of_pod(CLUSTER, LOCAL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		for (int tcp = 0; tcp < 2; tcp++) {
			snprintf(cmd, sizeof(cmd), "+noall +answer +question %s %s A",
				 tcp ? "+tcp" : "", names[i]);
			const char *text = dig(cmd);
			assert_has(text, "\t10.96.1.5\n");
			snprintf(cmd, sizeof(cmd), ";%s.",
				 names[i]); /* the question as asked, in its case */
			assert_has(text, cmd);
			if (i < 3)
				assert_has(text, "CNAME\tweb.shop.svc.cluster.local.");
		}
	}
	assert_has(dig("+short web.shop AAAA"), "fd00:10::5\n");
	/* Names inside of records are mended, in every section. */
	const char *text = dig("+noall +answer +additional _http._tcp.web.shop SRV");
	assert_has(text, "_http._tcp.web.shop.svc.cluster.local. 0 IN SRV\t0 0 80 "
			 "web.shop.svc.cluster.local.\n");
	assert_has(text, "web.shop.svc.cluster.local. 0\tIN\tA\t10.96.1.5");
	/* There, but without such a record. */
	text = dig("web.shop TXT");
	assert_has(text, "status: NOERROR");
	assert_has(text, "CNAME\tweb.shop.svc.cluster.local.");
	assert_int_equal(dns_stub_stats(stub)->malformed, 0);
}

static void no_service_is_somebody_elses(void **state)
{
	(void)state;
	stub_of_pod(CLUSTER, LOCAL);
	assert_string_equal(dig("+short go.dev A"), "192.0.2.8\n");
	assert_string_equal(dig("+tcp +short go.dev A"), "192.0.2.8\n");
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	/* Nobody has it: said at once, and nothing by which it would be remembered. */
	const char *text = dig("nothing.lan A");
	assert_has(text, "status: NXDOMAIN");
	assert_has(text, "AUTHORITY: 0");
	assert_has(text, "EDNS: version: 0");
	assert_has(dig("+tcp nothing.lan A"), "status: NXDOMAIN");
	/* A name that cannot be a service's: its full form would be too long. */
	assert_has(dig("a.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
		       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
		       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
		       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.lan A"),
		   "status: NXDOMAIN");
	/* Without a resolver the cluster's word stands; never REFUSED, never SERVFAIL. */
	stub_stop(NULL);
	stub_of_pod(CLUSTER, 0);
	assert_has(dig("go.dev A"), "status: NXDOMAIN");
	assert_has(dig("+tcp go.dev A"), "status: NXDOMAIN");
}

/* Silence is no word about a name: somebody on the internet may have it, who is not asked. */
static void a_silent_cluster_gives_no_name_away(void **state)
{
	(void)state;
	stub_of_pod(NOBODY, LOCAL);
	assert_has(dig("+time=1 go.dev A"), "timed out");
	assert_int_equal(dns_stub_stats(stub)->timeouts, 1);
	assert_string_equal(dig("+short big.example.test A"), "192.0.2.9\n");
}

static void short_names_of_large_answers(void **state)
{
	(void)state;
	stub_of_pod(CLUSTER, LOCAL);
	const char *text = dig("+ignore +bufsize=512 big.svc TXT");
	assert_has(text, " tc ");
	assert_has(text, "EDNS: version: 0");
	assert_has(dig("big.svc TXT"), "ANSWER: 13,"); /* of itself over TCP */
	/* Whole by itself, too large with the CNAME. */
	assert_has(dig("+ignore +noedns fits.svc TXT"), " tc ");
	assert_has(dig("+ignore +noedns fits.svc.cluster.local TXT"), "ANSWER: 1,");
}

static void resolvers_are_read_again(void **state)
{
	struct dns_config cfg = {.cluster = at(CLUSTER, 53)};
	char file[] = "/tmp/resolvers-XXXXXX";

	(void)state;
	close(mkstemp(file));
	stub_start(CLUSTER, NOBODY, 0);
	cfg.resolver[cfg.nresolvers++] = at(NOBODY, 53);
	cfg.resolvers_file = file;
	dns_stub_set(stub, &cfg);
	assert_has(dig("printer.lan A"), "status: REFUSED");
	FILE *f = fopen(file, "w");
	fputs("nameserver " DNS_STUB_ADDR "\nnameserver 127.0.0.20\n", f);
	fclose(f);
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	assert_string_equal(dig("+tcp +short printer.lan A"), "192.0.2.7\n");
	unlink(file);
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
}

static void namespaces_come_without_a_loss(void **state)
{
	int server = bound(SOCK_DGRAM, at(TEST, 53)), client = client_udp();

	(void)state;
	stub_of_pod(TEST, LOCAL);
	assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
	run_for(20);
	assert_int_equal(stub->npending, 1);
	struct dns_config cfg = stub->cfg;
	strcpy(cfg.domain[cfg.ndomains++], "new");
	dns_stub_set(stub, &cfg);
	assert_int_equal(stub->npending, 1);
	cfg.cluster = at(CLUSTER, 53);
	dns_stub_set(stub, &cfg);
	assert_int_equal(stub->npending, 0);
	close(server);
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(short_names),
		test(no_service_is_somebody_elses),
		test(a_silent_cluster_gives_no_name_away),
		test(short_names_of_large_answers),
		test(resolvers_are_read_again),
		test(namespaces_come_without_a_loss),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
