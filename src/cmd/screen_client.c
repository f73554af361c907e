/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cmd/parse.h"
#include "cmd/screen_client.h"

int screen_word(const char **name, const char **file, const char *word, struct err *e)
{
	if (!*name) {
		*name = word;
		return parse_name(word, e);
	}
	if (*file)
		return err_set(e, EINVAL, "'%.60s': one file at a time", word);
	*file = word;
	return *word ? 0 : err_set(e, EINVAL, "the name of the file is empty");
}

int screen_client_open(struct screen_client *s, const char *name, struct err *e)
{
	json_t *about = NULL;
	int rc;

	*s = (struct screen_client){.client = {.fd = -1}, .event = -1};
	rc = client_open(&s->client, name, e);
	if (rc)
		return rc;
	rc = client_run(&s->client, "x-screen", NULL, &about, e);
	json_decref(about);
	if (rc)
		return err_prefix(e, "%s", name);
	if (!s->client.nfds || s->client.nfds > 1 + SCANOUT_HEADS)
		return err_set(e, EPROTO, "%s: it did not hand out its screen", name);
	s->loop = loop_new();
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->loop || s->event < 0)
		return err_set(e, errno, "cannot make an event loop: %s", strerror(errno));
	rc = display_new(&s->display, s->loop, s->client.fds, s->client.nfds, s->event, e);
	return rc ? err_prefix(e, "%s", name) : 0;
}

void screen_client_close(struct screen_client *s)
{
	display_free(s->display);
	loop_free(s->loop);
	if (s->event >= 0)
		close(s->event);
	client_close(&s->client);
	*s = (struct screen_client){.client = {.fd = -1}, .event = -1};
}

void screen_client_look(struct screen_client *s)
{
	const uint64_t one = 1;

	if (write(s->event, &one, sizeof one) < 0) {
		/* it is full, so it will look */
	}
}

int screen_surface(struct surface *s, uint32_t w, uint32_t h, struct err *e)
{
	*s = (struct surface){.w = w, .h = h, .stride = w * 4, .px = calloc(h, (size_t)w * 4)};
	return s->px ? 0 : err_set(e, ENOMEM, "there is no memory for a picture of %ux%u", w, h);
}
