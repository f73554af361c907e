/* SPDX-License-Identifier: MIT */
/* The words of --display, and what of them may not go together. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/displayopt.h"

static void good(const char *s, struct display_config *c)
{
	struct err e;

	if (!display_parse(s, c, &e))
		return;
	fprintf(stderr, "--display %s: %s\n", s, e.text);
	exit(1);
}

static void test_defaults(void)
{
	struct display_config c;

	good("none", &c);
	assert(c.text && !c.vnc);
	display_config_free(&c);
	good(DISPLAY_DEFAULT, &c);
	display_config_free(&c);
	good("vnc", &c);
	assert(c.vnc && !c.path && !c.host && !c.port && !c.password_file && !c.tls_cert && !c.tls_key);
	assert(!c.tls_anonymous && !c.open && !c.view_only && !c.lossless && c.gpu);
	assert(c.w == 1280 && c.h == 800 && c.heads == 1 && !strcmp(c.layout, "us"));
	display_config_free(&c);
	assert(!c.text && !c.vnc);
	display_config_free(&c);
}

static void test_addresses(void)
{
	static const struct {
		const char *in, *path, *host;
		unsigned port;
	} rows[] = {{"unix:/tmp/x", "/tmp/x", NULL, 0}, {"unix:a,,b=c", "a,b=c", NULL, 0}, {"unix::1", ":1", NULL, 0},
		{":0,open", NULL, "127.0.0.1", 5900}, {":1,open", NULL, "127.0.0.1", 5901}, {":59635,open", NULL, "127.0.0.1", 65535},
		{"host-1.example:5901,open", NULL, "host-1.example", 5901}, {"0.0.0.0:0,open", NULL, "0.0.0.0", 0},
		{"[::1]:5901,open", NULL, "::1", 5901}, {"[fe80::1%eth0]:65535,open", NULL, "fe80::1%eth0", 65535},
		{"[::]:1,open", NULL, "::", 1}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char s[80] = "vnc=";
		struct display_config c;

		good(strcat(s, rows[i].in), &c);
		assert(c.vnc && !c.path == !rows[i].path && (!c.path || !strcmp(c.path, rows[i].path)));
		assert(!c.host == !rows[i].host && (!c.host || !strcmp(c.host, rows[i].host)) && c.port == rows[i].port);
		display_config_free(&c);
	}
}

static void test_keys(void)
{
	struct display_config c;

	good("vnc=:1,password-file=/a,,b,tls-cert=c.pem,tls-key=k.pem,tls-anonymous,view-only,lossless=on,size=4096x1024,heads=4,"
		"layout=de(nodeadkeys),gpu=on,open=off", &c);
	assert(!strcmp(c.password_file, "/a,b") && !strcmp(c.tls_cert, "c.pem") && !strcmp(c.tls_key, "k.pem"));
	assert(c.tls_anonymous && c.view_only && c.lossless && c.gpu && !c.open && c.heads == 4 && c.w == 4096 && c.h == 1024);
	assert(!strcmp(c.layout, "de(nodeadkeys)"));
	display_config_free(&c);
	good("vnc,size=64x64,gpu=off", &c);
	assert(c.w == 64 && c.h == 64 && !c.gpu);
	display_config_free(&c);
	good("vnc,size=1024x4096", &c);
	display_config_free(&c);
	/* whoever says open has meant it, with TLS and without */
	good("vnc=:1,open,tls-anonymous", &c);
	assert(c.open && c.tls_anonymous);
	display_config_free(&c);
	good("vnc=:1,open,tls-cert=c,tls-key=k", &c);
	display_config_free(&c);
	good("vnc=:1,password-file=p", &c);
	display_config_free(&c);
}

static void test_bad(void)
{
	static const struct {
		const char *in, *words;
	} bad[] = {{"", "choose from vnc"}, {"gtk", "'gtk' is not known"}, {"vncx", "not known"}, {"vn", "not known"},
		{"VNC", "not known"}, {"none,open", "nothing can follow"}, {"none=", "not known"}, {"vnc=", "an address must follow"},
		{"vnc=unix:", "a path must follow"}, {"vnc=1", "is no address"}, {"vnc=host", "is no address"},
		{"vnc=:", "whole number"}, {"vnc=:-1", "number of the display"}, {"vnc=:59636", "out of range"}, {"vnc=:1x", "whole number"},
		{"vnc=host:", "the port"}, {"vnc=host:65536", "out of range"}, {"vnc=host:+1", "the port"}, {"vnc=::1:5900", "in brackets"},
		{"vnc=a b:1", "is no address"}, {"vnc=-x:1", "is no address"}, {"vnc=[::1:5900", "no address"}, {"vnc=[x]:1", "no IPv6"},
		{"vnc=[]:1", "no IPv6"}, {"vnc=[:1", "no address"}, {"vnc=[1.2.3.4]:1", "no IPv6"}, {"vnc=/tmp/x:1", "no address"},
		{"vnc,", "nothing behind a comma"}, {"vnc,size", "must follow"}, {"vnc,size=", "must follow"}, {"vnc,size=1280", "is no size"},
		{"vnc,size=1280x", "not"}, {"vnc,size=x800", "not"}, {"vnc,size=1280x800x2", "whole number"}, {"vnc,size=1281x800", "multiple of 8"},
		{"vnc,size=56x64", "out of range"}, {"vnc,size=64x63", "out of range"}, {"vnc,size=4104x64", "out of range"},
		{"vnc,size=4096x1025", "too large"}, {"vnc,size=2048x2056", "too large"}, {"vnc,size=-1280x800", "range"},
		{"vnc,size=99999999999999999999x1", "no size"}, {"vnc,heads=0", "out of range"}, {"vnc,heads=5", "out of range"},
		{"vnc,heads=2,gpu=off", "gpu=off"}, {"vnc,layout", "must follow"}, {"vnc,layout=", "must follow"},
		{"vnc,layout=../us", "no layout"}, {"vnc,layout=0123456789012345678901234567890123456789012345678901234567890123", "no layout"},
		{"vnc,gpu=maybe", "neither on nor off"}, {"vnc,lossles", "did you mean 'lossless'"},
		{"vnc,password-file=", "must follow"}, {"vnc,password-file", "must follow"}, {"vnc,tls-cert=c", "come together"},
		{"vnc=:1,tls-key=k,password-file=p", "come together"},
		/* what nobody asks for a password */
		{"vnc=:1", "add open"}, {"vnc=:1", "password-file=PATH"}, {"vnc=:1", "unix:PATH"}, {"vnc=localhost:5901", "add open"},
		{"vnc=[::1]:5901,open=off", "add open"}, {"vnc=:1,tls-anonymous", "TLS alone"}, {"vnc=:1,tls-cert=c,tls-key=k", "TLS alone"},
		{"vnc=:1,open,password-file=p", "exclude each other"},
		/* and what would be in vain */
		{"vnc,password-file=p", "for a TCP port"}, {"vnc=unix:/x,open", "for a TCP port"}, {"vnc,tls-anonymous", "for a TCP port"},
		{"vnc,tls-cert=c,tls-key=k", "for a TCP port"}};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct display_config c;
		struct err e;
		int rc = display_parse(bad[i].in, &c, &e);

		if (rc >= 0 || !strstr(e.text, bad[i].words)) {
			fprintf(stderr, "--display %s: %d %s\n", bad[i].in, rc, rc ? e.text : "");
			exit(1);
		}
		assert(!c.text && strlen(e.text) < 380);
	}
}

int main(void)
{
	test_defaults();
	test_addresses();
	test_keys();
	test_bad();
	return 0;
}
