/* SPDX-License-Identifier: Apache-2.0 */
/* What AVX-512 with VPOPCNTDQ could do at most: the inner step of avx512.c with its operands in registers. */
#include <immintrin.h>

#include "ceilings.h"

uint64_t labc_ceiling_sign_avx512(uint32_t steps)
{
    __m512i ones[4], twos[4];
    __m512i x = _mm512_set1_epi32(0x5bd1e995), w = _mm512_set1_epi32(0x2545f491);
    for (uint32_t g = 0; g < 4; ++g) {
        ones[g] = twos[g] = _mm512_setzero_si512();
    }
#define STEP(g)                                                               \
    {                                                                         \
        LABC_HIDE_VECTOR(w);                                                  \
        const __m512i t = _mm512_ternarylogic_epi32(ones[g], x, w, 0x96);     \
        const __m512i s = _mm512_ternarylogic_epi32(t, w, x, 0x96);           \
        LABC_HIDE_VECTOR(x);                                                  \
        const __m512i carry = _mm512_ternarylogic_epi32(t, s, ones[g], 0x3a); \
        twos[g] = _mm512_add_epi32(twos[g], _mm512_popcnt_epi32(carry));      \
        ones[g] = s;                                                          \
    }
    for (uint32_t i = 0; i < steps; ++i) {
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
    }
#undef STEP
    for (uint32_t g = 0; g < 4; ++g) {
        LABC_HIDE_VECTOR(ones[g]);
        LABC_HIDE_VECTOR(twos[g]);
    }
    return (uint64_t)steps * 4 * 2 * 512;
}

/*
 * The same without the adder: a population count and an addition for every vector. Which of the two is faster depends on how a processor
 * does three-operand logic: the ceiling is the faster one.
 */
uint64_t labc_ceiling_plain_avx512(uint32_t steps)
{
    __m512i counts[8];
    __m512i x = _mm512_set1_epi32(0x5bd1e995), w = _mm512_set1_epi32(0x2545f491);
    for (uint32_t g = 0; g < 8; ++g) {
        counts[g] = _mm512_setzero_si512();
    }
#define STEP(g)                                                                               \
    {                                                                                         \
        LABC_HIDE_VECTOR(w);                                                                  \
        counts[g] = _mm512_add_epi32(counts[g], _mm512_popcnt_epi32(_mm512_xor_si512(x, w))); \
    }
    for (uint32_t i = 0; i < steps; ++i) {
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
        STEP(4)
        STEP(5)
        STEP(6)
        STEP(7)
    }
#undef STEP
    for (uint32_t g = 0; g < 8; ++g) {
        LABC_HIDE_VECTOR(counts[g]);
    }
    return (uint64_t)steps * 8 * 512;
}
