/* See fake_nvml.h. FAKE_OLD leaves out what an old driver does not have, FAKE_EMPTY everything. */
#include "fake_nvml.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
/* The prototype in front is for the compiler's warnings only. */
#define API(name, arguments)                                                                       \
    EXPORT int name arguments;                                                                     \
    int name arguments

#ifdef FAKE_EMPTY
API(nothing_at_all, (void))
{
    return 0;
}
#else

enum { CARDS = 16, RULES = 64, LATER = 64, PROCESSES = 16, EVENTS = 32, LINE = 256 };
enum { GOOD = 0, INVALID = 2, NOT_SUPPORTED = 3, SMALL = 7, TIMEOUT = 10, LOST = 15 };

struct process {
    unsigned pid;
    unsigned long long memory;
};
struct card {
    char name[96], uuid[96], pci[32];
    double temp, slowdown, fan, watts, limit, energy, busy, total, used, pstate, sm, smmax, mem,
        memmax, virt, corrected, uncorrected, eccmode, single, both, pending, replays, throttle,
        lost, unlisted, heat, heat_since;
    unsigned cc[2], rows[4], link[4];
    struct process processes[PROCESSES];
    unsigned process_count;
};
struct event {
    struct card *from;
    unsigned long long kind, data;
};
static struct {
    pthread_mutex_t lock;
    int is_set, started;
    unsigned count;
    int init;
    char driver[80];
    struct card cards[CARDS];
    struct {
        char name[80];
        int result;
        unsigned hang_ms, calls;
    } rules[RULES];
    struct {
        double at;
        char line[LINE];
    } later[LATER];
    unsigned later_count;
    struct event events[EVENTS];
    unsigned event_count;
    long script_at;
    double started_at;
} f = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void reset_locked(void)
{
    f.is_set = 1;
    f.count = 1;
    f.init = 0;
    f.later_count = f.event_count = 0;
    f.script_at = 0;
    memset(f.rules, 0, sizeof f.rules);
    memset(f.cards, 0, sizeof f.cards);
    snprintf(f.driver, sizeof f.driver, "580.65.06");
    for (int i = 0; i < CARDS; i++) {
        struct card *c = &f.cards[i];
        *c = (struct card){.temp = 35,
                           .slowdown = 95,
                           .fan = 0,
                           .watts = 50,
                           .limit = 250,
                           .total = 24576,
                           .used = 512,
                           .pstate = 8,
                           .sm = 544,
                           .smmax = 1531,
                           .mem = 405,
                           .memmax = 3615,
                           .cc = {6, 1},
                           .link = {3, 3, 16, 16},
                           .eccmode = 1,
                           .energy = 1000};
        snprintf(c->name, sizeof c->name, "Tesla P40");
        snprintf(c->uuid, sizeof c->uuid, "GPU-%08x-0000-0000-0000-000000000000", 0xfa4e0000 + i);
        snprintf(c->pci, sizeof c->pci, "0000:%02x:00.0", 0x10 + i);
    }
}

/* ---- the script -------------------------------------------------------------------------------
 */

static int set_rule(const char *name, int result, long hang_ms)
{
    for (int i = 0; i < RULES; i++) {
        if (f.rules[i].name[0] && strcmp(f.rules[i].name, name) != 0)
            continue;
        snprintf(f.rules[i].name, sizeof f.rules[i].name, "%s", name);
        if (result >= 0)
            f.rules[i].result = result;
        if (hang_ms >= 0)
            f.rules[i].hang_ms = (unsigned)hang_ms;
        return 0;
    }
    return 1;
}

static int add_event(struct card *c, unsigned long long kind, unsigned long long data)
{
    if (f.event_count == EVENTS)
        return 1;
    f.events[f.event_count++] = (struct event){c, kind, data};
    return 0;
}

static double celsius(const struct card *c)
{
    return c->temp + (c->heat ? c->heat * (now() - c->heat_since) : 0);
}

static int set_number(struct card *c, const char *key, const char *rest)
{
    const struct {
        const char *key;
        double *to;
    } rows[] = {
        {"temp", &c->temp},
        {"slowdown", &c->slowdown},
        {"fan", &c->fan},
        {"watts", &c->watts},
        {"limit", &c->limit},
        {"energy", &c->energy},
        {"busy", &c->busy},
        {"total", &c->total},
        {"used", &c->used},
        {"pstate", &c->pstate},
        {"sm", &c->sm},
        {"smmax", &c->smmax},
        {"mem", &c->mem},
        {"memmax", &c->memmax},
        {"virt", &c->virt},
        {"single", &c->single},
        {"double", &c->both},
        {"pending", &c->pending},
        {"eccmode", &c->eccmode},
        {"corrected", &c->corrected},
        {"uncorrected", &c->uncorrected},
        {"replays", &c->replays},
        {"throttle", &c->throttle},
        {"lost", &c->lost},
        {"unlisted", &c->unlisted},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].key, key) == 0) {
            *rows[i].to = strtod(rest, NULL); /* takes 0x40 as well */
            return 0;
        }
    return 1;
}

static int set_text(struct card *c, const char *key, const char *rest)
{
    if (strcmp(key, "name") == 0)
        snprintf(c->name, sizeof c->name, "%s", rest);
    else if (strcmp(key, "uuid") == 0)
        snprintf(c->uuid, sizeof c->uuid, "%s", rest);
    else if (strcmp(key, "pci") == 0)
        snprintf(c->pci, sizeof c->pci, "%s", rest);
    else
        return 1;
    return 0;
}

static int set_card(struct card *c, const char *key, const char *rest)
{
    unsigned pid = 0;
    unsigned long long mib = 0;
    if (strcmp(key, "xid") == 0)
        return add_event(c, 8, strtoull(rest, NULL, 10));
    if (strcmp(key, "ecc") == 0)
        return add_event(c, 2, 0);
    if (strcmp(key, "cc") == 0)
        return sscanf(rest, "%u %u", &c->cc[0], &c->cc[1]) != 2;
    if (strcmp(key, "rows") == 0)
        return sscanf(rest, "%u %u %u %u", &c->rows[0], &c->rows[1], &c->rows[2], &c->rows[3]) != 4;
    if (strcmp(key, "link") == 0)
        return sscanf(rest, "%u %u %u %u", &c->link[0], &c->link[1], &c->link[2], &c->link[3]) != 4;
    if (strcmp(key, "heat") == 0) {
        c->temp = celsius(c);
        c->heat = strtod(rest, NULL);
        c->heat_since = now();
        return 0;
    }
    if (strcmp(key, "process") == 0) {
        if (sscanf(rest, "%u %llu", &pid, &mib) < 1)
            return 1;
        if (pid && c->process_count < PROCESSES)
            c->processes[c->process_count++] = (struct process){pid, mib << 20};
        else
            c->process_count = 0;
        return 0;
    }
    return set_text(c, key, rest) && set_number(c, key, rest);
}

static int do_locked(const char *line)
{
    char word[80] = "", key[80] = "";
    int used = 0, more = 0, number = 0;
    double at;
    if (line[0] == '#' || sscanf(line, "%79s%n", word, &used) != 1)
        return 0;
    line += used + (line[used] == ' ');
    if (word[0] == '@') {
        at = strtod(word + 1, NULL);
        if (f.later_count == LATER)
            return 1;
        f.later[f.later_count].at = at;
        snprintf(f.later[f.later_count++].line, LINE, "%s", line);
        return 0;
    }
    if (strcmp(word, "cards") == 0)
        return sscanf(line, "%u", &f.count) != 1 || f.count > CARDS;
    if (strcmp(word, "init") == 0)
        return sscanf(line, "%d", &f.init) != 1;
    if (strcmp(word, "driver") == 0)
        return snprintf(f.driver, sizeof f.driver, "%s", line) < 0;
    if (strcmp(word, "result") == 0)
        return sscanf(line, "%79s %d", key, &number) != 2 || set_rule(key, number, -1);
    if (strcmp(word, "hang") == 0)
        return sscanf(line, "%79s %d", key, &number) != 2 || set_rule(key, -1, number);
    unsigned index = (unsigned)strtoul(word, NULL, 10);
    if (word[0] < '0' || word[0] > '9' || index >= CARDS || sscanf(line, "%79s%n", key, &more) != 1)
        return 1;
    line += more;
    while (*line == ' ')
        line++;
    return set_card(&f.cards[index], key, line);
}

static void read_script_locked(void)
{
    char line[LINE];
    const char *path = getenv("FG_FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (file && fseek(file, f.script_at, SEEK_SET) == 0) {
        while (fgets(line, sizeof line, file) && strchr(line, '\n')) {
            f.script_at = ftell(file);
            line[strcspn(line, "\n")] = '\0';
            if (do_locked(line))
                fprintf(stderr, "fake nvml: not understood: %s\n", line);
        }
    }
    if (file)
        fclose(file);
    for (unsigned i = 0; i < f.later_count;) {
        if (now() - f.started_at < f.later[i].at) {
            i++;
            continue;
        }
        snprintf(line, sizeof line, "%s", f.later[i].line);
        f.later[i] = f.later[--f.later_count];
        (void)do_locked(line);
    }
}

/* What every function does first; 0: go on, under the lock. */
static int enter(const char *name)
{
    unsigned hang_ms = 0;
    int result = 0;
    pthread_mutex_lock(&f.lock);
    if (!f.is_set)
        reset_locked();
    read_script_locked();
    (void)set_rule(name, -1, -1);
    for (int i = 0; i < RULES; i++) {
        if (strcmp(f.rules[i].name, name) != 0)
            continue;
        f.rules[i].calls++;
        hang_ms = f.rules[i].hang_ms;
        result = f.rules[i].result;
    }
    if (hang_ms) {
        pthread_mutex_unlock(&f.lock);
        usleep(hang_ms * 1000);
        pthread_mutex_lock(&f.lock);
    }
    return result;
}

static int leave(int result)
{
    pthread_mutex_unlock(&f.lock);
    return result;
}

#define ENTER()                                                                                    \
    int entered = enter(__func__);                                                                 \
    if (entered)                                                                                   \
        return leave(entered);
#define ENTER_CARD(card)                                                                           \
    ENTER()                                                                                        \
    if ((card)->lost)                                                                              \
        return leave(LOST);

/* ---- control ----------------------------------------------------------------------------------
 */

EXPORT fake_nvml_do_fn fake_nvml_do;
EXPORT fake_nvml_reset_fn fake_nvml_reset;
EXPORT fake_nvml_calls_fn fake_nvml_calls;

int fake_nvml_do(const char *line)
{
    pthread_mutex_lock(&f.lock);
    if (!f.is_set)
        reset_locked();
    return leave(do_locked(line));
}

void fake_nvml_reset(void)
{
    pthread_mutex_lock(&f.lock);
    reset_locked();
    pthread_mutex_unlock(&f.lock);
}

unsigned fake_nvml_calls(const char *function)
{
    unsigned calls = 0;
    pthread_mutex_lock(&f.lock);
    for (int i = 0; i < RULES; i++)
        if (strcmp(f.rules[i].name, function) == 0)
            calls = f.rules[i].calls;
    pthread_mutex_unlock(&f.lock);
    return calls;
}

/* ---- the library ------------------------------------------------------------------------------
 */

#ifdef FAKE_OLD
#define INIT           nvmlInit
#define COUNT          nvmlDeviceGetCount
#define HANDLE         nvmlDeviceGetHandleByIndex
#define THROTTLE       nvmlDeviceGetCurrentClocksThrottleReasons
#define PROCESSES_CALL nvmlDeviceGetComputeRunningProcesses
#else
#define INIT           nvmlInit_v2
#define COUNT          nvmlDeviceGetCount_v2
#define HANDLE         nvmlDeviceGetHandleByIndex_v2
#define THROTTLE       nvmlDeviceGetCurrentClocksEventReasons
#define PROCESSES_CALL nvmlDeviceGetComputeRunningProcesses_v3
#endif

API(INIT, (void))
{
    ENTER()
    f.started_at = f.started_at ? f.started_at : now();
    f.started += f.init == 0;
    return leave(f.init);
}

API(nvmlShutdown, (void))
{
    ENTER()
    f.started--;
    return leave(GOOD);
}

API(nvmlSystemGetDriverVersion, (char *out, unsigned room))
{
    ENTER()
    snprintf(out, room, "%s", f.driver);
    return leave(GOOD);
}

static unsigned listed(unsigned wanted, struct card **out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < f.count; i++) {
        if (f.cards[i].unlisted)
            continue;
        if (n == wanted && out)
            *out = &f.cards[i];
        n++;
    }
    return n;
}

API(COUNT, (unsigned *out))
{
    ENTER()
    *out = listed(CARDS, NULL);
    return leave(GOOD);
}

API(HANDLE, (unsigned index, struct card **out))
{
    ENTER()
    if (index >= listed(index, out))
        return leave(INVALID);
    return leave((*out)->lost ? LOST : GOOD);
}

API(nvmlDeviceGetName, (struct card * c, char *out, unsigned room))
{
    ENTER_CARD(c)
    snprintf(out, room, "%s", c->name);
    return leave(GOOD);
}

API(nvmlDeviceGetMemoryInfo, (struct card * c, unsigned long long out[3]))
{
    ENTER_CARD(c)
    out[0] = (unsigned long long)c->total << 20;
    out[1] = (unsigned long long)(c->total - c->used) << 20;
    out[2] = (unsigned long long)c->used << 20;
    return leave(GOOD);
}

API(nvmlDeviceGetTemperature, (struct card * c, int sensor, unsigned *out))
{
    ENTER_CARD(c)
    *out = (unsigned)celsius(c);
    return leave(sensor ? INVALID : GOOD);
}

API(nvmlDeviceGetPowerUsage, (struct card * c, unsigned *out))
{
    ENTER_CARD(c)
    *out = (unsigned)(c->watts * 1000);
    return leave(GOOD);
}

API(THROTTLE, (struct card * c, unsigned long long *out))
{
    ENTER_CARD(c)
    *out = (unsigned long long)c->throttle;
    return leave(GOOD);
}

struct process_row {
    unsigned pid;
    unsigned long long memory;
#ifndef FAKE_OLD
    unsigned instances[2];
#endif
};

API(PROCESSES_CALL, (struct card * c, unsigned *count, struct process_row *out))
{
    ENTER_CARD(c)
    if (*count < c->process_count) {
        *count = c->process_count;
        return leave(SMALL);
    }
    *count = c->process_count;
    for (unsigned i = 0; i < c->process_count; i++) {
        out[i].pid = c->processes[i].pid;
        out[i].memory = c->processes[i].memory;
    }
    return leave(GOOD);
}

#ifndef FAKE_OLD

API(nvmlSystemGetCudaDriverVersion_v2, (int *out))
{
    ENTER()
    *out = 13000;
    return leave(GOOD);
}

API(nvmlDeviceGetUUID, (struct card * c, char *out, unsigned room))
{
    ENTER_CARD(c)
    snprintf(out, room, "%s", c->uuid);
    return leave(c->uuid[0] ? GOOD : NOT_SUPPORTED);
}

struct pci_row {
    char legacy[16];
    unsigned domain, bus, device, ids[2];
    char id[32];
};

API(nvmlDeviceGetPciInfo_v3, (struct card * c, struct pci_row *out))
{
    ENTER_CARD(c)
    memset(out, 0, sizeof *out);
    if (sscanf(c->pci, "%x:%x:%x", &out->domain, &out->bus, &out->device) != 3)
        return leave(NOT_SUPPORTED);
    return leave(GOOD);
}

API(nvmlDeviceGetCudaComputeCapability, (struct card * c, int *major, int *minor))
{
    ENTER_CARD(c)
    *major = (int)c->cc[0];
    *minor = (int)c->cc[1];
    return leave(GOOD);
}

API(nvmlDeviceGetVirtualizationMode, (struct card * c, int *out))
{
    ENTER_CARD(c)
    *out = (int)c->virt;
    return leave(GOOD);
}

API(nvmlDeviceGetTemperatureThreshold, (struct card * c, int which, unsigned *out))
{
    ENTER_CARD(c)
    *out = (unsigned)c->slowdown;
    return leave(which == 1 && c->slowdown ? GOOD : NOT_SUPPORTED);
}

#define NUMBER(name, type, expression)                                                             \
    API(name, (struct card * c, type * out))                                                       \
    {                                                                                              \
        ENTER_CARD(c)                                                                              \
        *out = (type)(expression);                                                                 \
        return leave(GOOD);                                                                        \
    }
NUMBER(nvmlDeviceGetFanSpeed, unsigned, c->fan)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, c->limit * 1000)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, c->energy * 1000)
NUMBER(nvmlDeviceGetPerformanceState, int, c->pstate)
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, int, c->pending)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, c->link[0])
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, c->link[1])
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, c->link[2])
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, c->link[3])
NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned, c->replays)
NUMBER(nvmlDeviceGetSupportedEventTypes, unsigned long long, 2 | 8)

API(nvmlDeviceGetUtilizationRates, (struct card * c, unsigned out[2]))
{
    ENTER_CARD(c)
    out[0] = (unsigned)c->busy;
    out[1] = (unsigned)c->busy / 2;
    return leave(GOOD);
}

API(nvmlDeviceGetClockInfo, (struct card * c, int which, unsigned *out))
{
    ENTER_CARD(c)
    *out = (unsigned)(which == 1 ? c->sm : c->mem);
    return leave(which == 1 || which == 2 ? GOOD : NOT_SUPPORTED);
}

API(nvmlDeviceGetMaxClockInfo, (struct card * c, int which, unsigned *out))
{
    ENTER_CARD(c)
    *out = (unsigned)(which == 1 ? c->smmax : c->memmax);
    return leave(which == 1 || which == 2 ? GOOD : NOT_SUPPORTED);
}

API(nvmlDeviceGetEccMode, (struct card * c, int *on, int *later))
{
    ENTER_CARD(c)
    *on = *later = (int)c->eccmode;
    return leave(GOOD);
}

API(nvmlDeviceGetTotalEccErrors, (struct card * c, int type, int counter, unsigned long long *out))
{
    ENTER_CARD(c)
    *out = (unsigned long long)(type ? c->uncorrected : c->corrected);
    return leave(counter ? NOT_SUPPORTED : GOOD);
}

API(nvmlDeviceGetRetiredPages, (struct card * c, int cause, unsigned *count, void *out))
{
    ENTER_CARD(c)
    unsigned have = (unsigned)(cause ? c->both : c->single);
    int small = have > *count;
    *count = have;
    return leave(small || !out ? (have ? SMALL : GOOD) : GOOD);
}

API(nvmlDeviceGetRemappedRows, (struct card * c, unsigned *corrected, unsigned *uncorrected,
                                unsigned *pending, unsigned *failed))
{
    ENTER_CARD(c)
    *corrected = c->rows[0];
    *uncorrected = c->rows[1];
    *pending = c->rows[2];
    *failed = c->rows[3];
    return leave(GOOD);
}

API(nvmlEventSetCreate, (void **out))
{
    ENTER()
    *out = &f;
    return leave(GOOD);
}

API(nvmlEventSetFree, (void *set))
{
    ENTER()
    return leave(set == &f ? GOOD : INVALID);
}

API(nvmlDeviceRegisterEvents, (struct card * c, unsigned long long kinds, void *set))
{
    ENTER_CARD(c)
    return leave(set == &f && kinds ? GOOD : INVALID);
}

struct event_row {
    struct card *from;
    unsigned long long kind, data;
    unsigned instances[2];
};

API(nvmlEventSetWait_v2, (void *set, struct event_row *out, unsigned timeout_ms))
{
    double until = now() + timeout_ms / 1000.0;
    ENTER()
    while (!f.event_count && now() < until) {
        leave(GOOD);
        usleep(2000);
        pthread_mutex_lock(&f.lock);
        read_script_locked();
    }
    if (!f.event_count || set != &f)
        return leave(TIMEOUT);
    *out = (struct event_row){f.events[0].from, f.events[0].kind, f.events[0].data, {0, 0}};
    memmove(&f.events[0], &f.events[1], --f.event_count * sizeof f.events[0]);
    return leave(GOOD);
}

#endif /* FAKE_OLD */
#endif /* FAKE_EMPTY */
