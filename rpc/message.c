/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0 messages (jsonrpc.org/specification): no batches, params are always an object. */
#include "rpc/message.h"

#include <limits.h>
#include <string.h>

#include "rpc/rpc.h"

enum { METHOD_MAX = 64, ID_MAX = 64 };

static bool id_valid(const json_t *id)
{
	return json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= ID_MAX);
}

static int read_error(struct message *m, const json_t *error)
{
	const json_t *code = json_object_get(error, "code");
	const json_t *sentence = json_object_get(error, "message");

	if (!json_is_integer(code) || !json_is_string(sentence))
		return RPC_INVALID;
	/* 0 would look like success to the caller of rpc_call(). */
	if (json_integer_value(code) == 0 || json_integer_value(code) > INT_MAX ||
	    json_integer_value(code) < INT_MIN)
		return RPC_INVALID;
	m->kind = MESSAGE_ERROR;
	m->code = (int)json_integer_value(code);
	m->sentence = json_string_value(sentence);
	return 0;
}

static int read_request(struct message *m, const json_t *msg, const json_t *method)
{
	m->method = json_string_value(method);
	if (!m->method || !*m->method || json_string_length(method) > METHOD_MAX)
		return RPC_INVALID;
	m->params = json_object_get(msg, "params");
	if (m->params && !json_is_object(m->params))
		return RPC_INVALID;
	m->kind = m->id ? MESSAGE_CALL : MESSAGE_NOTE;
	return !m->id || id_valid(m->id) ? 0 : RPC_INVALID;
}

int message_read(struct message *m, const json_t *msg)
{
	const char *version = json_string_value(json_object_get(msg, "jsonrpc"));
	const json_t *method = json_object_get(msg, "method");
	const json_t *error = json_object_get(msg, "error");

	*m = (struct message){.id = json_object_get(msg, "id")};
	if (!version || strcmp(version, "2.0"))
		return RPC_INVALID;
	if (method)
		return read_request(m, msg, method);
	m->result = json_object_get(msg, "result");
	if (!m->id || !error == !m->result)
		return RPC_INVALID;
	if (error)
		return read_error(m, error);
	m->kind = MESSAGE_RESULT;
	return id_valid(m->id) ? 0 : RPC_INVALID;
}

int rpc_parse(const void *data, size_t len, json_t **msg)
{
	struct message m;
	json_t *j = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	int r;

	if (!j)
		return RPC_PARSE;
	r = json_is_object(j) ? message_read(&m, j) : RPC_INVALID;
	if (r) {
		json_decref(j);
		return r;
	}
	*msg = j;
	return 0;
}

json_t *message_call(json_int_t id, const char *method, json_t *params)
{
	return json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", id, "method", method,
			 "params", params ? params : json_object());
}

json_t *message_note(const char *method, json_t *params)
{
	return json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params",
			 params ? params : json_object());
}

json_t *message_result(json_t *id, json_t *result)
{
	return json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id", id, "result", result);
}

json_t *rpc_sentence(const char *sentence)
{
	json_t *j = json_string(sentence);
	char *ascii;

	if (j)
		return j;
	ascii = strdup(sentence);
	for (char *c = ascii; c && *c; c++) {
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	}
	j = json_string(ascii ? ascii : "");
	free(ascii);
	return j;
}

json_t *message_error(json_t *id, int code, const char *sentence)
{
	return json_pack("{s:s, s:o, s:{s:i, s:o}}", "jsonrpc", "2.0", "id", id ? id : json_null(),
			 "error", "code", code, "message", rpc_sentence(sentence));
}
