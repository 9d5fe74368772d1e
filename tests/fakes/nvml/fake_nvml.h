/*
 * A libnvidia-ml.so.1 that has no card behind it: it plays what a script says. A test in the same
 * process loads the library once more and calls fake_nvml_do(); for another process the lines come
 * from the file that FG_FAKE_NVML names, which is read on while it grows.
 *
 *   cards 2                     how many are listed (1)
 *   driver 580.65.06
 *   init 9                      what nvmlInit answers
 *   0 name Tesla P40            card 0; also uuid, pci (domain:bus:device.0)
 *   0 cc 6 1                    capability
 *   0 temp 80                   also slowdown, fan, watts, limit, energy (joules), busy (percent),
 *                               total, used (MiB), pstate, sm, smmax, mem, memmax (MHz), virt,
 *                               corrected, uncorrected, eccmode, single, double, pending, rows (its
 *                               four figures), link (gen, genmax, width, widthmax), replays
 *   0 throttle 0x40             the driver's bits
 *   0 heat 2.5                  degrees a second from now on
 *   0 process 4711 2000         pid, MiB; "0 process 0" ends all
 *   0 xid 79                    an event; "0 ecc" a double bit one
 *   0 lost 1                    every call of it answers that it is gone; also unlisted 1
 *   result nvmlDeviceGetFanSpeed 3      that call answers so; 0: as it should
 *   hang nvmlDeviceGetTemperature 3000  it takes so many milliseconds; 0: no more
 *   @2.5 0 temp 90              at 2.5 s after nvmlInit
 */
#ifndef FG_TEST_FAKE_NVML_H
#define FG_TEST_FAKE_NVML_H

typedef int fake_nvml_do_fn(const char *line); /* 0: understood */
typedef void fake_nvml_reset_fn(void);
typedef unsigned fake_nvml_calls_fn(const char *function); /* since the reset */

#endif
