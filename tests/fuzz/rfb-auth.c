/* SPDX-License-Identifier: MIT */
/*
 * RFB handshakes. The first byte: bits 0-3 which configuration, bit 4 blocked, bits 5-7 how many bytes come at once. The rest is
 * what the client sends; where TLS is to begin it begins, and the rest comes inside.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "rfb/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct rfb_auth_config configs[] = {
	{.none = true},
	{.vnc = true, .password = "secret12"},
	{.none = true, .tls_anonymous = true},
	{.none = true, .tls_anonymous = true, .tls_x509 = true, .tls_required = true},
	{.vnc = true, .password = "longpassword", .tls_x509 = true, .tls_required = true},
	{.vnc = true, .password = "secret12", .tls_anonymous = true, .tls_x509 = true},
	{.password = "longpassword", .user = "joe", .tls_x509 = true},
	{.password = "p", .tls_anonymous = true},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum rfb_auth_want want = RFB_AUTH_MORE;
	const struct rfb_auth_config *c;
	struct buf out = {.p = NULL};
	struct rfb_auth *a;
	size_t chunk, at = 0;
	bool blocked;

	if (!size)
		return 0;
	c = &configs[(data[0] & 15) % ARRAY_LEN(configs)];
	blocked = data[0] & 16;
	chunk = data[0] >> 5 ? (size_t)1 << (data[0] >> 5) : SIZE_MAX;
	data++;
	size--;
	a = rfb_auth_new(c, blocked, &out);
	assert(a);
	while (at < size && want == RFB_AUTH_MORE) {
		size_t n = min_u64(chunk, size - at), used;
		uint8_t *exact = malloc(n);

		assert(exact);
		memcpy(exact, data + at, n);
		used = rfb_auth_input(a, exact, n, &out, &want);
		free(exact);
		assert(used <= n && (used == n || want != RFB_AUTH_MORE));
		at += used;
		if (want == RFB_AUTH_TLS_ANON || want == RFB_AUTH_TLS_X509) {
			assert(used == n && (want == RFB_AUTH_TLS_X509 ? c->tls_x509 : c->tls_anonymous));
			rfb_auth_secure(a, &out, &want);
		}
	}
	/* a challenge cannot be answered by chance; so the password has been there in words */
	if (want == RFB_AUTH_DONE) {
		assert(!blocked && rfb_auth_version(a) && *rfb_auth_name(a));
		assert(c->none ? !rfb_auth_passed(a) : rfb_auth_passed(a) && memmem(data, at, c->password, strlen(c->password)));
		assert(!c->user || memmem(data, at, c->user, strlen(c->user)));
		assert(!c->tls_required || strstr(rfb_auth_name(a), "VeNCrypt "));
	} else {
		assert(!rfb_auth_passed(a));
	}
	assert(!rfb_auth_failed(a) || (c->password && want == RFB_AUTH_CLOSE));
	assert(want != RFB_AUTH_CLOSE || *rfb_auth_why(a));
	assert(!out.failed && out.len < 256);
	rfb_auth_free(a);
	buf_fini(&out);
	return 0;
}
