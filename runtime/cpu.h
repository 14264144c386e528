/* SPDX-License-Identifier: Apache-2.0 */
/* What the processor can do, asked at run time: which rows of kernels.def it may run. */
#ifndef LABC_CPU_H
#define LABC_CPU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Features that the `needs` of an ISA row name. Each includes that the operating system saves the registers it uses, and on one
 * architecture each includes those before it: so a processor that runs one row of the table runs those below.
 */
#define LABC_CPU_POPCNT 1
#define LABC_CPU_AVX2 2
#define LABC_CPU_AVX512 4 /* F, BW and VL */
#define LABC_CPU_VPOPCNTDQ 8

/* The features of this processor, a sum of LABC_CPU_*; 0 where the architecture has none to ask for. Asks every time. */
uint32_t labc_cpu_features(void);

#ifdef __cplusplus
}
#endif

#endif
