/* SPDX-License-Identifier: MIT */
/*
 * The private line between the supervisor (husk) and husk-vmm, or a device process, which knows VMM_READY, VMM_ERROR,
 * VMM_STATS, VMM_GET_STATS and VMM_QUIT only: a SOCK_SEQPACKET socketpair, one struct vmm_msg per datagram, no file
 * descriptors but with VMM_NEW_DEVICE. Either side treats the other as a
 * peer: unknown types are ignored, short datagrams close the line.
 */
#ifndef VM_CONTROL_H
#define VM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

enum vmm_msg_type {
	/* husk-vmm to supervisor */
	/*
	 * text: "key=value" lines: engine, engine_why, boot, and sandbox, once per stage as
	 * sandbox_report_format() writes it
	 */
	VMM_READY = 1,
	VMM_EXIT,      /* the last message: arg = enum vmm_exit, text: one line that says what happened */
	/*
	 * Set-up failed: text is the error line; the process exits 1, or 2 for wrong usage. A line that
	 * begins with "kernel: " or "initrd: " is shown with that file's path in place of the word.
	 */
	VMM_ERROR,
	/*
	 * Answer to VMM_GET_STATS: "name value" lines, see engine.h, cut anywhere into as many messages
	 * as they need. arg: 1 when more follow, 0 in the last one; arg2: the question's arg.
	 */
	VMM_STATS,
	/*
	 * The guest rebooted; its output is in the serial socket. The machine stands still until the
	 * answer: VMM_DO_RESET to go on, or VMM_QUIT (the supervisor has seen a panic in the output).
	 */
	VMM_RESET,
	/*
	 * The device with number arg (in the order of --vhost): arg2 1 its process serves it, 0 the line to
	 * it has ended, 2 what came instead does not fit; text: why, for people.
	 */
	VMM_DEVICE,
	/* supervisor to husk-vmm */
	VMM_BUTTON = 64, /* press the ACPI power button */
	VMM_QUIT,        /* end at once, exit reason VMM_EXIT_STOPPED */
	VMM_GET_STATS,   /* arg: any number, which comes back with the answer */
	VMM_SERIAL_BREAK,
	VMM_DO_RESET,    /* reset the machine: the answer to VMM_RESET, or the user's wish */
	VMM_NEW_DEVICE,  /* with one descriptor: the line to a new process for the device with number arg */
	VMM_GIVE_UP,     /* no other process will come for the device with number arg */
	VMM_INPUT,       /* text: an array of struct input_event (display/input.h), as from a viewer */
};

/* How a VM ended; also the exit code of husk-vmm and of "husk run" */
enum vmm_exit {
	VMM_EXIT_POWEROFF = 0, /* guest powered off */
	VMM_EXIT_ERROR = 1,    /* host or user error */
	VMM_EXIT_USAGE = 2,
	VMM_EXIT_PANIC = 3,    /* guest kernel panicked */
	VMM_EXIT_TRIPLE = 4,   /* triple fault */
	VMM_EXIT_ENGINE = 5,   /* the CPU engine could not go on */
	VMM_EXIT_STOPPED = 6,  /* husk stop, escape menu, or SIGTERM: the hard way */
	VMM_EXIT_DEBUG = 128,  /* 0xf4: the exit code is arg2, which is ((value << 1) | 1) & 0xff */
};

enum { VMM_TEXT_MAX = 3800, VMM_STATS_MAX = 64 << 10 /* all of an answer */ };
struct vmm_msg {
	uint32_t type;
	uint32_t arg, arg2;
	uint32_t len;            /* of text, without a NUL */
	char text[VMM_TEXT_MAX]; /* a datagram ends after len bytes of text */
};

/*
 * husk-vmm's side: sends one message, with text cut to VMM_TEXT_MAX. fd -1 means that nobody listens. A
 * supervisor that is gone is no error: its end shows when the line is read. Any thread.
 */
void vmm_msg_send(int fd, enum vmm_msg_type type, uint32_t arg, uint32_t arg2, const char *text);
/* Answers VMM_GET_STATS: text[0, len), cut to VMM_STATS_MAX. id: the question's arg. */
void vmm_stats_send(int fd, uint32_t id, const char *text, size_t len);

#endif
