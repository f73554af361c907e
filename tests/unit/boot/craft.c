/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/util.h"
#include "craft.h"

void craft_add(struct file *f, const void *p, size_t len)
{
	assert(len <= CRAFT_MAX - f->len);
	if (len)
		memcpy(f->p + f->len, p, len);
	f->len += len;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = (uint8_t)(seed >> 16 & 0x3f); /* packs a little */
	}
}

void craft_vmlinux(struct file *f, unsigned with)
{
	static const char banner[] =
		"Linux version %s\0Linux version 9.8.7-test (somebody@somewhere) #1";
	Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = VM_ENTRY,
		.e_phoff = sizeof h,
		.e_ehsize = sizeof h,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3};
	Elf64_Phdr ph[3] = {
		{PT_LOAD, PF_R | PF_X, VM_TEXT_OFF, VM_VIRT + VM_TEXT, VM_TEXT, VM_TEXT_FILE,
			VM_TEXT_MEM, 4096},
		{PT_LOAD, PF_R | PF_W, VM_DATA_OFF, VM_VIRT + VM_DATA, VM_DATA, VM_DATA_LEN,
			VM_DATA_LEN, 4096},
		{PT_NULL, 0, 0, 0, 0, 0, 0, 0},
	};
	/* A note of another kind before the one that counts */
	struct {
		uint32_t namesz, descsz, type;
		char name[4];
		uint32_t desc[2];
	} note[2] = {{4, 8, 17, "Xen", {1, 2}}, {4, 8, 18, "Xen", {VM_PVH, 0}}};

	memset(f->p, 0, VM_LEN);
	f->len = VM_LEN;
	fill(f->p + VM_TEXT_OFF, VM_TEXT_FILE, 1);
	fill(f->p + VM_DATA_OFF, VM_DATA_LEN, 2);
	memcpy(f->p + VM_TEXT_OFF + 0x800, banner, sizeof banner);
	put_u64(f->p + VM_TEXT_OFF + (VM_REL64 - VM_TEXT), VM_VIRT + VM_DATA);
	put_u32(f->p + VM_TEXT_OFF + (VM_RELINV - VM_TEXT), 0x12345678);
	put_u32(f->p + VM_DATA_OFF + (VM_REL32 - VM_DATA), (uint32_t)(VM_VIRT + VM_TEXT));
	if (with & WITH_PVH) {
		ph[2] = (Elf64_Phdr){PT_NOTE, PF_R, 0x400, 0, 0, sizeof note, sizeof note, 4};
		memcpy(f->p + 0x400, note, sizeof note);
	}
	memcpy(f->p, &h, sizeof h);
	memcpy(f->p + sizeof h, ph, sizeof ph);
	if (with & (WITH_RELOCS | WITH_NEW_RELOCS)) {
		uint32_t v = (uint32_t)VM_VIRT;
		uint32_t old[6] = {0, v + VM_REL64, 0, v + VM_RELINV, 0, v + VM_REL32};
		uint32_t new[4] = {0, v + VM_REL64, 0, v + VM_REL32};

		if (with & WITH_RELOCS)
			craft_add(f, old, sizeof old);
		else
			craft_add(f, new, sizeof new);
	}
}

void craft_pack(struct file *f, enum boot_packed k, const uint8_t *p, size_t len)
{
	uint8_t *out = f->p + f->len;
	size_t cap = CRAFT_MAX - f->len, n = 0;

	switch (k) {
	case BOOT_PACK_NONE:
		craft_add(f, p, len);
		return;
	case BOOT_PACK_GZIP: {
		z_stream z = {.next_in = p,
			.avail_in = (uInt)len,
			.next_out = out,
			.avail_out = (uInt)cap};

		assert(deflateInit2(&z, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) ==
			Z_OK);
		assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
		n = z.total_out;
		deflateEnd(&z);
		break;
	}
	case BOOT_PACK_XZ: { /* as the kernel's build does: x86 filter, CRC32 */
		lzma_options_lzma opt;
		lzma_filter filters[] = {{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &opt},
			{LZMA_VLI_UNKNOWN, NULL}};

		assert(!lzma_lzma_preset(&opt, 6));
		assert(lzma_stream_buffer_encode(
			       filters, LZMA_CHECK_CRC32, NULL, p, len, out, &n, cap) == LZMA_OK);
		break;
	}
	case BOOT_PACK_ZSTD: {
		ZSTD_CCtx *c = ZSTD_createCCtx();

		assert(c);
		ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
		n = ZSTD_compress2(c, out, cap, p, len);
		assert(!ZSTD_isError(n));
		ZSTD_freeCCtx(c);
		break;
	}
	case BOOT_PACK_LZ4: /* small blocks end early only at the end: one is enough */
		put_u32(out, 0x184c2102);
		n = (size_t)LZ4_compress_default(
			(const char *)p, (char *)out + 8, (int)len, (int)cap - 8);
		assert(n);
		put_u32(out + 4, (uint32_t)n);
		n += 8;
		break;
	default:
		assert(0);
	}
	f->len += n;
}

void craft_bzimage(struct file *f, const struct file *vmlinux, enum boot_packed k)
{
	enum { SECTS = 2, CODE = (SECTS + 1) * 512, PAYLOAD = 0x80 };
	uint8_t *p = f->p, size[4];

	memset(p, 0, CODE + PAYLOAD);
	f->len = CODE + PAYLOAD;
	craft_pack(f, k, vmlinux->p, vmlinux->len);
	put_u32(size, (uint32_t)vmlinux->len);
	if (k != BOOT_PACK_GZIP && k != BOOT_PACK_NONE)
		craft_add(f, size, 4);
	memcpy(p, "MZ", 2);
	p[0x1f1] = SECTS;
	put_u32(p + 0x1f4, (uint32_t)(f->len - CODE) / 16);
	put_u16(p + 0x1fe, 0xaa55);
	p[0x200] = 0xeb;
	p[0x201] = 0x6a; /* header ends at 0x26c */
	memcpy(p + 0x202, "HdrS", 4);
	put_u16(p + 0x206, 0x20f);
	put_u16(p + 0x20e, 0x300 - 0x200);
	p[0x211] = 1;
	put_u32(p + 0x22c, 0x7fffffff);
	put_u32(p + 0x230, 0x200000);
	p[0x234] = 1;
	p[0x235] = 0x15;
	put_u16(p + 0x236, 0x7f);
	put_u32(p + 0x238, 2047);
	put_u32(p + 0x248, PAYLOAD);
	put_u32(p + 0x24c, (uint32_t)(f->len - CODE - PAYLOAD));
	put_u64(p + 0x258, VM_TEXT);
	put_u32(p + 0x260, 0x100000);
	strcpy((char *)p + 0x300, "9.8.7-test (somebody@somewhere) #1");
}

void craft_multiboot(struct file *f, int kind)
{
	uint32_t flags = kind == MB_FLAT ? 0x10003 : 0x3, *at;
	uint32_t header[8] = {0x1badb002, flags, 0u - 0x1badb002 - flags};
	uint32_t off = kind == MB_FLAT ? 0 : 0x1000;

	memset(f->p, 0, MB_FILE + 0x1000);
	f->len = off + MB_FILE;
	fill(f->p + off, MB_FILE, 3);
	at = header + 3;
	*at++ = MB_LOAD + 0x20; /* where this header goes */
	*at++ = MB_LOAD;
	*at++ = MB_LOAD + MB_FILE;
	*at++ = MB_LOAD + MB_MEM;
	*at++ = MB_ENTRY;
	memcpy(f->p + off + 0x20, header, sizeof header);
	if (kind == MB_ELF32) {
		Elf32_Ehdr h = {
			.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_386,
			.e_version = EV_CURRENT,
			.e_entry = 0xc0000000 + MB_ENTRY /* higher half: virtual */,
			.e_phoff = sizeof h,
			.e_ehsize = sizeof h,
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 1};
		Elf32_Phdr ph = {
			PT_LOAD, off, 0xc0000000 + MB_LOAD, MB_LOAD, MB_FILE, MB_MEM, PF_R, 4096};

		memcpy(f->p, &h, sizeof h);
		memcpy(f->p + sizeof h, &ph, sizeof ph);
	} else if (kind == MB_ELF64) {
		Elf64_Ehdr h = {
			.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = MB_ENTRY,
			.e_phoff = sizeof h,
			.e_ehsize = sizeof h,
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1};
		Elf64_Phdr ph = {PT_LOAD, PF_R, off, MB_LOAD, MB_LOAD, MB_FILE, MB_MEM, 4096};

		memcpy(f->p, &h, sizeof h);
		memcpy(f->p + sizeof h, &ph, sizeof ph);
	}
}

static void cpio_member(struct file *f, const char *name, size_t body)
{
	static const uint8_t zero[4];
	size_t start = f->len;
	char h[128];

	snprintf(h, sizeof h, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1,
		0x81a4, 0, 0, 1, 0, body, 0, 0, 0, 0, strlen(name) + 1, 0);
	craft_add(f, h, 110);
	craft_add(f, name, strlen(name) + 1);
	craft_add(f, zero, -(f->len - start) % 4);
	assert(body <= CRAFT_MAX - f->len);
	fill(f->p + f->len, body, (unsigned)body);
	f->len += body;
	craft_add(f, zero, -(f->len - start) % 4);
}

void craft_cpio(struct file *f, const char *name, size_t body)
{
	cpio_member(f, name, body);
	cpio_member(f, "TRAILER!!!", 0);
}
