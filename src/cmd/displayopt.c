/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/devopt-int.h"
#include "cmd/displayopt.h"
#include "cmd/parse.h"
#include "display/display.h"
#include "vm/screen.h"

enum { VNC_PORT = 5900, PORT_MAX = 65535, SIDE_MIN = 64, LAYOUT_LEN_MAX = 63 };

/* --- keys -------------------------------------------------------------------------------------- */

static int set_password(void *c, const char *v, struct err *e)
{
	((struct display_config *)c)->password_file = v;
	return devopt_need(v, "password-file=vnc.password", e);
}

static int set_cert(void *c, const char *v, struct err *e)
{
	((struct display_config *)c)->tls_cert = v;
	return devopt_need(v, "tls-cert=cert.pem", e);
}

static int set_key(void *c, const char *v, struct err *e)
{
	((struct display_config *)c)->tls_key = v;
	return devopt_need(v, "tls-key=key.pem", e);
}

static int set_anonymous(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct display_config *)c)->tls_anonymous, e);
}

static int set_open(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct display_config *)c)->open, e);
}

static int set_view_only(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct display_config *)c)->view_only, e);
}

static int set_lossless(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct display_config *)c)->lossless, e);
}

static int set_gpu(void *c, const char *v, struct err *e)
{
	return devopt_bool(v, &((struct display_config *)c)->gpu, e);
}

/* "1280x800": digits, an x, digits */
static int set_size(void *cfg, const char *v, struct err *e)
{
	struct display_config *c = cfg;
	char w[16], h[16];
	const char *x;

	if (devopt_need(v, "size=1280x800", e))
		return -EINVAL;
	x = strchr(v, 'x');
	if (!x || x - v >= (int)sizeof w || strlen(x + 1) >= sizeof h)
		return err_set(e, EINVAL, "'%.40s' is no size; one is 1280x800", v);
	memcpy(w, v, (size_t)(x - v));
	w[x - v] = 0;
	strcpy(h, x + 1);
	if (parse_number(w, SIDE_MIN, SCREEN_SIDE_MAX, &c->w, e) || parse_number(h, SIDE_MIN, SCREEN_SIDE_MAX, &c->h, e))
		return -EINVAL;
	if (c->w % 8)
		return err_set(e, EINVAL, "%ux%u: the width must be a multiple of 8; %u is the nearest", c->w, c->h, c->w & ~7u);
	if ((uint64_t)c->w * c->h * 4 > SCREEN_SIZE)
		return err_set(e, ERANGE, "%ux%u is too large: 4194304 pixels are possible, 2048x2048 for one; a guest's driver may "
			"choose a larger mode later", c->w, c->h);
	return 0;
}

static int set_heads(void *c, const char *v, struct err *e)
{
	return devopt_number(v, 1, SCANOUT_HEADS, &((struct display_config *)c)->heads, e);
}

/* A word for libxkbcommon, which knows the layouts: "us", "de(nodeadkeys)" */
static int set_layout(void *c, const char *v, struct err *e)
{
	if (devopt_need(v, "layout=us", e))
		return -EINVAL;
	if (strlen(v) > LAYOUT_LEN_MAX)
		return err_set(e, EINVAL, "'%.40s' is no layout", v);
	for (const char *p = v; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_-()", *p))
			return err_set(e, EINVAL, "'%.40s' is no layout; us, de and fr(oss) are some", v);
	((struct display_config *)c)->layout = v;
	return 0;
}

static const struct devopt_key keys[] = {
	{"password-file", set_password}, {"tls-cert", set_cert}, {"tls-key", set_key}, {"tls-anonymous", set_anonymous},
	{"open", set_open}, {"size", set_size}, {"heads", set_heads}, {"view-only", set_view_only}, {"lossless", set_lossless},
	{"layout", set_layout}, {"gpu", set_gpu}, {NULL, NULL},
};

/* --- the address ------------------------------------------------------------------------------- */

static int no_address(const char *s, struct err *e)
{
	return err_set(e, EINVAL, "'%.60s' is no address: unix:PATH, :N (127.0.0.1, port 5900 + N), HOST:PORT and [IPV6]:PORT are", s);
}

static bool host_ok(const char *s)
{
	if (!*s || strlen(s) > DISPLAY_HOST_MAX || *s == '-')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(".-_", *s))
			return false;
	return true;
}

/* A scope behind it, such as %eth0, is for getaddrinfo(). */
static bool v6_ok(const char *s)
{
	char address[INET6_ADDRSTRLEN];
	size_t n = strcspn(s, "%");
	struct in6_addr v6;

	if (n >= sizeof address || strlen(s) > DISPLAY_HOST_MAX)
		return false;
	memcpy(address, s, n);
	address[n] = 0;
	return inet_pton(AF_INET6, address, &v6) == 1;
}

/* s: the word behind "vnc=", which becomes host and port in place */
static int tcp_address(struct display_config *c, char *s, struct err *e)
{
	char *colon = strrchr(s, ':'), whole[64];
	unsigned n;

	snprintf(whole, sizeof whole, "%s", s);
	if (!colon)
		return no_address(whole, e);
	*colon = 0;
	if (!*s) {
		if (parse_number(colon + 1, 0, PORT_MAX - VNC_PORT, &n, e))
			return err_prefix(e, "the number of the display");
		c->host = "127.0.0.1";
		c->port = VNC_PORT + n;
		return 0;
	}
	if (parse_number(colon + 1, 0, PORT_MAX, &c->port, e))
		return err_prefix(e, "the port");
	if (*s == '[') {
		n = (unsigned)strlen(s);
		if (s[n - 1] != ']')
			return no_address(whole, e);
		s[n - 1] = 0;
		s++;
		if (!v6_ok(s))
			return err_set(e, EINVAL, "'%.60s' is no IPv6 address", s);
	} else if (strchr(s, ':')) {
		return err_set(e, EINVAL, "'%.60s': an IPv6 address stands in brackets, as in [::1]:5901", whole);
	} else if (!host_ok(s)) {
		return no_address(whole, e);
	}
	c->host = s;
	return 0;
}

static int address(struct display_config *c, char *s, struct err *e)
{
	if (!*s)
		return err_set(e, EINVAL, "an address must follow 'vnc=', as in vnc=:1; vnc alone is the machine's own socket only");
	if (strncmp(s, "unix:", 5))
		return tcp_address(c, s, e);
	if (!s[5])
		return err_set(e, EINVAL, "a path must follow 'unix:'");
	c->path = s + 5;
	return 0;
}

/* --- what goes together ------------------------------------------------------------------------ */

static int check(const struct display_config *c, struct err *e)
{
	if (!c->tls_cert != !c->tls_key)
		return err_set(e, EINVAL, "tls-cert and tls-key come together");
	if (!c->host && (c->password_file || c->tls_cert || c->tls_anonymous || c->open))
		return err_set(e, EINVAL, "password-file, tls-cert, tls-key, tls-anonymous and open are for a TCP port, as in vnc=:1; "
			"sockets are for this user only");
	if (c->host && c->open && c->password_file)
		return err_set(e, EINVAL, "open and password-file exclude each other: the one means that nobody is asked");
	if (c->host && !c->open && !c->password_file)
		return err_set(e, EACCES, "whoever reaches this TCP port could use the machine%s: add password-file=PATH (best with "
			"tls-cert= and tls-key=), or use vnc=unix:PATH and 'ssh -L' instead, or add open to allow it",
			c->tls_cert || c->tls_anonymous ? ", as TLS alone asks nobody who he is" : "");
	if (c->heads > 1 && !c->gpu)
		return err_set(e, EINVAL, "heads=%u needs the graphics card, and gpu=off is there", c->heads);
	return 0;
}

int display_parse(const char *s, struct display_config *c, struct err *e)
{
	char *rest, *word;
	int rc = 0;

	*c = (struct display_config){.text = strdup(s), .gpu = true, .w = DISPLAY_WIDTH_DEFAULT, .h = DISPLAY_HEIGHT_DEFAULT,
		.heads = 1, .layout = "us"};
	if (!c->text)
		return err_set(e, ENOMEM, "there is no memory");
	rest = c->text;
	word = devopt_word(&rest);
	c->vnc = !strncmp(word, "vnc", 3) && (!word[3] || word[3] == '=');
	if (!c->vnc && strcmp(word, "none"))
		rc = err_set(e, EINVAL, "'%.40s' is not known: choose from vnc, vnc=ADDRESS, none", word);
	else if (!c->vnc && rest)
		rc = err_set(e, EINVAL, "nothing can follow 'none'");
	if (!rc && c->vnc && word[3])
		rc = address(c, word + 4, e);
	rc = rc ? rc : devopt_keys(keys, c, rest, e);
	rc = rc ? rc : check(c, e);
	if (rc)
		display_config_free(c);
	return rc;
}

void display_config_free(struct display_config *c)
{
	free(c->text);
	memset(c, 0, sizeof *c);
}
