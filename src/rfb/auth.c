/* SPDX-License-Identifier: MIT */
/*
 * The handshake, RFC 6143 7.1 and rfbproto.rst "VeNCrypt". Each step wants so many bytes; they are gathered in the object, and
 * not one more than the step wants is taken, so that what follows is the next layer's. The steps:
 *
 *	version --- 3.3: the server says which type ------------------+
 *	   |                                                          |
 *	   +------- 3.7, 3.8: list, type -- None, VncAuth ------------+--- done, or challenge, response -- done
 *	               |                                              |
 *	               +-- VeNCrypt: 0.2, list, subtype --- TLS ------+--- Plain: lengths, name and password -- done
 *
 * What was offered is remembered as it was sent, and a choice is looked up there and nowhere else. There is one way to DONE,
 * passed(): without a password only from a type that was offered so, otherwise only from the two comparisons.
 */
#include <assert.h>
#include <errno.h>
#include <nettle/des.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"
#include "rfb/auth.h"
#include "rfb/rfb.h"

enum { VERSION_LEN = 12, CHALLENGE = 16, PLAIN_MAX = 1024 };
#define SERVER_VERSION "RFB 003.008\n"

enum inner { INNER_NONE, INNER_VNC, INNER_PLAIN };

static const struct subtype {
	uint32_t id;
	bool x509;
	enum inner inner;
	const char *name;
} subtypes[] = { /* in the order in which they are offered */
	{RFB_VENC_X509_PLAIN, true, INNER_PLAIN, "VeNCrypt X509Plain"},
	{RFB_VENC_X509_VNC, true, INNER_VNC, "VeNCrypt X509Vnc"},
	{RFB_VENC_X509_NONE, true, INNER_NONE, "VeNCrypt X509None"},
	{RFB_VENC_TLS_PLAIN, false, INNER_PLAIN, "VeNCrypt TLSPlain"},
	{RFB_VENC_TLS_VNC, false, INNER_VNC, "VeNCrypt TLSVnc"},
	{RFB_VENC_TLS_NONE, false, INNER_NONE, "VeNCrypt TLSNone"},
};

enum step { VERSION, TYPE, VENC_VERSION, VENC_SUBTYPE, TLS, RESPONSE, PLAIN_LENGTHS, PLAIN_WORDS, END };

struct rfb_auth {
	struct rfb_auth_config c;
	bool blocked, failed, passed;
	unsigned version;
	const char *name;
	enum step step;
	enum rfb_auth_want want;
	uint8_t type[3]; /* offered */
	unsigned ntypes;
	const struct subtype *sub[ARRAY_LEN(subtypes)]; /* offered */
	unsigned nsubs;
	const struct subtype *chosen; /* NULL: no VeNCrypt */
	uint32_t user_len, password_len;
	uint8_t challenge[CHALLENGE];
	size_t have, need; /* of in[], in this step */
	uint8_t in[2 * PLAIN_MAX];
	char why[96];
};

/* ---- configuration ---- */

static bool offers(const struct rfb_auth_config *c, enum inner inner)
{
	switch (inner) {
	case INNER_NONE:
		return c->none;
	case INNER_VNC:
		return c->vnc;
	default:
		return c->password != NULL;
	}
}

int rfb_auth_check(const struct rfb_auth_config *c, struct err *e)
{
	bool tls = c->tls_anonymous || c->tls_x509;

	if (c->tls_required && !tls)
		return err_set(e, EINVAL, "vnc: TLS is required, but none is set up");
	if (c->none && (c->vnc || c->password))
		return err_set(e, EINVAL, "vnc: a password, and also none needed: choose one");
	if (c->vnc && !c->password)
		return err_set(e, EINVAL, "vnc: VNC authentication needs a password");
	if (c->password && !*c->password)
		return err_set(e, EINVAL, "vnc: the password is empty");
	if (c->password && !c->vnc && !tls)
		return err_set(e, EINVAL, "vnc: a password needs VNC authentication or TLS");
	if (c->password && strlen(c->password) > PLAIN_MAX)
		return err_set(e, EINVAL, "vnc: the password is longer than %d bytes", PLAIN_MAX);
	if (c->user && (!c->password || !tls))
		return err_set(e, EINVAL, "vnc: a user name needs a password and TLS");
	if (c->user && strlen(c->user) > PLAIN_MAX)
		return err_set(e, EINVAL, "vnc: the user name is longer than %d bytes", PLAIN_MAX);
	if (!c->none && !c->password)
		return err_set(e, EINVAL, "vnc: nobody could log in: neither a password nor leave to do without");
	return 0;
}

static void offers_make(struct rfb_auth *a)
{
	const struct rfb_auth_config *c = &a->c;

	for (unsigned i = 0; i < ARRAY_LEN(subtypes); i++)
		if ((subtypes[i].x509 ? c->tls_x509 : c->tls_anonymous) && offers(c, subtypes[i].inner))
			a->sub[a->nsubs++] = &subtypes[i];
	if (a->nsubs)
		a->type[a->ntypes++] = RFB_SEC_VENCRYPT;
	if (!c->tls_required && offers(c, INNER_VNC))
		a->type[a->ntypes++] = RFB_SEC_VNC_AUTH;
	if (!c->tls_required && offers(c, INNER_NONE))
		a->type[a->ntypes++] = RFB_SEC_NONE;
}

static bool offered(const struct rfb_auth *a, uint8_t type)
{
	return memchr(a->type, type, a->ntypes) != NULL;
}

/* ---- secrets ---- */

/* a[0, n) is the string want; n is at most max. Time depends on want and max only. */
static bool same(const uint8_t *a, size_t n, const char *want, size_t max)
{
	size_t len = strlen(want);
	unsigned differ = n != len;

	for (size_t i = 0; i < max; i++)
		differ |= (unsigned)(i < n ? a[i] : 0) ^ (unsigned)(i < len ? (uint8_t)want[i] : 0);
	return !differ;
}

void rfb_vnc_response(const char *password, const uint8_t challenge[16], uint8_t response[16])
{
	uint8_t key[DES_KEY_SIZE] = {0};
	struct des_ctx des;

	/* a key's first bit is the byte's lowest here, the highest in all other uses of DES */
	for (unsigned i = 0; i < sizeof key && password[i]; i++)
		for (unsigned bit = 0; bit < 8; bit++)
			key[i] |= (uint8_t)((((uint8_t)password[i] >> bit) & 1) << (7 - bit));
	(void)des_set_key(&des, key); /* false: a weak key, as good as any here */
	des_encrypt(&des, CHALLENGE, response, challenge);
	explicit_bzero(key, sizeof key);
	explicit_bzero(&des, sizeof des);
}

/* ---- ends ---- */

static void expect(struct rfb_auth *a, enum step step, size_t need)
{
	assert(need <= sizeof a->in);
	a->step = step;
	a->have = 0;
	a->need = need;
}

static void end(struct rfb_auth *a, enum rfb_auth_want want)
{
	explicit_bzero(a->in, sizeof a->in);
	explicit_bzero(a->challenge, sizeof a->challenge);
	expect(a, END, 0);
	a->want = want;
}

static void passed(struct rfb_auth *a, bool password, struct buf *out)
{
	/* before 3.8 there is no result of nothing; VeNCrypt always has one */
	if (password || a->version >= 8 || a->chosen)
		buf_be32(out, 0);
	a->passed = password;
	end(a, RFB_AUTH_DONE);
}

static void put_reason(struct rfb_auth *a, struct buf *out)
{
	buf_be32(out, (uint32_t)strlen(a->why));
	buf_put(out, a->why, strlen(a->why));
}

/* SecurityResult: only 3.8 can say why */
static void put_failure(struct rfb_auth *a, struct buf *out)
{
	buf_be32(out, 1);
	if (a->version >= 8)
		put_reason(a, out);
}

static void wrong_password(struct rfb_auth *a, struct buf *out)
{
	snprintf(a->why, sizeof a->why, "Authentication failed");
	a->failed = true;
	put_failure(a, out);
	end(a, RFB_AUTH_CLOSE);
}

/* Instead of a list of types, or of the type in 3.3. */
static void no_types(struct rfb_auth *a, struct buf *out)
{
	if (a->version >= 7)
		buf_u8(out, 0);
	else
		buf_be32(out, 0);
	put_reason(a, out);
	end(a, RFB_AUTH_CLOSE);
}

/* ---- steps ---- */

static void inner_start(struct rfb_auth *a, enum inner inner, struct buf *out)
{
	switch (inner) {
	case INNER_NONE:
		passed(a, false, out);
		break;
	case INNER_VNC:
		if (getrandom(a->challenge, CHALLENGE, 0) != CHALLENGE) {
			snprintf(a->why, sizeof a->why, "no random numbers");
			end(a, RFB_AUTH_CLOSE);
			break;
		}
		buf_put(out, a->challenge, CHALLENGE);
		expect(a, RESPONSE, CHALLENGE);
		break;
	case INNER_PLAIN:
		expect(a, PLAIN_LENGTHS, 8);
		break;
	}
}

static void type_start(struct rfb_auth *a, uint8_t type, struct buf *out)
{
	switch (type) {
	case RFB_SEC_NONE:
		a->name = "None";
		inner_start(a, INNER_NONE, out);
		break;
	case RFB_SEC_VNC_AUTH:
		a->name = "VncAuth";
		inner_start(a, INNER_VNC, out);
		break;
	case RFB_SEC_VENCRYPT:
		a->name = "VeNCrypt";
		buf_u8(out, 0);
		buf_u8(out, 2);
		expect(a, VENC_VERSION, 2);
		break;
	default:
		assert(!"offered, but unknown");
	}
}

/* What came so far can still become "RFB 003.008\n": a peer that speaks something else is told apart by its first byte. */
static bool version_like(const uint8_t *p, size_t n)
{
	static const char form[] = "RFB ddd.ddd\n";

	for (size_t i = 0; i < n; i++)
		if (form[i] == 'd' ? p[i] < '0' || p[i] > '9' : p[i] != (uint8_t)form[i])
			return false;
	return true;
}

static unsigned number(const uint8_t p[3])
{
	return (unsigned)((p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0'));
}

static void version(struct rfb_auth *a, struct buf *out)
{
	unsigned major = number(a->in + 4), minor = number(a->in + 8);

	if (major < 3) {
		snprintf(a->why, sizeof a->why, "version %u.%u", major, minor);
		end(a, RFB_AUTH_CLOSE);
		return;
	}
	/* 3.5 and the like are 3.3; 3.889 (Apple), 4.1 and 5.0 (RealVNC) have all of 3.8 */
	a->version = major > 3 || minor >= 8 ? 8 : minor == 7 ? 7 : 3;
	if (a->blocked) {
		snprintf(a->why, sizeof a->why, "Too many authentication failures");
		no_types(a, out);
		return;
	}
	if (a->version == 3) {
		uint8_t type = offered(a, RFB_SEC_VNC_AUTH) ? RFB_SEC_VNC_AUTH : RFB_SEC_NONE;

		if (!offered(a, type)) {
			snprintf(a->why, sizeof a->why, "This server needs TLS (VeNCrypt), which needs RFB 3.7 or later");
			no_types(a, out);
			return;
		}
		buf_be32(out, type);
		type_start(a, type, out);
		return;
	}
	buf_u8(out, (uint8_t)a->ntypes);
	buf_put(out, a->type, a->ntypes);
	expect(a, TYPE, 1);
}

static void type(struct rfb_auth *a, struct buf *out)
{
	if (!offered(a, a->in[0])) {
		snprintf(a->why, sizeof a->why, "Security type %u was not offered", a->in[0]);
		if (a->version >= 8)
			put_failure(a, out);
		end(a, RFB_AUTH_CLOSE);
		return;
	}
	type_start(a, a->in[0], out);
}

static void venc_version(struct rfb_auth *a, struct buf *out)
{
	if (a->in[0] != 0 || a->in[1] != 2) {
		snprintf(a->why, sizeof a->why, "VeNCrypt version %u.%u", a->in[0], a->in[1]);
		buf_u8(out, 255);
		end(a, RFB_AUTH_CLOSE);
		return;
	}
	buf_u8(out, 0);
	buf_u8(out, (uint8_t)a->nsubs);
	for (unsigned i = 0; i < a->nsubs; i++)
		buf_be32(out, a->sub[i]->id);
	expect(a, VENC_SUBTYPE, 4);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void venc_subtype(struct rfb_auth *a, struct buf *out)
{
	uint32_t id = be32(a->in);

	for (unsigned i = 0; i < a->nsubs && !a->chosen; i++)
		if (a->sub[i]->id == id)
			a->chosen = a->sub[i];
	if (!a->chosen) {
		snprintf(a->why, sizeof a->why, "VeNCrypt subtype %u was not offered", id);
		buf_u8(out, 0);
		end(a, RFB_AUTH_CLOSE);
		return;
	}
	a->name = a->chosen->name;
	buf_u8(out, 1);
	a->want = a->chosen->x509 ? RFB_AUTH_TLS_X509 : RFB_AUTH_TLS_ANON;
	expect(a, TLS, 0);
}

static void response(struct rfb_auth *a, struct buf *out)
{
	uint8_t want[CHALLENGE];
	unsigned differ = 0;

	rfb_vnc_response(a->c.password, a->challenge, want);
	for (unsigned i = 0; i < CHALLENGE; i++)
		differ |= (unsigned)(want[i] ^ a->in[i]);
	explicit_bzero(want, sizeof want);
	if (differ)
		wrong_password(a, out);
	else
		passed(a, true, out);
}

static void plain_lengths(struct rfb_auth *a, struct buf *out)
{
	a->user_len = be32(a->in);
	a->password_len = be32(a->in + 4);
	if (a->user_len > PLAIN_MAX || a->password_len > PLAIN_MAX) {
		snprintf(a->why, sizeof a->why, "User name or password is too long");
		put_failure(a, out);
		end(a, RFB_AUTH_CLOSE);
		return;
	}
	if (a->user_len + a->password_len == 0)
		wrong_password(a, out); /* there is no empty one */
	else
		expect(a, PLAIN_WORDS, a->user_len + a->password_len);
}

static void plain_words(struct rfb_auth *a, struct buf *out)
{
	bool user = !a->c.user || same(a->in, a->user_len, a->c.user, PLAIN_MAX);
	bool password = same(a->in + a->user_len, a->password_len, a->c.password, PLAIN_MAX);

	if (user & password)
		passed(a, true, out);
	else
		wrong_password(a, out);
}

static void (*const take[])(struct rfb_auth *a, struct buf *out) = {
	[VERSION] = version,
	[TYPE] = type,
	[VENC_VERSION] = venc_version,
	[VENC_SUBTYPE] = venc_subtype,
	[RESPONSE] = response,
	[PLAIN_LENGTHS] = plain_lengths,
	[PLAIN_WORDS] = plain_words,
};

/* ---- outside ---- */

struct rfb_auth *rfb_auth_new(const struct rfb_auth_config *c, bool blocked, struct buf *out)
{
	struct rfb_auth *a = calloc(1, sizeof *a);

	assert(!rfb_auth_check(c, NULL));
	if (!a)
		return NULL;
	a->c = *c;
	a->blocked = blocked;
	a->name = "";
	offers_make(a);
	buf_put(out, SERVER_VERSION, VERSION_LEN);
	expect(a, VERSION, VERSION_LEN);
	return a;
}

void rfb_auth_free(struct rfb_auth *a)
{
	if (!a)
		return;
	explicit_bzero(a, sizeof *a);
	free(a);
}

size_t rfb_auth_input(struct rfb_auth *a, const uint8_t *p, size_t n, struct buf *out, enum rfb_auth_want *want)
{
	size_t used = 0;

	/* need is never 0 here, and a step that has what it needs goes on to another: at most a few rounds */
	while (used < n && a->want == RFB_AUTH_MORE) {
		size_t more = min_u64(n - used, a->need - a->have);

		memcpy(a->in + a->have, p + used, more);
		a->have += more;
		used += more;
		if (a->step == VERSION && !version_like(a->in, a->have)) {
			snprintf(a->why, sizeof a->why, "this is no VNC viewer");
			end(a, RFB_AUTH_CLOSE);
		} else if (a->have == a->need) {
			take[a->step](a, out);
		}
	}
	/* What comes before TLS must not count as if it had come inside. */
	if (a->step == TLS && used < n) {
		snprintf(a->why, sizeof a->why, "bytes in the clear where TLS was to begin");
		end(a, RFB_AUTH_CLOSE);
	}
	*want = a->want;
	return used;
}

void rfb_auth_secure(struct rfb_auth *a, struct buf *out, enum rfb_auth_want *want)
{
	assert(a->step == TLS);
	a->want = RFB_AUTH_MORE;
	inner_start(a, a->chosen->inner, out);
	*want = a->want;
}

const char *rfb_auth_why(const struct rfb_auth *a)
{
	return a->why;
}

bool rfb_auth_failed(const struct rfb_auth *a)
{
	return a->failed;
}

bool rfb_auth_passed(const struct rfb_auth *a)
{
	return a->passed;
}

unsigned rfb_auth_version(const struct rfb_auth *a)
{
	return a->version;
}

const char *rfb_auth_name(const struct rfb_auth *a)
{
	return a->name;
}
