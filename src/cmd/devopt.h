/* SPDX-License-Identifier: MIT */
/*
 * The values of --disk, --net, --console and --vsock: "WHAT[,key[=value]]...", where a comma that belongs to a word is written
 * twice. Pure but for memory: nothing is opened here.
 */
#ifndef CMD_DEVOPT_H
#define CMD_DEVOPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { DISKS_MAX = 64, NETS_MAX = 16, CONSOLES_MAX = 8, FORWARDS_MAX = 64, DISK_SERIAL_MAX = 20, HOSTNAME_LEN_MAX = 63 };
#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX (UINT32_MAX - 1)

struct disk_config {
	char *text;             /* the words are in here */
	const char *path;
	bool socket;            /* path is the vhost-user socket of somebody else's back-end */
	bool read_only, snapshot, discard;
	const char *cache, *aio;
	const char *format;     /* "raw": whatever is at its beginning; NULL: not said */
	const char *serial;     /* NULL: none */
	unsigned queues;        /* 0: by the number of CPUs */
	unsigned queue_size;
	unsigned seg_max;       /* 0: what the queue allows */
	uint64_t size_max;      /* bytes, 0: not limited */
};

enum net_kind { NET_USER, NET_TAP, NET_TAP_FD, NET_SOCKET };
struct net_config {
	char *text;
	enum net_kind kind;
	const char *path;       /* the interface, or the socket */
	int fd;                 /* of NET_TAP_FD */
	const char *forward[FORWARDS_MAX];
	unsigned nforwards;
	bool have_mac;
	uint8_t mac[6];
	unsigned mtu;           /* 0: the back-end's default */
	bool host_loopback, restricted;
	const char *hostname;   /* NULL: the machine's name */
};

struct console_port {
	char *text;
	bool file;              /* else a socket that listens */
	const char *path;
	char name[24];
};

struct vsock_socket {
	char *text;
	const char *path;       /* listens there */
	unsigned cid;           /* 0: by the machine's name */
};

/* 0 or -errno with words. Sets all of *c; what it holds is freed by the next. */
int disk_parse(const char *s, struct disk_config *c, struct err *e);
int net_parse(const char *s, struct net_config *c, struct err *e);
/* index: of the port, for its default name */
int console_parse(const char *s, unsigned index, struct console_port *c, struct err *e);
int vsock_parse(const char *s, struct vsock_socket *c, struct err *e);
void disk_config_free(struct disk_config *c); /* harmless on what is zero */
void net_config_free(struct net_config *c);
void console_port_free(struct console_port *c);
void vsock_socket_free(struct vsock_socket *c);

const char *mac_format(const uint8_t mac[6], char buf[18]);
/* The address of a card that was given none: the same for the same machine's name and number of the card. */
void mac_of_name(const char *name, unsigned index, uint8_t mac[6]);
/* The same for a guest's address of virtio-vsock: VSOCK_CID_MIN to VSOCK_CID_MAX */
unsigned cid_of_name(const char *name);

/* One word up to a single comma, with double ones made one, in place; *s moves on, and is NULL behind the last. */
char *devopt_word(char **s);

#endif
