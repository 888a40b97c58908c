/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The credential plugin of a kubeconfig user: a program of the user's, run as the user, without a shell. It gets what it
 * must know in KUBERNETES_EXEC_INFO and prints an ExecCredential.
 *
 * It is over when its output ends and it has been reaped; a child of its own that keeps the output open cannot hold us,
 * since the end of the plugin itself gives the rest of the output one last read. A process group of its own lets a hanging
 * one be killed with all it started; an interactive one stays in ours, since a background group may not read the terminal.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "kube/internal.h"

enum { STDERR_KEPT = 512, ENV_MAX = 4096, EXEC_SECONDS = 60 };

struct kube_plugin {
	const struct kube_config *config;
	pid_t pid;
	bool own_group;
	int out, err, pidfd;
	struct event *read_out, *read_err, *ended, *late;
	struct kube_blob text;
	size_t room;
	char complaint[STDERR_KEPT]; /* the beginning of its standard error */
	size_t complaint_len;
	nsec_t timeout;
	kube_plugin_cb *cb;
	void *arg;
};

/* --- what it is given ----------------------------------------------------------------------------------- */

static json_t *cluster_info(const struct kube_config *c)
{
	cleanup(free_ptr) char *ca = c->ca.data ? base64_encode(c->ca.data, c->ca.len) : NULL;
	json_t *o = json_pack("{s:s}", "server", c->server);
	json_t *config =
		json_object_get(c->cluster_extensions, "client.authentication.k8s.io/exec");

	if (c->tls_server_name)
		json_object_set_new(o, "tls-server-name", json_string(c->tls_server_name));
	if (c->insecure)
		json_object_set_new(o, "insecure-skip-tls-verify", json_true());
	if (ca)
		json_object_set_new(o, "certificate-authority-data", json_string(ca));
	if (c->proxy)
		json_object_set_new(o, "proxy-url", json_string(c->proxy));
	if (c->disable_compression)
		json_object_set_new(o, "disable-compression", json_true());
	if (config)
		json_object_set(o, "config", config);
	return o;
}

static char *exec_info(const struct kube_config *c, bool interactive)
{
	json_t *spec = json_pack("{s:b}", "interactive", interactive);
	json_t *o;
	char *text;

	if (c->exec->cluster_info)
		json_object_set_new(spec, "cluster", cluster_info(c));
	o = json_pack("{s:s, s:s, s:o}", "kind", "ExecCredential", "apiVersion", c->exec->api,
		      "spec", spec);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

static bool same_name(const char *line, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(line, name, len) && line[len] == '=';
}

/* Ours, with the plugin's own settings over it. Borrows our environment's strings; owned ones begin at *owned. */
static char **make_env(const struct kube_exec *x, char *info, size_t *owned)
{
	size_t ours = 0, extra = 1, n = 0;
	char **env;

	while (environ[ours])
		ours++;
	while (x->env_names && x->env_names[extra - 1])
		extra++;
	env = calloc(MIN(ours, ENV_MAX) + extra + 1, sizeof(char *));
	for (size_t i = 0; env && i < ours && n < ENV_MAX; i++) {
		bool replaced = same_name(environ[i], "KUBERNETES_EXEC_INFO");

		for (size_t k = 0; k + 1 < extra; k++)
			replaced |= same_name(environ[i], x->env_names[k]);
		if (!replaced)
			env[n++] = environ[i];
	}
	*owned = n;
	for (size_t k = 0; env && k + 1 < extra; k++) {
		if (asprintf(&env[n], "%s=%s", x->env_names[k], x->env_values[k]) >= 0)
			n++;
		else
			env[n] = NULL;
	}
	if (env && asprintf(&env[n], "KUBERNETES_EXEC_INFO=%s", info) < 0)
		env[n] = NULL;
	return env;
}

/* --- what it gives -------------------------------------------------------------------------------------- */

void kube_credential_clear(struct kube_credential *c)
{
	if (c->token)
		explicit_bzero(c->token, strlen(c->token));
	if (c->key.data)
		explicit_bzero(c->key.data, c->key.len);
	free(c->token);
	free(c->cert.data);
	free(c->key.data);
	memset(c, 0, sizeof(*c));
}

static void release_json(json_t **j)
{
	json_decref(*j);
}

static int take_text(json_t *status, const char *key, char **text, size_t *len, struct error *e)
{
	json_t *v = json_object_get(status, key);

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return error_set(e, -EINVAL, "its status.%s is no text", key);
	*len = json_string_length(v);
	if (!*len)
		return 0;
	*text = strdup(json_string_value(v));
	return *text ? 0 : error_errno(e, -ENOMEM, "out of memory");
}

static int take_status(json_t *status, struct kube_credential *out, struct error *e)
{
	const char *expires = json_string_value(json_object_get(status, "expirationTimestamp"));
	size_t len;
	int r = take_text(status, "token", &out->token, &len, e);

	if (r == 0)
		r = take_text(status, "clientCertificateData", &out->cert.data, &out->cert.len, e);
	if (r == 0)
		r = take_text(status, "clientKeyData", &out->key.data, &out->key.len, e);
	if (r)
		return r;
	if (!out->cert.data != !out->key.data)
		return error_set(e, -EINVAL,
				 "it gave only one of clientCertificateData and clientKeyData");
	if (!out->token && !out->cert.data)
		return error_set(e, -EINVAL, "it gave neither a token nor a client certificate");
	if (out->token && strpbrk(out->token, "\r\n"))
		return error_set(e, -EINVAL, "its token has a line break in it");
	if (expires && kube_time_parse(expires, &out->expires))
		return error_set(e, -EINVAL, "its expirationTimestamp '%.40s' is no time", expires);
	return 0;
}

static int parse(const char *text, size_t len, const char *api, struct kube_credential *out,
		 struct error *e)
{
	cleanup(release_json) json_t *root = json_loadb(text, len, 0, NULL);
	const char *kind = json_string_value(json_object_get(root, "kind"));
	const char *version = json_string_value(json_object_get(root, "apiVersion"));
	json_t *status = json_object_get(root, "status");
	int r;

	memset(out, 0, sizeof(*out));
	if (!len)
		return error_set(e, -EINVAL, "it printed nothing");
	if (!json_is_object(root)) {
		char begin[64];
		size_t n = MIN(len, sizeof(begin) - 1);

		for (size_t i = 0; i < n; i++)
			begin[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '.';
		begin[n] = '\0';
		return error_set(e, -EINVAL,
				 "it printed '%s'%s, which is no ExecCredential in JSON", begin,
				 len > n ? "..." : "");
	}
	if (!kind || strcmp(kind, "ExecCredential"))
		return error_set(e, -EINVAL,
				 "it printed an object of kind '%.60s', not ExecCredential",
				 kind ? kind : "");
	if (!version || strcmp(version, api))
		return error_set(e, -EINVAL,
				 "it printed apiVersion '%.80s', the kubeconfig asks for '%s'",
				 version ? version : "", api);
	if (!json_is_object(status))
		return error_set(e, -EINVAL, "its ExecCredential has no status");
	r = take_status(status, out, e);
	if (r)
		kube_credential_clear(out);
	return r;
}

int kube_credential_parse(const char *text, size_t len, const char *api,
			  struct kube_credential *out, struct error *e)
{
	int r = parse(text, len, api, out, e);

	return r ? kube_one_line(e, r) : 0;
}

/* --- running -------------------------------------------------------------------------------------------- */

static void plugin_free(struct kube_plugin *p)
{
	struct event *const events[] = {p->read_out, p->read_err, p->ended, p->late};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (events[i])
			event_free(events[i]);
	}
	close_fd(&p->out);
	close_fd(&p->err);
	close_fd(&p->pidfd);
	if (p->text.data)
		explicit_bzero(p->text.data, p->text.len);
	free(p->text.data);
	free(p);
}

static void reap(struct kube_plugin *p, int *status)
{
	if (p->pid > 0 && waitpid(p->pid, status, 0) < 0)
		*status = 0;
	p->pid = 0;
}

void kube_plugin_kill(struct kube_plugin *p)
{
	int status;

	if (!p)
		return;
	if (p->pid > 0)
		kill(p->own_group ? -p->pid : p->pid, SIGKILL);
	reap(p, &status);
	plugin_free(p);
}

/* The plugin is no more; `p` goes with its answer. */
static void answer(struct kube_plugin *p, struct kube_credential *got, const struct error *e)
{
	kube_plugin_cb *cb = p->cb;
	void *arg = p->arg;

	kube_plugin_kill(p);
	cb(arg, got, e);
}

static void fail(struct kube_plugin *p, const char *why)
{
	const struct kube_exec *x = p->config->exec;
	struct error e;

	error_set(&e, -EIO, "the exec plugin '%.200s' of user '%.80s' %s%s%.*s%s%.300s", x->command,
		  kube_config_user(p->config), why, p->complaint_len ? "; it said: " : "",
		  (int)p->complaint_len, p->complaint, x->hint ? ". " : "", x->hint ? x->hint : "");
	answer(p, NULL, &e);
}

static int grow(struct kube_plugin *p)
{
	char *bigger;

	if (p->text.len + 1 < p->room)
		return 0;
	if (p->room > KUBE_CREDENTIAL_MAX)
		return -EFBIG;
	bigger = realloc(p->text.data, p->room ? p->room * 2 : 4096);
	if (!bigger)
		return -ENOMEM;
	p->room = p->room ? p->room * 2 : 4096;
	p->text.data = bigger;
	return 0;
}

/* All that is there now; -EAGAIN, 0 = the end, -EFBIG. */
static int read_all(struct kube_plugin *p)
{
	for (;;) {
		int r = grow(p);
		ssize_t n;

		if (r)
			return r;
		n = read(p->out, p->text.data + p->text.len, p->room - p->text.len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		p->text.len += (size_t)n;
	}
}

static void on_output(int fd, short what, void *arg)
{
	struct kube_plugin *p = arg;
	int r = read_all(p);

	(void)fd;
	(void)what;
	if (r == -EAGAIN)
		return;
	event_del(p->read_out);
	if (r < 0)
		fail(p, r == -EFBIG ? "prints without end" : "could not be read from");
}

static void on_complaint(int fd, short what, void *arg)
{
	struct kube_plugin *p = arg;
	char buf[1024];
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		event_del(p->read_err);
	for (ssize_t i = 0; i < n && p->complaint_len < STDERR_KEPT - 1; i++) {
		char c = buf[i];

		/* One line of it, as a sentence is. */
		if (c == '\n' || c == '\t')
			c = ' ';
		if ((unsigned char)c >= ' ' && c != 0x7f)
			p->complaint[p->complaint_len++] = c;
	}
	while (p->complaint_len && p->complaint[p->complaint_len - 1] == ' ' && n <= 0)
		p->complaint_len--;
}

static void trim_complaint(struct kube_plugin *p)
{
	while (p->complaint_len && p->complaint[p->complaint_len - 1] == ' ')
		p->complaint_len--;
}

static void on_end(int fd, short what, void *arg)
{
	struct kube_plugin *p = arg;
	struct kube_credential got;
	struct error e;
	char why[128];
	int status = 0;

	(void)what;
	(void)read_all(p);
	on_complaint(p->err, EV_READ, p);
	trim_complaint(p);
	(void)fd;
	reap(p, &status);
	if (WIFSIGNALED(status)) {
		snprintf(why, sizeof(why), "was killed by signal %d", WTERMSIG(status));
		fail(p, why);
	} else if (WEXITSTATUS(status)) {
		snprintf(why, sizeof(why), "ended with code %d", WEXITSTATUS(status));
		fail(p, why);
	} else if (kube_credential_parse(p->text.data ? p->text.data : "", p->text.len,
					 p->config->exec->api, &got, &e)) {
		char sentence[400];

		snprintf(sentence, sizeof(sentence), "gave no credential: %.360s", e.text);
		fail(p, sentence);
	} else {
		answer(p, &got, NULL);
	}
}

static void on_late(int fd, short what, void *arg)
{
	struct kube_plugin *p = arg;
	char why[80];

	(void)fd;
	(void)what;
	trim_complaint(p);
	snprintf(why, sizeof(why), "did not end within %u s and was stopped",
		 (unsigned)(p->timeout / NSEC_PER_SEC));
	fail(p, why);
}

static int spawn(struct kube_plugin *p, bool interactive, int out, int err)
{
	const struct kube_exec *x = p->config->exec;
	cleanup(free_ptr) char *info = exec_info(p->config, interactive);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	size_t owned = 0, n = 0;
	char **env = info ? make_env(x, info, &owned) : NULL;
	char **argv;
	int r;

	while (x->args && x->args[n])
		n++;
	argv = calloc(n + 2, sizeof(char *));
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	if (!interactive)
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err, 2);
	/* Ours may be blocked or ignored (SIGPIPE): not the plugin's matter. */
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						(p->own_group ? POSIX_SPAWN_SETPGROUP : 0)));
	if (argv && env) {
		argv[0] = x->command;
		if (n)
			memcpy(argv + 1, x->args, n * sizeof(char *));
		r = posix_spawnp(&p->pid, x->command, &actions, &attr, argv, env);
	} else {
		r = ENOMEM;
	}
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	for (size_t i = owned; env && env[i]; i++)
		free(env[i]);
	free(env);
	free(argv);
	return -r;
}

static int watch(struct kube_plugin *p, struct event_base *base)
{
	struct timeval tv = {.tv_sec = (time_t)(p->timeout / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(p->timeout % NSEC_PER_SEC / 1000)};

	p->pidfd = pidfd_open(p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	p->read_out = event_new(base, p->out, EV_READ | EV_PERSIST, on_output, p);
	p->read_err = event_new(base, p->err, EV_READ | EV_PERSIST, on_complaint, p);
	p->ended = event_new(base, p->pidfd, EV_READ, on_end, p);
	p->late = event_new(base, -1, 0, on_late, p);
	if (!p->read_out || !p->read_err || !p->ended || !p->late || event_add(p->read_out, NULL) ||
	    event_add(p->read_err, NULL) || event_add(p->ended, NULL) || event_add(p->late, &tv))
		return -ENOMEM;
	return 0;
}

static int check_interactive(const struct kube_exec *x, const struct kube_options *options,
			     bool *interactive, struct error *e)
{
	bool terminal = options->interactive && isatty(STDIN_FILENO);

	*interactive = terminal && x->interactive != KUBE_EXEC_NEVER;
	if (x->interactive == KUBE_EXEC_ALWAYS && !terminal)
		return error_set(
			e, -ENOTTY,
			"the exec plugin '%.200s' asks questions (interactiveMode: Always), "
			"but there is no terminal here: log in by it first, or set "
			"interactiveMode: IfAvailable",
			x->command);
	return 0;
}

static int start_failed(const struct kube_exec *x, int r, struct error *e)
{
	if (r == -ENOENT)
		return error_set(e, r, "the exec plugin '%.200s' is not installed%s%.400s",
				 x->command, x->hint ? ". " : "", x->hint ? x->hint : "");
	return error_set(e, r, "the exec plugin '%.200s' could not be started: %s", x->command,
			 strerror(-r));
}

int kube_plugin_run(struct kube_plugin **pp, struct event_base *base, const struct kube_config *c,
		    const struct kube_options *options, kube_plugin_cb *cb, void *arg,
		    struct error *e)
{
	cleanup(close_fd) int out = -1;
	cleanup(close_fd) int err = -1;
	struct kube_plugin *p;
	int fds[2], r;
	bool interactive;

	r = check_interactive(c->exec, options, &interactive, e);
	if (r)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_errno(e, -ENOMEM, "the exec plugin");
	p->config = c;
	p->cb = cb;
	p->arg = arg;
	p->own_group = !interactive;
	p->out = p->err = p->pidfd = -1;
	p->timeout = options->exec_timeout ? options->exec_timeout : EXEC_SECONDS * NSEC_PER_SEC;
	if (pipe2(fds, O_CLOEXEC) == 0) {
		p->out = fds[0];
		out = fds[1];
	}
	if (pipe2(fds, O_CLOEXEC) == 0) {
		p->err = fds[0];
		err = fds[1];
	}
	r = out < 0 || err < 0 ? -EMFILE : 0;
	if (r == 0 && (fcntl(p->out, F_SETFL, O_NONBLOCK) || fcntl(p->err, F_SETFL, O_NONBLOCK)))
		r = -errno;
	if (r == 0)
		r = spawn(p, interactive, out, err);
	if (r == 0)
		r = watch(p, base);
	if (r) {
		start_failed(c->exec, r, e);
		kube_plugin_kill(p);
		return r;
	}
	*pp = p;
	return 0;
}
