/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice: mechanism, match and preview of an intercept: what the flags say, what follows from it, and what being logged in makes of the
 * rest (the page's rules, docs/http.md).
 *
 *                  --mechanism   --http-match                --preview-url
 *   not logged in  tcp           auto (with a path: all)     false
 *   logged in      http          auto                        true, where there is a gateway
 *
 * --http-match, --http-path-prefix, --tag-responses, --preview-url and --ingress-* imply http; tcp implies no preview.
 */
#pragma once

#include "cli/ingress.h"
#include "intercept/intercept.h"

enum said { UNSAID, SAID_NO, SAID_YES };

struct choice {
	enum said http, preview;
	bool match, path; /* were said */
	bool no_preview;  /* was said: an older intercept's is not kept, either */
	struct ingress ingress;
};

#define CHOICE_NO_PREVIEW ", or say --preview-url=false"

/* Into `r` goes what is clear by now. -EINVAL: one is said against another, or makes no sense. */
int choice_from_flags(struct choice *c, struct intercept_request *r, const struct args *a,
		      struct error *e);
/* Does the rest depend on being logged in? */
bool choice_is_open(const struct choice *c);
/* The rest. `login`: what the daemon says (docs/control.md); NULL when choice_is_open() is false. `note` gets a line for the user, or "". -EPERM:
 * what was asked for needs a login, or a gateway. After it `c->preview` is yes or no. */
int choice_settle(struct choice *c, struct intercept_request *r, const json_t *login,
		  struct error *note, struct error *e);
/* May there be a preview? 0; -EPERM with the sentence, which ends in `instead`: what else can be done, or "". */
int choice_check_preview(const json_t *login, const char *instead, struct error *e);
