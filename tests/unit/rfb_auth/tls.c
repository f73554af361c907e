/* SPDX-License-Identifier: MIT */
/*
 * Streams: sockets, and TLS with a GnuTLS client at the other end of a socket pair. Both ends do not wait, so that one thread
 * plays them in turns. Certificates are made here.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "rfb/stream.h"

#define CLIENT_BOTH "NORMAL:+ANON-ECDH:+ANON-DH"
#define CLIENT_ANON "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH:+ANON-DH"
enum { TURNS = 20000 };

/* ---- certificates ---- */

struct pair {
	gnutls_datum_t cert, key; /* PEM */
};
static struct pair server, stranger, rsa;

static void pair_make(struct pair *p, const char *name, gnutls_pk_algorithm_t algorithm, unsigned bits)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;

	assert(!gnutls_x509_privkey_init(&key) && !gnutls_x509_crt_init(&crt));
	assert(!gnutls_x509_privkey_generate(key, algorithm, bits, 0));
	assert(!gnutls_x509_crt_set_version(crt, 3) && !gnutls_x509_crt_set_serial(crt, "\1", 1));
	assert(!gnutls_x509_crt_set_activation_time(crt, time(NULL) - 3600));
	assert(!gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600));
	assert(!gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)));
	assert(!gnutls_x509_crt_set_ca_status(crt, 1) && !gnutls_x509_crt_set_key(crt, key));
	assert(!gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0));
	assert(!gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &p->cert));
	assert(!gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &p->key));
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

static int file_of(const void *p, size_t n)
{
	int fd = memfd_create("pem", MFD_CLOEXEC);

	assert(fd >= 0 && write(fd, p, n) == (ssize_t)n && !lseek(fd, 0, SEEK_SET));
	return fd;
}

static struct rfb_tls *tls_make(const struct pair *p, bool anonymous)
{
	int cert = p ? file_of(p->cert.data, p->cert.size) : -1, key = p ? file_of(p->key.data, p->key.size) : -1;
	struct rfb_tls *t;
	struct err e;

	assert(!rfb_tls_new(&t, cert, key, anonymous, &e));
	assert(rfb_tls_has_cert(t) == (p != NULL));
	if (p) {
		close(cert);
		close(key);
	}
	return t;
}

/* ---- a stream that is difficult ---- */

struct hard {
	struct rfb_stream s;
	struct rfb_stream *under;
	size_t chunk;  /* bytes at once */
	size_t left;   /* bytes to read until the end */
	size_t flip;   /* this one is changed */
	uint8_t mask;
	size_t at;
	bool turn, dribble; /* every other call: not now */
};

static ssize_t hard_read(struct rfb_stream *s, void *buf, size_t n)
{
	struct hard *h = CONTAINER_OF(s, struct hard, s);
	ssize_t rc;

	if (h->dribble && (h->turn = !h->turn))
		return -EAGAIN;
	if (!h->left)
		return 0;
	rc = h->under->ops->read(h->under, buf, min_u64(n, min_u64(h->chunk, h->left)));
	if (rc <= 0)
		return rc;
	if (h->flip >= h->at && h->flip < h->at + (size_t)rc)
		((uint8_t *)buf)[h->flip - h->at] ^= h->mask;
	h->at += (size_t)rc;
	h->left -= (size_t)rc;
	return rc;
}

static ssize_t hard_write(struct rfb_stream *s, const void *buf, size_t n)
{
	struct hard *h = CONTAINER_OF(s, struct hard, s);

	if (h->dribble && (h->turn = !h->turn))
		return -EAGAIN;
	return h->under->ops->write(h->under, buf, min_u64(n, h->chunk));
}

static bool hard_nothing(const struct rfb_stream *s)
{
	(void)s;
	return false;
}

static unsigned closed;

static void hard_close(struct rfb_stream *s)
{
	struct hard *h = CONTAINER_OF(s, struct hard, s);

	h->under->ops->close(h->under);
	closed++;
	free(h);
}

static const struct rfb_stream_ops hard_ops = {hard_read, hard_write, hard_nothing, hard_nothing, hard_close};

/* ---- both ends ---- */

struct ends {
	struct rfb_stream *s;
	struct hard *h;
	gnutls_session_t client;
	gnutls_certificate_credentials_t cert;
	gnutls_anon_client_credentials_t anon;
	int fd; /* the client's */
	int server_rc, client_rc;
	size_t client_bytes; /* that the server has read */
};

static void ends_open(struct ends *e, struct rfb_tls *tls, bool x509, const char *priority, const struct pair *trusts)
{
	int sv[2], small = 4096;

	*e = (struct ends){.server_rc = -EAGAIN, .client_rc = GNUTLS_E_AGAIN};
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	assert(!fcntl(sv[1], F_SETFL, O_NONBLOCK)); /* the server's end is as it came */
	assert(!setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	e->fd = sv[1];
	e->h = calloc(1, sizeof *e->h);
	assert(e->h);
	*e->h = (struct hard){.s = {.ops = &hard_ops, .fd = sv[0]}, .under = rfb_stream_socket(sv[0]), .chunk = SIZE_MAX,
		.left = SIZE_MAX, .flip = SIZE_MAX};
	assert(e->h->under);
	assert(!gnutls_init(&e->client, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL));
	assert(!gnutls_priority_set_direct(e->client, priority, NULL));
	assert(!gnutls_certificate_allocate_credentials(&e->cert) && !gnutls_anon_allocate_client_credentials(&e->anon));
	if (trusts) {
		assert(gnutls_certificate_set_x509_trust_mem(e->cert, &trusts->cert, GNUTLS_X509_FMT_PEM) == 1);
		gnutls_session_set_verify_cert(e->client, NULL, 0);
	}
	assert(!gnutls_credentials_set(e->client, GNUTLS_CRD_CERTIFICATE, e->cert));
	assert(!gnutls_credentials_set(e->client, GNUTLS_CRD_ANON, e->anon));
	gnutls_transport_set_int(e->client, e->fd);
	if (!tls)
		return;
	e->s = rfb_stream_tls(tls, &e->h->s, x509, NULL, 0);
	assert(e->s && e->s->fd == sv[0] && e->s != &e->h->s);
}

static void client_end(struct ends *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

static void ends_close(struct ends *e)
{
	unsigned before = closed;

	if (e->s)
		e->s->ops->close(e->s);
	else
		hard_close(&e->h->s);
	assert(closed == before + 1);
	client_end(e);
	gnutls_deinit(e->client);
	gnutls_certificate_free_credentials(e->cert);
	gnutls_anon_free_client_credentials(e->anon);
}

/* Until both have ended it in one way or the other; true: in the good one. */
static bool shake(struct ends *e)
{
	for (unsigned i = 0; i < TURNS; i++) {
		if (e->client_rc == GNUTLS_E_AGAIN || e->client_rc == GNUTLS_E_INTERRUPTED) {
			e->client_rc = gnutls_handshake(e->client);
			if (e->client_rc < 0 && gnutls_error_is_fatal(e->client_rc)) {
				gnutls_alert_send_appropriate(e->client, e->client_rc);
				client_end(e);
			}
		}
		if (e->server_rc == -EAGAIN)
			e->server_rc = rfb_stream_tls_shake(e->s);
		e->client_bytes = e->h->at;
		if (e->server_rc != -EAGAIN && (e->client_rc != GNUTLS_E_AGAIN || e->server_rc < 0))
			break;
	}
	assert(e->server_rc != -EAGAIN); /* it never stays in between */
	return !e->server_rc && !e->client_rc;
}

/* Text both ways, more than fits into the socket the one way. */
static void talk(struct ends *e)
{
	enum { MUCH = 300000 };
	uint8_t *out = malloc(MUCH), *in = malloc(MUCH), small[1000];
	size_t sent = 0, got = 0;
	bool full = false;

	assert(out && in);
	for (size_t i = 0; i < MUCH; i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	for (unsigned i = 0; got < MUCH; i++) {
		ssize_t n;

		assert(i < 4000000);
		if (sent < MUCH) { /* a caller that has few bytes at first, and more when it tries again */
			size_t have = i % 3 ? MUCH - sent : min_u64(MUCH - sent, 50000);

			n = e->s->ops->write(e->s, out + sent, full ? MUCH - sent : have);
			assert(n > 0 || n == -EAGAIN);
			full = n == -EAGAIN || n < (ssize_t)have;
			sent += n > 0 ? (size_t)n : 0;
			assert(!e->s->ops->wants_write(e->s));
		}
		n = gnutls_record_recv(e->client, in + got, MUCH - got);
		assert(n > 0 || n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
		got += n > 0 ? (size_t)n : 0;
	}
	assert(!memcmp(in, out, MUCH));
	/* one record, read in parts: epoll knows nothing of the rest */
	assert(gnutls_record_send(e->client, out, 1000) == 1000);
	for (got = 0; got < 1000;) {
		ssize_t n = e->s->ops->read(e->s, small + got, got ? 500 : 10);

		assert(n > 0 || (n == -EAGAIN && !got));
		got += n > 0 ? (size_t)n : 0;
		assert(e->s->ops->buffered(e->s) == (got > 0 && got < 1000));
	}
	assert(!memcmp(small, out, 1000));
	assert(e->s->ops->read(e->s, small, 10) == -EAGAIN);
	free(out);
	free(in);
}

static bool session_anon(struct ends *e)
{
	return gnutls_auth_get_type(e->client) == GNUTLS_CRD_ANON;
}

/* Each kind, with the client that viewers have, easily and byte by byte. */
static void works(struct rfb_tls *tls)
{
	static const char *const priorities[] = {CLIENT_BOTH, "NORMAL", "NORMAL:-VERS-TLS1.3", CLIENT_ANON};

	for (unsigned p = 0; p < ARRAY_LEN(priorities); p++)
		for (unsigned x509 = 0; x509 < 2; x509++)
			for (unsigned hard = 0; hard < 2; hard++) {
				bool fits = x509 ? p < 3 : p == 0 || p == 3;
				struct ends e;

				ends_open(&e, tls, x509, priorities[p], x509 ? &server : NULL);
				if (hard) {
					e.h->dribble = true;
					e.h->chunk = 1;
				}
				assert(shake(&e) == fits);
				if (fits) {
					assert(session_anon(&e) == !x509);
					assert(gnutls_protocol_get_version(e.client) == (x509 && p != 2 ? GNUTLS_TLS1_3 : GNUTLS_TLS1_2));
					assert(!rfb_stream_tls_shake(e.s));
					e.h->chunk = hard ? 777 : SIZE_MAX;
					talk(&e);
				} else {
					assert(e.server_rc == -EPROTO && rfb_stream_tls_shake(e.s) == -EPIPE);
				}
				ends_close(&e);
			}
}

static void refused(struct rfb_tls *tls)
{
	static const char *const old[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA",
		"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+NULL"};
	struct ends e;
	char c = 0;

	for (unsigned i = 0; i < ARRAY_LEN(old); i++) {
		ends_open(&e, tls, true, old[i], NULL);
		assert(!shake(&e) && e.server_rc == -EPROTO);
		assert(e.s->ops->read(e.s, &c, 1) == -EPIPE && e.s->ops->write(e.s, &c, 1) == -EPIPE);
		ends_close(&e);
	}
	/* the client does not know who this is: with TLS 1.2 the handshake fails, with 1.3 the next read may be first to tell */
	for (unsigned i = 0; i < 2; i++) {
		ends_open(&e, tls, true, i ? "NORMAL" : "NORMAL:-VERS-TLS1.3", &stranger);
		assert(!shake(&e) && e.client_rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR);
		assert(e.server_rc == -EPROTO || (!e.server_rc && e.s->ops->read(e.s, &c, 1) < 0));
		ends_close(&e);
	}
}

static void ends_in_order(struct rfb_tls *tls)
{
	struct ends e;
	char c;

	ends_open(&e, tls, true, CLIENT_BOTH, NULL);
	assert(e.s->ops->read(e.s, &c, 1) == -EPIPE); /* not before */
	assert(shake(&e));
	e.s->ops->close(e.s);
	e.s = NULL;
	assert(gnutls_record_recv(e.client, &c, 1) == 0);
	client_end(&e);
	gnutls_deinit(e.client);
	gnutls_certificate_free_credentials(e.cert);
	gnutls_anon_free_client_credentials(e.anon);
	ends_open(&e, tls, true, CLIENT_BOTH, NULL);
	assert(shake(&e) && !gnutls_bye(e.client, GNUTLS_SHUT_WR));
	assert(e.s->ops->read(e.s, &c, 1) == 0);
	ends_close(&e);
	/* cut off is not the end: somebody else could have done that */
	ends_open(&e, tls, true, CLIENT_BOTH, NULL);
	assert(shake(&e));
	client_end(&e);
	assert(e.s->ops->read(e.s, &c, 1) == -ECONNRESET && e.s->ops->read(e.s, &c, 1) == -EPIPE);
	assert(!e.s->ops->buffered(e.s));
	ends_close(&e);
	/* close() with a peer that reads nothing: does not wait */
	ends_open(&e, tls, true, CLIENT_BOTH, NULL);
	assert(shake(&e));
	for (ssize_t n = 0; n >= 0;)
		n = e.s->ops->write(e.s, server.cert.data, server.cert.size);
	ends_close(&e);
}

/* TLS 1.2 could negotiate again in mid-session. */
static void no_renegotiation(struct rfb_tls *tls)
{
	struct ends e;
	int rc = 0;
	char c;

	for (unsigned anon = 0; anon < 2; anon++) {
		ends_open(&e, tls, !anon, anon ? CLIENT_ANON : "NORMAL:-VERS-TLS1.3", NULL);
		assert(shake(&e));
		rc = gnutls_handshake(e.client);
		assert(rc == GNUTLS_E_AGAIN);
		assert(e.s->ops->read(e.s, &c, 1) == -EPROTO && e.s->ops->read(e.s, &c, 1) == -EPIPE);
		ends_close(&e);
	}
}

/* No session can be taken up again, so each has its own keys. */
static void no_resumption(struct rfb_tls *tls)
{
	gnutls_datum_t data = {NULL, 0};
	struct ends e;

	for (unsigned i = 0; i < 2; i++) {
		ends_open(&e, tls, true, "NORMAL:-VERS-TLS1.3", NULL);
		if (i)
			assert(!gnutls_session_set_data(e.client, data.data, data.size));
		assert(shake(&e) && !gnutls_session_is_resumed(e.client));
		if (!i)
			assert(!gnutls_session_get_data2(e.client, &data));
		ends_close(&e);
	}
	gnutls_free(data.data);
}

/* The client's bytes end, or are wrong, somewhere: the server says so at once and is not done. */
static void cut_and_changed(struct rfb_tls *tls)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		bool x509 = kind > 0;
		const char *priority = kind == 1 ? "NORMAL:-VERS-TLS1.3" : CLIENT_BOTH;
		unsigned accepted = 0;
		struct ends e;
		size_t n;

		ends_open(&e, tls, x509, priority, NULL);
		assert(shake(&e));
		n = e.client_bytes;
		ends_close(&e);
		assert(n > 200);
		for (size_t cut = 0; cut < n; cut += cut < 12 || cut + 12 >= n ? 1 : 5) {
			ends_open(&e, tls, x509, priority, NULL);
			e.h->left = cut;
			assert(!shake(&e) && (e.server_rc == -ECONNRESET || e.server_rc == -EPROTO));
			ends_close(&e);
		}
		for (size_t at = 0; at < n; at += at < 12 ? 1 : 3) {
			ends_open(&e, tls, x509, priority, NULL);
			e.h->flip = at;
			e.h->mask = (uint8_t)(1u << at % 8);
			/* a length that grew is waited for, as one would for a slow client: then the client goes */
			for (unsigned i = 0; i < 200 && e.server_rc == -EAGAIN; i++) {
				if (e.client_rc == GNUTLS_E_AGAIN)
					e.client_rc = gnutls_handshake(e.client);
				e.server_rc = rfb_stream_tls_shake(e.s);
			}
			client_end(&e);
			if (e.server_rc == -EAGAIN)
				e.server_rc = rfb_stream_tls_shake(e.s);
			assert(e.server_rc != -EAGAIN);
			accepted += !e.server_rc;
			ends_close(&e);
		}
		/* versions in the headers of records count for nothing in places */
		assert(accepted <= 3);
	}
}

/* What the client sent was read, in part or all of it, by who read the bytes before. */
static void early(struct rfb_tls *tls)
{
	uint8_t bytes[4096];
	ssize_t n = 1;

	for (size_t take = 1; n > 0 && take <= (size_t)n; take += take < 8 ? 1 : 61) {
		struct ends e;

		ends_open(&e, NULL, true, CLIENT_BOTH, &server);
		assert(gnutls_handshake(e.client) == GNUTLS_E_AGAIN);
		n = recv(e.h->s.fd, bytes, sizeof bytes, MSG_PEEK);
		assert(n > 100 && n < (ssize_t)sizeof bytes);
		take = min_u64(take, (size_t)n);
		assert(recv(e.h->s.fd, bytes, take, 0) == (ssize_t)take);
		e.s = rfb_stream_tls(tls, &e.h->s, true, bytes, take);
		assert(e.s && e.s->ops->buffered(e.s));
		memset(bytes, 0, sizeof bytes);
		assert(shake(&e));
		assert(!e.s->ops->buffered(e.s));
		talk(&e);
		ends_close(&e);
		if (take == (size_t)n)
			break;
	}
}

static void garbage(struct rfb_tls *tls)
{
	static const struct {
		const char *p;
		size_t n;
	} row[] = {
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27}, {"RFB 003.008\n", 12}, {"\0\0\0\0\0\0\0\0\0\0\0\0", 12},
		{"\x16\x03\x01\xff\xff\x01\x00\xff\xfb", 9},          /* a record that is too long */
		{"\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9},          /* a message of 16 MiB */
		{"\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00", 10},     /* records of nothing */
		{"\x15\x03\x01\x00\x02\x01\x5a\x15\x03\x01\x00\x02\x01\x5a\x15\x03\x01\x00\x02\x01\x5a\x15\x03\x01\x00\x02\x01\x5a", 28},
		{"\x17\x03\x03\x00\x05hello", 10}, {"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", 11},
	};

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		struct ends e;
		int rc = -EAGAIN;

		ends_open(&e, tls, true, CLIENT_BOTH, NULL);
		assert(write(e.fd, row[i].p, row[i].n) == (ssize_t)row[i].n);
		for (unsigned k = 0; k < 10 && rc == -EAGAIN; k++)
			rc = rfb_stream_tls_shake(e.s);
		client_end(&e);
		if (rc == -EAGAIN)
			rc = rfb_stream_tls_shake(e.s);
		assert(rc == -EPROTO || rc == -ECONNRESET);
		ends_close(&e);
	}
}

static void credentials(void)
{
	int cert = file_of(server.cert.data, server.cert.size), key = file_of(server.key.data, server.key.size);
	int other = file_of(stranger.key.data, stranger.key.size), text = file_of("hello", 5), empty = file_of("", 0);
	int large = memfd_create("pem", MFD_CLOEXEC), folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct {
		int cert, key;
		bool anonymous;
		int rc;
		const char *words;
	} row[] = {
		{-1, -1, false, -EINVAL, "or to be allowed without"}, {cert, -1, true, -EINVAL, "both"}, {-1, key, true, -EINVAL, "both"},
		{cert, other, false, -EINVAL, "is not that of"}, {key, cert, false, -EINVAL, "cannot use"},
		{text, key, false, -EINVAL, "cannot use"}, {cert, text, true, -EINVAL, "cannot use"},
		{empty, empty, false, -EINVAL, "cannot use"}, {large, key, false, -EFBIG, "larger"}, {cert, large, false, -EFBIG, "key"},
		{folder, key, false, -EISDIR, "cannot read the TLS certificate"}, {9999, key, true, -EBADF, "cannot read"},
		{cert, key, false, 0, NULL},
	};

	assert(!ftruncate(large, (1 << 20) + 1));
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		struct rfb_tls *t = NULL;
		struct err e = {.code = 0};

		lseek(cert, 0, SEEK_SET);
		lseek(key, 0, SEEK_SET);
		lseek(other, 0, SEEK_SET);
		lseek(text, 0, SEEK_SET);
		lseek(large, 0, SEEK_SET);
		assert(rfb_tls_new(&t, row[i].cert, row[i].key, row[i].anonymous, &e) == row[i].rc);
		assert(row[i].rc ? !t && strstr(e.text, row[i].words) : t != NULL);
		rfb_tls_free(t);
	}
	close(cert);
	close(key);
	close(other);
	close(text);
	close(empty);
	close(large);
	close(folder);
}

static void sockets(void)
{
	char buf[1 << 16] = {0};
	struct rfb_stream *s;
	int sv[2];
	ssize_t n;

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	s = rfb_stream_socket(sv[0]);
	assert(s && s->fd == sv[0] && !s->ops->buffered(s) && !s->ops->wants_write(s));
	assert(s->ops->read(s, buf, 10) == -EAGAIN);
	assert(write(sv[1], "hello", 5) == 5 && s->ops->read(s, buf, 10) == 5 && !memcmp(buf, "hello", 5));
	do {
		n = s->ops->write(s, buf, sizeof buf);
	} while (n > 0);
	assert(n == -EAGAIN);
	assert(!shutdown(sv[1], SHUT_WR) && s->ops->read(s, buf, 10) == 0);
	close(sv[1]);
	assert(s->ops->write(s, buf, 1) == -EPIPE); /* and no signal */
	s->ops->close(s);
	assert(fcntl(sv[0], F_GETFD) < 0 && errno == EBADF);
}

int main(void)
{
	const unsigned curve = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
	struct rfb_tls *both, *anon, *x509, *with_rsa;

	pair_make(&server, "husk", GNUTLS_PK_ECDSA, curve);
	pair_make(&stranger, "somebody else", GNUTLS_PK_ECDSA, curve);
	pair_make(&rsa, "husk", GNUTLS_PK_RSA, 2048);
	sockets();
	credentials();
	both = tls_make(&server, true);
	anon = tls_make(NULL, true);
	x509 = tls_make(&server, false);
	with_rsa = tls_make(&rsa, false);
	works(both);
	refused(both);
	refused(x509);
	refused(with_rsa); /* also RSA without forward secrecy */
	ends_in_order(x509);
	no_renegotiation(both);
	no_resumption(x509);
	early(x509);
	garbage(x509);
	cut_and_changed(both);
	rfb_tls_free(both);
	rfb_tls_free(anon);
	rfb_tls_free(x509);
	rfb_tls_free(with_rsa);
	rfb_tls_free(NULL);
	gnutls_free(server.cert.data);
	gnutls_free(server.key.data);
	gnutls_free(stranger.cert.data);
	gnutls_free(stranger.key.data);
	gnutls_free(rsa.cert.data);
	gnutls_free(rsa.key.data);
	return 0;
}
