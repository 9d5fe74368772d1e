/*
 * See nvml.h. The declarations below are ours, made from the library's documented interface: they
 * hold for every version since the R331 drivers, and newer names are tried before older ones.
 */
#include "gpu/nvml.h"

#include <dlfcn.h>
#include <link.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/str.h"

enum { /* results of the library */
       GOOD = 0,
       INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9,
       GPU_IS_LOST = 15,
       RESET_REQUIRED = 16,
       LIBRARY_MISMATCH = 18,
};
enum { PROCESSES = 64 };

typedef struct fg_nvml_device device;

struct pci_info { /* versions 2 and 3: the short address first in both */
    char short_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32]; /* version 3; 2 has four reserved numbers here */
};
struct memory_info {
    unsigned long long total, free, used;
};
struct utilization {
    unsigned gpu, memory;
};
struct process_old {
    unsigned pid;
    unsigned long long memory;
};
struct process_new { /* versions 2 and 3 */
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};
struct event_data { /* version 1 ends before the instances */
    device *from;
    unsigned long long kind, data;
    unsigned gpu_instance, compute_instance;
};
struct event_set;

typedef int call_void(void);
typedef int call_text(char *, unsigned);
typedef int call_int(int *);
typedef int call_uint(unsigned *);
typedef int call_handle(unsigned, device **);
typedef int call_device_text(device *, char *, unsigned);
typedef int call_device_int(device *, int *);
typedef int call_device_two_ints(device *, int *, int *);
typedef int call_device_uint(device *, unsigned *);
typedef int call_device_of(device *, int, unsigned *);
typedef int call_device_u64(device *, unsigned long long *);
typedef int call_pci(device *, struct pci_info *);
typedef int call_memory(device *, struct memory_info *);
typedef int call_utilization(device *, struct utilization *);
typedef int call_ecc(device *, int type, int counter, unsigned long long *);
typedef int call_ecc_at(device *, int type, int counter, int location, unsigned long long *);
typedef int call_pages(device *, int cause, unsigned *count, unsigned long long *);
typedef int call_rows(device *, unsigned *, unsigned *, unsigned *, unsigned *);
typedef int call_processes(device *, unsigned *count, void *);
typedef int call_set_create(struct event_set **);
typedef int call_set_free(struct event_set *);
typedef int call_register(device *, unsigned long long, struct event_set *);
typedef int call_wait(struct event_set *, struct event_data *, unsigned);

/* X(type, field, name, older name or NULL) */
#define CALLS(X)                                                                                   \
    X(call_void, init, "nvmlInit_v2", "nvmlInit")                                                  \
    X(call_void, shutdown, "nvmlShutdown", NULL)                                                   \
    X(call_text, driver_version, "nvmlSystemGetDriverVersion", NULL)                               \
    X(call_int, cuda_version, "nvmlSystemGetCudaDriverVersion_v2",                                 \
      "nvmlSystemGetCudaDriverVersion")                                                            \
    X(call_uint, count, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")                             \
    X(call_handle, handle, "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")          \
    X(call_device_text, name, "nvmlDeviceGetName", NULL)                                           \
    X(call_device_text, uuid, "nvmlDeviceGetUUID", NULL)                                           \
    X(call_pci, pci, "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2")                         \
    X(call_device_two_ints, capability, "nvmlDeviceGetCudaComputeCapability", NULL)                \
    X(call_device_int, virtualization, "nvmlDeviceGetVirtualizationMode", NULL)                    \
    X(call_memory, memory, "nvmlDeviceGetMemoryInfo", NULL)                                        \
    X(call_device_of, temperature, "nvmlDeviceGetTemperature", NULL)                               \
    X(call_device_of, threshold, "nvmlDeviceGetTemperatureThreshold", NULL)                        \
    X(call_device_uint, fan, "nvmlDeviceGetFanSpeed", NULL)                                        \
    X(call_device_uint, power, "nvmlDeviceGetPowerUsage", NULL)                                    \
    X(call_device_uint, power_limit, "nvmlDeviceGetEnforcedPowerLimit",                            \
      "nvmlDeviceGetPowerManagementLimit")                                                         \
    X(call_device_u64, energy, "nvmlDeviceGetTotalEnergyConsumption", NULL)                        \
    X(call_utilization, utilization, "nvmlDeviceGetUtilizationRates", NULL)                        \
    X(call_device_int, pstate, "nvmlDeviceGetPerformanceState", NULL)                              \
    X(call_device_of, clock, "nvmlDeviceGetClockInfo", NULL)                                       \
    X(call_device_of, max_clock, "nvmlDeviceGetMaxClockInfo", NULL)                                \
    X(call_device_u64, throttle, "nvmlDeviceGetCurrentClocksEventReasons",                         \
      "nvmlDeviceGetCurrentClocksThrottleReasons")                                                 \
    X(call_device_two_ints, ecc_mode, "nvmlDeviceGetEccMode", NULL)                                \
    X(call_ecc, ecc_total, "nvmlDeviceGetTotalEccErrors", NULL)                                    \
    X(call_ecc_at, ecc_memory, "nvmlDeviceGetMemoryErrorCounter", NULL)                            \
    X(call_pages, retired, "nvmlDeviceGetRetiredPages", NULL)                                      \
    X(call_device_int, retired_pending, "nvmlDeviceGetRetiredPagesPendingStatus", NULL)            \
    X(call_rows, remapped, "nvmlDeviceGetRemappedRows", NULL)                                      \
    X(call_device_uint, link_gen, "nvmlDeviceGetCurrPcieLinkGeneration", NULL)                     \
    X(call_device_uint, link_gen_max, "nvmlDeviceGetMaxPcieLinkGeneration", NULL)                  \
    X(call_device_uint, link_width, "nvmlDeviceGetCurrPcieLinkWidth", NULL)                        \
    X(call_device_uint, link_width_max, "nvmlDeviceGetMaxPcieLinkWidth", NULL)                     \
    X(call_device_uint, replays, "nvmlDeviceGetPcieReplayCounter", NULL)                           \
    X(call_processes, processes, "nvmlDeviceGetComputeRunningProcesses_v3",                        \
      "nvmlDeviceGetComputeRunningProcesses_v2")                                                   \
    X(call_processes, processes_old, "nvmlDeviceGetComputeRunningProcesses", NULL)                 \
    X(call_set_create, set_create, "nvmlEventSetCreate", NULL)                                     \
    X(call_set_free, set_free, "nvmlEventSetFree", NULL)                                           \
    X(call_device_u64, event_kinds, "nvmlDeviceGetSupportedEventTypes", NULL)                      \
    X(call_register, watch, "nvmlDeviceRegisterEvents", NULL)                                      \
    X(call_wait, wait, "nvmlEventSetWait_v2", "nvmlEventSetWait")

#define FIELD(type, field, name, older) type *field;
struct fg_nvml {
    void *library;
    bool started;
    char path[256], driver[80];
    int32_t cuda;
    struct event_set *set;
    CALLS(FIELD)
};

/* ---- finding the library ----------------------------------------------------------------------
 */

static const char *const names[] = {"libnvidia-ml.so.1", "libnvidia-ml.so"};
static const char *const places[] = {
    "/run/opengl-driver/lib", /* NixOS */
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64", /* containers */
    "/usr/local/nvidia/lib",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
};

static void *load(const char *path)
{
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* By name first, as the system's own configuration of libraries knows best. */
static void *find(void)
{
    char path[256];
    void *library = NULL;
    for (size_t n = 0; !library && n < sizeof names / sizeof *names; n++)
        library = load(names[n]);
    for (size_t p = 0; !library && p < sizeof places / sizeof *places; p++) {
        for (size_t n = 0; !library && n < sizeof names / sizeof *names; n++) {
            snprintf(path, sizeof path, "%s/%s", places[p], names[n]);
            library = load(path);
        }
    }
    return library;
}

static void take_path(struct fg_nvml *n, const char *asked)
{
    struct link_map *map = NULL;
    bool known = dlinfo(n->library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name;
    snprintf(n->path, sizeof n->path, "%s", known ? map->l_name : asked ? asked : names[0]);
}

static void *symbol(void *library, const char *name, const char *older)
{
    void *found = dlsym(library, name);
    return found || !older ? found : dlsym(library, older);
}

static void bind_calls(struct fg_nvml *n)
{
/* A cast of the pointer's own storage: ISO C has none between the two kinds of pointer. */
#define BIND(type, field, name, older) *(void **)&n->field = symbol(n->library, name, older);
    CALLS(BIND)
#undef BIND
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int32_t start(struct fg_nvml *n, struct fg_error *err)
{
    if (!n->init || !n->count || !n->handle)
        return fg_fail(err, FG_DEVICE_LOST, "%.150s is not NVML: a basic function is missing",
                       n->path);
    int rc = n->init();
    if (rc == DRIVER_NOT_LOADED)
        return fg_fail(err, FG_DEVICE_LOST, "NVML: the NVIDIA kernel driver is not loaded");
    if (rc == LIBRARY_MISMATCH)
        return fg_fail(err, FG_DEVICE_LOST,
                       "NVML: library and kernel driver are of different versions; after an "
                       "update the machine must boot");
    if (rc != GOOD)
        return fg_fail(err, FG_DEVICE_LOST, "NVML: cannot start, result %d", rc);
    n->started = true;
    if (!n->driver_version || n->driver_version(n->driver, sizeof n->driver) != GOOD)
        n->driver[0] = '\0';
    n->driver[sizeof n->driver - 1] = '\0';
    int cuda = 0;
    if (n->cuda_version && n->cuda_version(&cuda) == GOOD)
        n->cuda = cuda;
    return FG_OK;
}

int32_t fg_nvml_open(const char *path, struct fg_nvml **out, struct fg_error *err)
{
    struct fg_nvml *n = calloc(1, sizeof *n);
    if (!n)
        return fg_fail(err, FG_NO_MEMORY, "no memory for NVML");
    n->library = path ? load(path) : find();
    if (!n->library) {
        const char *why = path ? dlerror() : NULL;
        free(n);
        return path ? fg_fail(err, FG_NOT_FOUND, "no NVML: %.200s", why ? why : path)
                    : fg_fail(err, FG_NOT_FOUND,
                              "no NVML: libnvidia-ml.so.1 is in none of the usual places "
                              "(gpu.library names another)");
    }
    take_path(n, path);
    bind_calls(n);
    int32_t rc = start(n, err);
    if (rc != FG_OK) {
        fg_nvml_close(n);
        return rc;
    }
    *out = n;
    return FG_OK;
}

void fg_nvml_close(struct fg_nvml *n)
{
    if (!n)
        return;
    fg_nvml_unwatch(n);
    if (n->started && n->shutdown)
        (void)n->shutdown();
    dlclose(n->library);
    free(n);
}

const char *fg_nvml_path(const struct fg_nvml *n)
{
    return n->path;
}

const char *fg_nvml_driver(const struct fg_nvml *n)
{
    return n->driver;
}

int32_t fg_nvml_cuda(const struct fg_nvml *n)
{
    return n->cuda;
}

/* ---- cards ------------------------------------------------------------------------------------
 */

static int32_t answer_of(int rc)
{
    return rc == GOOD             ? FG_NVML_GOOD
           : rc == GPU_IS_LOST    ? FG_NVML_LOST
           : rc == RESET_REQUIRED ? FG_NVML_RESET
                                  : FG_NVML_UNKNOWN;
}

uint32_t fg_nvml_count(struct fg_nvml *n)
{
    unsigned count = 0;
    return n->count(&count) == GOOD ? count : 0;
}

struct fg_nvml_device *fg_nvml_device(struct fg_nvml *n, uint32_t index, int32_t *answer)
{
    device *d = NULL;
    *answer = answer_of(n->handle(index, &d));
    return *answer == FG_NVML_GOOD ? d : NULL;
}

/* Hostile or broken bytes must not get into logs and labels. */
static void clean(char *text, size_t room)
{
    text[room - 1] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f || *c == '"' || *c == '\\')
            *c = '?';
}

void fg_nvml_identify(struct fg_nvml *n, struct fg_nvml_device *d, struct fg_nvml_identity *id)
{
    struct pci_info pci = {0};
    int major = -1, minor = -1, mode = -1;
    *id = (struct fg_nvml_identity){.major = -1, .minor = -1, .virtualization = -1};
    if (!n->name || n->name(d, id->name, sizeof id->name) != GOOD)
        snprintf(id->name, sizeof id->name, "unknown card");
    if (!n->uuid || n->uuid(d, id->uuid, sizeof id->uuid) != GOOD)
        id->uuid[0] = '\0';
    if (n->pci && n->pci(d, &pci) == GOOD) /* as the kernel writes it: four digits of domain */
        snprintf(id->pci, sizeof id->pci, "%04x:%02x:%02x.0", pci.domain, pci.bus, pci.device);
    if (n->capability && n->capability(d, &major, &minor) == GOOD) {
        id->major = major;
        id->minor = minor;
    }
    if (n->virtualization && n->virtualization(d, &mode) == GOOD)
        id->virtualization = mode;
    clean(id->name, sizeof id->name);
    clean(id->uuid, sizeof id->uuid);
}

/* ---- one reading ------------------------------------------------------------------------------
 */

struct reading {
    struct fg_nvml *n;
    device *d;
    double *v;
    int32_t worst;
};

/* Notes what the call said; true: its figure is good. */
static bool good(struct reading *r, int rc)
{
    int32_t a = answer_of(rc);
    if (a > FG_NVML_UNKNOWN && a > r->worst)
        r->worst = a;
    return rc == GOOD;
}

static void put(struct reading *r, int value, bool known, double figure)
{
    r->v[value] = known ? figure : NAN;
}

static void take_uint(struct reading *r, int value, call_device_uint *call, double scale)
{
    unsigned x = 0;
    bool known = call && good(r, call(r->d, &x));
    put(r, value, known, x * scale);
}

static void take_of(struct reading *r, int value, call_device_of *call, int which)
{
    unsigned x = 0;
    bool known = call && good(r, call(r->d, which, &x));
    put(r, value, known, x);
}

static void read_quick(struct reading *r)
{
    struct fg_nvml *n = r->n;
    struct memory_info memory = {0};
    struct utilization use = {0};
    unsigned long long wide = 0;
    int pstate = 0;
    take_of(r, FG_GPU_CELSIUS, n->temperature, 0);
    take_uint(r, FG_GPU_FAN, n->fan, 0.01);
    take_uint(r, FG_GPU_WATTS, n->power, 0.001);
    bool known = n->energy && good(r, n->energy(r->d, &wide));
    put(r, FG_GPU_JOULES, known, (double)wide / 1000);
    known = n->utilization && good(r, n->utilization(r->d, &use));
    put(r, FG_GPU_BUSY, known, use.gpu / 100.0);
    put(r, FG_GPU_MEMORY_BUSY, known, use.memory / 100.0);
    known = n->memory && good(r, n->memory(r->d, &memory)) && memory.total;
    put(r, FG_GPU_MEMORY_TOTAL, known, (double)memory.total);
    put(r, FG_GPU_MEMORY_USED, known, (double)memory.used);
    put(r, FG_GPU_MEMORY_FREE, known, (double)memory.free);
    known = n->pstate && good(r, n->pstate(r->d, &pstate)) && pstate >= 0 && pstate < 32;
    put(r, FG_GPU_PSTATE, known, pstate);
    take_of(r, FG_GPU_SM_MHZ, n->clock, 1);
    take_of(r, FG_GPU_MEMORY_MHZ, n->clock, 2);
    known = n->throttle && good(r, n->throttle(r->d, &wide));
    put(r, FG_GPU_THROTTLE, known, (double)(wide & 0xffffffffu));
    take_uint(r, FG_GPU_LINK_GEN, n->link_gen, 1);
    take_uint(r, FG_GPU_LINK_WIDTH, n->link_width, 1);
}

/* type 0: corrected, 1: not; since the driver was loaded. */
static void read_ecc(struct reading *r, int value, int type)
{
    struct fg_nvml *n = r->n;
    unsigned long long errors = 0;
    bool known = n->ecc_total && good(r, n->ecc_total(r->d, type, 0, &errors));
    if (!known) /* 2: the card's memory */
        known = n->ecc_memory && good(r, n->ecc_memory(r->d, type, 0, 2, &errors));
    put(r, value, known, (double)errors);
}

static void read_retired(struct reading *r, int value, int cause)
{
    unsigned count = 0;
    int rc = r->n->retired ? r->n->retired(r->d, cause, &count, NULL) : -1;
    bool known = rc == INSUFFICIENT_SIZE || good(r, rc);
    put(r, value, known, count);
}

static void read_slow(struct reading *r)
{
    struct fg_nvml *n = r->n;
    unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;
    int now = 0, later = 0;
    take_of(r, FG_GPU_SLOWDOWN_CELSIUS, n->threshold, 1);
    take_uint(r, FG_GPU_LIMIT_WATTS, n->power_limit, 0.001);
    take_of(r, FG_GPU_SM_MAX_MHZ, n->max_clock, 1);
    take_of(r, FG_GPU_MEMORY_MAX_MHZ, n->max_clock, 2);
    bool known = n->ecc_mode && good(r, n->ecc_mode(r->d, &now, &later));
    put(r, FG_GPU_ECC_ON, known, now != 0);
    read_ecc(r, FG_GPU_ECC_CORRECTED, 0);
    read_ecc(r, FG_GPU_ECC_UNCORRECTED, 1);
    read_retired(r, FG_GPU_RETIRED_SINGLE, 0);
    read_retired(r, FG_GPU_RETIRED_DOUBLE, 1);
    known = n->retired_pending && good(r, n->retired_pending(r->d, &now));
    put(r, FG_GPU_RETIREMENT_PENDING, known, now != 0);
    known = n->remapped && good(r, n->remapped(r->d, &corrected, &uncorrected, &pending, &failed));
    put(r, FG_GPU_REMAPPED_CORRECTABLE, known, corrected);
    put(r, FG_GPU_REMAPPED_UNCORRECTABLE, known, uncorrected);
    put(r, FG_GPU_REMAP_PENDING, known, pending != 0);
    put(r, FG_GPU_REMAP_FAILED, known, failed != 0);
    take_uint(r, FG_GPU_LINK_GEN_MAX, n->link_gen_max, 1);
    take_uint(r, FG_GPU_LINK_WIDTH_MAX, n->link_width_max, 1);
    take_uint(r, FG_GPU_REPLAYS, n->replays, 1);
}

int32_t fg_nvml_read(struct fg_nvml *n, struct fg_nvml_device *d, bool all,
                     double values[FG_GPU_VALUES])
{
    struct reading r = {.n = n, .d = d, .v = values, .worst = FG_NVML_GOOD};
    read_quick(&r);
    if (all)
        read_slow(&r);
    return r.worst;
}

static double bytes_of(unsigned long long memory)
{
    return memory == UINT64_MAX ? (double)NAN : (double)memory;
}

uint32_t fg_nvml_processes(struct fg_nvml *n, struct fg_nvml_device *d, struct fg_nvml_process *out,
                           uint32_t room, bool *known)
{
    union {
        struct process_new fresh[PROCESSES];
        struct process_old old[PROCESSES];
    } rows;
    unsigned count = PROCESSES;
    bool is_old = !n->processes;
    call_processes *call = is_old ? n->processes_old : n->processes;
    *known = call && call(d, &count, &rows) == GOOD && count <= PROCESSES;
    if (!*known)
        return 0;
    for (uint32_t i = 0; i < count && i < room; i++) {
        out[i].pid = is_old ? rows.old[i].pid : rows.fresh[i].pid;
        out[i].memory_bytes = bytes_of(is_old ? rows.old[i].memory : rows.fresh[i].memory);
    }
    return count < room ? count : room;
}

/* ---- events -----------------------------------------------------------------------------------
 */

bool fg_nvml_watch(struct fg_nvml *n, struct fg_nvml_device *const *devices, uint32_t count)
{
    bool any = false;
    if (!n->set_create || !n->set_free || !n->watch || !n->wait || n->set_create(&n->set) != GOOD)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        unsigned long long kinds = FG_NVML_EVENT_DOUBLE_BIT | FG_NVML_EVENT_XID, can = kinds;
        if (n->event_kinds && n->event_kinds(devices[i], &can) == GOOD)
            kinds &= can;
        any = (kinds && n->watch(devices[i], kinds, n->set) == GOOD) || any;
    }
    if (!any)
        fg_nvml_unwatch(n);
    return any;
}

bool fg_nvml_wait(struct fg_nvml *n, uint32_t timeout_ms, struct fg_nvml_event *out)
{
    struct event_data data = {0};
    if (n->wait(n->set, &data, timeout_ms) != GOOD)
        return false;
    *out = (struct fg_nvml_event){.device = data.from, .kind = data.kind, .data = data.data};
    return true;
}

void fg_nvml_unwatch(struct fg_nvml *n)
{
    if (n->set)
        (void)n->set_free(n->set);
    n->set = NULL;
}
