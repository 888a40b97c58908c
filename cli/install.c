/* SPDX-License-Identifier: Apache-2.0 */
/* culvert install: puts the manager and its rules into the cluster, and waits until it serves. */
#include <errno.h>

#include "base/base64.h"
#include "base/duration.h"
#include "cli/install.h"
#include "cli/webhook.h"
#include "crypto/crypto.h"
#include "pki/pki.h"

enum {
	MINOR_LEAST = 30, /* Kubernetes 1.30: policies and match conditions */
	MINOR_CIDR = 33,  /* from here on there are ServiceCIDR objects */
	CA_DAYS = 3650,
	TIMEOUT_S = 120,
	POLL_MS = 200,
	WEBHOOK_S = 15, /* nodes' proxies follow within a second or two */
	QUIET_S = 3,	/* after that the wait says what for */
};

struct install {
	const struct args *a;
	struct cluster c;
	struct deploy_values v;
	struct progress *p;
	json_t *objects;
	bool keep_ns;	  /* the namespace is somebody else's: left as it is */
	bool no_gateway;  /* there was one, and is none any more */
	unsigned made;	  /* objects that were not there */
	unsigned seconds; /* how long to wait */
};

/* --- the values --------------------------------------------------------------------------------------------- */

int copy_flag(char *to, size_t size, const struct args *a, const char *flag, struct error *e)
{
	const char *text = args_text(a, flag);

	if (!text)
		return 0;
	if (strlen(text) >= size)
		return error_set(e, -EINVAL, "--%s is longer than %zu characters", flag, size - 1);
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

int copy_number(unsigned *to, const struct args *a, const char *flag, unsigned max, struct error *e)
{
	const char *text = args_text(a, flag);
	char *end;
	unsigned long v;

	if (!text)
		return 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || v < 1 || v > max)
		return error_set(e, -EINVAL, "--%s %s: write a number from 1 to %u", flag, text,
				 max);
	*to = (unsigned)v;
	return 0;
}

int copy_many(char (*to)[DEPLOY_WHO], unsigned max, unsigned *nto, const struct args *a,
	      const char *flag, struct error *e)
{
	const char *const *texts;
	unsigned n = args_many(a, flag, &texts), i;

	if (n > max)
		return error_set(e, -EINVAL, "--%s: at most %u", flag, max);
	for (i = 0; i < n; i++) {
		if (strlen(texts[i]) >= sizeof(to[i]))
			return error_set(e, -EINVAL, "--%s: longer than %zu characters", flag,
					 sizeof(to[i]) - 1);
		memcpy(to[i], texts[i], strlen(texts[i]) + 1);
	}
	*nto = n;
	return 0;
}

/* "90s", "2m", "1h". */
static int copy_seconds(unsigned *to, const struct args *a, const char *flag, struct error *e)
{
	const char *text = args_text(a, flag);
	if (!text)
		return 0;
	*to = duration_parse(text, false, 86400);
	if (!*to)
		return error_set(e, -EINVAL, "--%s %s: write a time such as 90s or 2m", flag, text);
	return 0;
}

static int values_of(struct install *in, struct error *e)
{
	const struct args *a = in->a;
	struct deploy_values *v = &in->v;
	cleanup(free_ptr) char *text = NULL;
	int err = copy_flag(v->ns, sizeof(v->ns), a, "namespace", e);

	if (!err)
		err = copy_flag(v->manager_image, sizeof(v->manager_image), a, "manager-image", e);
	if (!err)
		err = copy_flag(v->agent_image, sizeof(v->agent_image), a, "agent-image", e);
	if (!err)
		err = copy_flag(v->pull_policy, sizeof(v->pull_policy), a, "pull-policy", e);
	if (!err)
		err = copy_flag(v->udp_service, sizeof(v->udp_service), a, "udp-service", e);
	if (!err)
		err = copy_number(&v->udp_node_port, a, "udp-node-port", 65535, e);
	if (!err)
		err = copy_flag(v->holder_timeout, sizeof(v->holder_timeout), a, "holder-timeout",
				e);
	if (!err)
		err = copy_flag(v->session_timeout, sizeof(v->session_timeout), a,
				"session-timeout", e);
	if (!err)
		err = copy_flag(v->prefixes, sizeof(v->prefixes), a, "prefixes", e);
	if (!err)
		err = copy_many(v->group, DEPLOY_GROUPS, &v->ngroups, a, "allow-group", e);
	if (!err)
		err = copy_seconds(&in->seconds, a, "timeout", e);
	if (!err)
		err = gateway_values(v, a, e);
	if (!err && !*v->ns)
		snprintf(v->ns, sizeof(v->ns), "culvert");
	return err ? err : deploy_render_yaml(v, &text, e); /* are they what they may be? */
}

static int make_keys(struct deploy_values *v, struct error *e)
{
	cleanup(free_ptr) char *cert = NULL, *key = NULL;
	char text[KEY_TEXT_LEN + 1];
	struct identity id;
	int err = crypto_init() ? error_set(e, -EIO, "no randomness") : 0;

	if (!err)
		err = pki_make_ca("culvert", CA_DAYS, &cert, &key, e);
	if (err)
		return err;
	identity_generate(&id);
	key_format(id.priv, text);
	memcpy(text + KEY_TEXT_LEN - 1, "\n", 2);
	v->overlay_key = base64_encode(text, strlen(text));
	v->ca_cert = base64_encode(cert, strlen(cert));
	v->ca_key = base64_encode(key, strlen(key));
	crypto_wipe(&id, sizeof(id));
	crypto_wipe(text, sizeof(text));
	crypto_wipe(key, strlen(key));
	return v->overlay_key && v->ca_cert && v->ca_key ? 0 : error_errno(e, -ENOMEM, "keys");
}

/* --- what is there ------------------------------------------------------------------------------------------ */

/* *minor of the cluster's version. */
static int check_version(struct install *in, json_int_t *minor, struct error *e)
{
	json_t *version;
	int err = cluster_get(&in->c, &version, e, "/version", NULL);
	long major;

	if (err)
		return err;
	major = strtol(get_text(version, "major"), NULL, 10);
	*minor = strtol(get_text(version, "minor"), NULL, 10); /* "30+" with some providers */
	if (major < 1 || (major == 1 && *minor < MINOR_LEAST))
		err = error_set(
			e, -EINVAL,
			"the cluster runs Kubernetes %s.%s: culvert needs 1.%d or newer, since "
			"admission policies and a webhook's match conditions are its guards",
			get_text(version, "major"), get_text(version, "minor"), MINOR_LEAST);
	json_decref(version);
	return err;
}

/* Another installation would share our objects of the whole cluster. */
static int check_other(struct install *in, struct error *e)
{
	json_t *binding;
	const char *ns;
	int err = cluster_find(&in->c, &binding, e,
			       "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/"
			       "culvert-manager");

	if (err || !binding)
		return err;
	ns = object_text(json_array_get(json_object_get(binding, "subjects"), 0), "namespace");
	if (*ns && strcmp(ns, in->v.ns) != 0)
		err = error_set(
			e, -EEXIST,
			"culvert is installed in the namespace %s already: use -n %s to change "
			"it, or remove it first with: culvert uninstall -n %s",
			ns, ns, ns);
	else if (!strcmp(object_text(binding, "metadata", "labels", "app.kubernetes.io/managed-by"),
			 "Helm"))
		err = error_set(
			e, -EEXIST,
			"culvert was installed by Helm: change it with helm upgrade, or remove "
			"it with helm uninstall first");
	json_decref(binding);
	return err;
}

static int check_namespace(struct install *in, struct error *e)
{
	char path[128];
	json_t *ns;
	int err;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", in->v.ns);
	err = cluster_find(&in->c, &ns, e, path);
	if (err || !ns)
		return err;
	if (!strcmp(object_text(ns, "status", "phase"), "Terminating"))
		err = error_set(e, -EBUSY,
				"the namespace %s is being deleted: wait until it is gone",
				in->v.ns);
	in->keep_ns = strcmp(object_text(ns, "metadata", "labels", "app.kubernetes.io/managed-by"),
			     "culvert") != 0;
	json_decref(ns);
	if (err || !in->keep_ns || args_bool(in->a, "yes"))
		return err;
	progress_end(steal_ptr(in->p), NULL);
	fprintf(stderr, "The namespace %s exists, and culvert did not make it.\n", in->v.ns);
	if (!cluster_confirm(&in->c, "Install there, and leave it as it is?"))
		return error_set(
			e, -ECANCELED,
			"nothing was changed: name another namespace with -n, or use --yes");
	in->p = progress_start("Installing");
	return 0;
}

static char *secret_value(const json_t *secret, const char *name)
{
	const char *text = object_text(secret, "data", name, NULL);

	return *text ? strdup(text) : NULL;
}

/* The keys stay what they are: laptops and agents know the manager by them. */
static int find_keys(struct install *in, struct error *e)
{
	struct deploy_values *v = &in->v;
	char path[128];
	json_t *secret;
	int err;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/secrets/culvert-manager", v->ns);
	err = cluster_find(&in->c, &secret, e, path);
	if (err)
		return err;
	if (!secret)
		return make_keys(v, e);
	v->overlay_key = secret_value(secret, "key");
	v->ca_cert = secret_value(secret, "ca.crt");
	v->ca_key = secret_value(secret, "ca.key");
	json_decref(secret);
	if (v->overlay_key && v->ca_cert && v->ca_key)
		return 0;
	return error_set(
		e, -EINVAL,
		"the Secret culvert-manager in the namespace %s lacks key, ca.crt or ca.key: "
		"restore it, or delete it to get new keys",
		v->ns);
}

/* The services' range of a cluster without ServiceCIDR objects: the API server names it when an address is outside. */
static int find_service_range(struct install *in, struct error *e)
{
	json_t *body = json_pack("{s:s,s:s,s:{s:s},s:{s:s,s:[{s:i}]}}", "apiVersion", "v1", "kind",
				 "Service", "metadata", "generateName", "culvert-", "spec",
				 "clusterIP", "1.1.1.1", "ports", "port", 1);
	struct error said = {""};
	json_t *ignored;
	int err = cluster_post(&in->c, &ignored, &said,
			       "/api/v1/namespaces/default/services?dryRun=All", body);

	json_decref(body);
	json_decref(ignored);
	if (err == KUBE_INVALID &&
	    !deploy_service_range(said.text, in->v.service_prefix, sizeof(in->v.service_prefix)))
		return 0;
	return error_set(
		e, err < 0 ? err : -ENOENT,
		"the range of the services' addresses was not found (%s): name it, and the "
		"pods', with --prefixes",
		err ? said.text : "1.1.1.1 is in it");
}

static int look(struct install *in, struct error *e)
{
	json_int_t minor = 0;
	int err = check_version(in, &minor, e);

	if (!err)
		err = deploy_render(&in->v, &in->objects, e);
	if (!err)
		err = rights_check(&in->c, in->objects, in->v.ns, e);
	if (!err)
		err = check_other(in, e);
	if (!err)
		err = check_namespace(in, e);
	if (!err)
		err = find_keys(in, e);
	if (!err)
		err = gateway_find_keys(&in->c, &in->v, e);
	if (!err && minor < MINOR_CIDR && !*in->v.prefixes)
		err = find_service_range(in, e);
	json_decref(in->objects);
	in->objects = NULL;
	return err ? err : deploy_render(&in->v, &in->objects, e);
}

/* --- applying ----------------------------------------------------------------------------------------------- */

static bool is_object(const json_t *o, const char *kind, const char *name)
{
	return !strcmp(get_text(o, "kind"), kind) &&
	       !strcmp(object_text(o, "metadata", "name"), name);
}

/* What the manager tells laptops is written by it: here it is only made, empty. */
static int create_empty(struct install *in, const json_t *object, struct error *e)
{
	char path[160];
	int err;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps?fieldManager=culvert",
		 in->v.ns);
	err = cluster_post(&in->c, NULL, e, path, object);
	in->made += err == 0;
	return err == KUBE_CONFLICT ? 0 : err;
}

static int apply(struct install *in, const json_t *object, struct error *e)
{
	char path[320];
	json_t *now = NULL;
	int err = deploy_path(object, path, sizeof(path));

	if (err)
		return error_set(e, err, "manifests: an object of an unknown kind");
	if (is_object(object, "Namespace", in->v.ns) && in->keep_ns)
		return 0;
	if (is_object(object, "ConfigMap", "culvert"))
		return create_empty(in, object, e);
	err = cluster_apply(&in->c, &now, e, path, object);
	if (err)
		return error_wrap(e, err, "%s %s", get_text(object, "kind"),
				  object_text(object, "metadata", "name"));
	json_decref(now);
	return 0;
}

static int apply_all(struct install *in, struct error *e)
{
	size_t n = json_array_size(in->objects), i;
	char text[128];
	json_t *object;
	int err = 0;

	json_array_foreach(in->objects, i, object)
	{
		snprintf(text, sizeof(text), "Applying %s %s", get_text(object, "kind"),
			 object_text(object, "metadata", "name"));
		progress_say(in->p, text);
		err = apply(in, object, e);
		if (err)
			return error_wrap(
				e, err,
				"%zu of %zu objects are in place, then it failed; "
				"`culvert install` goes on, `culvert uninstall` takes them away",
				i, n);
	}
	if (!strcmp(in->v.udp_service, "None")) {
		char path[160];

		snprintf(path, sizeof(path), "/api/v1/namespaces/%s/services/culvert-udp",
			 in->v.ns);
		err = cluster_delete(&in->c, e, path, NULL);
	}
	if (!err && !deploy_has_gateway(&in->v))
		err = gateway_remove(&in->c, &in->v, &in->no_gateway, e);
	return err;
}

/* --- waiting ------------------------------------------------------------------------------------------------ */

/* 1 = it serves, 0 = not yet. */
static int is_ready(struct install *in, const char *part, json_t **deployment, struct error *e)
{
	char path[160];
	json_t *told = NULL;
	int err, ready;

	snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/deployments/culvert-%s", in->v.ns,
		 part);
	err = cluster_get(&in->c, deployment, e, path, NULL);
	if (err || !rollout_done(*deployment))
		return -abs(err);
	if (strcmp(part, "manager") != 0)
		return 1;
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/culvert", in->v.ns);
	err = cluster_get(&in->c, &told, e, path, NULL);
	ready = !strcmp(object_text(told, "data", "ready"), "true");
	json_decref(told);
	return err ? -abs(err) : ready;
}

static int give_up(const struct install *in, const char *part, const char *why, struct error *e)
{
	if (!*why)
		return error_set(e, -ETIMEDOUT,
				 "the %s is not ready after %u s, and nothing says why; see: "
				 "kubectl -n %s logs deployment/culvert-%s",
				 part, in->seconds, in->v.ns, part);
	if (strstr(why, "Image"))
		return error_set(e, -ETIMEDOUT,
				 "the %s does not start: %s; name an image that the nodes can pull "
				 "with --%s-image",
				 part, why, part);
	return error_set(e, -ETIMEDOUT,
			 "the %s does not start: %s; all objects are in place, and Kubernetes goes "
			 "on trying",
			 part, why);
}

/* `part`: manager, gateway. */
static int wait_ready(struct install *in, const char *part, struct error *e)
{
	nsec_t begin = clock_boot(), end = begin + in->seconds * NSEC_PER_SEC, told = begin;
	struct error why = {""}, before = {""};
	char text[600], deploy[32];

	snprintf(deploy, sizeof(deploy), "culvert-%s", part);
	snprintf(text, sizeof(text), "Waiting for the %s", part);
	progress_say(in->p, text);
	for (;;) {
		json_t *deployment = NULL;
		int r = is_ready(in, part, &deployment, e);
		nsec_t now = clock_boot();
		bool vain = false;

		if (r == 0 && (now - told > QUIET_S * NSEC_PER_SEC || now >= end)) {
			told = now - (QUIET_S - 1) * NSEC_PER_SEC; /* then once a second */
			vain = rollout_reason(&in->c, in->v.ns, deploy,
					      object_get(deployment, "spec", "selector"), &why);
		}
		json_decref(deployment);
		if (r)
			return r == 1 ? 0 : r;
		if (vain || now >= end)
			return give_up(in, part, why.text, e);
		if (strcmp(why.text, before.text) != 0 && *why.text) {
			snprintf(text, sizeof(text), "Waiting for the %s: %.500s", part, why.text);
			progress_say(in->p, text);
			before = why;
		}
		r = cluster_sleep(&in->c, POLL_MS, e);
		if (r)
			return r;
	}
}

/* --- the command -------------------------------------------------------------------------------------------- */

static int print_objects(struct install *in)
{
	cleanup(free_ptr) char *text = NULL;
	json_t *list;
	struct error e;
	int err = make_keys(&in->v, &e);

	if (!err)
		err = gateway_keys(&in->v, &e);

	if (!err && output_of(in->a) != OUTPUT_JSON) {
		err = deploy_render_yaml(&in->v, &text, &e);
		if (!err)
			fputs(text, stdout);
		return err ? cli_fail(&e) : EXIT_OK;
	}
	if (!err)
		err = deploy_render(&in->v, &in->objects, &e);
	if (err)
		return cli_fail(&e);
	list = json_pack("{s:s,s:s,s:O}", "apiVersion", "v1", "kind", "List", "items", in->objects);
	output_print(OUTPUT_JSON, list, stdout);
	json_decref(list);
	return EXIT_OK;
}

/* Nobody but administrators may connect when no group was ever named. */
static void say_who_may(struct install *in)
{
	json_t *binding = NULL;

	if (in->v.ngroups || cluster_find(&in->c, &binding, NULL,
					  "/apis/rbac.authorization.k8s.io/v1/"
					  "clusterrolebindings/culvert-connect"))
		return;
	if (!binding)
		puts("Only the cluster's administrators may connect yet; others by: culvert "
		     "install "
		     "--allow-group GROUP");
	json_decref(binding);
}

static void say_gateway(const struct install *in)
{
	const struct deploy_values *v = &in->v;

	if (in->no_gateway)
		puts("The gateway of an earlier install was removed: --preview-domain or "
		     "--preview-host keep it.");
	if (*v->preview_domain)
		printf("Previews: https://*.%s/, dashboard: https://dashboard.%s/; both names "
		       "have to lead to the Service culvert-gateway.\n",
		       v->preview_domain, v->preview_domain);
	else if (*v->preview_host)
		printf("Previews: https://%s/p/*/; the name has to lead to the Service "
		       "culvert-gateway.\n",
		       v->preview_host);
}

static int install(struct install *in)
{
	nsec_t begin = clock_boot();
	struct error e = {""};
	int err, reached = 0;
	char text[512];

	in->p = progress_start("Looking at the cluster");
	err = look(in, &e);
	if (!err)
		err = apply_all(in, &e);
	if (!err)
		err = wait_ready(in, "manager", &e);
	if (!err && deploy_has_gateway(&in->v))
		err = wait_ready(in, "gateway", &e);
	if (!err) {
		progress_say(in->p, "Waiting until the API server reaches the webhook");
		reached = webhook_wait(&in->c, WEBHOOK_S, &e);
		err = reached == -EINTR ? reached : 0;
	}
	if (err) {
		progress_end(in->p, NULL);
		return cluster_fail(&in->c, &e);
	}
	snprintf(text, sizeof(text),
		 "Installed culvert " CULVERT_VERSION " in %.200s, namespace %s            %.1f s",
		 cluster_name(&in->c), in->v.ns,
		 (double)(clock_boot() - begin) / (double)NSEC_PER_SEC);
	progress_end(in->p, text);
	if (!reached)
		fprintf(stderr,
			"The API server does not reach the webhook (Service culvert in namespace "
			"%s, port 443, to port 8443 of the manager's pod): pods start without the "
			"agent, and cannot be intercepted. Have the firewall of the control plane "
			"let it through to the nodes; `culvert install` again tells whether it "
			"does.\n",
			in->v.ns);
	say_who_may(in);
	say_gateway(in);
	return EXIT_OK;
}

static int exec_install(const struct args *a)
{
	struct install in = {.a = a, .seconds = TIMEOUT_S};
	bool dry = args_bool(a, "dry-run");
	struct error e;
	int code;

	if (!dry && args_text(a, "output")) {
		error_set(&e, 0, "--output prints the objects, with --dry-run");
		return cli_fail_usage(a->cmd, &e);
	}
	if (values_of(&in, &e))
		return cli_fail_usage(a->cmd, &e);
	if (dry) {
		code = print_objects(&in);
	} else if (cluster_open(&in.c, a, &e)) {
		code = cli_fail(&e);
	} else {
		code = install(&in);
		cluster_close(&in.c);
	}
	json_decref(in.objects);
	deploy_values_clear(&in.v);
	return code;
}

static const char *const udp_services[] = {"NodePort", "LoadBalancer", "None", NULL};
static const char *const pull_policies[] = {"Always", "IfNotPresent", "Never", NULL};
static const char *const outputs[] = {"yaml", "json", NULL};
static const struct flag flags[] = {
	{"namespace", 'n', FLAG_TEXT, false, "NAME", "where the manager runs (default culvert)",
	 NULL},
	{"allow-group", 0, FLAG_TEXT, true, "GROUP",
	 "who may connect; without it what an earlier install said stays", NULL},
	{"manager-image", 0, FLAG_TEXT, false, "IMAGE", "the manager's image", NULL},
	{"agent-image", 0, FLAG_TEXT, false, "IMAGE", "the image of the agents in pods", NULL},
	{"pull-policy", 0, FLAG_CHOICE, false, "Always|IfNotPresent|Never",
	 "of all images (default IfNotPresent)", pull_policies},
	{"udp-service", 0, FLAG_CHOICE, false, "NodePort|LoadBalancer|None",
	 "how laptops reach the manager by UDP, beside the way through the API server (default "
	 "NodePort)",
	 udp_services},
	{"udp-node-port", 0, FLAG_TEXT, false, "PORT", "this node port, and no random one", NULL},
	{"holder-timeout", 0, FLAG_TEXT, false, "TIME",
	 "an intercept of a laptop away for longer gives way to another's (default 10m)", NULL},
	{"session-timeout", 0, FLAG_TEXT, false, "TIME",
	 "a laptop that has not renewed its session for as long is cut off (default 24h)", NULL},
	{"prefixes", 0, FLAG_TEXT, false, "CIDR,...",
	 "what laptops may reach (default: the services' and pods' ranges, found by the manager)",
	 NULL},
	{"timeout", 0, FLAG_TEXT, false, "TIME", "how long to wait for the manager (default 2m)",
	 NULL},
	{"dry-run", 0, FLAG_BOOL, false, NULL, "print the objects; no cluster is asked", NULL},
	{"output", 'o', FLAG_CHOICE, false, "yaml|json", "with --dry-run (default yaml)", outputs},
	{"yes", 'y', FLAG_BOOL, false, NULL, "into a namespace that culvert did not make, too",
	 NULL},
	{"preview-domain", 0, FLAG_TEXT, false, "DOMAIN[:PORT]",
	 "install the gateway: previews are https://ID.DOMAIN/ (a wildcard name that leads to it), "
	 "the "
	 "dashboard https://dashboard.DOMAIN/",
	 NULL},
	{"preview-host", 0, FLAG_TEXT, false, "HOST[:PORT]",
	 "the same without a wildcard name: previews are https://HOST/p/ID/", NULL},
	{"dashboard-host", 0, FLAG_TEXT, false, "HOST[:PORT]",
	 "with --preview-host (default: the same host, port 8444)", NULL},
	{"preview-tls-secret", 0, FLAG_TEXT, false, "NAME",
	 "Secret with the gateway's certificate (default: one of install's own authority)", NULL},
	{"gateway-service", 0, FLAG_CHOICE, false, "LoadBalancer|NodePort|ClusterIP",
	 "how browsers reach the gateway (default LoadBalancer)", gateway_services},
	{"gateway-node-port", 0, FLAG_TEXT, false, "PORT", "this node port for previews", NULL},
	{"dashboard-node-port", 0, FLAG_TEXT, false, "PORT",
	 "this node port for the dashboard, with --preview-host", NULL},
	{"gateway-image", 0, FLAG_TEXT, false, "IMAGE", "the gateway's image", NULL},
	{"ingress-ca", 0, FLAG_TEXT, false, "FILE",
	 "further authorities (PEM) that certificates of ingresses may be of", NULL},
	{"oidc-issuer", 0, FLAG_TEXT, false, "URL",
	 "who logs people in, by OpenID Connect (default: whom the API server knows is logged in)",
	 NULL},
	{"oidc-client-id", 0, FLAG_TEXT, false, "ID", "culvert's name there", NULL},
	{"oidc-client-secret-file", 0, FLAG_TEXT, false, "FILE",
	 "its secret for the gateway, where it is no public client; kept by a later install", NULL},
	{"oidc-scopes", 0, FLAG_TEXT, false, "SCOPES",
	 "what is asked for (default \"openid profile email\")", NULL},
	{"oidc-ca", 0, FLAG_TEXT, false, "FILE",
	 "authority (PEM) of the issuer's certificate, beside the system's", NULL},
	{"oidc-allow", 0, FLAG_TEXT, true, "CLAIM=VALUE",
	 "whose tokens may enter, such as groups=dev; one of them has to hold", NULL},
	FLAGS_KUBE,
	{0},
};

const struct command cmd_install = {
	.name = "install",
	.args = "",
	.summary = "Install culvert in the cluster, or change an installation",
	.about = "Applies its objects (docs/kubernetes.md) with your rights and waits until the "
		 "manager serves. Again it changes\n"
		 "what differs. The manager's keys are made once and kept.",
	.flags = flags,
	.example = "culvert install --allow-group developers",
	.exec = exec_install,
};
