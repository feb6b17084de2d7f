/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images as the wrapper examines them, raw and qcow2: a size that is taken is one that can be
 * reckoned with, the same bytes have the same digest, and a refusal says something.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"
#include "monitor/wrapper/images.h"

static void must(int good)
{
	if (!good)
		abort();
}

static int check(const char *path, enum vmft_image_format format, enum vmft_disk_check how,
		 char digest[static VMFT_DIGEST_HEX])
{
	const struct vmft_disk disk = {.path = (char *)path, .format = format};
	struct vmft_error err = {0};
	struct vmft_image_facts image;
	int rc = vmft_images_check(&disk, 1, how, digest, &image, &err);

	must(rc == 0 || err.text[0] != '\0');
	if (rc == 0)
		must(image.guest_bytes <= INT64_MAX && image.max_bytes >= image.guest_bytes &&
		     image.max_bytes <= INT64_MAX);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[32], digest[2][VMFT_DIGEST_HEX];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(check(path, VMFT_IMAGE_RAW, VMFT_DISK_CHECK_FULL, digest[0]) == 0);
	must(check(path, VMFT_IMAGE_RAW, VMFT_DISK_CHECK_FULL, digest[1]) == 0);
	must(strcmp(digest[0], digest[1]) == 0);
	(void)check(path, VMFT_IMAGE_QCOW2, VMFT_DISK_CHECK_SIZE, digest[0]);
	(void)check(path, VMFT_IMAGE_QCOW2, VMFT_DISK_CHECK_FULL, digest[0]);
	(void)close(fd);
	return 0;
}

/* Version 3, 1 GiB; and 2 with the largest size there is. */
static const uint8_t version3[104] = {
    'Q', 'F', 'I', 0xfb, [7] = 3, [23] = 16, [28] = 0x40, [39] = 1, [103] = 104,
};
static const uint8_t largest[104] = {
    'Q', 'F', 'I', 0xfb, [7] = 2, [23] = 16, [24] = 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {version3, sizeof(version3)},
    {largest, sizeof(largest)},
    {0},
};
