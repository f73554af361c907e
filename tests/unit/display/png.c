/* SPDX-License-Identifier: MIT */
/* PNG files are read back by libpng's simple reader; what cannot be written is said in words. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "display/png.h"
#include "frames.h"

static void test_read_back(uint32_t w, uint32_t h)
{
	struct surface s = frame_new(w + 3, h);
	struct surface part = surface_part(&s, (struct rect){3, 0, w, h});
	png_image image = {.version = PNG_IMAGE_VERSION};
	int fd = memfd_create("png", MFD_CLOEXEC);
	uint8_t *file, *px;
	off_t len;

	for (uint32_t i = 0; i < (w + 3) * h; i++)
		*surface_row(&s, i % (w + 3), i / (w + 3)) = frame_random();
	assert(fd >= 0 && !png_write(fd, &part, "a file", NULL));
	len = lseek(fd, 0, SEEK_CUR);
	file = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fd, 0);
	assert(file != MAP_FAILED && png_image_begin_read_from_memory(&image, file, (size_t)len));
	assert(image.width == w && image.height == h && image.format == PNG_FORMAT_RGB);
	px = malloc(PNG_IMAGE_SIZE(image));
	assert(px && png_image_finish_read(&image, NULL, px, 0, NULL));
	for (uint32_t i = 0; i < w * h; i++) {
		uint32_t c = *surface_row(&part, i % w, i / w);

		assert(px[3 * i] == (c >> 16 & 0xff) && px[3 * i + 1] == (c >> 8 & 0xff) && px[3 * i + 2] == (c & 0xff));
	}
	free(px);
	munmap(file, (size_t)len);
	close(fd);
	frame_free(&s);
}

static void test_refused(void)
{
	struct surface s = frame_new(640, 480), none = {0, 0, 0, NULL};
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), p[2];
	struct err e;

	assert(full >= 0 && png_write(full, &s, "out.png", &e) == -ENOSPC && strstr(e.text, "out.png"));
	assert(png_write(-1, &s, "out.png", &e) == -EBADF && png_write(-1, &s, "out.png", NULL) == -EBADF);
	assert(png_write(full, &none, "out.png", &e) == -EINVAL && strstr(e.text, "libpng"));
	signal(SIGPIPE, SIG_IGN);
	assert(!pipe(p) && !close(p[0]) && png_write(p[1], &s, "out.png", &e) == -EPIPE);
	close(p[1]);
	close(full);
	frame_free(&s);
}

int main(void)
{
	test_read_back(1, 1);
	test_read_back(333, 77);
	test_refused();
	return 0;
}
