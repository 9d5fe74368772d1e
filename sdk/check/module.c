/* The module as a file, and the table it gives. */
#include "check/check.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 1 << 30 };

/* ---- the symbols it exports, read from the file ---------------------------------------------- */

static struct fg_str read_file(struct bench *b)
{
    FILE *f = fopen(b->options->module, "rb");
    long size = -1;
    if (f && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    char *bytes = size > 0 && size < FILE_MOST ? malloc((size_t)size) : NULL;
    if (!bytes || fseek(f, 0, SEEK_SET) != 0 || fread(bytes, 1, (size_t)size, f) != (size_t)size)
        broken(b, "the module cannot be read");
    fclose(f);
    return (struct fg_str){bytes, (size_t)size};
}

static bool inside(struct fg_str file, uint64_t at, uint64_t len)
{
    return at <= file.len && len <= file.len - at;
}

static void judge_symbol(struct bench *b, struct fg_str file, const Elf64_Shdr *names,
                         const Elf64_Sym *sym, uint32_t *entries)
{
    const int bind = ELF64_ST_BIND(sym->st_info), seen = ELF64_ST_VISIBILITY(sym->st_other);
    if (sym->st_shndx == SHN_UNDEF || bind == STB_LOCAL || seen == STV_HIDDEN ||
        seen == STV_INTERNAL || sym->st_name >= names->sh_size)
        return;
    const char *name = file.ptr + names->sh_offset + sym->st_name;
    const size_t room = names->sh_size - sym->st_name;
    if (strnlen(name, room) == room)
        return;
    if (strcmp(name, "fg_plugin_entry") == 0)
        (*entries)++;
    else if (strncmp(name, "__", 2) != 0) /* left by compilers and sanitizers */
        broken(b, "the module exports \"%.100s\": fg_plugin_entry is the only exported symbol "
                  "(build with -fvisibility=hidden)", name);
}

static void exports_one_symbol(struct bench *b)
{
    const struct fg_str file = read_file(b);
    Elf64_Ehdr head;
    uint32_t entries = 0;
    if (file.len < sizeof head || memcmp(file.ptr, ELFMAG, SELFMAG) != 0 ||
        file.ptr[EI_CLASS] != ELFCLASS64)
        skipped(b, "the module is no 64-bit ELF file");
    memcpy(&head, file.ptr, sizeof head);
    if (!inside(file, head.e_shoff, (uint64_t)head.e_shnum * sizeof(Elf64_Shdr)))
        skipped(b, "the module has no section headers");
    Elf64_Shdr *sections = calloc((size_t)head.e_shnum + 1, sizeof *sections);
    if (!sections)
        skipped(b, "no memory");
    memcpy(sections, file.ptr + head.e_shoff, head.e_shnum * sizeof *sections);
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        const Elf64_Shdr *table = &sections[i];
        if (table->sh_type != SHT_DYNSYM || table->sh_link >= head.e_shnum ||
            !inside(file, table->sh_offset, table->sh_size))
            continue;
        const Elf64_Shdr *names = &sections[table->sh_link];
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table->sh_size &&
                              inside(file, names->sh_offset, names->sh_size);
             at += sizeof(Elf64_Sym)) {
            Elf64_Sym sym;
            memcpy(&sym, file.ptr + table->sh_offset + at, sizeof sym);
            judge_symbol(b, file, names, &sym, &entries);
        }
    }
    if (entries != 1)
        broken(b, "the module does not export fg_plugin_entry");
    free(sections);
    free((char *)file.ptr);
}

/* ---- the entry and the table ----------------------------------------------------------------- */

static const struct fg_plugin *enter(struct bench *b, uint32_t abi)
{
    const struct fg_plugin *(*entry)(uint32_t) = NULL;
    void *module = dlopen(b->options->module, RTLD_NOW | RTLD_LOCAL);
    if (module)
        *(void **)&entry = dlsym(module, "fg_plugin_entry");
    if (!entry)
        broken(b, "the module does not export fg_plugin_entry");
    return entry(abi);
}

static void serves_only_hosts_of_its_major(struct bench *b)
{
    module_open(b);
    step(b, "fg_plugin_entry() of another major");
    if (enter(b, (FG_ABI_MAJOR + 1) << 16))
        broken(b, "fg_plugin_entry() accepts a host of ABI major %u: it must be equal",
               FG_ABI_MAJOR + 1);
    step(b, "fg_plugin_entry() of a later minor");
    if (enter(b, FG_ABI + 7) != b->plugin)
        broken(b, "fg_plugin_entry() refuses a host of ABI %u.%u: the minor may differ",
               FG_ABI_MAJOR, FG_ABI_MINOR + 7);
    if (enter(b, FG_ABI) != b->plugin)
        broken(b, "fg_plugin_entry() gives another table the second time");
}

static void has_every_function(struct bench *b)
{
    static const struct {
        const char *name;
        size_t at;
    } functions[] = {
#define F(name) {#name, offsetof(struct fg_plugin, name)}
        F(open), F(close), F(device), F(list),   F(load),    F(info),    F(unload),
        F(submit), F(resume), F(cancel), F(release), F(metrics), F(extension),
#undef F
    };
    module_open(b);
    const struct fg_plugin *p = b->plugin;
    if (p->size < sizeof *p)
        broken(b, "table->size is %u, at least %zu is due", p->size, sizeof *p);
    if (p->abi >> 16 != FG_ABI_MAJOR)
        broken(b, "table->abi is of major %u, the host's is %u", p->abi >> 16, FG_ABI_MAJOR);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function;
        memcpy(&function, (const char *)p + functions[i].at, sizeof function);
        if (!function)
            broken(b, "table->%s is NULL: no function may be", functions[i].name);
    }
    if (!p->name || !p->name[0] || !p->version || !p->version[0])
        broken(b, "table->name or ->version is empty");
}

const struct check checks_module[] = {
    {"it exports fg_plugin_entry and nothing else", exports_one_symbol, NEEDS_NOTHING},
    {"it serves hosts of its ABI major, whatever the minor", serves_only_hosts_of_its_major,
     NEEDS_NOTHING},
    {"its table has a name, a version and every function", has_every_function, NEEDS_NOTHING},
    {NULL, NULL, 0},
};
