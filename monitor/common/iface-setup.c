/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "iface-setup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exit-codes.h"

int vmft_iface_create(size_t ring_bytes, struct vmft_error *err)
{
	const struct vmft_iface start = {
	    .magic = VMFT_IFACE_MAGIC,
	    .version = VMFT_IFACE_VERSION,
	    .header_bytes = VMFT_IFACE_HEADER,
	    .ring_bytes = ring_bytes,
	};
	int fd = memfd_create("vmft-iface", MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0) {
		rc = -errno;
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "memfd_create: %s",
				      strerror(-rc));
	}
	if (ftruncate(fd, (off_t)(VMFT_IFACE_HEADER + ring_bytes)) < 0 ||
	    pwrite(fd, &start, sizeof(start), 0) != (ssize_t)sizeof(start) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		rc = -errno;
		close(fd);
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL,
				      "cannot make the %zu-byte log ring: %s; lower log-bytes",
				      ring_bytes, strerror(-rc));
	}
	return fd;
}

static int header_check(const struct vmft_iface *iface, uint64_t file_bytes, struct vmft_error *err)
{
	if (iface->magic != VMFT_IFACE_MAGIC || iface->version != VMFT_IFACE_VERSION)
		return vmft_error_set(
		    err, -EPROTO, VMFT_EXIT_INTERNAL,
		    "shared memory of another version (%u, this is %u): agent and "
		    "monitor must come from one build",
		    iface->version, VMFT_IFACE_VERSION);
	if (iface->header_bytes != VMFT_IFACE_HEADER || iface->ring_bytes == 0 ||
	    (iface->ring_bytes & (iface->ring_bytes - 1)) != 0 || file_bytes < VMFT_IFACE_HEADER ||
	    iface->ring_bytes != file_bytes - VMFT_IFACE_HEADER)
		return vmft_error_set(
		    err, -EPROTO, VMFT_EXIT_INTERNAL,
		    "shared memory header is garbage (ring of %llu bytes in a file "
		    "of %llu)",
		    (unsigned long long)iface->ring_bytes, (unsigned long long)file_bytes);
	return 0;
}

int vmft_iface_map(int fd, struct vmft_iface **ret_iface, struct vmft_ring *ret_ring,
		   struct vmft_error *err)
{
	struct vmft_iface *iface;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0) {
		rc = -errno;
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "shared memory: %s",
				      strerror(-rc));
	}
	if (st.st_size < (off_t)VMFT_IFACE_HEADER)
		return vmft_error_set(err, -EPROTO, VMFT_EXIT_INTERNAL,
				      "descriptor %d is no vmft shared memory", fd);
	iface = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (iface == MAP_FAILED) {
		rc = -errno;
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "shared memory: %s",
				      strerror(-rc));
	}
	rc = header_check(iface, (uint64_t)st.st_size, err);
	if (rc < 0) {
		munmap(iface, (size_t)st.st_size);
		return rc;
	}
	*ret_ring = (struct vmft_ring){
	    .data = (uint8_t *)iface + VMFT_IFACE_HEADER,
	    .size = iface->ring_bytes,
	    .head = &iface->log_head,
	    .tail = &iface->log_tail,
	};
	*ret_iface = iface;
	return 0;
}
