/* SPDX-License-Identifier: Apache-2.0 */
/* kube: kubeconfigs. The folders of data/kube/config hold what kubectl made of each; the rest is what `kubectl config view`
 * does not check. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "kube/kube.h"

#define CASES TEST_DATA "/kube/config"

static struct error err;

/* --- as kubectl ----------------------------------------------------------------------------------------- */

/* The text with every `from` as `to`. */
static char *replace(const char *text, const char *from, const char *to)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	for (const char *p; (p = strstr(text, from)); text = p + strlen(from))
		fprintf(f, "%.*s%s", (int)(p - text), text, to);
	fputs(text, f);
	fclose(f);
	return out;
}

static char *slurp(const char *dir, const char *name)
{
	char path[512], *text = NULL;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return file_read(path, 1 << 20, &text, &len, NULL) ? NULL : text;
}

static void set_files(const char *dir, const char *also)
{
	char value[2048];

	snprintf(value, sizeof(value), "%s%s%s%s/config:%s/config2", also ? dir : "",
		 also ? "/" : "", also ? also : "", dir, dir);
	if (also)
		snprintf(value, sizeof(value), "%s/%s:%s/config:%s/config2", dir, also, dir, dir);
	setenv("KUBECONFIG", value, 1);
}

static void check_golden(const char *name, const char *dir, const struct kube_config *c)
{
	json_t *view = kube_config_view(c), *golden, *ours;
	char *text = json_dumps(view, JSON_INDENT(1)), *there = slurp(dir, "golden.json");
	char *here = replace(text, dir, "@DIR@");

	assert_non_null(there);
	golden = json_loads(there, 0, NULL);
	ours = json_loads(here, 0, NULL);
	assert_non_null(golden);
	if (!json_equal(golden, ours))
		fail_msg("%s: kubectl has\n%s\nand we have\n%s", name, there, here);
	json_decref(view);
	json_decref(golden);
	json_decref(ours);
	free(text);
	free(there);
	free(here);
}

static void check_case(const char *name)
{
	char dir[512], context[128] = "", also[128] = "";
	struct kube_flags flags = {.context = NULL};
	struct kube_config *c = NULL;
	char *args, *refused;
	int r;

	snprintf(dir, sizeof(dir), CASES "/%s", name);
	args = slurp(dir, "args");
	refused = slurp(dir, "refused");
	if (args) {
		sscanf(args, "context=%127s", context);
		sscanf(args, "also=%127s", also);
	}
	if (*context)
		flags.context = context;
	set_files(dir, *also ? also : NULL);
	r = kube_config_load(&c, &flags, &err);
	if (refused) {
		refused[strcspn(refused, "\n")] = '\0';
		assert_true(r < 0);
		assert_null(c);
		if (!strstr(err.text, refused))
			fail_msg("%s: '%s' is not in: %s", name, refused, err.text);
	} else {
		if (r)
			fail_msg("%s: %s", name, err.text);
		check_golden(name, dir, c);
	}
	kube_config_free(c);
	free(args);
	free(refused);
}

static void test_as_kubectl(void **unused)
{
	struct dirent **list;
	int n = scandir(CASES, &list, NULL, alphasort), seen = 0;

	(void)unused;
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			check_case(list[i]->d_name);
			seen++;
		}
		free(list[i]);
	}
	free(list);
	assert_true(seen >= 40);
}

/* --- where it is looked for ------------------------------------------------------------------------------ */

static char folder[] = "/tmp/kube_config_test.XXXXXX";

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *in_folder(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int make_folder(void **unused)
{
	char path[256];

	(void)unused;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/.kube", folder);
	return mkdir(path, 0700);
}

static int remove_folder(void **unused)
{
	static const char *const names[] = {".kube/config", "other", "token", "namespace",
					    "ca.crt",	    ".kube", ""};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)remove(in_folder(names[i]));
	return access(folder, F_OK) == 0;
}

#define CONFIG(server, user)                                                                       \
	"current-context: a\n"                                                                     \
	"clusters: [{name: a, cluster: {server: '" server "'}}]\n"                                 \
	"users: [{name: a, user: " user "}]\n"                                                     \
	"contexts: [{name: a, context: {cluster: a, user: a}}]\n"

static struct kube_config *must_load(const struct kube_flags *flags)
{
	struct kube_config *c = NULL;

	if (kube_config_load(&c, flags, &err))
		fail_msg("%s", err.text);
	return c;
}

static void test_order(void **unused)
{
	struct kube_flags flags = {.kubeconfig = NULL};
	struct kube_config *c;

	(void)unused;
	setenv("HOME", folder, 1);
	unsetenv("KUBECONFIG");
	write_file(".kube/config", CONFIG("https://home", "{}"));
	write_file("other", CONFIG("https://other", "{}"));
	c = must_load(&flags);
	assert_string_equal(kube_config_server(c), "https://home");
	assert_string_equal(kube_config_namespace(c), "default");
	assert_string_equal(kube_config_context_at(c, 0), "a");
	assert_null(kube_config_context_at(c, 1));
	kube_config_free(c);

	setenv("KUBECONFIG", in_folder("other"), 1);
	c = must_load(&flags);
	assert_string_equal(kube_config_server(c), "https://other");
	kube_config_free(c);

	flags.kubeconfig = in_folder(".kube/config");
	c = must_load(&flags);
	assert_string_equal(kube_config_server(c), "https://home");
	kube_config_free(c);

	flags.kubeconfig = "/nowhere/config";
	assert_int_equal(kube_config_load(&c, &flags, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/config"));
	unsetenv("KUBECONFIG");
}

static void test_in_cluster(void **unused)
{
	struct kube_flags flags = {.service_account = folder};
	struct kube_config *c = NULL;
	json_t *view;

	(void)unused;
	setenv("KUBECONFIG", "/nowhere/a:/nowhere/b", 1);
	assert_int_equal(kube_config_load(&c, &flags, &err), -ENOENT);
	assert_non_null(strstr(err.text, "there is no kubeconfig"));

	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	write_file("token", "t");
	write_file("namespace", "shop\n");
	write_file("ca.crt", "CA");
	c = must_load(&flags);
	assert_string_equal(kube_config_server(c), "https://10.96.0.1:443");
	assert_string_equal(kube_config_namespace(c), "shop");
	view = kube_config_view(c);
	assert_non_null(view);
	json_decref(view);
	kube_config_free(c);

	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("POD_NAMESPACE", "mine", 1);
	c = must_load(&flags);
	assert_string_equal(kube_config_server(c), "https://[fd00::1]:443");
	assert_string_equal(kube_config_namespace(c), "mine");
	kube_config_free(c);
	unsetenv("KUBERNETES_SERVICE_HOST");
	unsetenv("KUBECONFIG");
}

/* --- flags ---------------------------------------------------------------------------------------------- */

static int parse(struct kube_config **c, const char *text, const struct kube_flags *flags)
{
	return kube_config_parse(c, "f.yaml", text, strlen(text), flags, &err);
}

static const char *text_at(json_t *view, const char *list, const char *key, const char *field)
{
	json_t *entry = json_array_get(json_object_get(view, list), 0);
	const char *s = json_string_value(json_object_get(json_object_get(entry, key), field));

	return s ? s : "";
}

static void test_flags(void **unused)
{
	static const char *const groups[] = {"g1", "g2", NULL};
	struct kube_flags flags = {.namespace = "ns",
				   .server = "https://elsewhere:1/",
				   .token = "flag",
				   .as = "jane",
				   .as_uid = "7",
				   .as_groups = groups,
				   .tls_server_name = "name"};
	struct kube_config *c = NULL;
	json_t *view;

	(void)unused;
	assert_int_equal(parse(&c, CONFIG("https://x", "{tokenFile: t}"), &flags), 0);
	view = kube_config_view(c);
	assert_string_equal(kube_config_server(c), "https://elsewhere:1");
	assert_string_equal(kube_config_namespace(c), "ns");
	assert_string_equal(text_at(view, "users", "user", "token"), "flag");
	assert_string_equal(text_at(view, "users", "user", "tokenFile"), "");
	assert_string_equal(text_at(view, "users", "user", "as"), "jane");
	assert_string_equal(text_at(view, "users", "user", "as-uid"), "7");
	assert_string_equal(text_at(view, "clusters", "cluster", "tls-server-name"), "name");
	json_decref(view);
	kube_config_free(c);

	/* A server alone is enough. */
	flags = (struct kube_flags){.server = "10.0.0.1:8080"};
	assert_int_equal(parse(&c, "", &flags), 0);
	assert_string_equal(kube_config_server(c), "http://10.0.0.1:8080");
	assert_string_equal(kube_config_context(c), "");
	kube_config_free(c);
}

static void test_data_before_file(void **unused)
{
	struct kube_flags flags = {.context = NULL};
	struct kube_config *c = NULL;
	json_t *view;

	(void)unused;
	assert_int_equal(
		parse(&c,
		      CONFIG("https://x",
			     "{client-certificate: /nowhere, client-certificate-data: Q0VSVA==, "
			     "client-key-data: S0VZ}"),
		      &flags),
		0);
	view = kube_config_view(c);
	assert_string_equal(text_at(view, "users", "user", "client-certificate-data"), "Q0VSVA==");
	json_decref(view);
	kube_config_free(c);
}

static void test_extension(void **unused)
{
	struct kube_flags flags = {.context = NULL};
	struct kube_config *c = NULL;
	const json_t *x;

	(void)unused;
	assert_int_equal(parse(&c,
			       "current-context: a\n"
			       "clusters: [{name: a, cluster: {server: 'https://x', extensions: "
			       "[{name: culvert.dev, extension: {port: 8080, text: '8080'}}]}}]\n"
			       "contexts: [{name: a, context: {cluster: a}}]\n",
			       &flags),
			 0);
	x = kube_config_extension(c, "culvert.dev");
	assert_int_equal(json_integer_value(json_object_get(x, "port")), 8080);
	assert_string_equal(json_string_value(json_object_get(x, "text")), "8080");
	assert_null(kube_config_extension(c, "other"));
	kube_config_free(c);
}

/* --- mistakes ------------------------------------------------------------------------------------------- */

static void test_mistakes(void **unused)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{CONFIG("https://x", "{auth-provider: {name: gcp}}"),
		 "f.yaml:3:41: the user 'a' has an auth-provider, which Kubernetes 1.26 removed"},
		{CONFIG("https://x", "{token: t, username: u}"),
		 "f.yaml:3:25: the user 'a' has a token and a username"},
		{CONFIG("https://x", "{client-certificate-data: QQ==}"), "but no client-key"},
		{CONFIG("https://x", "{as-groups: [g]}"), "without a user to act as"},
		{CONFIG("https://x",
			"{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}"),
		 "f.yaml:3:45: the exec plugin's apiVersion must be"},
		{CONFIG("https://x",
			"{exec: {apiVersion: client.authentication.k8s.io/v1, command: x}}"),
		 "needs interactiveMode"},
		{CONFIG("https://x", "{exec: {apiVersion: client.authentication.k8s.io/v1, "
				     "interactiveMode: Sometimes, command: x}}"),
		 "not 'Sometimes'"},
		{CONFIG("https://x", "{exec: {apiVersion: client.authentication.k8s.io/v1}}"),
		 "has no command"},
		{CONFIG("ftp://x", "{}"), "must begin with https://"},
		{CONFIG("https://x y", "{}"), "is no URL"},
		{CONFIG("", "{}"), "f.yaml:2:31: the cluster 'a' has no server"},
		{"current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\n",
		 "the kubeconfig has no cluster 'b', which the context 'a' names"},
		{"contexts: [{name: a, context: {cluster: b}}]\n",
		 "does not say which context to use"},
		{"current-context: a\ncontexts: [{name: a}]\n", "the context 'a' has no content"},
		{"clusters: [{name: a, cluster: {server: x, proxy-url: 'ftp://x'}}]\n"
		 "current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\n",
		 "a proxy must begin with http://, https:// or socks5://"},
		{"clusters: [{name: a, cluster: {server: x, insecure-skip-tls-verify: true, "
		 "certificate-authority-data: QQ==}}]\n"
		 "current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\n",
		 "has both insecure-skip-tls-verify and a certificate authority"},
		{"clusters: [1]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: "
		 "a\n",
		 "f.yaml:1:12: each of the clusters must be a mapping"},
		{"[]\n", "this is no kubeconfig"},
		{"kind: Config\napiVersion: v2\n", "f.yaml:2:13: a kubeconfig of version 'v2'"},
	};
	struct kube_flags flags = {.context = NULL};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kube_config *c = NULL;
		int r = parse(&c, cases[i].text, &flags);

		assert_true(r < 0);
		assert_null(c);
		if (!strstr(err.text, cases[i].sentence))
			fail_msg("'%s' is not in: %s", cases[i].sentence, err.text);
		assert_null(strchr(err.text, '\n'));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_kubectl),	 cmocka_unit_test(test_order),
		cmocka_unit_test(test_in_cluster),	 cmocka_unit_test(test_flags),
		cmocka_unit_test(test_data_before_file), cmocka_unit_test(test_extension),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
