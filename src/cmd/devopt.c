/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/devopt-int.h"
#include "cmd/parse.h"
#include "net/net.h"

char *devopt_word(char **s)
{
	char *word = *s, *in = word, *out = word;

	for (; *in && (in[0] != ',' || in[1] == ','); in++) {
		if (in[0] == ',')
			in++;
		*out++ = *in;
	}
	*s = *in ? in + 1 : NULL;
	*out = 0;
	return word;
}

static int one_key(const struct devopt_key *keys, void *cfg, char *word, struct err *e)
{
	const char *names[24], *near;
	char *value = strchr(word, '=');
	char all[200] = "";
	size_t n = 0;

	if (!*word)
		return err_set(e, EINVAL, "there is nothing behind a comma (a comma in a name is written twice)");
	if (value)
		*value++ = 0;
	for (; keys->name; keys++) {
		if (!strcmp(keys->name, word)) {
			int rc = keys->set(cfg, value, e);

			return rc ? err_prefix(e, "%s", keys->name) : 0;
		}
		names[n++] = keys->name;
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", keys->name);
	}
	names[n] = NULL;
	near = nearest(word, names);
	if (near)
		return err_set(e, EINVAL, "'%.40s' is not known; did you mean '%s'?", word, near);
	return err_set(e, EINVAL, "'%.40s' is not known: choose from %s (a comma in a name is written twice)", word, all);
}

int devopt_keys(const struct devopt_key *keys, void *cfg, char *rest, struct err *e)
{
	while (rest) {
		int rc = one_key(keys, cfg, devopt_word(&rest), e);

		if (rc)
			return rc;
	}
	return 0;
}

int devopt_need(const char *v, const char *example, struct err *e)
{
	if (v && *v)
		return 0;
	return err_set(e, EINVAL, "a value must follow, as in %s", example);
}

int devopt_bool(const char *v, bool *b, struct err *e)
{
	if (v && strcmp(v, "on") && strcmp(v, "off"))
		return err_set(e, EINVAL, "'%.40s' is neither on nor off", v);
	*b = !v || !strcmp(v, "on");
	return 0;
}

int devopt_choice(const char *v, const char *const *names, const char **choice, struct err *e)
{
	char all[120] = "";

	for (unsigned i = 0; names[i]; i++) {
		if (v && !strcmp(v, names[i])) {
			*choice = names[i];
			return 0;
		}
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", names[i]);
	}
	return err_set(e, EINVAL, "'%.40s' is not known: choose from %s", v ? v : "", all);
}

int devopt_number(const char *v, unsigned lo, unsigned hi, unsigned *n, struct err *e)
{
	return parse_number(v ? v : "", lo, hi, n, e);
}

/* --- --disk ------------------------------------------------------------------------------------ */

static int disk_ro(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct disk_config *)c)->read_only, e);
}

static int disk_snapshot(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct disk_config *)c)->snapshot, e);
}

static int disk_discard(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct disk_config *)c)->discard, e);
}

static int disk_cache(void *c, const char *v, struct err *e)
{
	static const char *const names[] = {"writeback", "writethrough", "direct", "unsafe", NULL};

	return devopt_choice(v, names, &((struct disk_config *)c)->cache, e);
}

static int disk_aio(void *c, const char *v, struct err *e)
{
	static const char *const names[] = {"auto", "io_uring", "threads", NULL};

	return devopt_choice(v, names, &((struct disk_config *)c)->aio, e);
}

static int disk_serial(void *c, const char *v, struct err *e)
{
	int rc = devopt_need(v, "serial=disk-1", e);

	if (rc)
		return rc;
	if (strlen(v) > DISK_SERIAL_MAX)
		return err_set(e, EINVAL, "'%.40s' is too long: %d bytes at most", v, DISK_SERIAL_MAX);
	for (const char *p = v; *p; p++)
		if (*p <= ' ' || *p > '~')
			return err_set(e, EINVAL, "printable ASCII without blanks is possible");
	((struct disk_config *)c)->serial = v;
	return 0;
}

static int disk_queues(void *c, const char *v, struct err *e)
{
	return devopt_number(v, 1, 64, &((struct disk_config *)c)->queues, e);
}

static int disk_queue_size(void *c, const char *v, struct err *e)
{
	unsigned *n = &((struct disk_config *)c)->queue_size;
	int rc = devopt_number(v, 4, 1024, n, e);

	if (!rc && *n & (*n - 1))
		return err_set(e, EINVAL, "'%.40s' is not a power of two", v);
	return rc;
}

static int disk_seg_max(void *c, const char *v, struct err *e)
{
	return devopt_number(v, 1, 1022, &((struct disk_config *)c)->seg_max, e);
}

static int disk_size_max(void *c, const char *v, struct err *e)
{
	uint64_t *n = &((struct disk_config *)c)->size_max;
	int rc = parse_size(v ? v : "", n, e);

	if (!rc && (*n < 4096 || *n > UINT32_MAX))
		return err_set(e, ERANGE, "'%.40s' is out of range: 4K to 4095M is possible", v);
	return rc;
}

static int disk_format(void *c, const char *v, struct err *e)
{
	static const char *const names[] = {"raw", NULL};

	return devopt_choice(v, names, &((struct disk_config *)c)->format, e);
}

static const struct devopt_key disk_keys[] = {
	{"ro", disk_ro}, {"readonly", disk_ro}, {"snapshot", disk_snapshot}, {"cache", disk_cache},
	{"serial", disk_serial}, {"queues", disk_queues}, {"queue-size", disk_queue_size},
	{"seg-max", disk_seg_max}, {"size-max", disk_size_max}, {"aio", disk_aio},
	{"discard", disk_discard}, {"format", disk_format}, {NULL, NULL},
};

static int disk_check(const struct disk_config *c, struct err *e)
{
	if (c->read_only && c->snapshot)
		return err_set(e, EINVAL, "ro and snapshot=on exclude each other: the one refuses writes, the other "
			"throws them away");
	if (c->seg_max > c->queue_size - 2)
		return err_set(e, EINVAL, "seg-max=%u needs a queue-size of at least %u", c->seg_max, c->seg_max + 2);
	if (c->socket && (c->read_only || c->snapshot || c->serial || c->seg_max || c->size_max || !c->discard || c->format ||
		strcmp(c->cache, "writeback") || strcmp(c->aio, "auto")))
		return err_set(e, EINVAL, "with socket: only queues and queue-size can be said here; the rest is for the "
			"program behind it");
	return 0;
}

int disk_parse(const char *s, struct disk_config *c, struct err *e)
{
	char *rest;
	int rc;

	*c = (struct disk_config){.text = strdup(s), .discard = true, .cache = "writeback", .aio = "auto", .queue_size = 256};
	if (!c->text)
		return err_set(e, ENOMEM, "there is no memory");
	rest = c->text;
	c->path = devopt_word(&rest);
	if (!strncmp(c->path, "socket:", 7)) {
		c->socket = true;
		c->path += 7;
	}
	if (!*c->path)
		rc = err_set(e, EINVAL, "the name of %s must come first", c->socket ? "a socket" : "a file");
	else
		rc = devopt_keys(disk_keys, c, rest, e);
	rc = rc ? rc : disk_check(c, e);
	if (rc)
		disk_config_free(c);
	return rc;
}

void disk_config_free(struct disk_config *c)
{
	free(c->text);
	memset(c, 0, sizeof *c);
}

/* --- --net ------------------------------------------------------------------------------------- */

const char *mac_format(const uint8_t mac[6], char buf[18])
{
	snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return buf;
}

static uint64_t name_hash(const char *name, unsigned more)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	h = (h ^ 0x100u ^ more) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

unsigned cid_of_name(const char *name)
{
	return VSOCK_CID_MIN + (unsigned)(name_hash(name, 0x200) % (VSOCK_CID_MAX - VSOCK_CID_MIN + 1));
}

void mac_of_name(const char *name, unsigned index, uint8_t mac[6])
{
	uint64_t h = name_hash(name, index);

	/* locally administered, and far from 52:54:00, where other programs choose */
	mac[0] = 0x5a;
	mac[1] = 0x48;
	for (int i = 2; i < 6; i++)
		mac[i] = (uint8_t)(h >> 8 * (i - 2));
}

static int set_forward(void *cfg, const char *v, struct err *e)
{
	struct net_config *c = cfg;
	int rc = devopt_need(v, "forward=tcp:127.0.0.1:2222-:22", e);
	struct net_forward f;

	if (rc)
		return rc;
	if (strlen(v) > 80)
		return err_set(e, EINVAL, "that is too long for one, such as tcp:127.0.0.1:2222-:22");
	if (c->nforwards == FORWARDS_MAX)
		return err_set(e, E2BIG, "a card has at most %d forwards", FORWARDS_MAX);
	c->forward[c->nforwards++] = v;
	/* husk-net parses it again: it trusts nobody's words */
	return net_forward_parse(v, &f, e);
}

static int net_mac(void *cfg, const char *v, struct err *e)
{
	struct net_config *c = cfg;

	c->have_mac = true;
	if (!v || strlen(v) > 40)
		return err_set(e, EINVAL, "an address must follow, as in mac=52:54:00:12:34:56");
	return net_mac_parse(v, c->mac, e);
}

static int net_mtu(void *cfg, const char *v, struct err *e)
{
	return devopt_number(v, NET_MTU_MIN, NET_MTU_MAX, &((struct net_config *)cfg)->mtu, e);
}

static int net_loopback(void *cfg, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct net_config *)cfg)->host_loopback, e);
}

static int net_restrict(void *cfg, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct net_config *)cfg)->restricted, e);
}

static int net_hostname(void *cfg, const char *v, struct err *e)
{
	int rc = devopt_need(v, "hostname=web", e);

	if (rc)
		return rc;
	if (strlen(v) > HOSTNAME_LEN_MAX || v[0] == '-')
		return err_set(e, EINVAL, "'%.70s' is no host name", v);
	for (const char *p = v; *p; p++)
		if (!strchr("-.", *p) && (*p < '0' || *p > '9') && ((*p | 0x20) < 'a' || (*p | 0x20) > 'z'))
			return err_set(e, EINVAL, "'%.70s' is no host name: letters, digits, '-' and '.'", v);
	((struct net_config *)cfg)->hostname = v;
	return 0;
}

static const struct devopt_key net_keys[] = {
	{"forward", set_forward}, {"mac", net_mac}, {"mtu", net_mtu}, {"host-loopback", net_loopback},
	{"restrict", net_restrict}, {"hostname", net_hostname}, {NULL, NULL},
};

static int net_what(struct net_config *c, const char *word, struct err *e)
{
	unsigned fd;
	int rc;

	c->fd = -1;
	if (!strcmp(word, "user")) {
		c->kind = NET_USER;
	} else if (!strncmp(word, "tap:", 4)) {
		c->kind = NET_TAP;
		c->path = word + 4;
		if (!*c->path || strlen(c->path) > 15 || strpbrk(c->path, "/% \t"))
			return err_set(e, EINVAL, "'%.40s' is no name of an interface: 1 to 15 bytes, as in tap:tap0", word + 4);
	} else if (!strncmp(word, "tap-fd:", 7)) {
		c->kind = NET_TAP_FD;
		rc = parse_number(word + 7, 0, 1 << 20, &fd, e);
		if (rc)
			return rc;
		c->fd = (int)fd;
	} else if (!strncmp(word, "socket:", 7)) {
		c->kind = NET_SOCKET;
		c->path = word + 7;
		if (!*c->path)
			return err_set(e, EINVAL, "a path must follow 'socket:'");
	} else {
		return err_set(e, EINVAL, "'%.40s' is not known: choose from user, tap:NAME, tap-fd:N, socket:PATH, none", word);
	}
	return 0;
}

static int net_check(const struct net_config *c, struct err *e)
{
	if (c->kind != NET_USER && (c->nforwards || c->host_loopback || c->restricted || c->hostname))
		return err_set(e, EINVAL, "forward, host-loopback, restrict and hostname are for 'user'");
	if (c->kind == NET_SOCKET && !c->have_mac)
		return err_set(e, EINVAL, "with socket: a mac=52:54:00:12:34:56 must be given, since the program behind it "
			"does not tell one");
	return 0;
}

int net_parse(const char *s, struct net_config *c, struct err *e)
{
	char *rest;
	int rc;

	*c = (struct net_config){.text = strdup(s), .fd = -1};
	if (!c->text)
		return err_set(e, ENOMEM, "there is no memory");
	rest = c->text;
	rc = net_what(c, devopt_word(&rest), e);
	rc = rc ? rc : devopt_keys(net_keys, c, rest, e);
	rc = rc ? rc : net_check(c, e);
	if (rc)
		net_config_free(c);
	return rc;
}

void net_config_free(struct net_config *c)
{
	free(c->text);
	memset(c, 0, sizeof *c);
	c->fd = -1;
}

/* --- --console --------------------------------------------------------------------------------- */

static int console_name(void *cfg, const char *v, struct err *e)
{
	struct console_port *c = cfg;
	int rc = devopt_need(v, "name=org.example.agent", e);

	if (rc)
		return rc;
	if (strlen(v) >= sizeof c->name)
		return err_set(e, EINVAL, "'%.40s' is too long: %zu bytes at most", v, sizeof c->name - 1);
	/* the guest makes a file name of it, and husk-vmm has it between commas */
	if (parse_name(v, e))
		return -EINVAL;
	strcpy(c->name, v);
	return 0;
}

static const struct devopt_key console_keys[] = {{"name", console_name}, {NULL, NULL}};

int console_parse(const char *s, unsigned index, struct console_port *c, struct err *e)
{
	char *rest;
	int rc = 0;

	*c = (struct console_port){.text = strdup(s)};
	if (!c->text)
		return err_set(e, ENOMEM, "there is no memory");
	snprintf(c->name, sizeof c->name, "husk.%u", index);
	rest = c->text;
	c->path = devopt_word(&rest);
	c->file = !strncmp(c->path, "file:", 5);
	if (!c->file && strncmp(c->path, "unix:", 5))
		rc = err_set(e, EINVAL, "'%.40s' is not known: choose from unix:PATH, file:PATH", c->path);
	else if (!c->path[5])
		rc = err_set(e, EINVAL, "a path must follow '%s'", c->path);
	if (!rc) {
		c->path += 5;
		rc = devopt_keys(console_keys, c, rest, e);
	}
	if (rc)
		console_port_free(c);
	return rc;
}

void console_port_free(struct console_port *c)
{
	free(c->text);
	memset(c, 0, sizeof *c);
}

/* --- --vsock ----------------------------------------------------------------------------------- */

static int vsock_cid(void *cfg, const char *v, struct err *e)
{
	return devopt_number(v, VSOCK_CID_MIN, VSOCK_CID_MAX, &((struct vsock_socket *)cfg)->cid, e);
}

static const struct devopt_key vsock_keys[] = {{"cid", vsock_cid}, {NULL, NULL}};

int vsock_parse(const char *s, struct vsock_socket *c, struct err *e)
{
	char *rest;
	int rc;

	*c = (struct vsock_socket){.text = strdup(s)};
	if (!c->text)
		return err_set(e, ENOMEM, "there is no memory");
	rest = c->text;
	c->path = devopt_word(&rest);
	if (!*c->path)
		rc = err_set(e, EINVAL, "the path of a socket must come first");
	else
		rc = devopt_keys(vsock_keys, c, rest, e);
	if (rc)
		vsock_socket_free(c);
	return rc;
}

void vsock_socket_free(struct vsock_socket *c)
{
	free(c->text);
	memset(c, 0, sizeof *c);
}
