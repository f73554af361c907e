/* SPDX-License-Identifier: MIT */
/*
 * Boot loaders. The first byte chooses: bit 0 the rest is an initrd (for a small good kernel), else
 * a kernel file; bit 1 "nokaslr"; bit 2 the kernel has an initrd. Besides crashes: a load that
 * succeeds must leave an entry state inside of RAM, one that fails must have set one line of words.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "../unit/boot/craft.h"
#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static uint64_t some(void *arg)
{
	uint64_t *n = arg;

	return *n = *n * 6364136223846793005u + 1442695040888963407u;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static struct file kernel, cpio;
	static struct mem m;
	struct x86_state s = {0};
	struct boot_result r;
	struct err e = {0};
	uint64_t n = len;
	struct boot_random random = {some, &n};
	struct boot_config c = {.append = "console=ttyS0", .ncpus = 1};
	int rc;

	if (!len)
		return 0;
	if (!m.nregions) {
		assert(!mem_init(&m, 20 * MIB, NULL));
		craft_vmlinux(&kernel, WITH_RELOCS);
		craft_cpio(&cpio, "init", 100);
	}
	if (p[0] & 2)
		c.append = "a=b nokaslr";
	c.kernel = p[0] & 1 ? kernel.p : p + 1;
	c.kernel_len = p[0] & 1 ? kernel.len : len - 1;
	if (p[0] & 1) {
		c.initrd = p + 1;
		c.initrd_len = len - 1;
	} else if (p[0] & 4) {
		c.initrd = cpio.p;
		c.initrd_len = cpio.len;
	}
	rc = boot_load_random(&c, &m, &s, &r, &random, &e);
	if (rc) {
		assert(rc < 0 && e.code == -rc && *e.text && !strchr(e.text, '\n'));
		return 0;
	}
	assert(mem_at(&m, s.rip, 1) && s.rip >= BOOT_HIGH && !e.code);
	assert(memchr(r.note, 0, sizeof r.note) && *r.note);
	return 0;
}
