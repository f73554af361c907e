/* SPDX-License-Identifier: MIT */
/* What is pure about devices: the words of --disk, --net, --console and --vsock, when to start again, where the root is. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/devopt.h"
#include "cmd/restart.h"
#include "cmd/rootfs.h"

static void test_words(void)
{
	static const struct {
		const char *in, *words[4];
	} cases[] = {{"a", {"a"}}, {"a,b", {"a", "b"}}, {"a,,b", {"a,b"}}, {"a,,,b", {"a,", "b"}}, {",,a", {",a"}},
		{"a,", {"a", ""}}, {"a,,", {"a,"}}, {"", {""}}, {",", {"", ""}}, {"a,,,,b,c", {"a,,b", "c"}}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char buf[32], *rest = buf;

		strcpy(buf, cases[i].in);
		for (int k = 0; cases[i].words[k]; k++) {
			assert(rest);
			assert(!strcmp(devopt_word(&rest), cases[i].words[k]));
		}
		assert(!rest);
	}
}

struct bad {
	const char *in, *words;
};

static void test_disk(void)
{
	static const struct bad bad[] = {{"", "must come first"}, {",ro", "must come first"}, {"socket:", "must come first"},
		{"a,", "nothing behind a comma"}, {"a,rw", "'rw' is not known"}, {"a,cahce=direct", "did you mean 'cache'"},
		{"a,cache", "choose from"}, {"a,cache=none", "choose from writeback"}, {"a,ro=maybe", "neither on nor off"},
		{"a,queues=0", "1 to 64"}, {"a,queues=65", "1 to 64"}, {"a,queue-size=100", "power of two"},
		{"a,queue-size=2048", "out of range"}, {"a,seg-max=255", "queue-size of at least 257"}, {"a,seg-max=0", "out of range"},
		{"a,queue-size=16,seg-max=15", "at least 17"}, {"a,size-max=1K", "out of range"}, {"a,size-max=4G", "out of range"},
		{"a,serial=", "a value must follow"}, {"a,serial=123456789012345678901", "too long"}, {"a,serial=a b", "without blanks"},
		{"a,ro,snapshot=on", "exclude each other"}, {"a,snapshot,ro", "exclude each other"}, {"a,format=qcow2", "choose from raw"},
		{"socket:/x,ro", "for the program behind it"}, {"socket:/x,discard=off", "for the program"}, {"a,=", "not known"},
		{"a,discard=yes", "neither on nor off"}, {"a,aio=posix", "choose from auto"}};
	struct disk_config c;
	struct err e;

	assert(!disk_parse("disk.raw", &c, &e));
	assert(!strcmp(c.path, "disk.raw") && !c.socket && !c.read_only && !c.snapshot && c.discard && !c.queues && !c.serial);
	assert(!strcmp(c.cache, "writeback") && !strcmp(c.aio, "auto") && c.queue_size == 256 && !c.seg_max && !c.size_max);
	disk_config_free(&c);
	assert(!disk_parse("a,,b=c,ro,cache=unsafe,serial=12345678901234567890,queues=64,queue-size=1024,seg-max=1022,size-max=4095M,"
		"aio=io_uring,discard=off,readonly=on,snapshot=off,format=raw", &c, &e));
	assert(!strcmp(c.path, "a,b=c") && c.read_only && !c.snapshot && !c.discard && c.queues == 64 && c.queue_size == 1024);
	assert(c.seg_max == 1022 && c.size_max == 4095 * MIB && !strcmp(c.serial, "12345678901234567890"));
	disk_config_free(&c);
	assert(!disk_parse("socket:/a,,b,queues=2", &c, &e) && c.socket && !strcmp(c.path, "/a,b"));
	disk_config_free(&c);
	disk_config_free(&c);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int rc = disk_parse(bad[i].in, &c, &e);

		if (rc >= 0 || !strstr(e.text, bad[i].words)) {
			fprintf(stderr, "--disk %s: %d %s\n", bad[i].in, rc, rc ? e.text : "");
			exit(1);
		}
		assert(!c.text);
	}
}

static void test_net(void)
{
	static const struct bad bad[] = {{"", "choose from user"}, {"usr", "choose from user"}, {"user:", "choose from"},
		{"tap:", "no name of an interface"}, {"tap:a/b", "no name"}, {"tap:0123456789abcdef", "no name"}, {"tap-fd:x", "whole number"},
		{"tap-fd:-1", "out of range"}, {"socket:", "must follow"}, {"socket:/x", "mac="}, {"tap:t,forward=tcp::1-:2", "for 'user'"},
		{"tap:t,restrict", "for 'user'"}, {"user,forward", "a value must follow"}, {"user,forward=22", "forward"},
		{"user,mac=1:2", "MAC"}, {"user,mac", "must follow"}, {"user,mac=01:00:00:00:00:00", "odd"},
		{"user,mac=00:00:00:00:00:00", "zero"}, {"user,mtu=9", "out of range"}, {"user,mtu=70000", "out of range"},
		{"user,hostname=a_b", "no host name"}, {"user,hostname=-a", "no host name"}, {"user,fwd=1", "not known"}};
	char many[4096] = "user";
	struct net_config c;
	struct err e;
	uint8_t a[6], b[6];

	assert(!net_parse("user,forward=tcp:127.0.0.1:2222-:22,forward=udp::53-:53,mac=52:54:00:12:34:56,mtu=1500,restrict=on,"
		"host-loopback,hostname=web-1.local", &c, &e));
	assert(c.kind == NET_USER && c.nforwards == 2 && !strcmp(c.forward[1], "udp::53-:53") && c.have_mac && c.mac[5] == 0x56);
	assert(c.mtu == 1500 && c.restricted && c.host_loopback && !strcmp(c.hostname, "web-1.local"));
	net_config_free(&c);
	assert(!net_parse("tap:tap0", &c, &e) && c.kind == NET_TAP && !strcmp(c.path, "tap0") && !c.have_mac);
	net_config_free(&c);
	assert(!net_parse("tap-fd:7,mtu=9000", &c, &e) && c.kind == NET_TAP_FD && c.fd == 7);
	net_config_free(&c);
	assert(!net_parse("socket:/a,,b,mac=52:54:00:12:34:56", &c, &e) && c.kind == NET_SOCKET && !strcmp(c.path, "/a,b"));
	net_config_free(&c);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int rc = net_parse(bad[i].in, &c, &e);

		if (rc >= 0 || !strstr(e.text, bad[i].words)) {
			fprintf(stderr, "--net %s: %d %s\n", bad[i].in, rc, rc ? e.text : "");
			exit(1);
		}
	}
	for (int i = 0; i <= FORWARDS_MAX; i++)
		strcat(many, ",forward=tcp::1000-:22");
	assert(net_parse(many, &c, &e) == -E2BIG);
	mac_of_name("web", 0, a);
	mac_of_name("web", 0, b);
	assert(!memcmp(a, b, 6) && (a[0] & 3) == 2);
	mac_of_name("web", 1, b);
	assert(memcmp(a, b, 6));
	mac_of_name("web1", 0, b);
	assert(memcmp(a, b, 6));
}

static void test_console(void)
{
	static const struct bad bad[] = {{"", "choose from"}, {"stdio", "choose from"}, {"unix:", "must follow"},
		{"unix:/x,name=", "must follow"}, {"unix:/x,name=a/b", "a/b"}, {"unix:/x,name=012345678901234567890123", "too long"},
		{"file:/x,nmae=a", "did you mean 'name'"}};
	struct console_port c;
	struct err e;

	assert(!console_parse("unix:/tmp/x", 3, &c, &e) && !c.file && !strcmp(c.path, "/tmp/x") && !strcmp(c.name, "husk.3"));
	console_port_free(&c);
	assert(!console_parse("file:a,,b,name=org.x", 3, &c, &e) && c.file && !strcmp(c.path, "a,b") && !strcmp(c.name, "org.x"));
	console_port_free(&c);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert(console_parse(bad[i].in, 0, &c, &e) < 0 && strstr(e.text, bad[i].words));
}

static void test_vsock(void)
{
	static const struct bad bad[] = {{"", "must come first"}, {",cid=3", "must come first"}, {"/x,cid=2", "out of range"},
		{"/x,cid=4294967295", "out of range"}, {"/x,cid=-1", "out of range"}, {"/x,cid", "whole number"}, {"/x,cid=3x", "whole number"},
		{"/x,", "nothing behind a comma"}, {"/x,sid=4", "did you mean 'cid'"}};
	struct vsock_socket c;
	struct err e;

	assert(!vsock_parse("/tmp/a,,b", &c, &e) && !strcmp(c.path, "/tmp/a,b") && !c.cid);
	vsock_socket_free(&c);
	assert(!vsock_parse("v,cid=4294967294", &c, &e) && c.cid == VSOCK_CID_MAX);
	vsock_socket_free(&c);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int rc = vsock_parse(bad[i].in, &c, &e);

		if (rc >= 0 || !strstr(e.text, bad[i].words)) {
			fprintf(stderr, "--vsock %s: %d %s\n", bad[i].in, rc, rc ? e.text : "");
			exit(1);
		}
		assert(!c.text);
	}
	assert(cid_of_name("web") == cid_of_name("web") && cid_of_name("web") != cid_of_name("web1"));
	for (int i = 0; i < 1000; i++) {
		char name[16];

		snprintf(name, sizeof name, "vm%d", i);
		assert(cid_of_name(name) >= VSOCK_CID_MIN && cid_of_name(name) <= VSOCK_CID_MAX);
	}
}

enum { MS = 1000000 };

/* Dies `n` times, each `life` ms after it was ready (-1: never ready): how many deaths until it is given up, 0: never. */
static unsigned lives(unsigned n, int life, bool fault, uint64_t *waited)
{
	struct restart r = {.early = 0};
	uint64_t now = UINT64_C(1000000000000);

	*waited = 0;
	for (unsigned i = 1; i <= n; i++) {
		struct restart_death d = {.ready_ns = life < 0 ? 0 : now, .own_fault = fault};
		int64_t w;

		now += (uint64_t)(life < 0 ? 1 : life) * MS;
		d.now_ns = now;
		w = restart_after(&r, &d);
		if (w < 0)
			return i;
		assert(w <= 500 * (int64_t)MS);
		*waited += (uint64_t)w;
		now += (uint64_t)w + 20 * MS;
	}
	return 0;
}

static void test_restart(void)
{
	struct restart r = {.early = 0};
	struct restart_death d = {.now_ns = 5};
	uint64_t waited;

	/* killed from outside, for hours, every 300 ms; every second; and at once when it is ready */
	assert(!lives(50000, 300, false, &waited) && !waited);
	assert(!lives(50000, 1000, false, &waited) && !waited);
	assert(!lives(50000, 10, false, &waited) && waited);
	/* cannot begin; dies at once; dies again and again */
	assert(lives(100, -1, true, &waited) == RESTART_TRIES && waited == 100 * MS);
	assert(lives(100, -1, false, &waited) == RESTART_TRIES);
	assert(lives(100, 10, true, &waited) == RESTART_TRIES);
	assert(lives(100, 1000, true, &waited) == RESTART_FAULTS + 1);
	assert(lives(100, 5000, true, &waited) == RESTART_FAULTS + 1);
	/* a crash every ten seconds is lived with */
	assert(!lives(1000, 10000, true, &waited) && !waited);
	/* one that worked in between forgives four that did not */
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 4; k++) {
			d.now_ns += 1000 * MS;
			d.ready_ns = 0;
			assert(restart_after(&r, &d) >= 0);
		}
		d.ready_ns = d.now_ns;
		d.now_ns += 60000ull * MS;
		assert(restart_after(&r, &d) == 0);
	}
}

struct part {
	uint8_t type;
	uint32_t first, n;
};

static int image(void)
{
	int fd = memfd_create("image", 0);

	assert(fd >= 0 && !ftruncate(fd, 8 << 20));
	return fd;
}

static void put(int fd, off_t off, const void *p, size_t n)
{
	assert(pwrite(fd, p, n, off) == (ssize_t)n);
}

static int mbr(const struct part p[4])
{
	uint8_t s[512] = {0};
	int fd = image();

	put_u16(s + 510, 0xaa55);
	for (int i = 0; i < 4; i++) {
		s[446 + 16 * i + 4] = p[i].type;
		put_u32(s + 446 + 16 * i + 8, p[i].first);
		put_u32(s + 446 + 16 * i + 12, p[i].n);
	}
	put(fd, 0, s, sizeof s);
	return fd;
}

static int find(int fd)
{
	int n = rootfs_find(fd);

	close(fd);
	return n;
}

static int gpt_find(const char *kinds, uint64_t lba, uint32_t n, uint32_t size)
{
	static const uint8_t types[3][16] = {
		{0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09},
		{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4},
		{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}};
	int fd = mbr((struct part[4]){{0xee, 1, 0xffffffff}});
	uint8_t head[92] = "EFI PART";

	put_u64(head + 72, lba);
	put_u32(head + 80, n);
	put_u32(head + 84, size);
	put(fd, 512, head, sizeof head);
	for (int i = 0; kinds[i]; i++)
		if (kinds[i] != '-')
			put(fd, (off_t)(1024 + (unsigned)i * 128), types[kinds[i] == 'r' ? 0 : kinds[i] == 'd' ? 1 : 2], 16);
	return find(fd);
}

static void test_rootfs(void)
{
	int fd = image();

	assert(find(fd) == -1);
	fd = image();
	put(fd, 0x438, "\x53\xef", 2);
	assert(find(fd) == 0);
	fd = image();
	put(fd, 0, "XFSB", 4);
	assert(find(fd) == 0);
	/* a boot sector's code is no table, and does not hide the file system */
	fd = mbr((struct part[4]){{0, 0, 0}});
	put(fd, 446, "\x12\x34\x56\x78\x9a\xbc\xde\xf0", 8);
	put(fd, 0x438, "\x53\xef", 2);
	assert(find(fd) == 0);
	assert(find(mbr((struct part[4]){{0x83, 2048, 8192}})) == 1);
	assert(find(mbr((struct part[4]){{0x82, 2048, 8192}, {0, 0, 0}, {0x83, 4096, 1}})) == 3);
	assert(find(mbr((struct part[4]){{0x83, 2048, 8192}, {0x83, 4096, 1}})) == -1);
	assert(find(mbr((struct part[4]){{0x07, 2048, 8192}})) == -1);
	/* stale remains of a file system below a partition table count for nothing */
	fd = mbr((struct part[4]){{0x07, 2048, 8192}});
	put(fd, 0x438, "\x53\xef", 2);
	assert(find(fd) == -1);
	assert(gpt_find("d", 2, 128, 128) == 1);
	assert(gpt_find("e-d", 2, 128, 128) == 3);
	assert(gpt_find("edr", 2, 128, 128) == 3);
	assert(gpt_find("dd", 2, 128, 128) == -1);
	assert(gpt_find("rdr", 2, 128, 128) == -1);
	assert(gpt_find("e", 2, 128, 128) == -1);
	/* a hostile header */
	assert(gpt_find("d", UINT64_MAX, 128, 128) == -1);
	assert(gpt_find("d", UINT64_MAX / 1024, 128, 128) == -1);
	assert(gpt_find("d", 2, UINT32_MAX, 128) == 1);
	assert(gpt_find("d", 2, 128, 0) == -1);
	assert(gpt_find("d", 2, 128, UINT32_MAX) == -1);
	assert(gpt_find("d", 2, 0, 128) == -1);
}

int main(void)
{
	test_words();
	test_disk();
	test_net();
	test_console();
	test_vsock();
	test_restart();
	test_rootfs();
	return 0;
}
