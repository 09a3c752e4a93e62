/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Needs no root; as root the cases about permissions are other ones. */
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <pfs/predictor.h>

#include "check.h"
#include "options.h"
#include "places.h"

static char base[256]; /* folder with src/ and mnt/, also the HOME */

/* --- a command line and what came of it ---------------------------------- */

struct run {
	struct options o;
	int res;
	bool stop;
	char *out, *err;
};

static struct run parse_args(int argc, char **argv)
{
	struct run r = {0};
	size_t out_len, err_len;
	FILE *out = open_memstream(&r.out, &out_len);
	FILE *err = open_memstream(&r.err, &err_len);

	r.res = options_parse(argc, argv, &r.o, &r.stop, out, err);
	fclose(out);
	fclose(err);
	return r;
}

/* pfs SOURCE MOUNTPOINT [-o OPTS], paths relative to base. */
static struct run parse(const char *source, const char *mnt, const char *opts)
{
	char s[512], m[512], o[8192];
	char *argv[] = {(char *)"pfs", s, m, (char *)"-o", o, NULL};

	snprintf(s, sizeof(s), "%s/%s", base, source);
	snprintf(m, sizeof(m), "%s/%s", base, mnt);
	snprintf(o, sizeof(o), "%s", opts ? opts : "");
	return parse_args(opts ? 5 : 3, argv);
}

static void done(struct run *r)
{
	options_fini(&r->o);
	free(r->out);
	free(r->err);
}

static void says(struct run *r, const char *word, const char *opts)
{
	CHECK_EQ(r->res, -EINVAL);
	if (!strstr(r->err, word) || strncmp(r->err, "pfs: ", 5) != 0) {
		check_failures++;
		fprintf(stderr, "%s: said \"%s\", should name \"%s\"\n", opts,
			r->err, word);
	}
}

static void refused(const char *opts, const char *word)
{
	struct run r = parse("src", "mnt", opts);

	says(&r, word, opts);
	done(&r);
}

static void place_refused(const char *source, const char *mnt, const char *opts,
			  const char *word)
{
	struct run r = parse(source, mnt, opts);

	says(&r, word, source);
	done(&r);
}

static const char *below(const char *path)
{
	static char buf[4][512];
	static int i;

	i = (i + 1) % 4;
	snprintf(buf[i], sizeof(buf[i]), "%s/%s", base, path);
	return buf[i];
}

static void make(const char *path)
{
	CHECK_EQ(mkdir(below(path), 0700), 0);
}

static void make_file(const char *path)
{
	int fd = open(below(path), O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0);
	close(fd);
}

static const char *with(const char *name, const char *path)
{
	static char buf[1024];

	snprintf(buf, sizeof(buf), "%s=%s", name, below(path));
	return buf;
}

/* --- values --------------------------------------------------------------- */

static void defaults_are_sane(void)
{
	struct run r = parse("src", "mnt", NULL);

	CHECK_EQ(r.res, 0);
	CHECK_STR(r.err, "");
	CHECK_EQ(r.o.chunk, 65536);
	CHECK_EQ(r.o.store_size, 0);
	CHECK_EQ(r.o.max_background, 64);
	CHECK_EQ(r.o.threads, 0);
	CHECK_EQ(r.o.store_io, STORE_IO_AUTO);
	CHECK_EQ(r.o.prefetch, PFS_PREFETCH_BALANCED);
	CHECK_EQ(r.o.prefetch_rate, 0);
	CHECK_EQ(r.o.trust, TRUST_PRIVATE);
	CHECK(r.o.verify);
	CHECK(!r.o.allow_other);
	CHECK(!r.o.ro);
	CHECK(!r.o.page_cache);
	CHECK(!r.o.foreground);
	CHECK(!r.o.is_safe);
	CHECK_STR(r.o.source, below("src"));
	CHECK_STR(r.o.mountpoint, below("mnt"));
	CHECK_EQ(strlen(r.o.id), 16);
	done(&r);
}

static void default_places_are_named_by_the_source(void)
{
	struct run r = parse("src", "mnt", NULL);
	bool is_root = geteuid() == 0;
	char want[512];

	snprintf(want, sizeof(want), "%s/pfs/%s",
		 is_root ? "/var/cache" : below(".cache"), r.o.id);
	CHECK_STR(r.o.store, want);
	snprintf(want, sizeof(want), "%s/pfs/%s/catalog.db",
		 is_root ? "/var/lib" : below(".local/state"), r.o.id);
	CHECK_STR(r.o.catalog, want);
	done(&r);
}

static void sizes_take_units(void)
{
	static const struct {
		const char *opt;
		uint64_t want;
	} cases[] = {
		{"store_size=1048576", 1 << 20}, {"store_size=10M", 10 << 20},
		{"store_size=3g", 3ull << 30},   {"store_size=2T", 2ull << 40},
		{"store_size=2048K", 2 << 20},   {"store_size=0", 0},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		struct run r = parse("src", "mnt", cases[i].opt);

		CHECK_EQ(r.res, 0);
		CHECK_EQ(r.o.store_size, cases[i].want);
		done(&r);
	}
}

static void every_option_is_understood(void)
{
	struct run r = parse("src", "mnt",
			     "store=none,store_size=1G,chunk=16K,store_io="
			     "buffered,verify=off,max_background=65535,threads="
			     "16,page_cache=on,allow_other,ro,prefetch="
			     "conservative,prefetch_rate=20M,trust=shared");

	CHECK_EQ(r.res, 0);
	CHECK_STR(r.o.store, "none");
	CHECK_EQ(r.o.chunk, 16384);
	CHECK_EQ(r.o.store_io, STORE_IO_BUFFERED);
	CHECK_EQ(r.o.prefetch, PFS_PREFETCH_CONSERVATIVE);
	CHECK_EQ(r.o.prefetch_rate, 20 << 20);
	CHECK_EQ(r.o.trust, TRUST_SHARED);
	CHECK(!r.o.verify);
	CHECK_EQ(r.o.max_background, 65535);
	CHECK_EQ(r.o.threads, 16);
	CHECK(r.o.page_cache);
	CHECK(r.o.allow_other);
	CHECK(r.o.ro);
	done(&r);
}

/* Words in options.def are in the order of the numbers others know. */
static void a_choice_is_its_place_in_the_list(void)
{
	static const struct {
		const char *opt;
		uint32_t want;
	} cases[] = {
		{"prefetch=off", PFS_PREFETCH_OFF},
		{"prefetch=conservative", PFS_PREFETCH_CONSERVATIVE},
		{"prefetch=balanced", PFS_PREFETCH_BALANCED},
		{"prefetch=aggressive", PFS_PREFETCH_AGGRESSIVE},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		struct run r = parse("src", "mnt", cases[i].opt);

		CHECK_EQ(r.res, 0);
		CHECK_EQ(r.o.prefetch, cases[i].want);
		done(&r);
	}
}

static void the_last_of_two_wins(void)
{
	struct run r = parse("src", "mnt", "chunk=16K,chunk=1M");

	CHECK_EQ(r.res, 0);
	CHECK_EQ(r.o.chunk, 1 << 20);
	done(&r);
}

static void words_of_mount_are_passed_over(void)
{
	struct run r = parse("src", "mnt",
			     "rw,dev,suid,exec,nodev,nosuid,noexec,noauto,auto,"
			     "_netdev,user,user=joe,users,nofail,defaults,"
			     "noatime,relatime,x-systemd.automount,,comment=a");

	CHECK_EQ(r.res, 0);
	CHECK(!r.o.ro);
	done(&r);
}

static void a_backslash_keeps_a_comma(void)
{
	struct run r;

	make("a,b");
	make("c\\d");
	r = parse("src", "mnt", "");
	done(&r);
	r = parse("src", "mnt", with("store", "a\\,b/x"));
	CHECK_EQ(r.res, 0);
	CHECK_STR(r.o.store, below("a,b/x"));
	done(&r);
	r = parse("src", "mnt", with("store", "c\\\\d"));
	CHECK_EQ(r.res, 0);
	CHECK_STR(r.o.store, below("c\\d"));
	done(&r);
}

static void junk_is_refused_by_name(void)
{
	static const struct {
		const char *opts, *word;
	} cases[] = {
		{"colour=red", "\"colour\""},
		{"colour", "store_io="}, /* what is allowed */
		{"chunk=100K", "chunk=100K: allowed is a power of two from "
			       "16K to 1M"},
		{"chunk=8K", "chunk=8K"},
		{"chunk=2M", "chunk=2M"},
		{"chunk=0", "chunk=0"},
		{"chunk=", "chunk="},
		{"chunk", "\"chunk\" needs a value"},
		{"chunk=-65536", "chunk="},
		{"chunk= 65536", "chunk="},
		{"chunk=64KB", "chunk="},
		{"chunk=64Q", "chunk="},
		{"chunk=4294967296", "chunk="},
		{"chunk=18446744073709617152", "chunk="}, /* 2^64 + 64K */
		{"store_size=1", "store_size=1: allowed is 0, or a size"},
		{"store_size=99999999999999T", "store_size="},
		{"store_size=16777216T", "store_size="}, /* 2^64 */
		{"store_size=10%", "store_size="},
		{"store_size=1.5G", "store_size="},
		{"threads=17", "threads=17: allowed is 0, or a number from 1 "
			       "to 16"},
		{"threads=2K", "threads="},
		{"threads=two", "threads="},
		{"max_background=0", "max_background="},
		{"max_background=65536", "max_background="},
		{"verify=yes", "verify=yes: allowed is on|off"},
		{"verify", "\"verify\" needs a value"},
		{"store_io=fast", "auto|direct|buffered"},
		{"store_io=dir", "auto|direct|buffered"}, /* a beginning */
		{"store_io=directly", "store_io="},
		{"store_io=auto|direct", "store_io="},
		{"store_io=", "store_io="},
		{"prefetch=on", "off|conservative|balanced|aggressive"},
		{"prefetch", "\"prefetch\" needs a value"},
		{"prefetch_rate=1K", "prefetch_rate="},
		{"trust=all", "private|shared"},
		{"allow_other=on", "allow_other=on: it takes no value"},
		{"ro=1", "ro=1"},
		{"store=", "store="},
		{"catalog=", "catalog="},
		{"remount", "remount"},
		{"chunk=64K,foo=bar", "\"foo\""},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++)
		refused(cases[i].opts, cases[i].word);
}

/* --- the command line ----------------------------------------------------- */

static void wrong_command_lines_are_refused(void)
{
	char *none[] = {(char *)"pfs", NULL};
	char *one[] = {(char *)"pfs", (char *)"/", NULL};
	char *three[] = {(char *)"pfs", (char *)"/", (char *)"/", (char *)"/",
			 NULL};
	char *unknown[] = {(char *)"pfs", (char *)"-x", NULL};
	char *long_one[] = {(char *)"pfs", (char *)"--bogus", NULL};
	char *no_value[] = {(char *)"pfs", (char *)"/", (char *)"/",
			    (char *)"-o", NULL};
	struct {
		int argc;
		char **argv;
		const char *word;
	} cases[] = {
		{1, none, "SOURCE"},      {2, one, "MOUNTPOINT"},
		{4, three, "not 3"},      {2, unknown, "\"-x\""},
		{2, long_one, "--bogus"}, {4, no_value, "-o"},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		struct run r = parse_args(cases[i].argc, cases[i].argv);

		says(&r, cases[i].word, cases[i].word);
		done(&r);
	}
}

static void options_may_stand_anywhere(void)
{
	char src[512], mnt[512];
	char *argv[] = {(char *)"pfs", (char *)"-f",         (char *)"-oro",
			src,           (char *)"-v",         mnt,
			(char *)"-o",  (char *)"verify=off", NULL};
	struct run r;

	strcpy(src, below("src"));
	strcpy(mnt, below("mnt"));
	r = parse_args(8, argv);

	CHECK_EQ(r.res, 0);
	CHECK(r.o.foreground);
	CHECK(r.o.is_verbose);
	CHECK(r.o.ro);
	CHECK(!r.o.verify);
	done(&r);
}

static void note_in_help(void *arg, const char *name, const char *value)
{
	(void)value;
	if (!strstr(arg, name)) {
		check_failures++;
		fprintf(stderr, "--help does not mention %s\n", name);
	}
}

static void help_fits_the_screen_and_is_complete(void)
{
	char *argv[] = {(char *)"pfs", (char *)"--help", NULL};
	struct run r = parse_args(2, argv);
	struct run plain = parse("src", "mnt", NULL);

	CHECK_EQ(r.res, 0);
	CHECK(r.stop);
	options_each(&plain.o, note_in_help, r.out);
	for (char *save, *line = strtok_r(r.out, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		CHECK(strlen(line) <= 80);
	done(&plain);
	done(&r);
}

static void version_is_answered(void)
{
	char *argv[] = {(char *)"pfs", (char *)"--version", NULL};
	struct run r = parse_args(2, argv);

	CHECK_EQ(r.res, 0);
	CHECK(r.stop);
	CHECK_EQ(strncmp(r.out, "pfs ", 4), 0);
	done(&r);
}

/* --- places --------------------------------------------------------------- */

static void sources_that_cannot_serve_are_refused(void)
{
	make_file("plain");
	make("closed");
	CHECK_EQ(chmod(below("closed"), 0), 0);

	place_refused("nowhere", "mnt", NULL, "nowhere: No such file");
	place_refused("plain", "mnt", NULL, "plain is not a folder");
	if (geteuid() != 0)
		place_refused("closed", "mnt", NULL, "cannot be read");
}

static void mountpoints_that_cannot_be_are_refused(void)
{
	place_refused("src", "nowhere", NULL, "mkdir");
	place_refused("src", "plain", NULL, "plain is not a folder");
}

static void a_mountpoint_with_files_in_it_is_fine(void)
{
	struct run r;

	make("full");
	make_file("full/file");
	r = parse("src", "full", NULL);

	CHECK_EQ(r.res, 0);
	done(&r);
}

static void source_and_mountpoint_must_not_nest(void)
{
	make("src/sub");
	make("src/sub/deep");
	make("mnt/sub");
	CHECK_EQ(symlink(below("src/sub"), below("link")), 0);

	place_refused("src", "src", NULL, "same folder");
	place_refused("src", "src/sub/deep", NULL, "is inside the source");
	place_refused("src", "link", NULL, "is inside the source");
	place_refused("src", "link/deep/../../sub", NULL, "inside the source");
	place_refused("mnt/sub", "mnt", NULL, "is inside the mountpoint");
}

static void a_common_beginning_is_no_nesting(void)
{
	struct run r;

	make("src2");
	r = parse("src", "src2", NULL);

	CHECK_EQ(r.res, 0);
	done(&r);
}

static void store_and_catalog_keep_apart(void)
{
	char both[1200];

	make("st");
	CHECK_EQ(mkfifo(below("fifo"), 0600), 0);
	CHECK_EQ(symlink(below("st"), below("st_link")), 0);

	snprintf(both, sizeof(both), "store=%s,catalog=%s", below("st"),
		 below("st/catalog.db"));
	refused(both, "is inside the store");
	snprintf(both, sizeof(both), "store=%s,catalog=%s", below("st"),
		 below("st_link/new/../c.db"));
	refused(both, "catalog");
	snprintf(both, sizeof(both), "store=%s,catalog=%s", below("new"),
		 below("new/c.db"));
	refused(both, "is inside the store");
	refused(with("store", "src/store"), "inside the source");
	refused(with("store", "mnt/store"), "inside the mountpoint");
	refused(with("catalog", "src/c.db"), "inside the source");
	refused(with("catalog", "mnt/c.db"), "inside the mountpoint");
	refused(with("store", "fifo"), "neither a folder nor a file");
	refused(with("catalog", "st"), "is not a file");
}

static void relative_places_are_resolved(void)
{
	struct run r;

	CHECK_EQ(chdir(base), 0);
	r = parse("src", "mnt", "store=here,catalog=./there.db");
	CHECK_EQ(r.res, 0);
	CHECK_STR(r.o.store, below("here"));
	CHECK_STR(r.o.catalog, below("there.db"));
	done(&r);
}

/* --- making folders ------------------------------------------------------- */

static int make_places(const char *store, const char *catalog, char **err)
{
	char opts[1200];
	size_t len;
	FILE *f = open_memstream(err, &len);
	struct run r;
	int res;

	snprintf(opts, sizeof(opts), "store=%s,catalog=%s",
		 strcmp(store, "none") ? below(store) : store, below(catalog));
	r = parse("src", "mnt", opts);
	CHECK_EQ(r.res, 0);
	res = places_make(&r.o, f);
	fclose(f);
	done(&r);
	return res;
}

static void missing_folders_are_made_private(void)
{
	struct stat st;
	char *err;

	CHECK_EQ(make_places("made", "made_too/c.db", &err), 0);
	CHECK_STR(err, "");
	CHECK_EQ(stat(below("made"), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0700);
	CHECK_EQ(stat(below("made_too"), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0700);
	free(err);
}

static void folders_above_are_not_made_for_a_named_place(void)
{
	char *err;

	CHECK_EQ(make_places("lost/disk", "made_too/c.db", &err), -ENOENT);
	CHECK(strstr(err, "lost/disk") != NULL);
	CHECK(access(below("lost"), F_OK) != 0);
	free(err);
}

static void a_store_that_anybody_can_write_is_refused(void)
{
	char *err;

	make("open");
	CHECK_EQ(chmod(below("open"), 0777), 0);
	CHECK_EQ(make_places("open", "made_too/c.db", &err), -EPERM);
	CHECK(strstr(err, "by anybody") != NULL);
	free(err);
	CHECK_EQ(make_places("none", "open/c.db", &err), -EPERM);
	free(err);
}

static void a_store_of_another_user_is_refused(void)
{
	char *err;

	if (geteuid() != 0)
		return; /* cannot give one away */
	make("theirs");
	CHECK_EQ(chown(below("theirs"), 12345, 12345), 0);
	CHECK_EQ(make_places("theirs", "made_too/c.db", &err), -EPERM);
	CHECK(strstr(err, "belongs to another user") != NULL);
	free(err);
}

static void a_store_that_cannot_be_written_is_refused(void)
{
	char *err;

	if (geteuid() == 0)
		return; /* root can write everywhere */
	make("locked");
	CHECK_EQ(chmod(below("locked"), 0500), 0);
	CHECK_EQ(make_places("locked", "made_too/c.db", &err), -EACCES);
	CHECK(strstr(err, "store=none") != NULL);
	free(err);
}

static void what_the_store_is_decides_about_the_folder(void)
{
	struct run r;

	make_file("store.img");
	r = parse("src", "mnt", with("store", "store.img"));
	CHECK(!places_store_is_folder(&r.o));
	done(&r);
	r = parse("src", "mnt", with("store", "not_yet"));
	CHECK(places_store_is_folder(&r.o));
	done(&r);
	r = parse("src", "mnt", "store=none");
	CHECK(!places_store_is_folder(&r.o));
	done(&r);
}

/* --- packing -------------------------------------------------------------- */

static void packed_options_unpack_to_the_same(void)
{
	struct options back;
	char *text = NULL;
	struct run r;

	make("odd\n\\n=\xff");
	r = parse("src", "mnt",
		  "store_size=3M,chunk=128K,store_io=direct,verify=off,ro,"
		  "threads=3,page_cache=on,max_background=7,prefetch=off,"
		  "prefetch_rate=1M,trust=shared");
	free(r.o.source);
	r.o.source = strdup(below("odd\n\\n=\xff"));
	r.o.foreground = true;
	r.o.is_safe = true;

	CHECK_EQ(options_pack(&r.o, &text), 0);
	CHECK_EQ(options_unpack(text, &back), 0);
	CHECK_STR(back.source, r.o.source);
	CHECK_STR(back.mountpoint, r.o.mountpoint);
	CHECK_STR(back.fsname, r.o.fsname);
	CHECK_STR(back.store, r.o.store);
	CHECK_STR(back.catalog, r.o.catalog);
	CHECK_STR(back.id, r.o.id);
	CHECK_EQ(back.store_size, 3 << 20);
	CHECK_EQ(back.chunk, 128 << 10);
	CHECK_EQ(back.store_io, STORE_IO_DIRECT);
	CHECK_EQ(back.prefetch, PFS_PREFETCH_OFF);
	CHECK_EQ(back.prefetch_rate, 1 << 20);
	CHECK_EQ(back.trust, TRUST_SHARED);
	CHECK_EQ(back.threads, 3);
	CHECK_EQ(back.max_background, 7);
	CHECK(!back.verify);
	CHECK(back.ro && back.page_cache && !back.allow_other);
	CHECK(back.foreground && back.is_safe && !back.is_verbose);
	options_fini(&back);
	free(text);
	done(&r);
}

static void a_worker_refuses_what_it_does_not_know(void)
{
	struct options back;
	char *text = NULL, *more = NULL;
	struct run r = parse("src", "mnt", NULL);

	CHECK_EQ(options_pack(&r.o, &text), 0);
	CHECK(asprintf(&more, "%sshiny=on\n", text) > 0);
	CHECK_EQ(options_unpack(more, &back), -EINVAL);
	CHECK_EQ(options_unpack("chunk=64K\n", &back), -EINVAL);
	CHECK_EQ(options_unpack("chunk\n", &back), -EINVAL);
	CHECK_EQ(options_unpack("id=12345678901234567\n", &back), -EINVAL);
	CHECK_EQ(options_unpack("", &back), -EINVAL);
	free(more);
	free(text);
	done(&r);
}

/* --- */

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int main(void)
{
	char dir[] = "/tmp/pfs-test-options-XXXXXX";
	char *real;

	if (!mkdtemp(dir) || !(real = realpath(dir, NULL)))
		return 1;
	snprintf(base, sizeof(base), "%s", real);
	free(real);
	setenv("HOME", base, 1);
	unsetenv("XDG_CACHE_HOME");
	unsetenv("XDG_STATE_HOME");
	make("src");
	make("mnt");

	RUN(defaults_are_sane);
	RUN(default_places_are_named_by_the_source);
	RUN(sizes_take_units);
	RUN(every_option_is_understood);
	RUN(a_choice_is_its_place_in_the_list);
	RUN(the_last_of_two_wins);
	RUN(words_of_mount_are_passed_over);
	RUN(a_backslash_keeps_a_comma);
	RUN(junk_is_refused_by_name);
	RUN(wrong_command_lines_are_refused);
	RUN(options_may_stand_anywhere);
	RUN(help_fits_the_screen_and_is_complete);
	RUN(version_is_answered);
	RUN(sources_that_cannot_serve_are_refused);
	RUN(mountpoints_that_cannot_be_are_refused);
	RUN(a_mountpoint_with_files_in_it_is_fine);
	RUN(source_and_mountpoint_must_not_nest);
	RUN(a_common_beginning_is_no_nesting);
	RUN(store_and_catalog_keep_apart);
	RUN(relative_places_are_resolved);
	RUN(missing_folders_are_made_private);
	RUN(folders_above_are_not_made_for_a_named_place);
	RUN(a_store_that_anybody_can_write_is_refused);
	RUN(a_store_of_another_user_is_refused);
	RUN(a_store_that_cannot_be_written_is_refused);
	RUN(what_the_store_is_decides_about_the_folder);
	RUN(packed_options_unpack_to_the_same);
	RUN(a_worker_refuses_what_it_does_not_know);

	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return CHECK_RESULT();
}
