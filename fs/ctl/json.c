/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one file that knows json-c.  struct pfs_json is json-c's json_object
 * under another name: a NULL of json-c is JSON's null, and to us "nothing".
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include <pfs/ctl.h>

#define DEPTH_MAX 16

/* Something was left out of a value for want of memory. */
static __thread bool is_lossy;

static struct json_object *in(const struct pfs_json *v)
{
	return (struct json_object *)(uintptr_t)v;
}

static struct pfs_json *out_of(struct json_object *o)
{
	if (!o)
		is_lossy = true;
	return (struct pfs_json *)o;
}

struct pfs_json *pfs_json_object(void)
{
	return out_of(json_object_new_object());
}

struct pfs_json *pfs_json_array(void)
{
	return out_of(json_object_new_array());
}

struct pfs_json *pfs_json_ref(const struct pfs_json *v)
{
	return (struct pfs_json *)json_object_get(in(v));
}

void pfs_json_free(struct pfs_json *v)
{
	json_object_put(in(v));
}

void pfs_json_done(struct pfs_json **v)
{
	pfs_json_free(*v);
}

static void add(struct pfs_json *obj, const char *key, struct json_object *v)
{
	if (obj && v && json_object_object_add(in(obj), key, v) == 0)
		return;
	json_object_put(v);
	is_lossy = true;
}

void pfs_json_set(struct pfs_json *obj, const char *key, struct pfs_json *v)
{
	add(obj, key, in(v));
}

void pfs_json_set_u64(struct pfs_json *obj, const char *key, uint64_t v)
{
	add(obj, key, json_object_new_uint64(v));
}

void pfs_json_set_bool(struct pfs_json *obj, const char *key, bool v)
{
	add(obj, key, json_object_new_boolean(v));
}

void pfs_json_set_str(struct pfs_json *obj, const char *key, const char *v)
{
	PFS_AUTO_FREE char *text = NULL;

	if (pfs_ctl_escape(v, strlen(v), &text))
		is_lossy = true;
	else
		add(obj, key, json_object_new_string(text));
}

void pfs_json_set_share(struct pfs_json *obj, const char *key, uint64_t num,
			uint64_t den)
{
	double share = den ? (double)num / (double)den : 0;
	char text[32];

	/* json-c would print all 17 digits of the double. */
	(void)snprintf(text, sizeof(text), "%.4f", share);
	add(obj, key, json_object_new_double_s(share, text));
}

void pfs_json_set_real(struct pfs_json *obj, const char *key, double v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.6g", v);
	add(obj, key, json_object_new_double_s(v, text));
}

void pfs_json_push(struct pfs_json *arr, struct pfs_json *v)
{
	if (arr && v && json_object_array_add(in(arr), in(v)) == 0)
		return;
	pfs_json_free(v);
	is_lossy = true;
}

void pfs_json_push_u64(struct pfs_json *arr, uint64_t v)
{
	pfs_json_push(arr, out_of(json_object_new_uint64(v)));
}

void pfs_json_push_str(struct pfs_json *arr, const char *v)
{
	PFS_AUTO_FREE char *text = NULL;

	if (pfs_ctl_escape(v, strlen(v), &text))
		is_lossy = true;
	else
		pfs_json_push(arr, out_of(json_object_new_string(text)));
}

void pfs_json_set_data(struct pfs_json *obj, const char *key, const void *data,
		       size_t len)
{
	PFS_AUTO_FREE char *text = NULL;

	if (pfs_ctl_base64(data, len, &text))
		is_lossy = true;
	else
		add(obj, key, json_object_new_string(text));
}

struct pfs_json *pfs_json_get(const struct pfs_json *obj, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(in(obj), key, &v);
	return (struct pfs_json *)v;
}

const char *pfs_json_str(const struct pfs_json *obj, const char *key)
{
	struct json_object *v = in(pfs_json_get(obj, key));

	return json_object_is_type(v, json_type_string)
		       ? json_object_get_string(v)
		       : NULL;
}

int pfs_json_bytes(const struct pfs_json *obj, const char *key, char **out)
{
	struct json_object *v = in(pfs_json_get(obj, key));
	const char *text;

	if (!v)
		return -ENOENT;
	if (!json_object_is_type(v, json_type_string))
		return -EINVAL;
	text = json_object_get_string(v);
	if (strlen(text) != (size_t)json_object_get_string_len(v))
		return -EINVAL; /* a NUL inside */
	return pfs_ctl_unescape(text, out);
}

int pfs_json_data(const struct pfs_json *obj, const char *key, void **out,
		  size_t *len)
{
	const char *text = pfs_json_str(obj, key);

	if (!text)
		return pfs_json_get(obj, key) ? -EINVAL : -ENOENT;
	return pfs_ctl_unbase64(text, out, len);
}

static int whole_number(struct json_object *v, uint64_t *out)
{
	/* A negative one is told by its signed value; one above INT64_MAX
	 * saturates there, so both looks are right. */
	if (!json_object_is_type(v, json_type_int) ||
	    json_object_get_int64(v) < 0)
		return -EINVAL;
	*out = json_object_get_uint64(v);
	return 0;
}

int pfs_json_u64(const struct pfs_json *obj, const char *key, uint64_t *out)
{
	struct json_object *v = in(pfs_json_get(obj, key));

	return v ? whole_number(v, out) : -ENOENT;
}

uint64_t pfs_json_num(const struct pfs_json *obj, const char *key)
{
	uint64_t v;

	return pfs_json_u64(obj, key, &v) ? 0 : v;
}

double pfs_json_real(const struct pfs_json *obj, const char *key)
{
	return json_object_get_double(in(pfs_json_get(obj, key)));
}

bool pfs_json_is_true(const struct pfs_json *obj, const char *key)
{
	struct json_object *v = in(pfs_json_get(obj, key));

	return json_object_is_type(v, json_type_boolean) &&
	       json_object_get_boolean(v);
}

size_t pfs_json_len(const struct pfs_json *arr)
{
	return json_object_is_type(in(arr), json_type_array)
		       ? json_object_array_length(in(arr))
		       : 0;
}

struct pfs_json *pfs_json_at(const struct pfs_json *arr, size_t i)
{
	if (i >= pfs_json_len(arr))
		return NULL;
	return (struct pfs_json *)json_object_array_get_idx(in(arr), i);
}

uint64_t pfs_json_num_at(const struct pfs_json *arr, size_t i)
{
	uint64_t v;

	return whole_number(in(pfs_json_at(arr, i)), &v) ? 0 : v;
}

const char *pfs_json_str_at(const struct pfs_json *arr, size_t i)
{
	struct json_object *v = in(pfs_json_at(arr, i));

	return json_object_is_type(v, json_type_string)
		       ? json_object_get_string(v)
		       : "";
}

void pfs_json_each(const struct pfs_json *obj,
		   void (*fn)(void *arg, const char *key, const char *text,
			      const struct pfs_json *v),
		   void *arg)
{
	struct json_object_iterator at, end;

	if (!json_object_is_type(in(obj), json_type_object))
		return;
	at = json_object_iter_begin(in(obj));
	end = json_object_iter_end(in(obj));
	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
		struct json_object *v = json_object_iter_peek_value(&at);
		const char *text = json_object_get_string(v);

		fn(arg, json_object_iter_peek_name(&at), text ? text : "null",
		   (struct pfs_json *)v);
	}
}

int pfs_json_parse(const char *text, size_t len, struct pfs_json **out)
{
	struct json_tokener *tok;
	struct json_object *v;
	bool is_whole;

	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (len > PFS_CTL_ANSWER_MAX)
		return -EBADMSG;
	tok = json_tokener_new_ex(DEPTH_MAX);
	if (!tok)
		return -ENOMEM;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT |
					    JSON_TOKENER_VALIDATE_UTF8);
	v = json_tokener_parse_ex(tok, text, (int)len);
	is_whole = json_tokener_get_error(tok) == json_tokener_success &&
		   json_tokener_get_parse_end(tok) == len;
	json_tokener_free(tok);
	if (!v || !is_whole) {
		json_object_put(v);
		return -EBADMSG;
	}
	*out = (struct pfs_json *)v;
	return 0;
}

int pfs_json_text(const struct pfs_json *v, bool is_pretty, char **out)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text;

	if (is_pretty)
		flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
	if (is_lossy) {
		is_lossy = false;
		return -ENOMEM;
	}
	text = json_object_to_json_string_ext(in(v), flags);
	*out = text ? strdup(text) : NULL;
	return *out ? 0 : -ENOMEM;
}
