/* SPDX-License-Identifier: Apache-2.0 */
/* culvert preview: the URL at which others see an intercept, and links for who has no login. */
#include <errno.h>

#include "base/duration.h"
#include "cli/choice.h"

enum { EXPIRES_MAX_S = 30 * 24 * 3600, EXPIRES_TEXT = 32 };

/* --- asking the daemon ------------------------------------------------------------------------------------------- */

static int ask(const char *method, json_t *params, const struct ingress *in, json_t **result,
	       struct error *e)
{
	int err;

	if (in)
		json_object_set_new(params, "ingress", ingress_to_json(in));
	err = client_once(method, params, "Asking the manager", result, e);
	if (!err && *get_text(*result, "warning"))
		fprintf(stderr, "Warning: %s\n", get_text(*result, "warning"));
	return err;
}

int preview_make(json_t *granted, const struct ingress *in, struct error *e)
{
	json_t *params = json_pack("{s:s}", "uid", get_text(granted, "uid")), *result;
	int err = ask("preview", params, in, &result, e);

	if (err)
		return error_wrap(e, err,
				  "no preview URL could be made, and the intercept was left");
	json_object_set_new(result, "l5", json_string(in->l5));
	json_object_set_new(granted, "preview", result);
	return 0;
}

int preview_end(const json_t *granted, struct error *e)
{
	json_t *params = json_pack("{s:s}", "uid", get_text(granted, "uid")), *result;
	int err = ask("preview_remove", params, NULL, &result, e);

	if (err)
		return error_wrap(e, err, "the preview of its former self could not be removed");
	json_decref(result);
	return 0;
}

/* The intercept of that name, of `status`; NULL with the sentence. A new reference. */
static json_t *find(const char *name, struct error *e)
{
	json_t *status = NULL, *v, *found = NULL;
	size_t i;

	if (client_once("status", json_object(), "Looking for the intercept", &status, e))
		return NULL;
	json_array_foreach(json_object_get(status, "intercepts"), i, v)
	{
		if (!strcmp(get_text(json_object_get(v, "intercept"), "name"), name))
			found = json_incref(v);
	}
	json_decref(status);
	if (!found)
		error_set(e, -ENOENT,
			  "you have no intercept '%.127s'; `culvert status` lists yours", name);
	else if (!strcmp(get_text(json_object_get(found, "intercept"), "mechanism"), "http"))
		return found;
	else
		error_set(e, -EINVAL,
			  "the intercept %.127s takes all TCP connections, and a preview needs one "
			  "of "
			  "HTTP requests: intercept again with --mechanism=http",
			  name);
	json_decref(found);
	return NULL;
}

/* --- the actions --------------------------------------------------------------------------------------------------- */

static void print_link(const json_t *result)
{
	json_int_t expires = get_int(result, "expires");
	char when[EXPIRES_TEXT];

	puts(get_text(result, "link"));
	if (expires) {
		time_text(expires, when);
		fprintf(stderr, "Good until %s, for whoever has it\n", when);
	}
}

static int show(const struct args *a, json_t *result)
{
	if (output_of(a) != OUTPUT_TEXT) {
		output_print(output_of(a), result, stdout);
	} else if (*get_text(result, "url")) {
		printf("Preview URL            : %s\n", get_text(result, "url"));
		if (*get_text(result, "share"))
			printf("Share link             : %s\n", get_text(result, "share"));
	} else if (*get_text(result, "link")) {
		print_link(result);
	}
	json_decref(result);
	return EXIT_OK;
}

/* As `intercept --preview-url`: who is not logged in has none. */
static int check_login(struct error *e)
{
	json_t *login;
	int err = client_once("login", json_object(), "Looking at your login", &login, e);

	if (err)
		return err;
	err = choice_check_preview(login, "", e);
	json_decref(login);
	return err;
}

static int create(const struct args *a)
{
	struct ingress in;
	struct error e;
	json_t *item, *result, *about;
	const json_t *o;
	int code;

	if (ingress_from_flags(&in, a, &e))
		return cli_fail_usage(a->cmd, &e);
	item = find(a->pos[1], &e);
	if (!item)
		return cli_fail(&e);
	if (check_login(&e)) {
		json_decref(item);
		return cli_fail(&e);
	}
	o = json_object_get(item, "intercept");
	about = json_pack("{s:s,s:s,s:s,s:s}", "namespace", get_text(o, "namespace"), "workload",
			  get_text(o, "workload"), "kind", get_text(o, "kind"), "service",
			  get_text(o, "service"));
	json_decref(item);
	code = ingress_settle(&in, about, "", &e);
	json_decref(about);
	if (code)
		return code == EXIT_USAGE ? cli_fail_usage(a->cmd, &e) : cli_fail(&e);
	if (ask("preview", json_pack("{s:s}", "name", a->pos[1]), &in, &result, &e))
		return cli_fail(&e);
	return show(a, result);
}

static int simple(const struct args *a, const char *method)
{
	json_t *result;
	struct error e;

	if (ask(method, json_pack("{s:s}", "name", a->pos[1]), NULL, &result, &e))
		return cli_fail(&e);
	return show(a, result);
}

static int share(const struct args *a)
{
	const char *text = args_text(a, "expires");
	json_t *params, *result;
	struct error e;
	unsigned s = text ? duration_parse(text, true, EXPIRES_MAX_S) : 0;

	if (text && !s) {
		error_set(&e, -EINVAL,
			  "--expires '%.30s': write a time such as 24h or 7d, at most 30 days",
			  text);
		return cli_fail_usage(a->cmd, &e);
	}
	params = json_pack("{s:s}", "name", a->pos[1]);
	if (s)
		json_object_set_new(params, "expires_s", json_integer(s));
	if (ask("share", params, NULL, &result, &e))
		return cli_fail(&e);
	return show(a, result);
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static const char *const actions[] = {"create", "remove", "share", "revoke", NULL};

static int check_flags(const struct args *a, struct error *e)
{
	bool known = false;

	for (size_t i = 0; actions[i]; i++)
		known |= !strcmp(a->pos[0], actions[i]);
	if (!known) {
		const char *near = nearest(a->pos[0], actions);

		if (near)
			return error_set(e, -EINVAL,
					 "preview has no action '%.40s'; did you mean '%s'?",
					 a->pos[0], near);
		return error_set(e, -EINVAL,
				 "preview has no action '%.40s'; write create, remove, share or "
				 "revoke",
				 a->pos[0]);
	}
	if (ingress_said(a) && strcmp(a->pos[0], "create") != 0)
		return error_set(e, -EINVAL,
				 "--ingress-... goes with: culvert preview create NAME");
	if (args_text(a, "expires") && strcmp(a->pos[0], "share") != 0)
		return error_set(e, -EINVAL, "--expires goes with: culvert preview share NAME");
	return 0;
}

static int exec_preview(const struct args *a)
{
	struct error e;

	if (check_flags(a, &e))
		return cli_fail_usage(a->cmd, &e);
	if (!strcmp(a->pos[0], "create"))
		return create(a);
	if (!strcmp(a->pos[0], "share"))
		return share(a);
	return simple(a, !strcmp(a->pos[0], "remove") ? "preview_remove" : "unshare");
}

/* Which of the two words is typed is not told: an action never looks like another's intercept for long. */
static void complete(void)
{
	for (size_t i = 0; actions[i]; i++)
		puts(actions[i]);
	cmd_leave.complete();
}

static const struct flag flags[] = {
	FLAGS_INGRESS,
	{"expires", 0, FLAG_TEXT, false, "TIME",
	 "of a link: how long it is good (default 24h, at most 30d)", NULL},
	FLAG_OUTPUT,
	{0},
};

const struct command cmd_preview = {
	.name = "preview",
	.args = "create|remove|share|revoke NAME",
	.summary = "Give an intercept of HTTP requests a URL for others, or links to it",
	.about = "create gives the intercept NAME a preview URL, at which whoever is logged in "
		 "sees your "
		 "version, or changes the\n"
		 "ingress behind it; remove takes it away. share makes a link that opens the "
		 "preview "
		 "without a login, revoke ends all links.",
	.flags = flags,
	.min_args = 2,
	.max_args = 2,
	.example = "culvert preview share hello --expires 2d",
	.exec = exec_preview,
	.complete = complete,
};
