/* SPDX-License-Identifier: MIT */
/*
 * The handshake, as conversations in words:
 *
 *	vX.Y       the client's version, as "RFB 00X.00Y\n"; v'TEXT' as it stands
 *	cHEX       the client sends
 *	sHEX       the server must have sent
 *	R:WORDS    the server must have sent a reason; _ is a space
 *	?          the server must have sent 16 bytes, the challenge
 *	r:PASSWORD the client answers the challenge
 *	p:USER:PW  the client sends both (Plain)
 *	tls x509   the server must want TLS now, which then stands
 *	done more close
 *
 * Each is played as it stands, byte by byte, cut at each byte, and with each byte changed into many others. Nobody gets in
 * without the password.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "rfb/auth.h"
#include "rfb/rfb.h"

#define LONG8 "longpassword"
static const struct rfb_auth_config
	none = {.none = true},
	vnc = {.vnc = true, .password = "secret12"},
	anon_none = {.none = true, .tls_anonymous = true},
	anon_only = {.none = true, .tls_anonymous = true, .tls_required = true},
	anon = {.vnc = true, .password = "secret12", .tls_anonymous = true},
	x509_only = {.vnc = true, .password = LONG8, .tls_x509 = true, .tls_required = true},
	x509_none = {.none = true, .tls_x509 = true, .tls_required = true},
	plain = {.password = LONG8, .user = "joe", .tls_x509 = true},
	both = {.vnc = true, .password = LONG8, .tls_x509 = true, .tls_anonymous = true};

static const struct rfb_auth_config *const configs[] = {
	&none, &vnc, &anon_none, &anon_only, &anon, &x509_only, &x509_none, &plain, &both,
};

#define V "s524642203030332e3030380a " /* "RFB 003.008\n" */
#define NOT_LEGACY "R:This_server_needs_TLS_(VeNCrypt),_which_needs_RFB_3.7_or_later close"
#define FAILED "R:Authentication_failed close"
static const struct play {
	const struct rfb_auth_config *c;
	bool blocked;
	const char *name; /* in the end; NULL: not looked at */
	const char *text;
} plays[] = {
	/* versions */
	{&none, false, "None", V "v3.8 s0101 c01 s00000000 done"},
	{&none, false, "None", V "v3.7 s0101 c01 done"},
	{&none, false, "None", V "v3.3 s00000001 done"},
	{&none, false, "None", V "v3.5 s00000001 done"},
	{&none, false, "None", V "v3.0 s00000001 done"},
	{&none, false, "None", V "v'RFB_003.889\n' s0101 c01 s00000000 done"},
	{&none, false, "None", V "v'RFB_003.999\n' s0101 c01 s00000000 done"},
	{&none, false, "None", V "v3.9 s0101 c01 s00000000 done"},
	{&none, false, "None", V "v4.1 s0101 c01 s00000000 done"},
	{&none, false, "None", V "v'RFB_999.000\n' s0101 c01 s00000000 done"},
	{&none, false, "", V "v'RFB_002.002\n' close"},
	{&none, false, "", V "v'RFB_000.000\n' close"},
	{&none, false, "", V "v'RFB_003.008\r' close"},
	{&none, false, "", V "v'RFB_003.00:\n' close"},
	{&none, false, "", V "v'RFB_003.00/\n' close"},
	{&none, false, "", V "v'RFB_3.8\n' close"},
	{&none, false, "", V "v'G' close"},
	{&none, false, "", V "v'RFC' close"},
	{&none, false, "", V "c000000000000000000000000 close"},
	{&none, false, "", V "c16030100 close"},
	{&none, false, "", V "v'RFB_003.008' more"},
	/* VNC authentication */
	{&vnc, false, "VncAuth", V "v3.8 s0102 c02 ? r:secret12 s00000000 done"},
	{&vnc, false, "VncAuth", V "v3.7 s0102 c02 ? r:secret12 s00000000 done"},
	{&vnc, false, "VncAuth", V "v3.3 s00000002 ? r:secret12 s00000000 done"},
	{&vnc, false, "VncAuth", V "v3.8 s0102 c02 ? r:secret12345 s00000000 done"},
	{&vnc, false, "VncAuth", V "v3.8 s0102 c02 ? r:secret13 s00000001 " FAILED},
	{&vnc, false, "VncAuth", V "v3.7 s0102 c02 ? r:secret13 s00000001 close"},
	{&vnc, false, "VncAuth", V "v3.3 s00000002 ? r:secret13 s00000001 close"},
	{&vnc, false, "VncAuth", V "v3.8 s0102 c02 ? r: s00000001 " FAILED},
	{&vnc, false, "VncAuth", V "v3.8 s0102 c02 ? c00000000000000000000000000000000 s00000001 " FAILED},
	/* what was not offered */
	{&vnc, false, "", V "v3.8 s0102 c01 s00000001 R:Security_type_1_was_not_offered close"},
	{&vnc, false, "", V "v3.7 s0102 c01 close"},
	{&vnc, false, "", V "v3.8 s0102 c00 s00000001 R:Security_type_0_was_not_offered close"},
	{&vnc, false, "", V "v3.7 s0102 c13 close"},
	{&none, false, "", V "v3.8 s0101 c02 s00000001 R:Security_type_2_was_not_offered close"},
	{&none, false, "", V "v3.8 s0101 c05 s00000001 R:Security_type_5_was_not_offered close"},
	{&none, false, "", V "v3.8 s0101 cff s00000001 R:Security_type_255_was_not_offered close"},
	/* twice: the second one is the first byte of the response, of a version */
	{&vnc, false, "VncAuth", V "v3.8 s0102 c0202 ? r:secret12 s00000001 " FAILED},
	{&vnc, false, "VncAuth", V "v3.8 s0102 c0201 ? r:secret12 s00000001 " FAILED},
	{&anon, false, "VeNCrypt", V "v3.8 s021302 c1313 s0002 c02 sff close"},
	/* VeNCrypt: lists and what is inside */
	{&anon_none, false, "VeNCrypt TLSNone", V "v3.8 s021301 c13 s0002 c0002 s00 s0100000101 c00000101 s01 tls s00000000 done"},
	{&anon_none, false, "None", V "v3.8 s021301 c01 s00000000 done"},
	{&anon_none, false, "None", V "v3.3 s00000001 done"},
	{&anon_only, false, "VeNCrypt TLSNone", V "v3.7 s0113 c13 s0002 c0002 s00 s0100000101 c00000101 s01 tls s00000000 done"},
	{&anon_only, false, "", V "v3.8 s0113 c01 s00000001 R:Security_type_1_was_not_offered close"},
	{&anon_only, false, "", V "v3.3 s00000000 " NOT_LEGACY},
	{&anon, false, "VeNCrypt TLSPlain",
		V "v3.8 s021302 c13 s0002 c0002 s00 s020000010300000102 c00000103 s01 tls p:joe:secret12 s00000000 done"},
	{&anon, false, "VeNCrypt TLSVnc",
		V "v3.8 s021302 c13 s0002 c0002 s00 s020000010300000102 c00000102 s01 tls ? r:secret12 s00000000 done"},
	{&anon, false, "VeNCrypt TLSVnc",
		V "v3.8 s021302 c13 s0002 c0002 s00 s020000010300000102 c00000102 s01 tls ? r:secret s00000001 " FAILED},
	{&anon, false, "VeNCrypt TLSVnc",
		V "v3.7 s021302 c13 s0002 c0002 s00 s020000010300000102 c00000102 s01 tls ? r:secret s00000001 close"},
	{&anon, false, "VncAuth", V "v3.8 s021302 c02 ? r:secret12 s00000000 done"},
	{&anon, false, "VncAuth", V "v3.3 s00000002 ? r:secret12 s00000000 done"},
	{&x509_none, false, "VeNCrypt X509None", V "v3.8 s0113 c13 s0002 c0002 s00 s0100000104 c00000104 s01 x509 s00000000 done"},
	{&x509_only, false, "VeNCrypt X509Plain",
		V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000106 s01 x509 p:any:" LONG8 " s00000000 done"},
	{&x509_only, false, "VeNCrypt X509Plain",
		V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000106 s01 x509 p::" LONG8 " s00000000 done"},
	/* Plain's counts whole, VNC's up to 8 */
	{&x509_only, false, NULL,
		V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000106 s01 x509 p:any:longpass s00000001 " FAILED},
	{&x509_only, false, NULL,
		V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000106 s01 x509 p:any:" LONG8 "x s00000001 " FAILED},
	{&x509_only, false, "VeNCrypt X509Vnc",
		V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000105 s01 x509 ? r:longpass s00000000 done"},
	{&x509_only, false, "", V "v3.3 s00000000 " NOT_LEGACY},
	{&x509_only, false, "", V "v3.8 s0113 c02 s00000001 R:Security_type_2_was_not_offered close"},
	{&plain, false, "VeNCrypt X509Plain",
		V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p:joe:" LONG8 " s00000000 done"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p:jo:" LONG8 " s00000001 " FAILED},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p:joey:" LONG8 " s00000001 " FAILED},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p::" LONG8 " s00000001 " FAILED},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p:joe: s00000001 " FAILED},
	{&plain, false, NULL, V "v3.7 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 p:joe:x s00000001 close"},
	{&both, false, NULL, V "v3.8 s021302 c13 s0002 c0002 s00 s0400000106000001050000010300000102 c00000105 s01 x509 ? more"},
	{&both, false, NULL, V "v3.8 s021302 c13 s0002 c0002 s00 s0400000106000001050000010300000102 c00000102 s01 tls ? more"},
	/* VeNCrypt: wrong versions, subtypes */
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0001 sff close"},
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0003 sff close"},
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0000 sff close"},
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0102 sff close"},
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000101 c00000104 s00 close"},
	{&x509_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000104 s00 close"},
	{&x509_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000101 s00 close"},
	{&x509_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000100 s00 close"},
	{&x509_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c00000001 s00 close"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000105 s00 close"},
	/* something before TLS */
	{&anon_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000101 c0000010101 s01 close"},
	{&x509_only, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s020000010600000105 c0000010616030100 s01 close"},
	/* Plain's lengths */
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c0000000000000000 s00000001 " FAILED},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c0000040000000400 more"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c0000040100000000 "
		"s00000001 R:User_name_or_password_is_too_long close"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c0000000000000401 "
		"s00000001 R:User_name_or_password_is_too_long close"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c8000000080000000 "
		"s00000001 R:User_name_or_password_is_too_long close"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 c80000000800000ff "
		"s00000001 R:User_name_or_password_is_too_long close"},
	{&plain, false, NULL, V "v3.7 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 cffffffffffffffff s00000001 close"},
	{&plain, false, NULL, V "v3.8 s0113 c13 s0002 c0002 s00 s0100000106 c00000106 s01 x509 cffffffff00000001 "
		"s00000001 R:User_name_or_password_is_too_long close"},
	/* who failed too often */
	{&vnc, true, "", V "v3.8 s00 R:Too_many_authentication_failures close"},
	{&vnc, true, "", V "v3.7 s00 R:Too_many_authentication_failures close"},
	{&vnc, true, "", V "v3.3 s00000000 R:Too_many_authentication_failures close"},
	{&none, true, "", V "v3.8 s00 R:Too_many_authentication_failures close"},
	{&plain, true, "", V "v3.3 s00000000 R:Too_many_authentication_failures close"},
};

/* How it is played; cut and flip count the client's bytes. */
struct how {
	size_t chunk, cut, flip;
	uint8_t mask;
	bool strict;
};

struct game {
	struct rfb_auth *a;
	struct buf out;
	enum rfb_auth_want want;
	size_t checked;   /* of out */
	size_t sent;      /* by the client */
	bool stolen;      /* a byte of a secret was changed */
};

static void need(struct game *g, const struct play *p, const struct how *h, const void *bytes, size_t n)
{
	if (!h->strict)
		return;
	if (g->out.len - g->checked < n || (bytes && memcmp(g->out.p + g->checked, bytes, n))) {
		printf("in: %s\nserver sent, from %zu on:", p->text, g->checked);
		for (size_t i = g->checked; i < g->out.len; i++)
			printf(" %02x", g->out.p[i]);
		printf("\n");
		abort();
	}
	g->checked += n;
}

/* The client sends. false: the server did not take it all, and it goes on no further. */
static bool send_bytes(struct game *g, const struct how *h, const uint8_t *p, size_t n, bool secret)
{
	uint8_t *copy = malloc(n + 1); /* exact, so that ASan sees a step too far */
	size_t at = 0, len = n;

	assert(copy);
	memcpy(copy, p, n);
	if (g->sent + n > h->cut)
		len = h->cut > g->sent ? h->cut - g->sent : 0;
	if (h->flip >= g->sent && h->flip < g->sent + n) {
		copy[h->flip - g->sent] ^= h->mask;
		g->stolen |= secret;
	}
	g->sent += n;
	while (at < len) {
		size_t part = min_u64(h->chunk, len - at), used;
		uint8_t *exact = malloc(part);

		assert(exact);
		memcpy(exact, copy + at, part);
		used = rfb_auth_input(g->a, exact, part, &g->out, &g->want);
		free(exact);
		assert(used <= part);
		assert(g->want != RFB_AUTH_MORE || used == part);
		at += used;
		if (used < part)
			break;
	}
	free(copy);
	return h->strict || at == n; /* what is left must still be in order */
}

static bool hex_send_or_need(struct game *g, const struct play *p, const struct how *h, const char *word)
{
	uint8_t bytes[64];
	size_t n = strlen(word + 1) / 2;

	assert(n <= sizeof bytes);
	for (size_t i = 0; i < n; i++) {
		unsigned v;

		assert(sscanf(word + 1 + 2 * i, "%2x", &v) == 1);
		bytes[i] = (uint8_t)v;
	}
	if (*word == 's') {
		need(g, p, h, bytes, n);
		return true;
	}
	return send_bytes(g, h, bytes, n, false);
}

static bool version_send(struct game *g, const struct how *h, const char *word)
{
	char text[64];
	unsigned major, minor;

	if (word[1] == '\'') {
		snprintf(text, sizeof text, "%s", word + 2);
		*strchr(text, '\'') = '\0';
		if (strchr(text, '_'))
			*strchr(text, '_') = ' ';
	} else {
		assert(sscanf(word + 1, "%u.%u", &major, &minor) == 2);
		snprintf(text, sizeof text, "RFB %03u.%03u\n", major, minor);
	}
	return send_bytes(g, h, (const uint8_t *)text, strlen(text), false);
}

static void put32(uint8_t *p, size_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool plain_send(struct game *g, const struct how *h, const char *word)
{
	uint8_t bytes[200];
	const char *colon = strchr(word + 2, ':');
	size_t user = (size_t)(colon - (word + 2)), pw = strlen(colon + 1);

	put32(bytes, user);
	put32(bytes + 4, pw);
	memcpy(bytes + 8, word + 2, user);
	memcpy(bytes + 8 + user, colon + 1, pw);
	/* any name will do, but its length will not */
	return send_bytes(g, h, bytes, 8, true) && send_bytes(g, h, bytes + 8, user, false) &&
		send_bytes(g, h, bytes + 8 + user, pw, true);
}

static bool response_send(struct game *g, const struct how *h, const char *password)
{
	uint8_t challenge[16] = {0}, bytes[16];

	if (g->out.len >= 16)
		memcpy(challenge, g->out.p + g->out.len - 16, 16);
	rfb_vnc_response(password, challenge, bytes);
	return send_bytes(g, h, bytes, 16, true);
}

/* false: it does not go on */
static bool word_play(struct game *g, const struct play *p, const struct how *h, char *word)
{
	uint8_t n[4];

	switch (*word) {
	case 'v':
		return version_send(g, h, word);
	case 'c':
		if (!strcmp(word, "close")) {
			assert(!h->strict || (g->want == RFB_AUTH_CLOSE && *rfb_auth_why(g->a)));
			return false;
		}
		return hex_send_or_need(g, p, h, word);
	case 's':
		return hex_send_or_need(g, p, h, word);
	case 'R':
		for (char *s; (s = strchr(word, '_'));)
			*s = ' ';
		put32(n, strlen(word + 2));
		need(g, p, h, n, 4);
		need(g, p, h, word + 2, strlen(word + 2));
		return true;
	case '?':
		need(g, p, h, NULL, 16);
		return true;
	case 'r':
		return response_send(g, h, word + 2);
	case 'p':
		return plain_send(g, h, word);
	case 't':
	case 'x':
		assert(!h->strict || g->want == (*word == 't' ? RFB_AUTH_TLS_ANON : RFB_AUTH_TLS_X509));
		if (g->want != RFB_AUTH_TLS_ANON && g->want != RFB_AUTH_TLS_X509)
			return false;
		rfb_auth_secure(g->a, &g->out, &g->want);
		return true;
	case 'd':
		assert(!h->strict || g->want == RFB_AUTH_DONE);
		return false;
	default:
		assert(!strcmp(word, "more"));
		assert(!h->strict || g->want == RFB_AUTH_MORE);
		return false;
	}
}

/* Returns how many bytes the client sent in all. */
static size_t play(const struct play *p, const struct how *h)
{
	struct game g = {.want = RFB_AUTH_MORE};
	char text[512], *save = NULL;
	size_t before;

	g.a = rfb_auth_new(p->c, p->blocked, &g.out);
	assert(g.a);
	snprintf(text, sizeof text, "%s", p->text);
	for (char *w = strtok_r(text, " ", &save); w && word_play(&g, p, h, w); w = strtok_r(NULL, " ", &save))
		;
	if (h->strict) {
		assert(g.checked == g.out.len && !g.out.failed);
		assert(!p->name || !strcmp(rfb_auth_name(g.a), p->name));
		assert(rfb_auth_failed(g.a) == (strstr(p->text, "Authentication_failed") || strstr(p->text, "s00000001 close")) ||
			strstr(p->text, "ffff"));
	}
	/* the one thing that counts */
	assert(rfb_auth_passed(g.a) == (g.want == RFB_AUTH_DONE && p->c->password));
	if (g.want == RFB_AUTH_DONE)
		assert(!p->blocked && (p->c->none || (!g.stolen && g.sent <= h->cut && strstr(p->text, "s00000000 done"))));
	assert(!rfb_auth_failed(g.a) || (g.want == RFB_AUTH_CLOSE && p->c->password));
	/* the end is the end */
	before = g.out.len;
	if (g.want == RFB_AUTH_DONE || g.want == RFB_AUTH_CLOSE) {
		enum rfb_auth_want want = g.want;

		assert(!rfb_auth_input(g.a, (const uint8_t *)"\1\2\3", 3, &g.out, &g.want));
		assert(g.want == want && g.out.len == before);
	}
	rfb_auth_free(g.a);
	buf_fini(&g.out);
	return g.sent;
}

static void all_plays(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(plays); i++) {
		struct how h = {.chunk = SIZE_MAX, .cut = SIZE_MAX, .flip = SIZE_MAX, .strict = true};
		size_t n = play(&plays[i], &h);

		/* bytes before TLS are refused whenever they come, but one by one they come after the answer */
		h.strict = !strstr(plays[i].text, "s01 close");
		h.chunk = 1;
		play(&plays[i], &h);
		h.chunk = 3;
		play(&plays[i], &h);
		h.strict = false;
		h.chunk = SIZE_MAX;
		for (h.cut = 0; h.cut < n; h.cut++)
			play(&plays[i], &h);
		h.cut = SIZE_MAX;
		if (strstr(plays[i].text, LONG8 "x")) /* another length makes it right */
			continue;
		for (h.flip = 0; h.flip < n; h.flip++)
			for (unsigned mask = 1; mask < 256; mask += h.flip < 12 ? 5 : 3) {
				h.mask = (uint8_t)mask;
				h.chunk = mask & 1 ? SIZE_MAX : 1;
				play(&plays[i], &h);
			}
	}
}

/* All at once, as pipelining clients do, with the next layer's bytes behind: not one of them is taken. */
static void pipelined(void)
{
	static const uint8_t in[] = "RFB 003.008\n\1\1\2rest", old[] = "RFB 003.003\n\1\2rest";
	struct buf out = {.p = NULL};
	enum rfb_auth_want want;
	struct rfb_auth *a = rfb_auth_new(&none, false, &out);

	assert(rfb_auth_input(a, in, sizeof in, &out, &want) == 13 && want == RFB_AUTH_DONE && rfb_auth_version(a) == 8);
	rfb_auth_free(a);
	a = rfb_auth_new(&none, false, &out);
	assert(rfb_auth_input(a, old, sizeof old, &out, &want) == 12 && want == RFB_AUTH_DONE && rfb_auth_version(a) == 3);
	rfb_auth_free(a);
	buf_fini(&out);
}

/* From the list that was sent, not from the configuration: all 256 types in all versions. */
static void choices(void)
{
	static const char *const versions[] = {"RFB 003.007\n", "RFB 003.008\n", "RFB 003.889\n", "RFB 004.001\n"};

	for (unsigned c = 0; c < ARRAY_LEN(configs); c++)
		for (unsigned v = 0; v < ARRAY_LEN(versions); v++)
			for (unsigned type = 0; type < 256; type++) {
				struct buf out = {.p = NULL};
				struct rfb_auth *a = rfb_auth_new(configs[c], false, &out);
				const struct rfb_auth_config *k = configs[c];
				uint8_t byte = (uint8_t)type;
				enum rfb_auth_want want;
				bool in_list, right;

				assert(rfb_auth_input(a, (const uint8_t *)versions[v], 12, &out, &want) == 12);
				assert(out.len > 13 && out.len == 13u + out.p[12] && want == RFB_AUTH_MORE);
				in_list = memchr(out.p + 13, (int)type, out.p[12]);
				right = (type == RFB_SEC_NONE && k->none && !k->tls_required) ||
					(type == RFB_SEC_VNC_AUTH && k->vnc && !k->tls_required) ||
					(type == RFB_SEC_VENCRYPT && (k->tls_anonymous || k->tls_x509));
				assert(in_list == right);
				assert(rfb_auth_input(a, &byte, 1, &out, &want) == 1);
				assert((want == RFB_AUTH_CLOSE) == !right);
				assert((want == RFB_AUTH_DONE) == (right && type == RFB_SEC_NONE));
				rfb_auth_free(a);
				buf_fini(&out);
			}
}

static void subtypes_one(const struct rfb_auth_config *k, uint32_t id)
{
	static const uint8_t begin[] = "RFB 003.008\n\x13\0\2";
	struct buf out = {.p = NULL};
	struct rfb_auth *a = rfb_auth_new(k, false, &out);
	bool x509 = id >= 260, inner_none = id == 257 || id == 260, inner_vnc = id == 258 || id == 261, right;
	enum rfb_auth_want want;
	uint8_t bytes[4];

	put32(bytes, id);
	right = id >= 257 && id <= 262 && (x509 ? k->tls_x509 : k->tls_anonymous) &&
		(inner_none ? k->none : inner_vnc ? k->vnc : k->password != NULL);
	assert(rfb_auth_input(a, begin, 15, &out, &want) == 15 && want == RFB_AUTH_MORE);
	assert(rfb_auth_input(a, bytes, 4, &out, &want) == 4);
	assert(want == (!right ? RFB_AUTH_CLOSE : x509 ? RFB_AUTH_TLS_X509 : RFB_AUTH_TLS_ANON));
	assert(out.p[out.len - 1] == right);
	if (right) {
		if (id & 1) { /* nothing can come in the clear while TLS is awaited */
			assert(!rfb_auth_input(a, bytes, 1, &out, &want) && want == RFB_AUTH_CLOSE);
		} else {
			rfb_auth_secure(a, &out, &want);
			assert(want == (inner_none ? RFB_AUTH_DONE : RFB_AUTH_MORE));
		}
	}
	rfb_auth_free(a);
	buf_fini(&out);
}

static void subtypes(void)
{
	static const uint32_t odd[] = {0x01010000, 0x05010000, 0x7fffffff, 0x80000000, 0x80000105, 0xffffffff, 0xffffff05, 65536 + 261};

	for (unsigned c = 0; c < ARRAY_LEN(configs); c++) {
		if (!configs[c]->tls_anonymous && !configs[c]->tls_x509)
			continue;
		for (uint32_t id = 0; id < 300; id++)
			subtypes_one(configs[c], id);
		for (unsigned i = 0; i < ARRAY_LEN(odd); i++)
			subtypes_one(configs[c], odd[i]);
	}
}

/*
 * The first is the example of "The DES Algorithm Illustrated" (key 133457799bbcdff1), its key's bytes turned around; the others
 * were made by openssl enc -des-ecb.
 */
static void known_answers(void)
{
	static const struct {
		const char *password, *challenge, *response;
	} row[] = {
		{"\xc8\x2c\xea\x9e\xd9\x3d\xfb\x8f", "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
			"\x85\xe8\x13\x54\x0f\x0a\xb4\x05\x85\xe8\x13\x54\x0f\x0a\xb4\x05"},
		{"password", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
			"\xb8\x66\x92\x41\x25\xc8\xee\xbb\x9d\xeb\xc1\xdb\x61\xc5\x38\xe2"},
		{"a", "\xff\xee\xdd\xcc\xbb\xaa\x99\x88\x77\x66\x55\x44\x33\x22\x11\x00",
			"\x6c\x82\x78\xa7\x77\x83\x4a\xd1\x5e\x7c\x69\x79\xd2\x2d\xcb\x96"},
		{"secret12", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
			"\xad\xcd\x99\x7f\x8e\x16\xfe\xe5\x75\xe9\x73\xf9\x3c\x2b\x62\xb4"},
		{"secret123", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
			"\xad\xcd\x99\x7f\x8e\x16\xfe\xe5\x75\xe9\x73\xf9\x3c\x2b\x62\xb4"},
		{"p\xc3\xa4", "\xff\xee\xdd\xcc\xbb\xaa\x99\x88\x77\x66\x55\x44\x33\x22\x11\x00",
			"\xec\x51\xa3\x8a\x33\xd1\x07\xfc\xfc\xd5\x92\x56\x4a\x28\xf2\x74"},
		{"\xff\x80\x01", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
			"\xa4\xf8\x0b\x28\xc0\x8d\x55\xce\xa4\x57\x87\xb6\x70\xa8\xbd\x96"},
	};
	uint8_t out[16];

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		rfb_vnc_response(row[i].password, (const uint8_t *)row[i].challenge, out);
		assert(!memcmp(out, row[i].response, 16));
	}
}

/* A challenge is not used twice. */
static void challenges(void)
{
	static const uint8_t begin[] = "RFB 003.003\n";
	uint8_t seen[64][16];
	enum rfb_auth_want want;

	for (unsigned i = 0; i < 64; i++) {
		struct buf out = {.p = NULL};
		struct rfb_auth *a = rfb_auth_new(&vnc, false, &out);

		rfb_auth_input(a, begin, 12, &out, &want);
		assert(out.len == 12 + 4 + 16);
		memcpy(seen[i], out.p + 16, 16);
		for (unsigned k = 0; k < i; k++)
			assert(memcmp(seen[i], seen[k], 16));
		rfb_auth_free(a);
		buf_fini(&out);
	}
	rfb_auth_free(NULL);
}

static void checks(void)
{
	static char longest[1026];
	static const struct rfb_auth_config bad[] = {
		{.none = false}, {.none = true, .vnc = true, .password = "x"}, {.none = true, .password = "x", .tls_x509 = true},
		{.vnc = true}, {.vnc = true, .password = ""}, {.password = "x"}, {.none = true, .tls_required = true},
		{.vnc = true, .password = "x", .user = "u"}, {.none = true, .user = "u"}, {.tls_x509 = true},
		{.tls_x509 = true, .password = longest}, {.tls_x509 = true, .password = "x", .user = longest}, {.vnc = true, .tls_x509 = true},
		{.none = true, .user = "u", .tls_x509 = true},
	};
	struct err e;

	memset(longest, 'x', 1025);
	for (unsigned i = 0; i < ARRAY_LEN(configs); i++)
		assert(!rfb_auth_check(configs[i], &e));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e.text[0] = '\0';
		assert(rfb_auth_check(&bad[i], &e) == -EINVAL && !strncmp(e.text, "vnc: ", 5));
	}
	longest[1024] = '\0';
	assert(!rfb_auth_check(&bad[10], &e) && !rfb_auth_check(&bad[11], &e));
}

/* The longest name and password that there can be. */
static void longest_plain(void)
{
	static const uint8_t begin[] = "RFB 003.008\n\x13\0\2\0\0\1\6";
	static char user[1025], password[1025];
	static uint8_t words[8 + 2048 + 1];
	const struct rfb_auth_config c = {.tls_x509 = true, .user = user, .password = password};
	enum rfb_auth_want want;

	memset(user, 'u', 1024);
	memset(password, 'p', 1024);
	put32(words, 1024);
	put32(words + 4, 1024);
	memset(words + 8, 'u', 1024);
	memset(words + 8 + 1024, 'p', 1024);
	for (unsigned wrong = 0; wrong < 3; wrong++) {
		struct buf out = {.p = NULL};
		struct rfb_auth *a = rfb_auth_new(&c, false, &out);

		words[8 + 2047] = wrong == 1 ? 'q' : 'p';
		words[8 + 1023] = wrong == 2 ? 'q' : 'u';
		assert(rfb_auth_input(a, begin, 19, &out, &want) == 19 && want == RFB_AUTH_TLS_X509);
		rfb_auth_secure(a, &out, &want);
		assert(rfb_auth_input(a, words, sizeof words, &out, &want) == 8 + 2048);
		assert(want == (wrong ? RFB_AUTH_CLOSE : RFB_AUTH_DONE));
		rfb_auth_free(a);
		buf_fini(&out);
	}
}

int main(void)
{
	checks();
	known_answers();
	challenges();
	pipelined();
	choices();
	subtypes();
	longest_plain();
	all_plays();
	return 0;
}
