/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices that no strategy can protect, and the fact that each is refused for. A device that is
 * neither here nor in the list of a strategy is refused because nobody has tried it.
 */
#include <string.h>

#include "rewrite.h"

#define LEAVE_OUT "leave it out"

static const struct vmft_refused_model models[] = {
    {"usb-redir|usb-ccid|ccid-card-passthru",
     "what it leads to is at a client of SPICE or on this host, and not on the other host",
     LEAVE_OUT},
    {"vfio-pci|vfio-pci-nohotplug|vfio-ap|usb-host|usb-serial|usb-braille|scsi-generic|scsi-block|"
     "ccid-card-emulated|virtio-input-host-pci",
     "it is a device of this host, and the other host has not got it", LEAVE_OUT},
    {"nvme", "QEMU does not save the state of NVMe", "use virtio-blk-pci or scsi-hd"},
    {"pvscsi",
     "QEMU ends when it saves this controller's state with a request that is finished and not "
     "reported (an assertion in pvscsi_pre_save())",
     "use virtio-scsi-pci"},
    {"usb-uas|usb-audio|usb-net|usb-mtp|usb-wacom-tablet",
     "QEMU does not save the state of this USB device", LEAVE_OUT},
    {"virtio-crypto-pci|virtio-snd-pci|virtio-sound-pci|ufs",
     "QEMU does not save the state of this device", LEAVE_OUT},
    {"virtio-9p-pci|vhost-user-fs-pci",
     "the files are on this host, and what a guest has open is in no state", LEAVE_OUT},
    {"vhost-vsock-pci|vhost-scsi-pci|vhost-user-blk-pci|vhost-user-scsi-pci|vhost-user-gpu-pci|"
     "vhost-user-vga|vhost-user-input-pci|vhost-user-rng-pci|vhost-user-vsock-pci|vhost-vdpa-"
     "device-"
     "pci",
     "another process or the kernel works on the guest's memory, and QEMU does not see what it "
     "writes",
     LEAVE_OUT},
    {"ivshmem-plain|ivshmem-doorbell",
     "the memory is written by others on this host, and QEMU does not see it", LEAVE_OUT},
    {"virtio-vga-gl|virtio-gpu-gl-pci|virtio-vga-rutabaga|virtio-gpu-rutabaga-pci",
     "QEMU cannot save what a graphics card of the host holds", "use virtio-vga"},
    {"pc-dimm|nvdimm|virtio-mem-pci|virtio-pmem-pci",
     "memory beside that of -m is not shared with vmft's monitor", "give all of it with -m"},
    {"amd-iommu", "QEMU does not save the state of this device", LEAVE_OUT},
    {NULL, NULL, NULL},
};

const struct vmft_refused_model *vmft_refused_model_find(const char *name)
{
	for (const struct vmft_refused_model *model = models; model->names; model++)
		if (vmft_value_in(name, model->names))
			return model;
	return NULL;
}
