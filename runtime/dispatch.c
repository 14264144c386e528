/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include <stdatomic.h>

#include "cpu.h"

/* What a processor must have, for each level; nothing for the last. */
static const uint32_t needed[LABC_LEVELS] = {
#define LABC_ISA(isa, machine, flags, needs) needs,
#include "kernels.def"
};

/*
 * All that ever changes in a labc library: a level + 1, or 0 while nobody has asked. Threads that ask at the same time find and
 * store the same number, and nothing else depends on it, so the order of memory does not matter.
 */
static _Atomic int known;

static int best(void)
{
    const uint32_t features = labc_cpu_features();
    int level = 0;
    while ((features & needed[level]) != needed[level]) {
        ++level;
    }
    return level;
}

int labc_level(void)
{
    int level = atomic_load_explicit(&known, memory_order_relaxed) - 1;
    if (level < 0) {
        int nobody = 0;
        level = best();
        if (!atomic_compare_exchange_strong_explicit(&known, &nobody, level + 1, memory_order_relaxed, memory_order_relaxed)) {
            level = nobody - 1; /* somebody was faster: asked too, or forced another */
        }
    }
    return level;
}

int labc_force_level(int level)
{
    if (level != LABC_LEVEL_AUTOMATIC && (level < best() || level >= LABC_LEVELS)) {
        return -1;
    }
    atomic_store_explicit(&known, level + 1, memory_order_relaxed);
    return 0;
}
