/* SPDX-License-Identifier: Apache-2.0 */
/* signin: from an issuer to tokens, with the person at the screen: the device grant, or the code flow on loopback where there is none. */
#pragma once

#include "cli/kube.h"
#include "login/login.h"

/* Fills issuer, name, subject, tokens and expires of `l`. 0; -EINTR: Ctrl-C; else the sentence. */
int signin(struct login *l, struct cluster *c, const struct login_offer *offer, struct error *e);
/* Tells the issuer that the refresh token is not used any more. */
int signin_revoke(struct cluster *c, const struct login_offer *offer, const char *refresh_token,
		  struct error *e);
