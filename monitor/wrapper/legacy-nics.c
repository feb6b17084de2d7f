/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The older ways to give a guest a network card: -nic tap,model=M and -net nic,model=M -net tap.
 * They become what they mean: a -netdev, and a -device where the option for the card stood. With
 * -net QEMU would put a hub between the two, which a guest with one card and one tap cannot see.
 */
#include <errno.h>
#include <string.h>

#include "rewrite.h"

#define ID "vmft-nic"

/* Of the card; all other keys are the netdev's. */
static const char *const card_keys[] = {"model", "mac", "macaddr", "addr", "id", "name", "vectors"};

static int refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, "the card and its tap must be given by themselves",
			   vmft_arena_printf(rw->arena,
					     "use -netdev tap,id=net0,... -device %s,netdev=net0",
					     rw->rules->nic_model));
}

static bool is_card_key(const char *key)
{
	for (size_t i = 0; i < sizeof(card_keys) / sizeof(card_keys[0]); i++)
		if (strcmp(card_keys[i], key) == 0)
			return true;
	return false;
}

static const char *model_of(const struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *model = vmft_get(arg, "model");

	if (model)
		return strcmp(model, "virtio") == 0 ? "virtio-net-pci" : model;
	return rw->scan.q35 ? "e1000e" : "e1000";
}

/* The card as a -device; arg is what the line has of it. */
static int add_card(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *netdev)
{
	struct vmft_arg *card = &rw->args[rw->arg_count++];
	const char *mac = vmft_get(arg, "macaddr");

	*card = (struct vmft_arg){.option = vmft_option_find("device")};
	card->set = vmft_arena_alloc(rw->arena, 1, sizeof(*card->set));
	card->set->arena = rw->arena;
	card->set->bare_first = true;
	vmft_optset_set(card->set, "driver", model_of(rw, arg));
	vmft_optset_set(card->set, "netdev", netdev);
	mac = mac ? mac : vmft_get(arg, "mac");
	if (mac)
		vmft_optset_set(card->set, "mac", mac);
	if (vmft_get(arg, "addr"))
		vmft_optset_set(card->set, "addr", vmft_get(arg, "addr"));
	if (vmft_get(arg, "id"))
		vmft_optset_set(card->set, "id", vmft_get(arg, "id"));
	card->text = vmft_optset_format(card->set);
	return vmft_check_device(rw, card);
}

/* The tap as a -netdev, in the place of arg. */
static int make_netdev(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *id)
{
	struct vmft_optset *set = vmft_arena_alloc(rw->arena, 1, sizeof(*set));

	set->arena = rw->arena;
	set->bare_first = true;
	for (size_t i = 0; i < arg->set->count; i++)
		if (!is_card_key(arg->set->items[i].key))
			vmft_optset_set(set, arg->set->items[i].key, arg->set->items[i].value);
	vmft_optset_set(set, "id", id);
	arg->set = set;
	arg->emit = "netdev";
	return vmft_check_netdev(rw, arg);
}

static int pair_up(struct vmft_rewrite *rw, const struct vmft_arg *card, struct vmft_arg *tap)
{
	const char *id = vmft_arena_printf(rw->arena, ID "%zu", rw->netdev_count);
	const struct vmft_arg given = *card;
	const struct vmft_optset keys = *card->set;
	int r = make_netdev(rw, tap, id);
	struct vmft_arg copy = given;
	struct vmft_optset copied = keys;

	copy.set = &copied;
	if (add_card(rw, &copy, id) < 0)
		r = -EINVAL;
	if (r == 0)
		vmft_replaced(rw, &given, "the same card and tap as -netdev and -device");
	return r;
}

int vmft_check_nic(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *type = vmft_get(arg, "type");

	if (type && strcmp(type, "none") == 0)
		return 0;
	if (!type || !vmft_value_in(type, "tap|bridge"))
		return refuse(rw, arg);
	return pair_up(rw, arg, arg);
}

/* A line with one card and one tap; which of them comes first does not matter. */
int vmft_check_net(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *type = vmft_get(arg, "type");
	struct vmft_arg **place;

	if (type && strcmp(type, "none") == 0)
		return 0;
	if (!type || !vmft_value_in(type, "nic|tap|bridge") || vmft_get(arg, "netdev"))
		return refuse(rw, arg);
	place = strcmp(type, "nic") == 0 ? &rw->legacy_card : &rw->legacy_tap;
	if (*place)
		return refuse(rw, arg);
	*place = arg;
	if (rw->legacy_card && rw->legacy_tap) {
		rw->legacy_card->drop = true;
		return pair_up(rw, rw->legacy_card, rw->legacy_tap);
	}
	return 0;
}

void vmft_legacy_nics_finish(struct vmft_rewrite *rw)
{
	if (rw->legacy_card && !rw->legacy_tap)
		(void)refuse(rw, rw->legacy_card);
	if (rw->legacy_tap && !rw->legacy_card)
		(void)refuse(rw, rw->legacy_tap);
}
