/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows of kernels.def this processor runs, found once: for libraries that hold several and choose when they run. */
#ifndef LABC_DISPATCH_H
#define LABC_DISPATCH_H

#ifdef __cplusplus
extern "C" {
#endif

/* The levels: the ISA rows of this architecture, best first. A processor that runs one runs all below it (cpu.h). */
enum {
#define LABC_ISA(isa, machine, flags, needs) LABC_LEVEL_##isa,
#include "kernels.def"
    LABC_LEVELS,
    LABC_LEVEL_AUTOMATIC = -1
};

/* The level of this processor, or the one that was forced. */
int labc_level(void);

/*
 * From now on labc_level answers `level`; LABC_LEVEL_AUTOMATIC: the processor's own again. Returns 0, or -1 if the processor
 * does not run it; then nothing changes. Not while another thread runs a network: it could change level on its way.
 */
int labc_force_level(int level);

#ifdef __cplusplus
}
#endif

#endif
