/* SPDX-License-Identifier: Apache-2.0 */
/* kube: requests against a real HTTP server: headers, TLS, what each failure says, credentials, exec plugins. */
#include <errno.h>
#include <strings.h>

#include "kube_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* The value of a header that the server saw, or "". */
static const char *seen(const struct kept *k, const char *name)
{
	json_t *pair;
	size_t i;

	json_array_foreach(json_object_get(k->json, "headers"), i, pair)
	{
		if (!strcasecmp(json_string_value(json_array_get(pair, 0)), name))
			return json_string_value(json_array_get(pair, 1));
	}
	return "";
}

static const char *text(const struct kept *k, const char *key)
{
	const char *s = json_string_value(json_object_get(k->json, key));

	return s ? s : "";
}

static void test_headers(void **unused)
{
	static const char *const more[] = {"X-More: 1", NULL};
	struct kube_client *c =
		make_client(NULL, NULL,
			    "token: t0ken, as: jane, as-uid: '7', as-groups: [dev], "
			    "as-user-extra: {'a/b': [v]}",
			    NULL);
	struct kube_call call = {.method = "POST",
				 .path = "/echo",
				 .query = "x=1",
				 .body = "{}",
				 .len = 2,
				 .headers = more};
	struct kept k;

	(void)unused;
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_OK);
	assert_int_equal(k.status, 200);
	assert_string_equal(text(&k, "method"), "POST");
	assert_string_equal(text(&k, "path"), "/echo?x=1");
	assert_string_equal(text(&k, "body"), "{}");
	assert_string_equal(seen(&k, "Authorization"), "Bearer t0ken");
	assert_string_equal(seen(&k, "Impersonate-User"), "jane");
	assert_string_equal(seen(&k, "Impersonate-Uid"), "7");
	assert_string_equal(seen(&k, "Impersonate-Group"), "dev");
	assert_string_equal(seen(&k, "Impersonate-Extra-a%2Fb"), "v");
	assert_string_equal(seen(&k, "Content-Type"), "application/json");
	assert_string_equal(seen(&k, "X-More"), "1");
	assert_contains(seen(&k, "User-Agent"), "culvert/");
	kept_free(&k);
	kube_client_free(c);
}

static void test_patches(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "username: u, password: 'p:q'", NULL);
	json_t *object = json_pack("{s:s}", "kind", "Pod");
	struct kept k = {.done = false};

	(void)unused;
	assert_int_equal(
		kube_apply(c, "/echo/x", object, "culvert & co", true, keep_reply, &k, NULL), 0);
	assert_true(run_until(&k.done, 10));
	assert_string_equal(text(&k, "method"), "PATCH");
	assert_string_equal(text(&k, "path"), "/echo/x?fieldManager=culvert%20%26%20co&force=true");
	assert_string_equal(seen(&k, "Content-Type"), "application/apply-patch+yaml");
	assert_string_equal(seen(&k, "Authorization"), "Basic dTpwOnE=");
	assert_string_equal(text(&k, "body"), "{\"kind\":\"Pod\"}");
	kept_free(&k);
	k = (struct kept){.done = false};
	assert_int_equal(kube_merge(c, "/echo/x", object, "m", keep_reply, &k, NULL), 0);
	assert_true(run_until(&k.done, 10));
	assert_string_equal(seen(&k, "Content-Type"), "application/merge-patch+json");
	kept_free(&k);
	json_decref(object);
	kube_client_free(c);
}

static void test_statuses(void **unused)
{
	static const struct {
		const char *path;
		enum kube_failure failure;
		const char *reason, *sentence;
	} cases[] = {
		{"/status/403", KUBE_FORBIDDEN, "Forbidden",
		 "alice may not patch deployments.apps in the namespace 'shop'"},
		{"/status/409", KUBE_CONFLICT, "AlreadyExists",
		 "answered 409: sessions.culvert.dev"},
		{"/status/410", KUBE_EXPIRED, "Expired", "too old resource version"},
		{"/status/422", KUBE_INVALID, "Invalid", "Intercept is invalid"},
		{"/status/500", KUBE_SERVER, "InternalError", "boom"},
		{"/status/429", KUBE_SERVER, "TooManyRequests", "slow down"},
		{"/status/401", KUBE_UNAUTHORIZED, "Unauthorized",
		 "does not accept the credentials of user 't'"},
		{"/nothing", KUBE_NOT_FOUND, "NotFound", "could not find"},
		{"/html", KUBE_SERVER, "",
		 "answered 502, and not as a Kubernetes API server does: <html> <b>bad"},
		{"/cut", KUBE_UNREACHABLE, "", "broke before its answer was whole"},
	};
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kube_call call = {.path = cases[i].path};
		struct kept k;

		ask(c, &call, &k);
		assert_int_equal(k.failure, cases[i].failure);
		assert_string_equal(k.reason, cases[i].reason);
		assert_contains(k.sentence, cases[i].sentence);
		if (k.status == 429)
			assert_true(k.retry_after > 2.9 && k.retry_after < 3.1);
		kept_free(&k);
	}
	kube_client_free(c);
}

static void test_denied(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct kube_call call = {.path = "/status/403"};
	struct kept k;
	char *yaml, *other;

	(void)unused;
	ask(c, &call, &k);
	assert_string_equal(k.denied.user, "alice");
	assert_string_equal(k.denied.verb, "patch");
	assert_string_equal(k.denied.resource, "deployments");
	assert_string_equal(k.denied.group, "apps");
	assert_string_equal(k.denied.namespace, "shop");
	assert_string_equal(k.denied.name, "cart");
	yaml = kube_denied_yaml(&k.denied);
	assert_contains(yaml, "kind: Role\n");
	assert_contains(
		yaml,
		"apiGroups: [\"apps\"]\n  resources: [\"deployments\"]\n  verbs: [\"patch\"]");
	assert_contains(yaml, "kind: User, name: \"alice\"");
	free(yaml);
	k.denied.verb[0] = '\0';
	assert_null(kube_denied_yaml(&k.denied));
	strcpy(k.denied.verb, "get\"]\n");
	assert_null(kube_denied_yaml(&k.denied));
	kept_free(&k);
	/* Who may act as ben may not act as everybody. */
	yaml = kube_denied_yaml(&(struct kube_denied){
		.user = "ana", .verb = "impersonate", .resource = "users", .name = "ben"});
	assert_contains(yaml, "resources: [\"users\"]\n  resourceNames: [\"ben\"]\n  verbs:");
	/* Applied one after the other, each has a name of its own. */
	other = kube_denied_yaml(&(struct kube_denied){
		.user = "eve", .verb = "impersonate", .resource = "users", .name = "ben"});
	assert_contains(yaml, "name: culvert-impersonate-users-");
	assert_memory_not_equal(strstr(yaml, "culvert-"), strstr(other, "culvert-"), 34);
	free(other);
	free(yaml);
	kube_client_free(c);
}

static void test_bounds(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct kube_call big = {.path = "/big", .max = 50000};
	struct kube_call slow = {.path = "/slow", .timeout = 200 * NSEC_PER_MSEC};
	struct kube_call bad = {.path = "no-slash"};
	struct kept k;

	(void)unused;
	ask(c, &big, &k);
	assert_int_equal(k.failure, KUBE_TOO_LARGE);
	assert_contains(k.sentence, "larger than 50000 bytes");
	kept_free(&k);
	big.max = 0;
	ask(c, &big, &k);
	assert_int_equal(k.failure, KUBE_OK);
	assert_int_equal(strlen(k.body), 100000);
	kept_free(&k);
	ask(c, &slow, &k);
	assert_int_equal(k.failure, KUBE_TIMEOUT);
	assert_contains(k.sentence, "did not answer in time");
	kept_free(&k);
	assert_int_equal(kube_request(c, &bad, keep_reply, &k, NULL), -EINVAL);
	bad.path = "/a\r\nX: y";
	assert_int_equal(kube_request(c, &bad, keep_reply, &k, NULL), -EINVAL);
	kube_client_free(c);
}

/* --- TLS ------------------------------------------------------------------------------------------------ */

static void ask_as(const char *server, const char *cluster, const char *user, struct kept *k)
{
	struct kube_client *c = make_client(server, cluster, user, NULL);
	struct kube_call call = {.path = "/echo"};

	ask(c, &call, k);
	kube_client_free(c);
}

static void test_tls(void **unused)
{
	char named[64];
	struct kept k;

	(void)unused;
	ask_as(NULL, "certificate-authority: " DATA "/tls/other.crt", "token: t", &k);
	assert_int_equal(k.failure, KUBE_TLS);
	assert_contains(k.sentence, "the certificate of the API server");
	kept_free(&k);
	/* The system's authorities do not know it either. */
	ask_as(NULL, "", "token: t", &k);
	assert_int_equal(k.failure, KUBE_TLS);
	kept_free(&k);
	ask_as(NULL, "insecure-skip-tls-verify: true", "token: t", &k);
	assert_int_equal(k.failure, KUBE_OK);
	kept_free(&k);
	/* A name that only the kubeconfig knows, and one that is not the certificate's. */
	ask_as(NULL, "certificate-authority: " DATA "/tls/ca.crt, tls-server-name: kube.test",
	       "token: t", &k);
	assert_int_equal(k.failure, KUBE_OK);
	snprintf(named, sizeof(named), "127.0.0.1:%d", port_tls);
	assert_string_equal(seen(&k, "Host"), named);
	kept_free(&k);
	ask_as(NULL, "certificate-authority: " DATA "/tls/ca.crt, tls-server-name: other.test",
	       "token: t", &k);
	assert_int_equal(k.failure, KUBE_TLS);
	kept_free(&k);
	ask_as(NULL, NULL,
	       "client-certificate: " DATA "/tls/client.crt, client-key: " DATA "/tls/client.key",
	       &k);
	assert_int_equal(k.failure, KUBE_OK);
	assert_contains(text(&k, "peer"), "alice");
	kept_free(&k);
	ask_as(NULL, NULL,
	       "client-certificate: " DATA "/tls/client.crt, client-key: " DATA "/tls/ca.key", &k);
	assert_int_equal(k.failure, KUBE_TLS);
	assert_contains(k.sentence, "the client certificate of user 't' is not usable");
	kept_free(&k);
}

static void test_expired_certificate(void **unused)
{
	struct kube_client *c =
		make_client(NULL, "insecure-skip-tls-verify: true",
			    "client-certificate: " DATA "/tls/expired.crt, client-key: " DATA
			    "/tls/expired.key",
			    NULL);
	struct kube_call call = {.path = "/status/401"};
	char url[64];
	struct kept k;

	(void)unused;
	kube_client_free(c);
	/* An API server takes the expired certificate for none, and says 401; ours would end the handshake: so plain. */
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", port_plain);
	c = make_client(url, "",
			"client-certificate: " DATA "/tls/expired.crt, client-key: " DATA
			"/tls/expired.key",
			NULL);
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_UNAUTHORIZED);
	assert_contains(k.sentence,
			"the client certificate of user 't' expired on 2016-01-01 00:00 UTC");
	kept_free(&k);
	kube_client_free(c);
}

static void test_unreachable(void **unused)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char url[64];
	struct kept k;

	(void)unused;
	/* Bound and not listening: refuses. */
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d", ntohs(in.sin_port));
	ask_as(url, NULL, "token: t", &k);
	assert_int_equal(k.failure, KUBE_UNREACHABLE);
	assert_contains(k.sentence, "is not reachable: Connection refused");
	kept_free(&k);
	ask_as("https://no-such-name.invalid", NULL, "token: t", &k);
	assert_int_equal(k.failure, KUBE_UNREACHABLE);
	assert_contains(k.sentence, "is not known to DNS");
	kept_free(&k);
	snprintf(url, sizeof(url), "proxy-url: 'http://127.0.0.1:%d'", ntohs(in.sin_port));
	ask_as(NULL, url, "token: t", &k);
	assert_int_equal(k.failure, KUBE_UNREACHABLE);
	kept_free(&k);
	close(fd);
}

/* Who does not even acknowledge is not waited for; who is slow is, for all of the time that the call has. */
static void test_patience(void **unused)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct kube_call call = {
		.path = "/slow", .timeout = 1500 * NSEC_PER_MSEC, .patience = 100 * NSEC_PER_MSEC};
	int fd = socket(AF_INET, SOCK_STREAM, 0), full[3];
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	socklen_t len = sizeof(in);
	char url[64];
	struct kept k;

	(void)unused;
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_TIMEOUT);
	kept_free(&k);
	kube_client_free(c);
	/* A queue that is full: what begins is dropped without a word. */
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	for (unsigned i = 0; i < ARRAY_SIZE(full); i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(full[i], (struct sockaddr *)&in, sizeof(in));
	}
	snprintf(url, sizeof(url), "https://127.0.0.1:%d", ntohs(in.sin_port));
	c = make_client(url, NULL, "token: t", NULL);
	call.timeout = 0;
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_UNREACHABLE);
	assert_contains(k.sentence, url);
	assert_contains(k.sentence, "does not answer, not even on the level of TCP");
	kept_free(&k);
	kube_client_free(c);
	for (unsigned i = 0; i < ARRAY_SIZE(full); i++)
		close(full[i]);
	close(fd);
}

/* --- credentials ---------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/kube_request_test.XXXXXX";

static const char *script(const char *name, const char *body)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", body);
	fclose(f);
	chmod(path, 0700);
	return path;
}

static void plugin_user(char *buf, size_t room, const char *command, const char *more)
{
	snprintf(buf, room,
		 "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: %s, "
		 "command: '%s', "
		 "installHint: 'Get it from x.example', provideClusterInfo: true, args: ['%s'], "
		 "env: [{name: PLUGIN_ENV, value: 'a b'}]}",
		 more ? more : "IfAvailable", command, folder);
}

#define CREDENTIAL(status)                                                                         \
	"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/"              \
	"v1\",\"status\":" status "}"
/* Counts its runs in a file; its n-th token is tN. */
#define COUNTING(status)                                                                           \
	"n=$(($(cat $1/count 2>/dev/null || echo 0) + 1)); echo $n >$1/count\n"                    \
	"echo \"$KUBERNETES_EXEC_INFO\" >$1/info; echo \"$PLUGIN_ENV\" >$1/env\n"                  \
	"cat <<END\n" CREDENTIAL(status) "\nEND\n"

static int runs(void)
{
	char path[128];
	FILE *f;
	int n = 0;

	snprintf(path, sizeof(path), "%s/count", folder);
	f = fopen(path, "r");
	if (f && fscanf(f, "%d", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static void forget_runs(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/count", folder);
	unlink(path);
}

static void read_file(const char *name, char *buf, size_t room)
{
	char path[128];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(buf, 1, room - 1, f);
	buf[n] = '\0';
	fclose(f);
}

static void test_plugin(void **unused)
{
	struct kube_call call = {.path = "/echo"};
	struct kept k[3], one;
	struct kube_client *c;
	char user[1024], info[4096];

	(void)unused;
	forget_runs();
	plugin_user(user, sizeof(user), script("ok", COUNTING("{\"token\":\"t$n\"}")), NULL);
	c = make_client(NULL, NULL, user, NULL);
	/* Several at once wait for one run, and later ones use what it gave. */
	memset(k, 0, sizeof(k));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(kube_request(c, &call, keep_reply, &k[i], NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(run_until(&k[i].done, 10));
		assert_string_equal(seen(&k[i], "Authorization"), "Bearer t1");
		kept_free(&k[i]);
	}
	ask(c, &call, &one);
	assert_string_equal(seen(&one, "Authorization"), "Bearer t1");
	kept_free(&one);
	assert_int_equal(runs(), 1);
	read_file("info", info, sizeof(info));
	assert_contains(info, "\"kind\":\"ExecCredential\"");
	assert_contains(info, "\"interactive\":false");
	assert_contains(info, "\"server\":\"https://127.0.0.1:");
	assert_contains(info, "\"certificate-authority-data\":\"LS0t");
	read_file("env", info, sizeof(info));
	assert_string_equal(info, "a b\n");
	kube_client_free(c);
}

static void test_plugin_again(void **unused)
{
	struct kube_call call = {.path = "/need/t2"}, never = {.path = "/need/x"},
			 echo = {.path = "/echo"};
	struct kube_client *c;
	char user[1024];
	struct kept k;

	(void)unused;
	/* 401: once more, with a new token; not for ever. */
	forget_runs();
	plugin_user(user, sizeof(user), script("again", COUNTING("{\"token\":\"t$n\"}")), NULL);
	c = make_client(NULL, NULL, user, NULL);
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_OK);
	assert_int_equal(runs(), 2);
	kept_free(&k);
	ask(c, &never, &k);
	assert_int_equal(k.failure, KUBE_UNAUTHORIZED);
	assert_int_equal(runs(), 3);
	kept_free(&k);
	kube_client_free(c);
	/* What has expired is not used. */
	forget_runs();
	plugin_user(user, sizeof(user),
		    script("old", COUNTING("{\"token\":\"t$n\",\"expirationTimestamp\":\"2020-01-"
					   "01T00:00:00Z\"}")),
		    NULL);
	c = make_client(NULL, NULL, user, NULL);
	ask(c, &echo, &k);
	assert_string_equal(seen(&k, "Authorization"), "Bearer t1");
	kept_free(&k);
	ask(c, &echo, &k);
	assert_string_equal(seen(&k, "Authorization"), "Bearer t2");
	kept_free(&k);
	kube_client_free(c);
	/* What has not, is. */
	forget_runs();
	plugin_user(user, sizeof(user),
		    script("new", COUNTING("{\"token\":\"t$n\",\"expirationTimestamp\":\"2100-01-"
					   "01T02:00:00.5+02:00\"}")),
		    NULL);
	c = make_client(NULL, NULL, user, NULL);
	for (unsigned i = 0; i < 2; i++) {
		ask(c, &echo, &k);
		assert_string_equal(seen(&k, "Authorization"), "Bearer t1");
		kept_free(&k);
	}
	kube_client_free(c);
}

static void test_plugin_certificate(void **unused)
{
	char user[1024];
	struct kept k;

	(void)unused;
	plugin_user(user, sizeof(user),
		    script("cert", "json() { sed 's/$/\\\\n/' $1 | tr -d '\\n'; }\n"
				   "cat <<END\n" CREDENTIAL(
					   "{\"clientCertificateData\":\"$(json " DATA
					   "/tls/client.crt)\",\"clientKeyData\":\"$(json " DATA
					   "/tls/client.key)\"}") "\nEND\n"),
		    NULL);
	ask_as(NULL, NULL, user, &k);
	assert_int_equal(k.failure, KUBE_OK);
	assert_contains(text(&k, "peer"), "alice");
	kept_free(&k);
}

static void test_plugin_failures(void **unused)
{
	static const struct {
		const char *name, *body, *sentence;
	} cases[] = {
		{"fails", "echo 'no session: run login first' >&2; exit 3",
		 "ended with code 3; it said: no session: run login first. Get it from x.example"},
		{"silent", "exit 0", "gave no credential: it printed nothing"},
		{"rubbish", "echo 'Please visit https://login'",
		 "it printed 'Please visit https://login.', which is no"},
		{"other", "echo '{\"kind\":\"Pod\"}'",
		 "an object of kind 'Pod', not ExecCredential"},
		{"version",
		 "echo "
		 "'{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/"
		 "v1beta1\"}'",
		 "the kubeconfig asks for 'client.authentication.k8s.io/v1'"},
		{"empty", "echo '" CREDENTIAL("{}") "'",
		 "neither a token nor a client certificate"},
		{"half", "echo '" CREDENTIAL("{\"clientKeyData\":\"x\"}") "'", "only one of"},
		{"number", "echo '" CREDENTIAL("{\"token\":3}") "'", "its status.token is no text"},
		{"when",
		 "echo '" CREDENTIAL("{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}") "'",
		 "its expirationTimestamp 'soon' is no time"},
		{"endless", "exec cat /dev/zero", "prints without end"},
		{"killed", "kill -9 $$", "was killed by signal 9"},
	};
	char user[1024];
	struct kept k;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		plugin_user(user, sizeof(user), script(cases[i].name, cases[i].body), NULL);
		ask_as(NULL, NULL, user, &k);
		assert_int_equal(k.failure, KUBE_CREDENTIALS);
		assert_contains(k.sentence, cases[i].sentence);
		kept_free(&k);
	}
	plugin_user(user, sizeof(user), "/nowhere/plugin", NULL);
	ask_as(NULL, NULL, user, &k);
	assert_contains(
		k.sentence,
		"the exec plugin '/nowhere/plugin' is not installed. Get it from x.example");
	kept_free(&k);
	plugin_user(user, sizeof(user), "true", "Always");
	ask_as(NULL, NULL, user, &k);
	assert_contains(k.sentence,
			"asks questions (interactiveMode: Always), but there is no terminal");
	kept_free(&k);
}

static bool is_running(int pid)
{
	char path[64], state = 'Z';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d %*s %c", &state) != 1)
		state = 'Z';
	fclose(f);
	return state != 'Z';
}

static void test_plugin_hangs(void **unused)
{
	struct kube_options options = {.exec_timeout = 1 * NSEC_PER_SEC};
	struct kube_call call = {.path = "/echo"};
	struct kube_client *c;
	char user[1024], pid[32];
	struct kept k;

	(void)unused;
	plugin_user(user, sizeof(user), script("hangs", "sleep 100 & echo $! >$1/pid; wait"), NULL);
	c = make_client(NULL, NULL, user, &options);
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_CREDENTIALS);
	assert_contains(k.sentence, "did not end within 1 s");
	kept_free(&k);
	/* What it had started is gone as well (a zombie of another parent may stay a moment). */
	read_file("pid", pid, sizeof(pid));
	for (unsigned i = 0; i < 100 && is_running(atoi(pid)); i++)
		usleep(10000);
	assert_false(is_running(atoi(pid)));
	/* A client that goes while one runs. */
	assert_int_equal(kube_request(c, &call, keep_reply, &k, NULL), 0);
	kube_client_free(c);
}

static void test_token_file(void **unused)
{
	struct kube_call call = {.path = "/need/second"};
	struct kube_client *c;
	char path[128], user[256];
	struct kept k;
	FILE *f;

	(void)unused;
	snprintf(path, sizeof(path), "%s/token", folder);
	f = fopen(path, "w");
	fputs("first\n", f);
	fclose(f);
	snprintf(user, sizeof(user), "tokenFile: %s, token: fallback", path);
	c = make_client(NULL, NULL, user, NULL);
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_UNAUTHORIZED);
	kept_free(&k);
	/* A rotated file is read at once when the old token is refused. */
	f = fopen(path, "w");
	fputs("second\n", f);
	fclose(f);
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_OK);
	kept_free(&k);
	kube_client_free(c);
	unlink(path);
	c = make_client(NULL, NULL, user, NULL);
	call.path = "/need/fallback";
	ask(c, &call, &k);
	assert_int_equal(k.failure, KUBE_OK);
	kept_free(&k);
	kube_client_free(c);
}

/* --- life ----------------------------------------------------------------------------------------------- */

struct chain {
	struct kube_client *client;
	struct kube_request *other;
	bool done;
	unsigned count;
};

static void free_all(void *arg, const struct kube_reply *r)
{
	struct chain *ch = arg;

	assert_int_equal(r->failure, KUBE_OK);
	ch->count++;
	ch->done = true;
	kube_client_free(ch->client);
}

static void cancel_other(void *arg, const struct kube_reply *r)
{
	struct chain *ch = arg;

	(void)r;
	kube_cancel(ch->other);
	ch->count++;
	ch->done = true;
}

static void never(void *arg, const struct kube_reply *r)
{
	(void)arg;
	fail_msg("called after cancel: %s", r->sentence);
}

static void test_free_in_callback(void **unused)
{
	struct chain ch = {.client = make_client(NULL, NULL, "token: t", NULL)};
	struct kube_call echo = {.path = "/echo"}, slow = {.path = "/slow"};
	bool no = false;

	(void)unused;
	assert_int_equal(kube_request(ch.client, &slow, never, NULL, &ch.other), 0);
	assert_int_equal(kube_request(ch.client, &echo, cancel_other, &ch, NULL), 0);
	assert_true(run_until(&ch.done, 10));
	ch.done = false;
	assert_int_equal(kube_request(ch.client, &slow, never, NULL, NULL), 0);
	assert_int_equal(kube_request(ch.client, &echo, free_all, &ch, NULL), 0);
	assert_true(run_until(&ch.done, 10));
	assert_int_equal(ch.count, 2);
	(void)run_until(&no, 1);
}

static int setup(void **state)
{
	return mkdtemp(folder) ? start_server(state) : -1;
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"ok",	 "again",   "old",   "new",  "cert",   "fails", "silent",  "rubbish",
		"other", "version", "empty", "half", "number", "when",	"endless", "killed",
		"hangs", "count",   "info",  "env",  "pid",    ""};
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		(void)remove(path);
	}
	return stop_server(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_expired_certificate),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_plugin),
		cmocka_unit_test(test_plugin_again),
		cmocka_unit_test(test_plugin_certificate),
		cmocka_unit_test(test_plugin_failures),
		cmocka_unit_test(test_plugin_hangs),
		cmocka_unit_test(test_token_file),
		cmocka_unit_test(test_free_in_callback),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
