/* SPDX-License-Identifier: Apache-2.0 */
/* culvert login, culvert logout: as whom intercepts and previews are made in a cluster. */
#include <errno.h>

#include "cli/signin.h"

struct visit {
	struct cluster c;
	struct userdir dir;
	struct login_place place;
	struct login_offer *offer;
	struct login *login;
};

static void visit_end(struct visit *v)
{
	cluster_close(&v->c);
	if (v->login)
		explicit_bzero(v->login, sizeof(*v->login));
	free(v->login);
	free(v->offer);
}

static int visit_begin(struct visit *v, const struct args *a, struct error *e)
{
	const struct kube_config *kc;
	const char *ns = args_text(a, "namespace");
	int err;

	memset(v, 0, sizeof(*v));
	err = userdir_find(&v->dir, e);
	if (!err)
		err = cluster_open(&v->c, a, e);
	if (err)
		return err;
	kc = kube_client_config(v->c.client);
	v->place = (struct login_place){.context = kube_config_context(kc),
					.server = kube_config_server(kc),
					.manager_ns = ns ? ns : "culvert"};
	v->login = calloc(1, sizeof(*v->login));
	v->offer = calloc(1, sizeof(*v->offer));
	if (v->login && v->offer)
		return 0;
	visit_end(v);
	return error_errno(e, -ENOMEM, "login");
}

static int ask_offer(struct visit *v, struct error *e)
{
	const char *ns = v->place.manager_ns;
	struct progress *p;
	json_t *object = NULL;
	char path[256];
	int err;

	if (!object_name_valid(ns, K8S_NAME_MAX))
		return error_set(e, -EINVAL, "'%.80s' is no name of a namespace", ns);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/culvert", ns);
	p = progress_start("Asking the API server");
	err = cluster_find(&v->c, &object, e, path);
	progress_end(p, NULL);
	if (err)
		return err;
	if (object)
		err = login_offer_parse(v->offer, object, e);
	else
		err = error_set(
			e, -ENOENT,
			"culvert is not installed in namespace %s of this cluster (%.300s); an "
			"administrator runs: culvert install",
			ns, v->place.server);
	json_decref(object);
	return err;
}

/* --- login ---------------------------------------------------------------------------------------------------------- */

static int ask_who(struct visit *v, struct error *e)
{
	json_t *review = NULL,
	       *body = json_pack("{s:s,s:s}", "apiVersion", "authentication.k8s.io/v1", "kind",
				 "SelfSubjectReview");
	struct progress *p = progress_start("Asking the API server who you are");
	int err = cluster_post(&v->c, &review, e,
			       "/apis/authentication.k8s.io/v1/selfsubjectreviews", body);
	const char *name = object_text(review, "status", "userInfo", "username", NULL);

	progress_end(p, NULL);
	json_decref(body);
	if (!err && (!*name || strlen(name) >= sizeof(v->login->name)))
		err = error_set(e, -EPROTO, "the API server did not say who is asking");
	if (!err) {
		snprintf(v->login->name, sizeof(v->login->name), "%s", name);
		snprintf(v->login->subject, sizeof(v->login->subject), "%s", name);
	}
	json_decref(review);
	return err;
}

static bool is_here(const struct visit *v, const json_t *answer)
{
	return !strcmp(get_text(answer, "context"), v->place.context) &&
	       !strcmp(get_text(answer, "server"), v->place.server) &&
	       !strcmp(get_text(answer, "manager_namespace"), v->place.manager_ns);
}

/* A daemon that is connected there tells the manager, whose verdict counts. Without one it is told by the next. */
static int tell_daemon(const struct visit *v, struct error *e)
{
	json_t *answer = NULL;
	int err = 0;

	if (client_once("login", json_pack("{s:b}", "verdict", 1), "Asking the manager", &answer,
			NULL))
		return 0;
	if (is_here(v, answer) && !json_is_true(json_object_get(answer, "logged_in")))
		err = error_set(e, -EACCES, "%s",
				*get_text(answer, "why") ? get_text(answer, "why")
							 : "the manager does not take this login");
	json_decref(answer);
	return err;
}

/* Who was logged in before, if anybody was, is so again. */
static void put_back(const struct visit *v, const struct login *before)
{
	struct error e;

	if (!before || login_save(before, v->dir.state, &v->place, &e))
		(void)login_remove(v->dir.state, &v->place, &e);
	(void)tell_daemon(v, &e);
}

static int keep(const struct visit *v, struct error *e)
{
	cleanup(free_ptr) struct login *before = malloc(sizeof(*before));
	int err = userdir_make(&v->dir, e);
	bool was = before && !login_load(before, v->dir.state, &v->place, NULL);

	if (!err)
		err = login_save(v->login, v->dir.state, &v->place, e);
	if (!err) {
		err = tell_daemon(v, e);
		if (err)
			put_back(v, was ? before : NULL);
	}
	if (before)
		explicit_bzero(before, sizeof(*before));
	return err;
}

static int login(struct visit *v, struct error *e)
{
	int err = ask_offer(v, e);

	if (!err)
		err = *v->offer->issuer ? signin(v->login, &v->c, v->offer, e) : ask_who(v, e);
	return err ? err : keep(v, e);
}

static int exec_login(const struct args *a)
{
	struct error e = {""};
	struct visit v;
	int code = EXIT_OK;

	if (visit_begin(&v, a, &e))
		return cli_fail(&e);
	if (login(&v, &e)) {
		code = cluster_fail(&v.c, &e);
	} else {
		text_clean(v.login->name);
		fprintf(stderr, "Logged in as %s\n", v.login->name);
		puts("Login successful.");
	}
	visit_end(&v);
	return code;
}

/* --- logout --------------------------------------------------------------------------------------------------------- */

static int revoke_token(struct visit *v, struct error *e)
{
	struct progress *p;
	int err = ask_offer(v, e);

	if (err)
		return err;
	if (strcmp(v->offer->issuer, v->login->issuer) != 0)
		return error_set(e, -ENOENT, "the cluster names another one than %.300s now",
				 v->login->issuer);
	p = progress_start("Telling the issuer");
	err = signin_revoke(&v->c, v->offer, v->login->refresh_token, e);
	progress_end(p, NULL);
	return err;
}

/* The issuer need not be there for it; but then the token stays good, for whoever has a copy. */
static void tell_issuer(struct visit *v)
{
	struct error e;

	if (!*v->login->refresh_token || !revoke_token(v, &e))
		return;
	text_clean(e.text);
	fprintf(stderr, "The issuer was not told: %s\n", e.text);
}

static int logout(struct visit *v, struct error *e)
{
	json_t *answer = NULL;
	bool was = !login_load(v->login, v->dir.state, &v->place, NULL);
	int err = login_remove(v->dir.state, &v->place, e);

	if (err && err != -ENOENT)
		return err;
	if (!client_once("login", json_object(), "Telling the daemon", &answer, NULL))
		json_decref(answer);
	if (was)
		tell_issuer(v);
	puts(err ? "Not logged in; nothing to do" : "Logout successful.");
	return 0;
}

static int exec_logout(const struct args *a)
{
	struct error e;
	struct visit v;
	int code = EXIT_OK;

	if (visit_begin(&v, a, &e))
		return cli_fail(&e);
	if (logout(&v, &e))
		code = cli_fail(&e);
	visit_end(&v);
	return code;
}

/* --- the commands --------------------------------------------------------------------------------------------------- */

static const struct flag flags[] = {
	{"namespace", 'n', FLAG_TEXT, false, "NAME", "where the manager runs (default culvert)",
	 NULL},
	FLAGS_KUBE,
	{0},
};

const struct command cmd_login = {
	.name = "login",
	.args = "",
	.summary =
		"Log in to a cluster: intercepts are of HTTP requests and have preview URLs then",
	.about = "At the issuer that the cluster names (culvert install --oidc-issuer), in a "
		 "browser; "
		 "without one as who you are to its\n"
		 "API server. From then on `culvert intercept` takes the requests with its own "
		 "header, "
		 "and not all TCP connections.",
	.flags = flags,
	.example = "culvert login --context dev",
	.exec = exec_login,
};

const struct command cmd_logout = {
	.name = "logout",
	.args = "",
	.summary = "End what login began",
	.about = "Intercepts that exist stay as they are.",
	.flags = flags,
	.example = "culvert logout",
	.exec = exec_logout,
};
