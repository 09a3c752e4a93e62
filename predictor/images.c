/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "images.h"

int images_init(struct images *t)
{
	*t = (struct images){.bytes_max = IMAGES_BYTES};
	t->image = calloc(IMAGES_MAX, sizeof(struct image *));
	if (!t->image)
		return -ENOMEM;
	return map_init(&t->by_id, IMAGES_MAX);
}

void images_fini(struct images *t)
{
	while (t->n)
		images_drop(t, t->image[t->n - 1]);
	free(t->image);
	map_fini(&t->by_id);
	*t = (struct images){0};
}

struct image *images_find(const struct images *t, uint64_t id)
{
	uint64_t *place = map_find(&t->by_id, id);

	return place ? t->image[*place] : NULL;
}

/* The last image of the array moves into its place. */
void images_drop(struct images *t, struct image *im)
{
	uint64_t place = *map_find(&t->by_id, im->id);
	struct image *last = t->image[--t->n];

	while (im->sessions)
		image_close_session(im, im->sessions);
	warm_fini(&im->warm);
	learning_destroy(&im->learning);
	*map_find(&t->by_id, last->id) = place;
	t->image[place] = last;
	map_del(&t->by_id, im->id);
	free(im);
}

static struct image *oldest_unused(const struct images *t)
{
	struct image *oldest = NULL;

	for (uint32_t i = 0; i < t->n; i++)
		if (!t->image[i]->sessions &&
		    (!oldest || t->image[i]->used < oldest->used))
			oldest = t->image[i];
	return oldest;
}

static uint64_t learned_bytes(const struct images *t)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < t->n; i++)
		sum += learning_memory(&t->image[i]->learning);
	return sum;
}

static void make_room(struct images *t)
{
	struct image *old;
	uint64_t bytes = learned_bytes(t);

	while ((bytes > t->bytes_max || t->n == IMAGES_MAX) &&
	       (old = oldest_unused(t))) {
		bytes -= learning_memory(&old->learning);
		images_drop(t, old);
	}
}

static int add(struct images *t, uint64_t id, const struct learning_config *cfg,
	       bool always_wrong, struct image **out)
{
	struct image *im;
	int err;

	make_room(t);
	if (t->n == IMAGES_MAX)
		return -ENOMEM;
	im = calloc(1, sizeof(*im));
	if (!im)
		return -ENOMEM;
	err = learning_create(&im->learning, cfg, always_wrong);
	if (err) {
		free(im);
		return err;
	}
	im->id = id;
	*map_add(&t->by_id, id) = t->n; /* as much room as the array has */
	t->image[t->n++] = im;
	*out = im;
	return 0;
}

int images_open(struct images *t, uint64_t id,
		const struct learning_config *cfg, bool always_wrong,
		struct image **out)
{
	struct image *im = images_find(t, id);
	int err = im ? 0 : add(t, id, cfg, always_wrong, &im);

	if (err)
		return err;
	im->n_chunks = cfg->n_chunks;
	im->used = ++t->clock;
	*out = im;
	return 0;
}

struct session *image_session(struct image *im, uint64_t vm)
{
	for (struct session **p = &im->sessions; *p; p = &(*p)->next) {
		struct session *s = *p;

		if (s->vm != vm)
			continue;
		*p = s->next;
		s->next = im->sessions;
		im->sessions = s;
		return s;
	}
	return NULL;
}

void image_close_session(struct image *im, struct session *s)
{
	struct session **p = &im->sessions;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	session_finish(s);
}

uint32_t image_n_open(const struct image *im)
{
	uint32_t n = 0;

	for (const struct session *s = im->sessions; s; s = s->next)
		n += s->closed_ns == UINT64_MAX;
	return n;
}
