/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0 messages: made and taken apart. References: what is made is new, what is given is consumed. */
#pragma once

#include <jansson.h>

enum message_kind { MESSAGE_CALL, MESSAGE_NOTE, MESSAGE_RESULT, MESSAGE_ERROR };

/* A view into a message that rpc_parse() accepted: everything is borrowed from it. */
struct message {
	enum message_kind kind;
	const char *method;   /* CALL, NOTE */
	json_t *params;	      /* CALL, NOTE: an object, or NULL */
	json_t *id;	      /* CALL, RESULT, ERROR (there perhaps null) */
	json_t *result;	      /* RESULT */
	int code;	      /* ERROR */
	const char *sentence; /* ERROR */
};

/* 0 or RPC_INVALID. */
int message_read(struct message *m, const json_t *msg);

json_t *message_call(json_int_t id, const char *method, json_t *params);
json_t *message_note(const char *method, json_t *params);
json_t *message_result(json_t *id, json_t *result);
json_t *message_error(json_t *id, int code, const char *sentence);
