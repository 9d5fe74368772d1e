/*
 * gpu/pci.h - NVIDIA cards that the bus shows, with a driver or without: what names a card that
 * the driver's library does not list. Reads small files of sysfs; not for a worker.
 */
#ifndef FG_GPU_PCI_H
#define FG_GPU_PCI_H

#include "gpu/cards.h"

enum { FG_PCI_MOST = 32 };

struct fg_pci_card {
    char address[20]; /* "0000:3b:00.0" */
    uint32_t device_id;
    const struct fg_card *card; /* NULL: an NVIDIA chip that is not in the table */
    char driver[32];            /* "" none is bound; else "nvidia", "nouveau", "vfio-pci" ... */
};

/* folder: "/sys/bus/pci/devices", or a test's. How many; sorted by address. */
uint32_t fg_pci_scan(const char *folder, struct fg_pci_card *, uint32_t room);
/* Why a card is of no use as it is, for people. driver_major: of the NVIDIA driver that runs; 0:
 * none does. */
void fg_pci_tell(const struct fg_pci_card *, uint32_t driver_major, char *out, size_t room);

#endif
