/* The table of cards.h, and reading the spellings of a card. */
#include "gpu/cards.h"

#include <stdio.h>
#include <string.h>

enum { MOST_NEAREST = 4 };

/* A card is listed once a variant; names of boards with more dies give the figures of one.
 * Sources: NVIDIA's data sheets; PCI ids as the public list of them has it. */
static const struct fg_card cards[] = {
    /* name, variant, memory, capability, dies, GiB, GB/s, SMs, W, PCI ids */
    {"K10", "", "GDDR5", 3, 0, 2, 4, 160, 8, 225, {0x118f}},
    {"K20", "", "GDDR5", 3, 5, 1, 5, 208, 13, 225, {0x101f, 0x1022, 0x1026, 0x1028}},
    {"K20X", "", "GDDR5", 3, 5, 1, 6, 250, 14, 235, {0x101e, 0x1020, 0x1021}},
    {"K40",
     "",
     "GDDR5",
     3,
     5,
     1,
     12,
     288,
     15,
     235,
     {0x1023, 0x1024, 0x1027, 0x1029, 0x102a, 0x102e}},
    {"K80", "", "GDDR5", 3, 7, 2, 12, 240, 13, 300, {0x102d}},
    {"M4", "", "GDDR5", 5, 2, 1, 4, 88, 8, 75, {0x1431}},
    {"M6", "", "GDDR5", 5, 2, 1, 8, 147, 12, 100, {0x13f3}},
    {"M10", "", "GDDR5", 5, 0, 4, 8, 83, 5, 225, {0x13bd}},
    {"M40", "24 GB", "GDDR5", 5, 2, 1, 24, 288, 24, 250, {0x17fd}},
    {"M40", "12 GB", "GDDR5", 5, 2, 1, 12, 288, 24, 250, {0}}, /* the same id as 24 GB */
    {"M60", "", "GDDR5", 5, 2, 2, 8, 160, 16, 300, {0x13f2}},
    {"P4", "", "GDDR5", 6, 1, 1, 8, 192, 20, 75, {0x1bb3}},
    {"P6", "", "GDDR5", 6, 1, 1, 16, 192, 16, 90, {0x1bb4}},
    {"P40", "", "GDDR5X", 6, 1, 1, 24, 346, 30, 250, {0x1b38}},
    {"P100", "16 GB", "HBM2", 6, 0, 1, 16, 732, 56, 250, {0x15f8, 0x15f9}},
    {"P100", "12 GB", "HBM2", 6, 0, 1, 12, 549, 56, 250, {0x15f7}},
    {"V100", "16 GB", "HBM2", 7, 0, 1, 16, 900, 80, 300, {0x1db1, 0x1db2, 0x1db3, 0x1db4, 0x1df5}},
    {"V100", "32 GB", "HBM2", 7, 0, 1, 32, 900, 80, 300, {0x1db5, 0x1db6, 0x1db7, 0x1db8}},
    {"V100S", "", "HBM2", 7, 0, 1, 32, 1134, 80, 250, {0x1df6}},
    {"T4", "", "GDDR6", 7, 5, 1, 16, 320, 40, 70, {0x1eb8}},
    {"A2", "", "GDDR6", 8, 6, 1, 16, 200, 10, 60, {0}}, /* the same id as A16 */
    {"A10", "", "GDDR6", 8, 6, 1, 24, 600, 72, 150, {0x2236}},
    {"A16", "", "GDDR6", 8, 6, 4, 16, 200, 10, 250, {0x25b6}},
    {"A30", "", "HBM2", 8, 0, 1, 24, 933, 56, 165, {0x20b7}},
    {"A40", "", "GDDR6", 8, 6, 1, 48, 696, 84, 300, {0x2235}},
    {"A100", "40 GB", "HBM2", 8, 0, 1, 40, 1555, 108, 400, {0x20b0, 0x20b1, 0x20f1}},
    {"A100", "80 GB", "HBM2e", 8, 0, 1, 80, 2039, 108, 400, {0x20b2, 0x20b5}},
    {"L4", "", "GDDR6", 8, 9, 1, 24, 300, 58, 72, {0x27b8}},
    {"L40", "", "GDDR6", 8, 9, 1, 48, 864, 142, 300, {0x26b5}},
    {"L40S", "", "GDDR6", 8, 9, 1, 48, 864, 142, 350, {0x26b9}},
    {"H100", "SXM 80 GB", "HBM3", 9, 0, 1, 80, 3350, 132, 700, {0x2330}},
    {"H100", "PCIe 80 GB", "HBM2e", 9, 0, 1, 80, 2039, 114, 350, {0x2331}},
    {"H100", "NVL 94 GB", "HBM3", 9, 0, 1, 94, 3938, 132, 400, {0x2321}},
    {"H200", "", "HBM3e", 9, 0, 1, 141, 4800, 132, 700, {0x2335, 0x233b}},
};
enum { CARDS = sizeof cards / sizeof *cards };

static const struct fg_card_family families[] = {
    {3, 0, "Kepler", 470, 102},  {3, 5, "Kepler", 470, 118},  {3, 7, "Kepler", 470, 118},
    {5, 0, "Maxwell", 580, 129}, {5, 2, "Maxwell", 580, 129}, {6, 0, "Pascal", 580, 129},
    {6, 1, "Pascal", 580, 129},  {7, 0, "Volta", 580, 129},   {7, 5, "Turing", 0, 0},
    {8, 0, "Ampere", 0, 0},      {8, 6, "Ampere", 0, 0},      {8, 9, "Ada", 0, 0},
    {9, 0, "Hopper", 0, 0},      {10, 0, "Blackwell", 0, 0},  {10, 3, "Blackwell", 0, 0},
    {12, 0, "Blackwell", 0, 0},
};
enum { FAMILIES = sizeof families / sizeof *families };

uint32_t fg_card_count(void)
{
    return CARDS;
}

const struct fg_card *fg_card_at(uint32_t index)
{
    return index < CARDS ? &cards[index] : NULL;
}

uint32_t fg_card_family_count(void)
{
    return FAMILIES;
}

const struct fg_card_family *fg_card_family_at(uint32_t index)
{
    return index < FAMILIES ? &families[index] : NULL;
}

const struct fg_card_family *fg_card_family_of(int32_t major, int32_t minor)
{
    for (uint32_t i = 0; i < FAMILIES; i++)
        if (families[i].major == major && families[i].minor == minor)
            return &families[i];
    return NULL;
}

const struct fg_card *fg_card_of_pci(uint32_t device_id)
{
    for (uint32_t i = 0; i < CARDS; i++)
        for (uint32_t j = 0; j < FG_CARD_PCI && cards[i].pci[j]; j++)
            if (cards[i].pci[j] == device_id)
                return &cards[i];
    return NULL;
}

/* ---- words of a name --------------------------------------------------------------------------
 */

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The next run of letters and digits; empty at the end. */
static struct fg_str next_word(struct fg_str *rest)
{
    size_t from = 0, to;
    while (from < rest->len && !is_letter(rest->ptr[from]) && !is_digit(rest->ptr[from]))
        from++;
    for (to = from; to < rest->len && (is_letter(rest->ptr[to]) || is_digit(rest->ptr[to])); to++)
        ;
    struct fg_str word = {rest->ptr + from, to - from};
    *rest = fg_str_from(*rest, to);
    return word;
}

static bool is_filler(struct fg_str word)
{
    static const char *const words[] = {"nvidia", "tesla", "grid", "gpu", "card"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (fg_str_ieq(word, fg_str_of(words[i])))
            return true;
    return false;
}

/* K40m, K40c, K20Xm: the letter names the cooler, not the card. */
static bool is_same_name(struct fg_str word, const char *name)
{
    struct fg_str n = fg_str_of(name);
    if (fg_str_ieq(word, n))
        return true;
    bool kepler = name[0] == 'K' && word.len == n.len + 1;
    return kepler && fg_str_ieq((struct fg_str){word.ptr, n.len}, n) &&
           strchr("MCSTD", upper(word.ptr[n.len])) && word.ptr[n.len];
}

static const struct fg_card *card_of_word(struct fg_str word)
{
    for (uint32_t i = 0; i < CARDS; i++)
        if (is_same_name(word, cards[i].name))
            return &cards[i];
    return NULL;
}

/* "16GB" -> 16; 0: not a size. */
static uint32_t gigabytes(struct fg_str word)
{
    uint64_t n;
    if (word.len < 3 || !fg_str_ieq(fg_str_from(word, word.len - 2), FG_STR("GB")) ||
        !fg_str_u64((struct fg_str){word.ptr, word.len - 2}, &n) || n > 4096)
        return 0;
    return (uint32_t)n;
}

struct words {                  /* what a name as the driver says it tells */
    const struct fg_card *card; /* first of that name */
    uint32_t gib;
    bool pcie, nvl;
};

static struct words words_of(struct fg_str name)
{
    struct words w = {0};
    for (struct fg_str word = next_word(&name); word.len; word = next_word(&name)) {
        if (!w.card && !is_filler(word))
            w.card = card_of_word(word);
        if (!w.gib)
            w.gib = gigabytes(word);
        w.pcie = w.pcie || fg_str_ieq(word, FG_STR("PCIE"));
        w.nvl = w.nvl || fg_str_ieq(word, FG_STR("NVL"));
    }
    return w;
}

/* What the name says of the board counts more than the memory does, as ECC takes some of it. */
static uint32_t distance_of(const struct fg_card *c, const struct words *w)
{
    uint32_t far = w->gib > c->memory_gib ? w->gib - c->memory_gib : c->memory_gib - w->gib;
    if (!w->gib)
        far = 0;
    if (strstr(c->variant, "PCIe") && !w->pcie)
        far += 1000;
    if (strstr(c->variant, "SXM") && (w->pcie || w->nvl))
        far += 1000;
    if (strstr(c->variant, "NVL") && !w->nvl)
        far += 1000;
    return far;
}

const struct fg_card *fg_card_of_name(struct fg_str name, uint64_t memory_bytes)
{
    struct words w = words_of(name);
    const struct fg_card *best = w.card;
    uint32_t least = UINT32_MAX;
    if (!w.gib)
        w.gib = (uint32_t)((memory_bytes + (1ull << 29)) >> 30);
    for (uint32_t i = 0; w.card && i < CARDS; i++) {
        if (strcmp(cards[i].name, w.card->name) != 0)
            continue;
        uint32_t far = distance_of(&cards[i], &w);
        if (far < least) {
            least = far;
            best = &cards[i];
        }
    }
    return best;
}

/* ---- spellings --------------------------------------------------------------------------------
 */

static bool starts_without_case(struct fg_str text, const char *prefix, struct fg_str *rest)
{
    struct fg_str p = fg_str_of(prefix);
    if (text.len < p.len || !fg_str_ieq((struct fg_str){text.ptr, p.len}, p))
        return false;
    *rest = fg_str_from(text, p.len);
    return true;
}

/* "6.1", "61", "120", and behind a prefix "sm_61", "compute_61", "cc 6.1"; "90a" is 9.0. */
static bool read_capability(struct fg_str text, struct fg_card_spelling *out)
{
    static const char *const prefixes[] = {"sm_", "sm", "compute_", "cc"};
    bool has_prefix = false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && !has_prefix; i++)
        has_prefix = starts_without_case(text, prefixes[i], &text);
    text = fg_str_trim(text);
    if (has_prefix && text.len && strchr("aAfF", text.ptr[text.len - 1]))
        text.len--;
    uint32_t digits[4], n = 0, dot = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.' && n && !dot)
            dot = n;
        else if (is_digit(text.ptr[i]) && n < 4)
            digits[n++] = (uint32_t)(text.ptr[i] - '0');
        else
            return false;
    }
    if (n < 2 || n > 3 || (dot && dot != n - 1) || text.ptr[text.len - 1] == '.')
        return false;
    uint32_t major = n == 3 ? digits[0] * 10 + digits[1] : digits[0];
    const struct fg_card_family *f = fg_card_family_of((int32_t)major, (int32_t)digits[n - 1]);
    if (!f)
        return false;
    *out = (struct fg_card_spelling){
        .kind = FG_SPELL_CAPABILITY, .name = f->name, .major = f->major, .minor = f->minor};
    return true;
}

static bool read_family(struct fg_str text, struct fg_card_spelling *out)
{
    for (uint32_t i = 0; i < FAMILIES; i++) {
        if (!fg_str_ieq(text, fg_str_of(families[i].name)))
            continue;
        *out = (struct fg_card_spelling){.kind = FG_SPELL_FAMILY, .name = families[i].name};
        return true;
    }
    return false;
}

/* Fillers, then the name, then at most what a driver says behind it. */
static bool read_name(struct fg_str text, struct fg_card_spelling *out)
{
    struct fg_str rest = text, word = next_word(&rest);
    while (word.len && is_filler(word))
        word = next_word(&rest);
    const struct fg_card *card = word.len ? card_of_word(word) : NULL;
    if (!card)
        return false;
    *out = (struct fg_card_spelling){.kind = FG_SPELL_NAME, .name = card->name};
    return true;
}

/* Letters to change, add or drop between two short words. */
static uint32_t edits(struct fg_str a, const char *b)
{
    uint32_t row[9], n = (uint32_t)strlen(b);
    if (a.len > 8 || n > 8)
        return 9;
    for (uint32_t j = 0; j <= n; j++)
        row[j] = j;
    for (uint32_t i = 1; i <= a.len; i++) {
        uint32_t corner = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= n; j++) {
            uint32_t change = corner + (upper(a.ptr[i - 1]) != upper(b[j - 1]));
            uint32_t least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            corner = row[j];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[n];
}

static void find_nearest(struct fg_str text, char *out, size_t room)
{
    struct fg_str word = next_word(&text);
    size_t at = 0;
    uint32_t count = 0;
    out[0] = '\0';
    while (word.len && is_filler(word))
        word = next_word(&text);
    for (uint32_t far = 1; far <= 2 && !count; far++) {
        for (uint32_t i = 0; i < CARDS && count < MOST_NEAREST; i++) {
            bool again = i && strcmp(cards[i].name, cards[i - 1].name) == 0;
            if (again || edits(word, cards[i].name) != far || word.len < far * 2)
                continue;
            int n = snprintf(out + at, room - at, "%s%s", count ? ", " : "", cards[i].name);
            if (n < 0 || (size_t)n >= room - at)
                return;
            at += (size_t)n;
            count++;
        }
    }
}

bool fg_card_read(struct fg_str text, struct fg_card_spelling *out, char *nearest, size_t room)
{
    text = fg_str_trim(text);
    if (read_capability(text, out) || read_family(text, out) || read_name(text, out))
        return true;
    if (nearest && room)
        find_nearest(text, nearest, room);
    return false;
}

bool fg_card_matches(const struct fg_card_spelling *s, struct fg_str name, int32_t major,
                     int32_t minor)
{
    const struct fg_card *card = fg_card_of_name(name, 0);
    const struct fg_card_family *family = fg_card_family_of(
        major < 0 && card ? card->major : major, minor < 0 && card ? card->minor : minor);
    if (s->kind == FG_SPELL_NAME)
        return card && strcmp(card->name, s->name) == 0;
    if (s->kind == FG_SPELL_FAMILY)
        return family && strcmp(family->name, s->name) == 0;
    return family && family->major == s->major && family->minor == s->minor;
}
