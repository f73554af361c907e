/* SPDX-License-Identifier: MIT */
/* The screen for clients of the control socket: what there is, and descriptors to look at it. */
#include <errno.h>

#include "cmd/super-int.h"

static const char *protection(const struct display_config *c, const struct screen_listener *l)
{
	const bool tls = c->tls_cert || c->tls_anonymous;

	if (l->local)
		return "this user only";
	if (c->open)
		return tls ? "TLS, open to all" : "open to all";
	return tls ? "TLS, password" : "password";
}

json_t *super_screen_object(const struct super *s)
{
	const struct screen_fds *f = &s->screen;
	json_t *list;

	if (!f->cfg)
		return NULL;
	list = json_array();
	for (unsigned i = 0; i < f->nlisteners; i++) {
		json_t *where = json_string(f->listener[i].where);

		json_array_append_new(list, json_pack("{s:o,s:s}", "where", where ? where : json_string("(not UTF-8)"), "for",
			protection(f->cfg, &f->listener[i])));
	}
	return json_pack("{s:i,s:i,s:i,s:b,s:b,s:b,s:s,s:o}", "width", (int)f->cfg->w, "height", (int)f->cfg->h, "heads",
		(int)f->n - 1, "gpu", f->cfg->gpu, "view-only", f->cfg->view_only, "lossless", f->cfg->lossless, "layout",
		f->cfg->layout, "listeners", list);
}

/* Its answer has a descriptor for each scanout, the framebuffer first; they can be read only. */
json_t *super_x_screen(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args;
	if (!s->screen.cfg) {
		err_set(e, ENODEV, "this machine has no screen; 'husk run --display vnc' makes one");
		return NULL;
	}
	if (!qmp_attach(s->qmp, s->screen.reader, s->screen.n)) {
		err_set(e, EBUSY, "the answer before has not been read yet");
		return NULL;
	}
	return super_screen_object(s);
}
