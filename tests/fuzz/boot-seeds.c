/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-boot into the folder that is its argument: every format, crafted. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../unit/boot/craft.h"

static struct file f, vmlinux, cpio;
static const char *dir;

static void save(const char *name, unsigned selector)
{
	char path[4096];
	FILE *out;

	snprintf(path, sizeof path, "%s/%s-%u", dir, name, selector);
	out = fopen(path, "wb");
	assert(out && fputc((int)selector, out) == (int)selector);
	assert(fwrite(f.p, 1, f.len, out) == f.len && !fclose(out));
	f.len = 0;
}

int main(int argc, char **argv)
{
	char name[64];

	assert(argc == 2);
	dir = argv[1];
	mkdir(dir, 0777);
	for (unsigned with = 0; with <= (WITH_PVH | WITH_RELOCS); with++) {
		snprintf(name, sizeof name, "vmlinux-%u", with);
		craft_vmlinux(&f, with);
		save(name, with % 3 * 2);
	}
	craft_cpio(&cpio, "init", 3000);
	for (int k = BOOT_PACK_NONE; k <= BOOT_PACK_LZ4; k++) {
		snprintf(name, sizeof name, "bzimage-%d", k);
		craft_vmlinux(&vmlinux, k & 1 ? WITH_RELOCS : WITH_NEW_RELOCS);
		craft_bzimage(&f, &vmlinux, (enum boot_packed)k);
		save(name, 4);
		snprintf(name, sizeof name, "initrd-%d", k);
		craft_pack(&f, (enum boot_packed)k, cpio.p, cpio.len);
		save(name, 1);
		snprintf(name, sizeof name, "two-%d", k);
		craft_cpio(&f, "microcode", 500);
		craft_pack(&f, (enum boot_packed)k, cpio.p, cpio.len);
		save(name, 3);
	}
	for (int k = MB_ELF32; k <= MB_FLAT; k++) {
		snprintf(name, sizeof name, "multiboot-%d", k);
		craft_multiboot(&f, k);
		save(name, 4);
	}
	return 0;
}
