/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/ctl.h - what pfsctl and a daemon say to each other.
 *
 * Over a Unix stream socket, one JSON object per line:
 *   request   {"protocol":1, "verb":"drop", ...arguments}
 *   answer    {"protocol":1, "version":"0.1.0", "result":VALUE}
 *          or {..., "error":{"code":"ENOENT", "text":"a sentence"}}
 *          after any number of {..., "progress":{"done":N, "total":N}}
 *
 * Bytes    a JSON string is UTF-8, a file name is any bytes.  A name goes out
 *          through pfs_ctl_escape(): bytes that are no UTF-8, control
 *          characters and the backslash itself become \xHH (two hex digits).
 *          That is reversible, and safe to print on a terminal.
 * Numbers  are exact over the whole range of uint64_t.
 * Errors   0 or -errno.  Building a value cannot fail half-way: what is lost
 *          for want of memory makes the pfs_json_text() of the same thread
 *          return -ENOMEM.
 * Threads  a value belongs to one thread at a time.
 */
#ifndef PFS_CTL_H
#define PFS_CTL_H

#include <pfs/base.h>

#define PFS_CTL_PROTOCOL 1
#define PFS_CTL_REQUEST_MAX PFS_MIB(2) /* bytes, with the newline */
#define PFS_CTL_ANSWER_MAX PFS_MIB(8)

/** Version of pfs, e.g. "0.1.0". */
const char *pfs_ctl_version(void);

/** Bytes to text and back; *out is malloc'ed.  Escape: -ENOMEM only.
 *  Unescape: -EINVAL for a malformed escape or a NUL. */
int pfs_ctl_escape(const char *bytes, size_t len, char **out) PFS_MUST_CHECK;
int pfs_ctl_unescape(const char *text, char **out) PFS_MUST_CHECK;

/** Bytes to base64 with padding, and back; *out is malloc'ed.  Decode: -EINVAL
 *  for anything but that, also for blanks. */
int pfs_ctl_base64(const void *data, size_t len, char **out) PFS_MUST_CHECK;
int pfs_ctl_unbase64(const char *text, void **out, size_t *len) PFS_MUST_CHECK;

/* --- values ------------------------------------------------------------ */

struct pfs_json; /* opaque; an object, array, string, number, true, ... */

struct pfs_json *pfs_json_object(void);
struct pfs_json *pfs_json_array(void);
/** One more owner of v. */
struct pfs_json *pfs_json_ref(const struct pfs_json *v);
/** Accepts NULL. */
void pfs_json_free(struct pfs_json *v);
void pfs_json_done(struct pfs_json **v); /* for PFS_AUTO */

/* Setters.  Those that take a value own it from then on, also on failure. */
void pfs_json_set(struct pfs_json *obj, const char *key, struct pfs_json *v);
void pfs_json_set_u64(struct pfs_json *obj, const char *key, uint64_t v);
void pfs_json_set_bool(struct pfs_json *obj, const char *key, bool v);
/** Any bytes: escaped. */
void pfs_json_set_str(struct pfs_json *obj, const char *key, const char *v);
/** num / den with four digits; 0 when den is 0. */
void pfs_json_set_share(struct pfs_json *obj, const char *key, uint64_t num,
			uint64_t den);
/** With six significant digits; must be finite. */
void pfs_json_set_real(struct pfs_json *obj, const char *key, double v);
void pfs_json_push(struct pfs_json *arr, struct pfs_json *v);
void pfs_json_push_u64(struct pfs_json *arr, uint64_t v);
void pfs_json_push_str(struct pfs_json *arr, const char *v);
/** Binary data: as base64 (RFC 4648). */
void pfs_json_set_data(struct pfs_json *obj, const char *key, const void *data,
		       size_t len);

/* Getters; obj may be NULL or no object: then there is nothing.  What they
 * return is borrowed from obj. */
struct pfs_json *pfs_json_get(const struct pfs_json *obj, const char *key);
/** As escaped text; NULL if there is no such string. */
const char *pfs_json_str(const struct pfs_json *obj, const char *key);
/** As the bytes they were; *out is malloc'ed.  -ENOENT, -EINVAL. */
int pfs_json_bytes(const struct pfs_json *obj, const char *key,
		   char **out) PFS_MUST_CHECK;
/** What pfs_json_set_data() put there; *out is malloc'ed.  -ENOENT, -EINVAL. */
int pfs_json_data(const struct pfs_json *obj, const char *key, void **out,
		  size_t *len) PFS_MUST_CHECK;
/** -ENOENT: no such key; -EINVAL: no whole number >= 0. */
int pfs_json_u64(const struct pfs_json *obj, const char *key,
		 uint64_t *out) PFS_MUST_CHECK;
/** The number, or 0. */
uint64_t pfs_json_num(const struct pfs_json *obj, const char *key);
double pfs_json_real(const struct pfs_json *obj, const char *key);
bool pfs_json_is_true(const struct pfs_json *obj, const char *key);
/** Items of an array; 0 and NULL for anything else. */
size_t pfs_json_len(const struct pfs_json *arr);
struct pfs_json *pfs_json_at(const struct pfs_json *arr, size_t i);
uint64_t pfs_json_num_at(const struct pfs_json *arr, size_t i);
/** As escaped text; "" if there is no such string. */
const char *pfs_json_str_at(const struct pfs_json *arr, size_t i);
/** Call fn for each member; text is the value printed (a string without its
 *  quotes). */
void pfs_json_each(const struct pfs_json *obj,
		   void (*fn)(void *arg, const char *key, const char *text,
			      const struct pfs_json *v),
		   void *arg);

/** One value that takes up all of text[0..len).  -EBADMSG: it is not that
 *  (nor UTF-8, or nested over 16 deep). */
int pfs_json_parse(const char *text, size_t len,
		   struct pfs_json **out) PFS_MUST_CHECK;
/** On one line, or indented; *out is malloc'ed, without a newline. */
int pfs_json_text(const struct pfs_json *v, bool is_pretty,
		  char **out) PFS_MUST_CHECK;

/* --- lines ------------------------------------------------------------- */

/** A request to be filled with arguments; NULL for want of memory. */
struct pfs_json *pfs_ctl_request(const char *verb);

struct pfs_ctl_request_info {
	struct pfs_json *body; /* owned: the whole object */
	const char *verb;      /* borrowed from body */
	uint64_t protocol;
};

/** Read a line without its newline.  -EBADMSG: no JSON; -EINVAL: not a
 *  request (no object, no protocol, no verb). */
int pfs_ctl_request_parse(const char *line, size_t len,
			  struct pfs_ctl_request_info *out) PFS_MUST_CHECK;

enum pfs_ctl_kind {
	PFS_CTL_RESULT,
	PFS_CTL_ERROR,
	PFS_CTL_PROGRESS,
};

/** Make an answer line, newline included; *out is malloc'ed.  value is taken,
 *  also on failure; -EMSGSIZE: over PFS_CTL_ANSWER_MAX. */
int pfs_ctl_answer(enum pfs_ctl_kind kind, struct pfs_json *value,
		   char **out) PFS_MUST_CHECK;
/** The value of an error; err is -errno. */
struct pfs_json *pfs_ctl_error(int err, const char *text);

struct pfs_ctl_answer_info {
	struct pfs_json *body; /* owned: the whole object */
	enum pfs_ctl_kind kind;
	struct pfs_json *value; /* borrowed from body */
	uint64_t protocol;
	const char *version; /* of the daemon; borrowed; "?" if it said none */
};

/** Read a line without its newline.  -EBADMSG, -EINVAL as above.  An answer
 *  of another protocol is read as far as possible: look at `protocol`. */
int pfs_ctl_answer_parse(const char *line, size_t len,
			 struct pfs_ctl_answer_info *out) PFS_MUST_CHECK;

#endif
