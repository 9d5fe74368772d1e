/*
 * gpu/values.h - what is known of a card at one moment, as one row of numbers. NaN means that it
 * is not known. Names and units are those of /api/fluxgate/gpus and of the metrics.
 */
#ifndef FG_GPU_VALUES_H
#define FG_GPU_VALUES_H

/* X(constant, key, help) */
#define FG_GPU_VALUE_LIST(X)                                                                       \
    X(CELSIUS, "celsius", "temperature of the chip")                                               \
    X(SLOWDOWN_CELSIUS, "slowdown_celsius", "temperature at which the card slows down")            \
    X(FAN, "fan_ratio", "fan, 1 is full speed")                                                    \
    X(WATTS, "watts", "power now drawn")                                                           \
    X(LIMIT_WATTS, "limit_watts", "power limit in force")                                          \
    X(JOULES, "joules", "energy used; counted by the card, else summed from its power")            \
    X(BUSY, "busy_ratio", "part of the time in which a kernel ran")                                \
    X(MEMORY_BUSY, "memory_busy_ratio", "part of the time in which memory was used")               \
    X(MEMORY_TOTAL, "memory_total_bytes", "memory of the card")                                    \
    X(MEMORY_USED, "memory_used_bytes", "memory in use by anybody")                                \
    X(MEMORY_FREE, "memory_free_bytes", "memory that is free")                                     \
    X(MEMORY_OTHERS, "memory_others_bytes", "memory in use by processes that are not ours")        \
    X(PSTATE, "pstate", "performance state, 0 is fastest")                                         \
    X(SM_MHZ, "sm_mhz", "clock of the multiprocessors")                                            \
    X(SM_MAX_MHZ, "sm_max_mhz", "their highest clock")                                             \
    X(MEMORY_MHZ, "memory_mhz", "clock of the memory")                                             \
    X(MEMORY_MAX_MHZ, "memory_max_mhz", "its highest clock")                                       \
    X(THROTTLE, "throttle_bits", "why clocks are held down, the driver's bits")                    \
    X(ECC_ON, "ecc_on", "1 when error correction is on")                                           \
    X(ECC_CORRECTED, "ecc_corrected", "corrected memory errors since the driver was loaded")       \
    X(ECC_UNCORRECTED, "ecc_uncorrected", "uncorrected ones")                                      \
    X(RETIRED_SINGLE, "retired_pages_single_bit", "pages retired for single bit errors")           \
    X(RETIRED_DOUBLE, "retired_pages_double_bit", "pages retired for double bit errors")           \
    X(RETIREMENT_PENDING, "retirement_pending", "1 when pages are retired at the next reset")      \
    X(REMAPPED_CORRECTABLE, "remapped_rows_correctable", "rows remapped for correctable errors")   \
    X(REMAPPED_UNCORRECTABLE, "remapped_rows_uncorrectable", "and for uncorrectable ones")         \
    X(REMAP_PENDING, "remap_pending", "1 when rows are remapped at the next reset")                \
    X(REMAP_FAILED, "remap_failed", "1 when rows could not be remapped")                           \
    X(LINK_GEN, "link_generation", "PCIe generation now")                                          \
    X(LINK_GEN_MAX, "link_generation_max", "PCIe generation that card and slot can")               \
    X(LINK_WIDTH, "link_width", "PCIe lanes now")                                                  \
    X(LINK_WIDTH_MAX, "link_width_max", "PCIe lanes that card and slot can")                       \
    X(REPLAYS, "link_replays", "PCIe packets sent again")

#define FG_GPU_VALUE_NAME(constant, key, help) FG_GPU_##constant,
enum fg_gpu_value { FG_GPU_VALUE_LIST(FG_GPU_VALUE_NAME) FG_GPU_VALUES };
#undef FG_GPU_VALUE_NAME

#endif
