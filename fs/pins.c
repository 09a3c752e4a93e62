/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pins.h"

#include <string.h>

#include <pfs/log.h>

struct loading {
	struct worker *w;
	uint64_t image, size;
	struct pfs_store_image *sto;
};

int pins_apply(struct worker *w, uint64_t size, struct pfs_store_image *sto,
	       uint64_t first, uint64_t last)
{
	uint64_t chunk = pfs_store_chunk(w->store);

	/* What lies past the end would count against the store's limit. */
	if (first >= size)
		return 0;
	last = PFS_MIN(last, size - 1);
	return pfs_store_image_pin(sto, first / chunk, last / chunk, true);
}

static int load_one(void *arg, uint64_t first, uint64_t last)
{
	struct loading *l = arg;
	int err = pins_apply(l->w, l->size, l->sto, first, last);

	if (err)
		pfs_log_limited(
			PFS_LOG_WARNING, "pins",
			"image %llu: bytes %llu to %llu are not pinned: "
			"%s",
			(unsigned long long)l->image, (unsigned long long)first,
			(unsigned long long)last, strerror(-err));
	return 0;
}

void pins_load(struct worker *w, uint64_t image, uint64_t size,
	       struct pfs_store_image *sto)
{
	struct loading l = {w, image, size, sto};
	int err = pfs_catalog_pins_load(w->catalog, image, load_one, &l);

	if (err < 0)
		pfs_log_limited(PFS_LOG_WARNING, "pins",
				"image %llu: its pins cannot be read: %s",
				(unsigned long long)image, strerror(-err));
}

void pins_renew(struct worker *w, uint64_t image, uint64_t size,
		struct pfs_store_image *sto)
{
	struct pfs_pin one;

	while (pfs_store_image_pins(sto, &one, 1))
		if (pfs_store_image_pin(sto, one.first, one.last, false))
			break; /* cannot be: the range is as the store has it */
	pins_load(w, image, size, sto);
}
