/* SPDX-License-Identifier: MIT */
/* Seeds for vsock.c: connections both ways by hand, and noise, of which each byte means something. vsock-seeds FOLDER */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* Of start(), give(), client_step() and packet_step(), in the order in which they pick. */
#define BEGIN           0, 5, 1, 31
#define READ            6
#define CLIENT(n, line) 0, n, 0, line
#define WRITES(n, len)  0, n, 1, (len) & 255, (len) >> 8
#define READS(n)        0, n, 2
#define GOES(n)         0, n, 4
#define PACKET(op, len, src, flags)     2, 0, 0, (len) & 255, (len) >> 8, op, src, 0, flags, 1, 1 /* to who was heard last */
#define TO(op, len, src, dst, flags)    2, 0, 0, (len) & 255, (len) >> 8, op, src, 1, dst, flags, 1, 1
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, MUCH = 60000 };

static const uint8_t out[] = {BEGIN, CLIENT(0, 0), READ, PACKET(RESPONSE, 0, 1, 0), WRITES(0, 200), READ, PACKET(RW, 9, 1, 0),
	READS(0), PACKET(SHUTDOWN, 0, 1, 2), WRITES(0, 9), PACKET(SHUTDOWN, 0, 1, 3), READ, GOES(0)};
static const uint8_t in[] = {BEGIN, CLIENT(1, 1), TO(REQUEST, 0, 2, 1, 0), TO(RW, 9, 2, 1, 0), WRITES(1, 1796), READS(1), READ,
	TO(CREDIT_UPDATE, 0, 2, 1, 0), GOES(1), READ, TO(RST, 0, 2, 1, 0)};
/* a client that does not read: too much; and just so much that its buffer is in use, then the guest goes */
static const uint8_t full[] = {BEGIN, CLIENT(1, 1), TO(REQUEST, 0, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0),
	TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), READ};
static const uint8_t drain[] = {BEGIN, CLIENT(1, 1), TO(REQUEST, 0, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0),
	TO(RW, MUCH, 2, 1, 0), TO(RW, MUCH, 2, 1, 0), READS(1), TO(RW, 99, 2, 1, 0), READS(1), TO(RST, 0, 2, 1, 0), READS(1),
	READS(1), READS(1), READS(1)};

static int put(const char *folder, const char *name, const uint8_t *p, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "wb");
	return !f || fwrite(p, 1, n, f) != n || fclose(f);
}

int main(int argc, char **argv)
{
	uint64_t x = 88172645463325252u; /* xorshift64 */
	uint8_t noise[1000];

	if (argc != 2 || (mkdir(argv[1], 0777) && errno != EEXIST))
		return 1;
	for (size_t i = 0; i < sizeof noise; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = (uint8_t)(x >> 32);
	}
	return put(argv[1], "out", out, sizeof out) || put(argv[1], "in", in, sizeof in) ||
	       put(argv[1], "full", full, sizeof full) || put(argv[1], "drain", drain, sizeof drain) ||
	       put(argv[1], "noise", noise, sizeof noise);
}
