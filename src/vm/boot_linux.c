/* SPDX-License-Identifier: MIT */
/*
 * Linux by its 64-bit entry (Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", and
 * zero-page.rst). A bzImage is real-mode set-up code with the header, then a decompressor that
 * carries the packed vmlinux. Neither of the two runs: the header says where the payload is, the
 * host unpacks it, and CPU 0 starts at the entry of the vmlinux, as if it came from the
 * decompressor.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "vm/boot-int.h"

/* struct boot_params */
enum {
	BP_SCREEN_INFO = 0x040, /* its length; it comes first */
	BP_ACPI_RSDP = 0x070,
	BP_E820_ENTRIES = 0x1e8,
	BP_HEADER = 0x1f1,
	BP_HEADER_END = 0x290,
	BP_E820 = 0x2d0,
	BP_SIZE = 0x1000,
};

/* struct setup_header; offsets from the start of the file, the same as in boot_params */
enum {
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_VID_MODE = 0x1fa,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP_LEN = 0x201,
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_KERNEL_VERSION = 0x20e,
	HDR_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_RAMDISK = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_CMDLINE = 0x228,
	HDR_INITRD_MAX = 0x22c,
	HDR_ALIGN = 0x230,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PAYLOAD = 0x248,
	HDR_PAYLOAD_LEN = 0x24c,
	HDR_SETUP_DATA = 0x250,
	HDR_MIN = 0x268, /* protocol 2.12 */
};
enum { LOADED_HIGH = 1, KASLR_FLAG = 2, XLF_KERNEL_64 = 1 };
enum { SETUP_RNG_SEED = 9, SEED_WORDS = 4 };
enum { VID_NORMAL = 0xffff, LOADER_UNDEFINED = 0xff };

#define PAYLOAD_MAX (1 * GIB) /* the kernel's own limit for its image */

struct linux_header {
	uint8_t bytes[BP_HEADER_END]; /* from HDR_SETUP_SECTS on used */
	char version[64];
};

bool boot_bzimage_is(const uint8_t *p, size_t len)
{
	return len >= HDR_VERSION && get_u16(p + HDR_BOOT_FLAG) == 0xaa55 &&
	       !memcmp(p + HDR_MAGIC, "HdrS", 4);
}

/*
 * The seed spares guests without RDRAND the wait for randomness. Linux 6.0 and later take it;
 * all others skip a type they do not know.
 */
static int put_seed(struct boot *b)
{
	uint64_t d[2 + SEED_WORDS] = {0, SETUP_RNG_SEED | (uint64_t)(SEED_WORDS * 8) << 32};

	for (unsigned i = 0; i < SEED_WORDS; i++)
		d[2 + i] = b->rnd.get(b->rnd.arg);
	return mem_put(b->m, BOOT_SETUP_DATA, d, sizeof d);
}

static int put_params(struct boot *b, const struct linux_header *h, bool kaslr)
{
	struct boot_map map[BOOT_MAP_MAX];
	unsigned n = boot_memory_map(b, map);
	uint8_t bp[BP_SIZE] = {0};

	if (b->c->screen_info)
		memcpy(bp, b->c->screen_info, BP_SCREEN_INFO);
	memcpy(bp + BP_HEADER, h->bytes + BP_HEADER, BP_HEADER_END - BP_HEADER);
	put_u64(bp + BP_ACPI_RSDP, b->c->acpi_rsdp);
	put_u16(bp + HDR_VID_MODE, VID_NORMAL);
	bp[HDR_LOADER] = LOADER_UNDEFINED;
	bp[HDR_LOADFLAGS] &= (uint8_t)~KASLR_FLAG;
	if (kaslr)
		bp[HDR_LOADFLAGS] |= KASLR_FLAG;
	put_u32(bp + HDR_RAMDISK, (uint32_t)b->initrd);
	put_u32(bp + HDR_RAMDISK_SIZE, (uint32_t)b->initrd_len);
	put_u32(bp + HDR_CMDLINE, BOOT_CMDLINE);
	put_u64(bp + HDR_SETUP_DATA, BOOT_SETUP_DATA);
	bp[BP_E820_ENTRIES] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = bp + BP_E820 + 20 * i;

		put_u64(p, map[i].addr);
		put_u64(p + 8, map[i].len);
		put_u32(p + 16, map[i].type);
	}
	return mem_put(b->m, BOOT_PARAMS, bp, sizeof bp);
}

/* form: for the note, "bzImage, xz payload" */
static int load(
	struct boot *b, const struct boot_elf *x, const struct linux_header *h, const char *form)
{
	uint64_t ceiling = b->low_end,
		 initrd_max = (uint64_t)get_u32(h->bytes + HDR_INITRD_MAX) + 1;
	struct boot_kaslr k;
	char kaslr[64] = "KASLR";
	int rc;

	if (x->lo < BOOT_HIGH)
		return err_set(b->e, ENOEXEC,
			"kernel: wants to be loaded below 1 MiB: give an ordinary "
			"x86-64 kernel");
	if (x->hi > b->low_end)
		return boot_no_room(b, "kernel", x->hi + b->c->initrd_len);
	rc = boot_cmdline_put(b, "", get_u32(h->bytes + HDR_CMDLINE_SIZE));
	if (!rc)
		rc = boot_initrd_place(b, x->hi, min_u64(ceiling, initrd_max));
	if (rc)
		return rc;
	if (b->initrd)
		ceiling = b->initrd;
	boot_kaslr_parse(&k, x);
	boot_kaslr_choose(&k, b, x, get_u32(h->bytes + HDR_ALIGN), ceiling);
	rc = boot_elf_load(x, b, k.phys_shift);
	if (!rc)
		rc = boot_kaslr_apply(&k, b, x);
	if (rc)
		return rc;
	if (put_seed(b) || put_params(b, h, !k.why_not))
		return boot_no_room(b, "kernel", x->hi);
	boot_enter_64(b, x->entry + k.phys_shift, BOOT_PARAMS);
	if (k.why_not)
		snprintf(kaslr, sizeof kaslr, "no KASLR: %s", k.why_not);
	snprintf(b->r->note, sizeof b->r->note, "Linux%s%s (%s, %" PRIu64 " MiB, %s)%s",
		*h->version ? " " : "", h->version, form, (x->hi - x->lo + MIB - 1) / MIB, kaslr,
		b->initrd_note);
	return 0;
}

/* Real-mode code and header: checks all that is used later. */
static int read_header(struct boot *b, struct linux_header *h)
{
	const uint8_t *p = b->c->kernel;
	size_t len = b->c->kernel_len, end, at;
	unsigned version;

	if (len < HDR_MIN)
		return err_set(b->e, ENOEXEC,
			"kernel: the bzImage is truncated after %zu bytes: get it again", len);
	version = get_u16(p + HDR_VERSION);
	if (version < 0x20c)
		return err_set(b->e, ENOEXEC,
			"kernel: too old (boot protocol %u.%02u): give Linux 3.8 or later, "
			"for 64 bits",
			version >> 8, version & 0xff);
	if (!(p[HDR_LOADFLAGS] & LOADED_HIGH))
		return err_set(b->e, ENOEXEC, "kernel: a zImage, which loads low: give a bzImage");
	if (!(get_u16(p + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return err_set(b->e, ENOEXEC,
			"kernel: a 32-bit Linux: give a 64-bit one (Debian: "
			"linux-image-amd64)");
	end = min_u64(HDR_MAGIC + p[HDR_JUMP_LEN], BP_HEADER_END);
	*h = (struct linux_header){.version = ""};
	memcpy(h->bytes + HDR_SETUP_SECTS, p + HDR_SETUP_SECTS,
		min_u64(end, len) - HDR_SETUP_SECTS);
	at = (size_t)get_u16(p + HDR_KERNEL_VERSION) + 0x200;
	for (size_t n = 0; get_u16(p + HDR_KERNEL_VERSION) && at + n < len &&
			   n + 1 < sizeof h->version && p[at + n] > ' ' && p[at + n] < 0x7f;
		n++)
		h->version[n] = (char)p[at + n];
	return 0;
}

static int find_payload(struct boot *b, const uint8_t **payload, size_t *payload_len)
{
	const uint8_t *p = b->c->kernel;
	size_t len = b->c->kernel_len;
	uint64_t sects = p[HDR_SETUP_SECTS] ? p[HDR_SETUP_SECTS] : 4, code = (sects + 1) * 512;
	uint64_t off = code + get_u32(p + HDR_PAYLOAD), n = get_u32(p + HDR_PAYLOAD_LEN);
	uint64_t whole = max_u64(code + 16ull * get_u32(p + HDR_SYSSIZE), off + n);

	if (n < 8)
		return err_set(
			b->e, ENOEXEC, "kernel: the bzImage tells of no payload: get it again");
	if (off > len || n > len - off)
		return err_set(b->e, ENOEXEC,
			"kernel: the bzImage is truncated: %zu bytes of %" PRIu64 ": get it "
			"again",
			len, whole);
	*payload = p + off;
	*payload_len = (size_t)n;
	return 0;
}

static int unknown_payload(struct boot *b, const uint8_t *p, enum boot_packed k)
{
	if (k != BOOT_PACK_NONE)
		return err_set(b->e, ENOTSUP,
			"kernel: its payload is packed with %s, which husk does not "
			"unpack: use a kernel built with gzip, xz, zstd or lz4, or its vmlinux",
			boot_packed_name(k));
	return err_set(b->e, ENOTSUP,
		"kernel: its payload is packed with something unknown (it begins with %02x "
		"%02x %02x %02x): use a kernel built with gzip, xz, zstd or lz4, or its vmlinux",
		p[0], p[1], p[2], p[3]);
}

static int load_vmlinux(struct boot *b, const struct linux_header *h, const char *packed,
	const uint8_t *p, size_t len)
{
	struct boot_elf x;
	char form[64];
	int rc;

	if (!boot_elf_is(p, len))
		return err_set(b->e, ENOEXEC,
			"kernel: its payload unpacks to something that is no ELF file: "
			"get it again");
	rc = boot_elf_parse(&x, p, len, b->e);
	if (rc)
		return rc;
	if (!x.is64)
		return err_set(
			b->e, ENOEXEC, "kernel: its payload is a 32-bit Linux: give a 64-bit one");
	snprintf(form, sizeof form, "bzImage, %s payload", packed);
	return load(b, &x, h, form);
}

int boot_bzimage_load(struct boot *b)
{
	struct linux_header h;
	const uint8_t *p = NULL;
	uint8_t *out;
	size_t len = 0, size, used, made;
	enum boot_packed k;
	int rc = read_header(b, &h);

	if (!rc)
		rc = find_payload(b, &p, &len);
	if (rc)
		return rc;
	b->r->format = BOOT_BZIMAGE;
	if (boot_elf_is(p, len))
		return load_vmlinux(b, &h, "plain", p, len);
	k = boot_packed_kind(p, len);
	if (!boot_packed_known(k))
		return unknown_payload(b, p, k);
	/* The last four bytes are the unpacked size: gzip has it anyway, to the others it is
	 * appended. */
	size = get_u32(p + len - 4);
	if (k != BOOT_PACK_GZIP)
		len -= 4;
	if (size < 64 || size > PAYLOAD_MAX)
		return err_set(b->e, ENOEXEC,
			"kernel: its %s payload claims to unpack to %zu bytes: the file is "
			"damaged; get it again",
			boot_packed_name(k), size);
	if (size > b->low_end)
		return boot_no_room(b, "kernel", size + 16 * MIB + b->c->initrd_len);
	out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (out == MAP_FAILED)
		return err_set(b->e, ENOMEM,
			"kernel: no host memory for %zu bytes to unpack it: free some", size);
	rc = boot_unpack(k, p, len, out, size, &used, &made);
	if (rc == -ENOMEM)
		rc = err_set(b->e, ENOMEM,
			"kernel: no host memory to unpack its %s payload: free some",
			boot_packed_name(k));
	else if (rc || made != size)
		rc = err_set(b->e, EBADMSG,
			"kernel: its %s payload is damaged (at byte %zu of %zu): get it again",
			boot_packed_name(k), used, len);
	else
		rc = load_vmlinux(b, &h, boot_packed_name(k), out, size);
	munmap(out, size);
	return rc;
}

int boot_vmlinux_load(struct boot *b, const struct boot_elf *x)
{
	struct linux_header h = {.version = ""};

	if (x->program)
		return boot_not_kernel(b, "this is an ordinary program");
	put_u16(h.bytes + HDR_BOOT_FLAG, 0xaa55);
	memcpy(h.bytes + HDR_MAGIC, "HdrS", 4);
	put_u16(h.bytes + HDR_VERSION, 0x20f);
	h.bytes[HDR_LOADFLAGS] = LOADED_HIGH;
	put_u32(h.bytes + HDR_INITRD_MAX, 0x7fffffff);
	put_u32(h.bytes + HDR_ALIGN, 2 * MIB);
	put_u32(h.bytes + HDR_CMDLINE_SIZE, 2047); /* COMMAND_LINE_SIZE - 1 */
	boot_elf_linux_version(x, h.version, sizeof h.version);
	b->r->format = BOOT_ELF64;
	return load(b, x, &h, "ELF vmlinux");
}
