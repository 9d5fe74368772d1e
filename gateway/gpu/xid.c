/*
 * XIDs: what the driver calls an error of a card, and what is to be done about each. Source:
 * NVIDIA's list of XID errors; where our plan and it differ the graver reading is taken.
 */
#include "gpu/health.h"

static const struct fg_xid known[] = {
    {13, FG_CAUSE_CONTEXT, "graphics engine exception"},
    {31, FG_CAUSE_CONTEXT, "memory page fault"},
    {43, FG_CAUSE_CONTEXT, "a program was stopped"},
    {45, FG_CAUSE_CONTEXT, "a context was cleaned up"},
    {48, FG_CAUSE_MEMORY_FAULT, "double bit ECC error"},
    {61, FG_CAUSE_RESET, "breakpoint of its microcontroller"},
    {62, FG_CAUSE_RESET, "its microcontroller halted"},
    {63, FG_CAUSE_MEMORY_FAULT, "a page or row is to be retired"},
    {64, FG_CAUSE_RESET, "a page or row could not be retired"},
    {69, FG_CAUSE_CONTEXT, "graphics engine class error"},
    {74, FG_CAUSE_LINK_FAULT, "NVLink error"},
    {79, FG_CAUSE_LOST, "it has fallen off the bus"},
    {92, FG_CAUSE_NOTICE, "many single bit ECC errors"},
    {94, FG_CAUSE_CONTEXT, "contained memory error"},
    {95, FG_CAUSE_RESET, "uncontained memory error"},
    {119, FG_CAUSE_RESET, "its system processor does not answer"},
    {120, FG_CAUSE_RESET, "error of its system processor"},
    {154, FG_CAUSE_RECOVERY, "the driver asks for a recovery action"},
};

const struct fg_xid *fg_xid_of(uint32_t number)
{
    static const struct fg_xid unknown = {0, FG_CAUSE_NOTICE, "an event we have no rule for"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].number == number)
            return &known[i];
    return &unknown;
}
