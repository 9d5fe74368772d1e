/*
 * gpu/cards.h - the table of data centre cards ("Tesla" and what came after), and every way to
 * spell one: `P40`, `Tesla P40`, `6.1`, `61`, `sm_61`, `pascal`. Pure; any thread.
 *
 * Figures are those of the data sheets, for one die: a K80 is two cards to CUDA. docs/cards.md is
 * this table for people.
 */
#ifndef FG_GPU_CARDS_H
#define FG_GPU_CARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "util/str.h"

enum { FG_CARD_PCI = 10 };

struct fg_card { /* static const */
    const char *name;       /* "P100" */
    const char *variant;    /* "PCIe 12 GB"; "" when there is only one */
    const char *memory;     /* "GDDR5X" */
    uint8_t major, minor;   /* compute capability */
    uint8_t dies;           /* on one board */
    uint16_t memory_gib, gb_per_s, multiprocessors; /* of a die */
    uint16_t watts;         /* of the board */
    uint16_t pci[FG_CARD_PCI]; /* device ids, 0 ends */
};
struct fg_card_family { /* one compute capability */
    uint8_t major, minor;
    const char *name;     /* "Pascal" */
    uint16_t last_driver; /* branch that is the last to know it; 0: none is known */
    uint16_t last_cuda;   /* toolkit: 118 is 11.8; 0: none is known */
};

uint32_t fg_card_count(void);
const struct fg_card *fg_card_at(uint32_t index);
uint32_t fg_card_family_count(void);
const struct fg_card_family *fg_card_family_at(uint32_t index);
/* NULL: a capability we do not know. */
const struct fg_card_family *fg_card_family_of(int32_t major, int32_t minor);

/* Of a card that reports itself: the name as the driver says it ("Tesla P100-PCIE-16GB", "NVIDIA
 * A100 80GB PCIe"), memory to tell variants apart (0: not known). NULL: not in the table. */
const struct fg_card *fg_card_of_name(struct fg_str name, uint64_t memory_bytes);
const struct fg_card *fg_card_of_pci(uint32_t device_id);

enum fg_card_spelling_kind { FG_SPELL_NAME = 0, FG_SPELL_CAPABILITY = 1, FG_SPELL_FAMILY = 2 };
struct fg_card_spelling {
    int32_t kind;
    const char *name;     /* of the card or of the family; static */
    uint8_t major, minor; /* CAPABILITY */
};
/* False: no card is spelled so; nearest (may be NULL) then gets names that are near. */
bool fg_card_read(struct fg_str text, struct fg_card_spelling *, char *nearest, size_t room);
/* Does a card of this name (as the driver says it) and capability (-1: not known) match? */
bool fg_card_matches(const struct fg_card_spelling *, struct fg_str name, int32_t major,
                     int32_t minor);

#endif
