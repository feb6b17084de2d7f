/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices that a protected guest may have, and the objects that they use. The rules of the
 * strategy (rules-*.c) list the models.
 */
#include <string.h>

#include "keys.h"
#include "rewrite.h"

int vmft_attach_disk(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model)
{
	size_t index;
	int r = vmft_disk_attach(rw, arg, &index);

	if (r < 0)
		return r;
	vmft_disk_fact(rw, vmft_fact_keys(rw, model->name, arg, model->rules), index);
	return 0;
}

static int attach_nic(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model,
		      bool virtio)
{
	size_t index;
	int r = vmft_nic_attach(rw, arg, virtio, &index);

	if (r < 0)
		return r;
	vmft_fact_ordered(rw, vmft_arena_printf(rw->arena, "%s nic=%zu",
						vmft_fact_keys(rw, model->name, arg, model->rules),
						index));
	return 0;
}

int vmft_attach_nic(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model)
{
	return attach_nic(rw, arg, model, true);
}

int vmft_attach_other_nic(struct vmft_rewrite *rw, struct vmft_arg *arg,
			  const struct vmft_model *model)
{
	return attach_nic(rw, arg, model, false);
}

int vmft_attach_rng(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model)
{
	vmft_fact_ordered(rw, vmft_fact_keys(rw, model->name, arg, model->rules));
	return 0;
}

int vmft_attach_serial(struct vmft_rewrite *rw, struct vmft_arg *arg,
		       const struct vmft_model *model)
{
	const char *index = vmft_get(arg, "index");
	const char *next = vmft_arena_printf(rw->arena, "%zu", rw->serial_count);

	(void)model;
	if (!vmft_get(arg, "chardev"))
		return vmft_refuse(rw, arg, "no chardev= is given", "use -serial chardev:ID");
	if (index && strcmp(index, next) != 0)
		return vmft_refuse(rw, arg, "serial ports must be given in the order of index",
				   "use -serial chardev:ID for each port in turn");
	rw->serial_count++;
	return 0;
}

int vmft_attach_plain(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model)
{
	vmft_fact_ordered(rw, vmft_fact_keys(rw, model->name, arg, model->rules));
	return 0;
}

int vmft_attach_removable(struct vmft_rewrite *rw, struct vmft_arg *arg,
			  const struct vmft_model *model)
{
	if (vmft_get(arg, "drive") && !vmft_disk_is_empty(rw, arg))
		return vmft_attach_disk(rw, arg, model);
	return vmft_attach_plain(rw, arg, model);
}

static const struct vmft_model *model_find(const struct vmft_rewrite *rw, const char *name)
{
	for (const struct vmft_model *model = rw->rules->models; model->name; model++)
		if (strcmp(model->name, name) == 0 ||
		    (model->alias && strcmp(model->alias, name) == 0))
			return model;
	return NULL;
}

/* libvirt's way to say which thread serves which queue of a disk, as a list. */
static void drop_queue_threads(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char list[] = "iothread-vq-mapping";
	bool dropped = false;

	for (size_t i = arg->set->count; i-- > 0;) {
		if (strncmp(arg->set->items[i].key, list, sizeof(list) - 1) != 0)
			continue;
		vmft_optset_remove(arg->set, arg->set->items[i].key);
		dropped = true;
	}
	if (dropped)
		vmft_replaced(rw, arg,
			      "iothread-vq-mapping= left out: QEMU's main loop does the "
			      "work of all queues, which the guest cannot see");
}

int vmft_check_device(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *driver = vmft_get(arg, "driver");
	const struct vmft_model *model = driver ? model_find(rw, driver) : NULL;

	const struct vmft_refused_model *refused = driver ? vmft_refused_model_find(driver) : NULL;

	if (driver)
		rw->devices[rw->device_count++] = arg;
	if (refused)
		return vmft_refuse(rw, arg, refused->why, refused->todo);
	if (!model)
		return vmft_refuse(
		    rw, arg, vmft_arena_printf(rw->arena, "this device is %s", vmft_unknown(rw)),
		    rw->rules->use_device);
	drop_queue_threads(rw, arg);
	return vmft_check_keys(rw, arg, model->rules);
}

/* What a thread of its own does is in no order with the rest: QEMU's main loop does it instead. */
static void drop_iothread(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (!arg->set || !vmft_get(arg, "iothread"))
		return;
	vmft_replaced(rw, arg,
		      "iothread= left out: QEMU's main loop does its work, which the guest "
		      "cannot see");
	vmft_optset_remove(arg->set, "iothread");
}

void vmft_devices_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->device_count; i++) {
		struct vmft_arg *arg = rw->devices[i];
		const struct vmft_model *model = model_find(rw, vmft_get(arg, "driver"));

		if (!model || model->attach(rw, arg, model) < 0)
			continue;
		drop_iothread(rw, arg);
		if (model->ioeventfd)
			vmft_optset_set_bool(arg->set, "ioeventfd", false);
	}
}

int vmft_check_object(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *type = vmft_get(arg, "qom-type");
	const char *id = vmft_get(arg, "id");
	const char *rewritten;

	if (type && strncmp(type, "memory-backend-", strlen("memory-backend-")) == 0)
		return vmft_check_backend(rw, arg);
	if (type && strcmp(type, "iothread") == 0) {
		arg->drop = true;
		return 0;
	}
	/* Keys and certificates, and who may use them: nothing of the guest. */
	if (type && vmft_value_in(type, "secret|tls-creds-anon|tls-creds-psk|tls-creds-x509|"
					"authz-list|authz-list-file|authz-pam|authz-simple"))
		return 0;
	if (!type || !vmft_value_in(type, "rng-builtin|rng-random|rng-egd"))
		return vmft_check_unknown(rw, arg);
	if (!id)
		return vmft_refuse(rw, arg, "no id= is given", "add id=NAME");
	/* A daemon (rng-egd) would have to be there on both hosts. */
	if (rw->rules->host_rng && strcmp(type, "rng-random") == 0)
		return vmft_check_keys(rw, arg, rw->rules->host_rng);
	rewritten = vmft_arena_printf(rw->arena, "rng-builtin,id=%s", id);
	if (strcmp(type, "rng-builtin") != 0)
		vmft_replaced(rw, arg,
			      "replaced by rng-builtin, which takes the same bytes from "
			      "the host's kernel");
	arg->text = rewritten;
	arg->set = NULL;
	return 0;
}
