/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The codec of the control socket: names, values, lines, run folder. */
#include "check.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pfs/ctl.h>
#include <pfs/ctl_path.h>

static char *escaped(const char *bytes)
{
	char *out = NULL;

	CHECK_EQ(pfs_ctl_escape(bytes, strlen(bytes), &out), 0);
	return out;
}

static void check_escape(const char *bytes, const char *want)
{
	PFS_AUTO_FREE char *text = escaped(bytes);
	PFS_AUTO_FREE char *back = NULL;

	CHECK_STR(text, want);
	CHECK_EQ(pfs_ctl_unescape(text, &back), 0);
	CHECK_STR(back, bytes);
}

static void names_survive_as_utf8_text(void)
{
	check_escape("plain.img", "plain.img");
	check_escape("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
		     "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	check_escape("caf\xe9", "caf\\xe9");
	check_escape("a\\xe9", "a\\x5cxe9");
	check_escape("\x1b[31m\n\x7f", "\\x1b[31m\\x0a\\x7f");
	check_escape("", "");
}

static void ill_formed_utf8_is_escaped_byte_by_byte(void)
{
	check_escape("\xc0\xaf", "\\xc0\\xaf");          /* overlong */
	check_escape("\xe0\x80\xaf", "\\xe0\\x80\\xaf"); /* overlong */
	check_escape("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	check_escape("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	check_escape("\xc2\x9b"
		     "2J",
		     "\\xc2\\x9b"
		     "2J");                       /* C1: CSI */
	check_escape("a\xe2\x82", "a\\xe2\\x82"); /* cut off */
}

static void malformed_escapes_are_refused(void)
{
	static const char *const bad[] = {"\\",   "\\x",   "\\x4", "\\xg0",
					  "a\\n", "\\x00", "\\\\"};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		char *out = NULL;

		CHECK_EQ(pfs_ctl_unescape(bad[i], &out), -EINVAL);
		CHECK(!out);
	}
}

static struct pfs_json *parsed(const char *text)
{
	struct pfs_json *v = NULL;

	CHECK_EQ(pfs_json_parse(text, strlen(text), &v), 0);
	return v;
}

/* The vectors of RFC 4648, section 10. */
static void bytes_travel_as_base64(void)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\xfb\xff\xfe", "+//+"},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i][0]), len = 99;
		PFS_AUTO_FREE char *text = NULL;
		PFS_AUTO_FREE void *back = NULL;

		CHECK_EQ(pfs_ctl_base64(cases[i][0], n, &text), 0);
		CHECK_STR(text, cases[i][1]);
		CHECK_EQ(pfs_ctl_unbase64(text, &back, &len), 0);
		CHECK_EQ(len, n);
		CHECK_EQ(memcmp(back, cases[i][0], n), 0);
	}
}

static void base64_has_one_form(void)
{
	static const char *const bad[] = {
		"Z",    "Zg",   "Zg=",  "=",      "====", "Z===", "Zg==Zg==",
		"Zh==", "Zm9=", "Zm9 ", "Zm9v\n", "Zm-v", "Zm_v", "Z=g=",
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		void *out = NULL;
		size_t len;

		CHECK_EQ(pfs_ctl_unbase64(bad[i], &out, &len), -EINVAL);
		CHECK(!out);
	}
}

static void data_survives_in_a_value(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();
	PFS_AUTO(pfs_json_done) struct pfs_json *back = NULL;
	PFS_AUTO_FREE char *text = NULL;
	PFS_AUTO_FREE void *out = NULL;
	uint8_t bytes[1000];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	pfs_json_set_data(v, "data", bytes, sizeof(bytes));
	pfs_json_set_u64(v, "number", 1);
	CHECK_EQ(pfs_json_text(v, false, &text), 0);

	CHECK_EQ(pfs_json_parse(text, strlen(text), &back), 0);
	CHECK_EQ(pfs_json_data(back, "data", &out, &len), 0);
	CHECK_EQ(len, sizeof(bytes));
	CHECK_EQ(memcmp(out, bytes, len), 0);
	CHECK_EQ(pfs_json_data(back, "none", &out, &len), -ENOENT);
	CHECK_EQ(pfs_json_data(back, "number", &out, &len), -EINVAL);
}

static void lists_have_words_too(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_array();

	pfs_json_push_str(v, "a");
	pfs_json_push_str(v, "\xff");
	pfs_json_push_u64(v, 3);
	CHECK_STR(pfs_json_str_at(v, 0), "a");
	CHECK_STR(pfs_json_str_at(v, 1), "\\xff");
	CHECK_STR(pfs_json_str_at(v, 2), "");
	CHECK_STR(pfs_json_str_at(v, 3), "");
}

static void numbers_are_exact_over_64_bits(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();
	PFS_AUTO(pfs_json_done) struct pfs_json *back = NULL;
	PFS_AUTO_FREE char *text = NULL;
	uint64_t n;

	pfs_json_set_u64(v, "max", UINT64_MAX);
	pfs_json_set_u64(v, "odd", (1ull << 53) + 1);
	pfs_json_set_u64(v, "zero", 0);
	CHECK_EQ(pfs_json_text(v, false, &text), 0);

	CHECK_STR(text, "{\"max\":18446744073709551615,"
			"\"odd\":9007199254740993,\"zero\":0}");
	back = parsed(text);
	CHECK(pfs_json_u64(back, "max", &n) == 0 && n == UINT64_MAX);
	CHECK(pfs_json_num(back, "odd") == (1ull << 53) + 1);
	CHECK_EQ(pfs_json_u64(back, "zero", &n), 0);
	CHECK_EQ(n, 0);
}

static void a_number_must_be_whole_and_not_negative(void)
{
	PFS_AUTO(pfs_json_done)
	struct pfs_json *v =
		parsed("{\"a\":-1,\"b\":1.5,\"c\":\"7\",\"d\":null,\"e\":true,"
		       "\"f\":-9223372036854775808}");
	uint64_t n = 42;

	CHECK_EQ(pfs_json_u64(v, "a", &n), -EINVAL);
	CHECK_EQ(pfs_json_u64(v, "b", &n), -EINVAL);
	CHECK_EQ(pfs_json_u64(v, "c", &n), -EINVAL);
	CHECK_EQ(pfs_json_u64(v, "d", &n), -ENOENT);
	CHECK_EQ(pfs_json_u64(v, "e", &n), -EINVAL);
	CHECK_EQ(pfs_json_u64(v, "f", &n), -EINVAL);
	CHECK_EQ(pfs_json_u64(v, "none", &n), -ENOENT);
	CHECK_EQ(n, 42);
}

static void shares_have_four_digits(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();
	PFS_AUTO_FREE char *text = NULL;

	pfs_json_set_share(v, "a", 2, 3);
	pfs_json_set_share(v, "none", 0, 0);
	CHECK_EQ(pfs_json_text(v, false, &text), 0);

	CHECK_STR(text, "{\"a\":0.6667,\"none\":0.0000}");
}

static void reals_have_six_digits_that_matter(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();
	PFS_AUTO_FREE char *text = NULL;

	pfs_json_set_real(v, "a", 2948.0358);
	pfs_json_set_real(v, "b", 0);
	CHECK_EQ(pfs_json_text(v, false, &text), 0);

	CHECK_STR(text, "{\"a\":2948.04,\"b\":0}");
}

static void strings_come_back_as_the_bytes_they_were(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();
	PFS_AUTO(pfs_json_done) struct pfs_json *back = NULL;
	PFS_AUTO_FREE char *text = NULL;
	PFS_AUTO_FREE char *bytes = NULL;

	pfs_json_set_str(v, "name", "\"\\\xff/\n");
	CHECK_EQ(pfs_json_text(v, false, &text), 0);
	CHECK(!strchr(text, '\n'));
	back = parsed(text);

	CHECK_EQ(pfs_json_bytes(back, "name", &bytes), 0);
	CHECK_STR(bytes, "\"\\\xff/\n");
	CHECK_STR(pfs_json_str(back, "name"), "\"\\x5c\\xff/\\x0a");
}

static void a_string_with_a_nul_is_no_name(void)
{
	PFS_AUTO(pfs_json_done)
	struct pfs_json *v = parsed("{\"name\":\"a\\u0000b\"}");
	char *bytes = NULL;

	CHECK_EQ(pfs_json_bytes(v, "name", &bytes), -EINVAL);
	CHECK(!bytes);
}

static void what_is_not_json_is_refused(void)
{
	static const char *const bad[] = {
		"",    "{",    "{} {}",    "{}x",      "nonsense",
		"'a'", "[1,]", "\"\xff\"", "{\"a\":}", "[1 2]"};
	char deep[64];
	struct pfs_json *v = NULL;

	for (size_t i = 0; i < PFS_ARRAY_SIZE(bad); i++)
		CHECK_EQ(pfs_json_parse(bad[i], strlen(bad[i]), &v), -EBADMSG);
	memset(deep, '[', 32);
	memset(deep + 32, ']', 32);
	CHECK_EQ(pfs_json_parse(deep, 64, &v), -EBADMSG);
	CHECK(!v);
}

static void getters_take_nothing_for_an_answer(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *arr = parsed("[1,\"a\"]");

	CHECK(!pfs_json_get(NULL, "a"));
	CHECK(!pfs_json_get(arr, "a"));
	CHECK(!pfs_json_str(arr, "a"));
	CHECK_EQ(pfs_json_num(NULL, "a"), 0);
	CHECK_EQ(pfs_json_len(NULL), 0);
	CHECK_EQ(pfs_json_len(arr), 2);
	CHECK_EQ(pfs_json_num_at(arr, 0), 1);
	CHECK_EQ(pfs_json_num_at(arr, 1), 0);
	CHECK(!pfs_json_at(arr, 2));
	CHECK(!pfs_json_is_true(NULL, "a"));
}

static void a_request_comes_back(void)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *req = pfs_ctl_request("drop");
	PFS_AUTO(pfs_json_done) struct pfs_json *body = NULL;
	PFS_AUTO_FREE char *text = NULL;
	PFS_AUTO_FREE char *image = NULL;
	struct pfs_ctl_request_info info = {.body = NULL};

	pfs_json_set_str(req, "image", "a/b.img");
	CHECK_EQ(pfs_json_text(req, false, &text), 0);

	CHECK_EQ(pfs_ctl_request_parse(text, strlen(text), &info), 0);
	body = info.body;
	CHECK_STR(info.verb, "drop");
	CHECK_EQ(info.protocol, PFS_CTL_PROTOCOL);
	CHECK_EQ(pfs_json_bytes(body, "image", &image), 0);
	CHECK_STR(image, "a/b.img");
}

static void a_request_needs_verb_and_protocol(void)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"7",
		"{\"verb\":\"status\"}",
		"{\"protocol\":1}",
		"{\"protocol\":1,\"verb\":7}",
		"{\"protocol\":\"1\",\"verb\":\"status\"}"};
	struct pfs_ctl_request_info info = {.body = NULL};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(bad); i++)
		CHECK(pfs_ctl_request_parse(bad[i], strlen(bad[i]), &info) < 0);
	CHECK(!info.body);
}

static void answers_of_each_kind_come_back(void)
{
	static const enum pfs_ctl_kind kinds[] = {PFS_CTL_RESULT, PFS_CTL_ERROR,
						  PFS_CTL_PROGRESS};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(kinds); i++) {
		struct pfs_json *value = pfs_ctl_error(-ENOENT, "no such");
		struct pfs_ctl_answer_info a = {.body = NULL};
		PFS_AUTO_FREE char *line = NULL;

		CHECK_EQ(pfs_ctl_answer(kinds[i], value, &line), 0);
		CHECK(line && line[strlen(line) - 1] == '\n');
		CHECK(line && strchr(line, '\n') == line + strlen(line) - 1);
		CHECK_EQ(pfs_ctl_answer_parse(line, strlen(line) - 1, &a), 0);
		CHECK_EQ(a.kind, kinds[i]);
		CHECK_EQ(a.protocol, PFS_CTL_PROTOCOL);
		CHECK_STR(a.version, pfs_ctl_version());
		CHECK_STR(pfs_json_str(a.value, "code"), "ENOENT");
		CHECK_STR(pfs_json_str(a.value, "text"), "no such");
		pfs_json_free(a.body);
	}
}

static void an_answer_of_a_newer_protocol_tells_its_version(void)
{
	static const char line[] =
		"{\"protocol\":9,\"version\":\"7.0\",\"reply\":{}}";
	struct pfs_ctl_answer_info a = {.body = NULL};

	CHECK_EQ(pfs_ctl_answer_parse(line, strlen(line), &a), 0);
	CHECK_EQ(a.protocol, 9);
	CHECK_STR(a.version, "7.0");
	pfs_json_free(a.body);
}

static void an_answer_over_the_limit_is_not_made(void)
{
	size_t len = PFS_CTL_ANSWER_MAX;
	PFS_AUTO_FREE char *big = malloc(len + 1);
	struct pfs_json *v = pfs_json_object();
	char *line = NULL;

	memset(big, 'a', len);
	big[len] = '\0';
	pfs_json_set_str(v, "big", big);

	CHECK_EQ(pfs_ctl_answer(PFS_CTL_RESULT, v, &line), -EMSGSIZE);
	CHECK(!line);
}

/* --- the run folder ---------------------------------------------------- */

struct found {
	unsigned int n;
	bool is_alive;
	char mountpoint[256], source[256], socket[256], id[64];
	long pid;
};

static int note_mount(void *arg, const struct pfs_ctl_mount *m)
{
	struct found *f = arg;

	f->n++;
	f->is_alive = m->is_alive;
	f->pid = m->supervisor_pid;
	(void)snprintf(f->id, sizeof(f->id), "%s", m->id);
	(void)snprintf(f->mountpoint, 256, "%s", m->mountpoint);
	(void)snprintf(f->source, 256, "%s", m->source);
	(void)snprintf(f->socket, 256, "%s", m->socket);
	return 0;
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	CHECK(f);
	if (!f)
		return;
	(void)fputs(text, f);
	(void)fclose(f);
}

static void a_published_mount_is_found_and_retracted(void)
{
	char base[] = "/tmp/pfs-test-ctl-XXXXXX", dir[64], want[512];
	char mountpoint[] = "/mnt/odd \xff\n\"name", source[] = "/srv";
	struct pfs_ctl_mount m = {.id = "0123abc",
				  .mountpoint = mountpoint,
				  .source = source,
				  .supervisor_pid = getpid()};
	struct found f = {0};

	CHECK(mkdtemp(base));
	(void)snprintf(dir, sizeof(dir), "%s/run", base);
	setenv("PFS_RUN_DIR", dir, 1);
	CHECK_EQ(pfs_ctl_mounts(note_mount, &f), 0);
	CHECK_EQ(f.n, 0);

	CHECK_EQ(pfs_ctl_mount_publish(&m), 0);
	CHECK_EQ(pfs_ctl_mount_publish(&m), 0); /* again is fine */
	CHECK_EQ(pfs_ctl_mounts(note_mount, &f), 0);

	CHECK_EQ(f.n, 1);
	CHECK_STR(f.id, m.id);
	CHECK_STR(f.mountpoint, mountpoint);
	CHECK_STR(f.source, source);
	CHECK_EQ(f.pid, getpid());
	CHECK(f.is_alive);
	(void)snprintf(want, sizeof(want), "%s/0123abc.sock", dir);
	CHECK_STR(f.socket, want);

	pfs_ctl_mount_retract(m.id);
	f.n = 0;
	CHECK_EQ(pfs_ctl_mounts(note_mount, &f), 0);
	CHECK_EQ(f.n, 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(rmdir(base), 0);
}

static void junk_in_the_run_folder_is_passed_over(void)
{
	char dir[] = "/tmp/pfs-test-ctl-XXXXXX", path[512];
	static const char *const names[] = {"a.json",  "b.json", "c.json",
					    ".d.json", "e.txt",  "g.json"};
	static const char *const texts[] = {
		"", "{\"mountpoint\":7}",
		"{\"mountpoint\":\"/m\",\"source\":\"/s\","
		"\"supervisor_pid\":99999999999}",
		"{\"mountpoint\":\"/m\",\"source\":\"/s\","
		"\"supervisor_pid\":1}",
		"{}",
		/* the good one: a pid nobody can have */
		"{\"mountpoint\":\"/m\",\"source\":\"/s\","
		"\"supervisor_pid\":2147483647}\n"};
	struct found f = {0};

	CHECK(mkdtemp(dir));
	setenv("PFS_RUN_DIR", dir, 1);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(names); i++)
		put_file(dir, names[i], texts[i]);
	(void)snprintf(path, sizeof(path), "%s/fifo.json", dir);
	CHECK_EQ(mkfifo(path, 0600), 0);

	CHECK_EQ(pfs_ctl_mounts(note_mount, &f), 0);
	CHECK_EQ(f.n, 1);
	CHECK_STR(f.id, "g");
	CHECK(!f.is_alive);

	(void)unlink(path);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	CHECK_EQ(rmdir(dir), 0);
}

static void a_run_folder_others_can_write_is_refused(void)
{
	char dir[] = "/tmp/pfs-test-ctl-XXXXXX", out[PATH_MAX], link[64];

	CHECK(mkdtemp(dir));
	CHECK_EQ(chmod(dir, 0777), 0);
	setenv("PFS_RUN_DIR", dir, 1);
	CHECK_EQ(pfs_ctl_dir_make(out), -EPERM);

	CHECK_EQ(chmod(dir, 0755), 0);
	CHECK_EQ(pfs_ctl_dir_make(out), 0);
	CHECK_STR(out, dir);

	(void)snprintf(link, sizeof(link), "%s.link", dir);
	CHECK_EQ(symlink(dir, link), 0);
	setenv("PFS_RUN_DIR", link, 1);
	CHECK_EQ(pfs_ctl_dir_make(out), -EPERM);
	CHECK_EQ(unlink(link), 0);
	CHECK_EQ(rmdir(dir), 0);
}

static void a_socket_path_has_to_fit(void)
{
	char out[PATH_MAX], dir[200];

	memset(dir, 'd', sizeof(dir));
	dir[0] = '/';
	dir[100] = '\0';
	setenv("PFS_RUN_DIR", dir, 1);
	CHECK_EQ(pfs_ctl_socket_path("i", out), 0); /* 100 + 7 */
	CHECK_EQ(pfs_ctl_socket_path("id", out), -ENAMETOOLONG);
}

int main(void)
{
	RUN(names_survive_as_utf8_text);
	RUN(ill_formed_utf8_is_escaped_byte_by_byte);
	RUN(malformed_escapes_are_refused);
	RUN(bytes_travel_as_base64);
	RUN(base64_has_one_form);
	RUN(data_survives_in_a_value);
	RUN(lists_have_words_too);
	RUN(numbers_are_exact_over_64_bits);
	RUN(a_number_must_be_whole_and_not_negative);
	RUN(shares_have_four_digits);
	RUN(reals_have_six_digits_that_matter);
	RUN(strings_come_back_as_the_bytes_they_were);
	RUN(a_string_with_a_nul_is_no_name);
	RUN(what_is_not_json_is_refused);
	RUN(getters_take_nothing_for_an_answer);
	RUN(a_request_comes_back);
	RUN(a_request_needs_verb_and_protocol);
	RUN(answers_of_each_kind_come_back);
	RUN(an_answer_of_a_newer_protocol_tells_its_version);
	RUN(an_answer_over_the_limit_is_not_made);
	RUN(a_published_mount_is_found_and_retracted);
	RUN(junk_in_the_run_folder_is_passed_over);
	RUN(a_run_folder_others_can_write_is_refused);
	RUN(a_socket_path_has_to_fit);
	return CHECK_RESULT();
}
