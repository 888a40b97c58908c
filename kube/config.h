/* SPDX-License-Identifier: Apache-2.0 */
/* The chosen context of the kubeconfig, as the client uses it. All strings are owned; NULL = not said. */
#pragma once

#include "base/base64.h"
#include "conf/conf.h"
#include "kube/kube.h"

enum {
	KUBE_LIST_MAX = 256, /* args, env, groups */
	KUBE_FILE_MAX = 1 << 20,
};

struct kube_blob {
	char *data; /* NUL behind it */
	size_t len;
};

enum kube_interactive { KUBE_EXEC_NEVER, KUBE_EXEC_IF_AVAILABLE, KUBE_EXEC_ALWAYS };

struct kube_exec {
	char *command; /* absolute, or a name to look up in $PATH */
	char *api;     /* client.authentication.k8s.io/v1 or v1beta1 */
	char *hint;
	char **args;	  /* NULL-ended, or NULL */
	char **env_names; /* parallel, NULL-ended, or NULL */
	char **env_values;
	bool cluster_info;
	enum kube_interactive interactive;
	bool interactive_said;
};

struct kube_config {
	char *context, *cluster, *user, *namespace;
	bool in_cluster;
	char **contexts; /* of all files, NULL-ended */
	/* cluster */
	char *server, *tls_server_name, *proxy;
	bool insecure, disable_compression;
	struct kube_blob ca;
	json_t *cluster_extensions; /* name -> value, or NULL */
	json_t *context_extensions;
	/* user */
	struct kube_blob cert, key;
	char *token, *token_file;
	char *username, *password;
	char *as, *as_uid;
	char **as_groups;
	json_t *as_extra; /* key -> list of strings, or NULL */
	struct kube_exec *exec;
};

/* A file and the folder its relative paths start from. */
struct kube_file {
	struct conf *doc; /* NULL = empty */
	char *dir;
};

/* All files that count, in their order. */
struct kube_files {
	struct kube_file file[KUBE_FILES_MAX];
	size_t count;
};

int kube_files_find(struct kube_files *f, const struct kube_flags *flags, struct error *e);
int kube_files_add(struct kube_files *f, const char *path, const char *text, size_t len,
		   struct error *e);
void kube_files_free(struct kube_files *f);

/* Fills the entries of one context from the mapping that holds them. */
int kube_entry_cluster(struct kube_config *c, const struct conf_node *n, const char *dir,
		       struct error *e);
int kube_entry_user(struct kube_config *c, const struct conf_node *n, const char *dir,
		    struct error *e);
int kube_entry_context(struct kube_config *c, const struct conf_node *n, struct error *e);
int kube_in_cluster(struct kube_config *c, const struct kube_flags *flags, struct error *e);
/* What must hold of the whole, whoever said it (files, flags). */
int kube_config_check(struct kube_config *c, struct error *e);

/* Helpers of the above. An empty or null value counts as not said. */
int kube_take_string(const struct conf_node *map, const char *key, char **s, struct error *e);
int kube_take_list(const struct conf_node *map, const char *key, char ***list, struct error *e);
void kube_list_free(char **list);
char *kube_path_join(const char *dir, const char *path); /* absolute and without . and .. */
/* What somebody else wrote may be in a sentence: it stays one line. Returns `code`. */
int kube_one_line(struct error *e, int code);
int kube_read_blob(const char *path, struct kube_blob *b, struct error *e);
