/* See pci.h. */
#include "gpu/pci.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NVIDIA = 0x10de, CLASS_VGA = 0x0300, CLASS_3D = 0x0302 };

/* A file of one hexadecimal number ("0x10de\n"); false: not there or something else. */
static bool read_number(const char *folder, const char *name, const char *file, uint32_t *out)
{
    char path[512], text[32], *end;
    snprintf(path, sizeof path, "%.300s/%.64s/%s", folder, name, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 2)
        return false;
    text[n] = '\0';
    unsigned long value = strtoul(text, &end, 16);
    *out = (uint32_t)value;
    return end != text && value <= UINT32_MAX;
}

static void read_driver(const char *folder, const char *name, char *out, size_t room)
{
    char path[512], target[256];
    snprintf(path, sizeof path, "%.300s/%.64s/driver", folder, name);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(target, '/');
    snprintf(out, room, "%.*s", (int)room - 1, slash ? slash + 1 : target);
}

static bool read_card(const char *folder, const char *name, struct fg_pci_card *out)
{
    uint32_t vendor, class, device;
    if (strlen(name) >= sizeof out->address || !read_number(folder, name, "vendor", &vendor) ||
        vendor != NVIDIA || !read_number(folder, name, "class", &class) ||
        !read_number(folder, name, "device", &device) ||
        (class >> 8 != CLASS_VGA && class >> 8 != CLASS_3D))
        return false;
    *out = (struct fg_pci_card){.device_id = device, .card = fg_card_of_pci(device)};
    snprintf(out->address, sizeof out->address, "%s", name);
    read_driver(folder, name, out->driver, sizeof out->driver);
    return true;
}

static int by_address(const void *a, const void *b)
{
    return strcmp(((const struct fg_pci_card *)a)->address,
                  ((const struct fg_pci_card *)b)->address);
}

uint32_t fg_pci_scan(const char *folder, struct fg_pci_card *out, uint32_t room)
{
    DIR *dir = opendir(folder);
    uint32_t count = 0;
    for (struct dirent *d; dir && count < room && (d = readdir(dir));)
        if (d->d_name[0] != '.' && read_card(folder, d->d_name, &out[count]))
            count++;
    if (dir)
        closedir(dir);
    qsort(out, count, sizeof *out, by_address);
    return count;
}

void fg_pci_tell(const struct fg_pci_card *p, uint32_t driver_major, char *out, size_t room)
{
    const struct fg_card_family *f =
        p->card ? fg_card_family_of(p->card->major, p->card->minor) : NULL;
    uint32_t last = f ? f->last_driver : 0;
    char branch[64] = "";
    if (last)
        snprintf(branch, sizeof branch, "; branch %u is the last that knows it", last);
    if (p->driver[0] && strcmp(p->driver, "nvidia") != 0)
        snprintf(out, room, "bound to %s, not to the NVIDIA driver%s", p->driver, branch);
    else if (last && driver_major > last)
        snprintf(out, room, "driver %u does not know it%s", driver_major, branch);
    else if (!p->driver[0])
        snprintf(out, room, "no driver is bound%s", branch);
    else if (!driver_major)
        snprintf(out, room, "the driver is bound, but its library NVML does not work");
    else
        snprintf(out, room, "the driver does not list it; the kernel log may say why");
}
