/* SPDX-License-Identifier: MIT */
/*
 * The framebuffer of early boot: guest memory that boot parameters tell the kernel of (efifb), so that there is a screen from
 * its first line on without firmware or driver. Pages that the guest writes are found by write tracking and copied to a
 * scanout at the frame rate; while nothing is written nothing runs.
 */
#ifndef VM_SCREEN_H
#define VM_SCREEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "mem/mem.h"

/* In the PCI window; BAR 0 of the GPU, so that its driver knows whose framebuffer goes */
#define SCREEN_BASE 0xc0000000ull
#define SCREEN_SIZE (16 * MIB)
enum { SCREEN_SIDE_MAX = 4096 };

struct screen_config {
	uint32_t w, h;              /* w * h * 4 within SCREEN_SIZE */
	int scanout_fd, event_fd;   /* borrowed */
};
struct screen;
/* Set-up; mem has its framebuffer region at SCREEN_BASE. Nothing is shown until screen_show(). */
int screen_new(struct screen **s, const struct screen_config *c, const struct mem *mem, struct err *e);
void screen_free(struct screen *s); /* ends the thread; before the engine goes */
/* Starts the thread that looks; after the sandbox was entered. evm: borrowed until screen_free(). */
int screen_run(struct screen *s, const struct cpu_engine *eng, struct engine_vm *evm, struct err *e);
void screen_touched(struct screen *s);              /* a clean page is about to be written; any thread */
void screen_viewers(struct screen *s, unsigned n);  /* nobody looks: seldom is enough. Any thread */
void screen_reset(struct screen *s);                /* the machine was reset, its vCPUs stand still: black again */
/* What struct screen_info of Linux' boot parameters says (Documentation/arch/x86/zero-page.rst), 64 bytes */
void screen_info(const struct screen *s, uint8_t info[64]);
size_t screen_stats(const struct screen *s, char *buf, size_t len);

#endif
