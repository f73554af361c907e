/* SPDX-License-Identifier: MIT */
/* What one viewer has on its screen, and how it gets from there to what the guest shows. Theory: view.c */
#ifndef RFB_VIEW_INT_H
#define RFB_VIEW_INT_H

#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "display/display.h"
#include "display/refine.h"
#include "rfb/encode.h"
#include "rfb/pool-int.h"

enum { VIEW_AGES = 4, VIEW_MOVES = SCANOUT_HEADS * REFINE_MOVES, VIEW_CODERS = 8 };

struct rfb_counters {
	uint64_t encoded, rects, copies, pixels, refreshes, encode_ns;
};

struct view_env { /* what all views have in common */
	struct loop *loop;
	struct display *display;
	struct rfb_pool *pool;
	struct mover *mover;
	struct rfb_counters n;
	struct rfb_view *dead; /* without an owner, but an update is still under way */
};
void view_env_fini(struct view_env *env); /* when the pool is gone: no job ends any more */

/* What an update is made with: its viewer's wishes. */
struct view_wish {
	const struct rfb_encoder_ops *ops;
	struct rfb_params params;
	bool copyrect;
	bool draw_cursor; /* the viewer cannot show a cursor itself */
};

struct rfb_view {
	struct view_env *env;
	/* the owner's; called on the loop's thread, never from within view_begin() */
	void (*done)(struct rfb_view *v);  /* out holds an update, or failed is set */
	void (*wake)(struct rfb_view *v);  /* there is something to refresh */
	void *owner;                       /* one of those whose screens this is */
	unsigned members;                  /* how many they are: share.c */
	uint64_t wait_ns;                  /* until then an update waits for those that cannot take it yet; 0: none waits */
	struct view_wish wish;             /* set by the owner while not busy */
	uint64_t refresh_bytes;            /* so many may go as one piece of a refresh; the owner's */

	struct surface copy;               /* w, h: of the viewer's screen, also if the picture has another size */
	pixman_region32_t pending;         /* may differ from the picture */
	pixman_region32_t forced;          /* to be sent whether it differs or not: the viewer does not have it */
	pixman_region32_t lossy[VIEW_AGES]; /* sent with loss, by age */
	uint64_t refresh_total;            /* pixels when the refresh under way began */
	bool relaid;                       /* the heads' places have changed: what no head covers is to become black */
	struct timer timer;

	struct rect cursor;                /* where in copy one is drawn; empty: none */
	uint32_t cursor_generation;
	uint32_t under[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];

	struct view_coder {
		const struct rfb_encoder_ops *ops;
		struct rfb_encoder *enc;
	} coder[VIEW_CODERS];              /* all that were ever used: a viewer keeps their streams, too */
	bool mixed;                        /* it had other viewers: their streams may have begun where ours have not */
	/* the update under way */
	bool busy, dead, failed;
	struct rfb_view *next_dead;
	struct rfb_job job;
	struct rfb_encoder *enc;
	struct move move[VIEW_MOVES];
	unsigned nmoves;
	pixman_region32_t changed, refresh, left, lost;
	struct buf out;                    /* FramebufferUpdate, whose number of rectangles the owner sets */
	unsigned nrects;
	uint64_t encode_ns;
};
enum { VIEW_RECTS_MAX = 60000, VIEW_HEADER = 4 };

/* A black screen of w x h, all of which is forced. NULL: no memory */
struct rfb_view *view_new(struct view_env *env, uint32_t w, uint32_t h);
/* Also while it is busy: it goes when its job has ended. done() and wake() are not called any more. */
void view_free(struct rfb_view *v);
void view_damage(struct rfb_view *v, const struct rect *r, unsigned n);
void view_relaid(struct rfb_view *v);
/* The viewer knows of its new size. Not while busy. false: no memory, nothing has changed */
bool view_resize(struct rfb_view *v, uint32_t w, uint32_t h);
void view_force(struct rfb_view *v, struct rect r);
/* For another viewer of the same screen, which goes its own way from here. Not while busy. NULL: no memory */
struct rfb_view *view_split(const struct rfb_view *v);
/* Can its coders, all of them, begin again for a viewer that comes in mid-session? */
bool view_can_restart(const struct rfb_view *v);
/* They do so with the next update, and with whatever is opened later. */
void view_restart(struct rfb_view *v);
/* Nothing is under way, and the viewer has, without loss, all that the picture has, as far as is known. */
bool view_quiet(const struct rfb_view *v);
/* The screens are the same; both are quiet. */
bool view_same(const struct rfb_view *a, const struct rfb_view *b);
/* Is there anything to look at in area? Cheap, and may turn out to be nothing. */
bool view_wants(const struct rfb_view *v, const pixman_region32_t *area);
/* Compares and starts encoding. false: nothing has changed in area (or no memory: failed is set). Not while busy. */
bool view_begin(struct rfb_view *v, const pixman_region32_t *area);

#endif
