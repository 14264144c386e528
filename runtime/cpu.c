/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the processor. x86: Intel SDM volume 2, CPUID and XGETBV; AMD APM volume 3, appendix E. */
#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* XCR0, the register sets the operating system saves. As an instruction, since the intrinsic wants a flag for the whole file. */
static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint32_t labc_cpu_features(void)
{
    enum { XMM_YMM = 0x6, XMM_YMM_ZMM = 0xe6 }; /* bits 1, 2; and 5 to 7: the masks, the upper halves, zmm16 to 31 */
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return 0;
    }
    if (!(c & bit_POPCNT)) {
        return 0;
    }
    /* Without OSXSAVE there is no xgetbv, and without leaf 7 none of the rest. */
    if (!(c & bit_OSXSAVE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return LABC_CPU_POPCNT;
    }
    const uint32_t saved = saved_registers();
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    const uint32_t has_avx2 = (saved & XMM_YMM) == XMM_YMM && b & bit_AVX2;
    const uint32_t has_avx512 = has_avx2 && (saved & XMM_YMM_ZMM) == XMM_YMM_ZMM && (b & avx512) == avx512;
    return LABC_CPU_POPCNT | (has_avx2 ? LABC_CPU_AVX2 : 0) | (has_avx512 ? LABC_CPU_AVX512 : 0) |
           (has_avx512 && c & bit_AVX512VPOPCNTDQ ? LABC_CPU_VPOPCNTDQ : 0);
}

#else

uint32_t labc_cpu_features(void)
{
    return 0;
}

#endif
