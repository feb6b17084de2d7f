/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: device state. */
#include "inside.h"

#include <errno.h>
#include <unistd.h>

/* QEMU's file on a copy of fd, which is closed with it. NULL: out of memory. */
static void *open_file(int fd, void *(*make)(void *channel))
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	int own = dup(fd);
	void *channel = own < 0 ? NULL : q->qio_channel_file_new_fd(own);
	void *file = channel ? make(channel) : NULL;

	if (channel)
		q->object_unref(channel); /* the file holds it */
	return file;
}

int vmft_qemu_device_state_save(int fd, bool asleep)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	void *file = open_file(fd, q->qemu_file_new_output);
	int rc;

	if (!file)
		return -ENOMEM;
	/* Without it the loading side refuses the section (global_state_post_load()). */
	if (!asleep)
		q->global_state_store_running();
	rc = q->qemu_save_device_state(file);
	return q->qemu_fclose(file) < 0 || rc < 0 ? -EIO : 0;
}

int vmft_qemu_device_state_load(int fd)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	void *file = open_file(fd, q->qemu_file_new_input);
	int rc;

	if (!file)
		return -ENOMEM;
	/* Otherwise KVM's registers of the processors would overwrite what is loaded. */
	q->cpu_synchronize_all_pre_loadvm();
	/* "QEVM" and a version, which qemu_load_device_state() does not expect. */
	(void)q->qemu_get_be32(file);
	(void)q->qemu_get_be32(file);
	rc = q->qemu_load_device_state(file);
	vmft_qemu.series->ops.sleep_forget();
	(void)q->qemu_fclose(file);
	return rc < 0 ? -EIO : 0;
}

/* A state without the section that says it is of a guest that runs. */
enum vmft_qemu_state vmft_qemu_loaded_state(void)
{
	int number;

	if (!vmft_qemu.symbols.global_state_received())
		return VMFT_QEMU_RUNS;
	number = vmft_qemu.symbols.global_state_get_runstate();
	if (number == vmft_qemu_state_number(VMFT_QEMU_RUNS))
		return VMFT_QEMU_RUNS;
	if (number == vmft_qemu_state_number(VMFT_QEMU_SLEEPS))
		return VMFT_QEMU_SLEEPS;
	return VMFT_QEMU_OTHER_STATE;
}
