/* SPDX-License-Identifier: Apache-2.0 */
/* What AVX-512 without VPOPCNTDQ could do at most: the inner steps of avx512bw.c with their operands in registers. */
#include <immintrin.h>

#include "ceilings.h"

static inline __m512i popcounts_of_bytes(__m512i v, __m512i table, __m512i low)
{
    return _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(v, low)),
                           _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi32(v, 4), low)));
}

uint64_t labc_ceiling_sign_avx512bw(uint32_t steps)
{
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(15);
    __m512i ones[4], twos[4], fours[4], eights[4];
    __m512i x = _mm512_set1_epi32(0x5bd1e995), w = _mm512_set1_epi32(0x2545f491);
    for (uint32_t g = 0; g < 4; ++g) {
        ones[g] = twos[g] = fours[g] = eights[g] = _mm512_setzero_si512();
    }
#define DIFFERENCES(g, carry)                                             \
    {                                                                     \
        LABC_HIDE_VECTOR(w);                                              \
        const __m512i t = _mm512_ternarylogic_epi32(ones[g], x, w, 0x96); \
        const __m512i s = _mm512_ternarylogic_epi32(t, w, x, 0x96);       \
        LABC_HIDE_VECTOR(x);                                              \
        carry = _mm512_ternarylogic_epi32(t, s, ones[g], 0x3a);           \
        ones[g] = s;                                                      \
    }
#define ADD(sum, b, c, carry)                           \
    carry = _mm512_ternarylogic_epi32(sum, b, c, 0xe8); \
    sum = _mm512_ternarylogic_epi32(sum, b, c, 0x96);
#define STEP(g)                                                                    \
    {                                                                              \
        __m512i a, b, c, d, e;                                                     \
        DIFFERENCES(g, a)                                                          \
        DIFFERENCES(g, b)                                                          \
        ADD(twos[g], a, b, c)                                                      \
        DIFFERENCES(g, a)                                                          \
        DIFFERENCES(g, b)                                                          \
        ADD(twos[g], a, b, d)                                                      \
        ADD(fours[g], c, d, e)                                                     \
        eights[g] = _mm512_add_epi8(eights[g], popcounts_of_bytes(e, table, low)); \
    }
    for (uint32_t i = 0; i < steps; ++i) {
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
    }
#undef STEP
#undef ADD
#undef DIFFERENCES
    for (uint32_t g = 0; g < 4; ++g) {
        LABC_HIDE_VECTOR(ones[g]);
        LABC_HIDE_VECTOR(twos[g]);
        LABC_HIDE_VECTOR(fours[g]);
        LABC_HIDE_VECTOR(eights[g]);
    }
    return (uint64_t)steps * 4 * 8 * 512;
}

uint64_t labc_ceiling_byte_avx512bw(uint32_t steps)
{
    __m512i part[4];
    __m512i bits = _mm512_set1_epi32(0x2545f491);
    const __m512i a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(5), c = _mm512_set1_epi16(7), d = _mm512_set1_epi16(9);
    part[0] = part[1] = part[2] = part[3] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < steps; ++i) {
        for (uint32_t g = 0; g < 4; ++g) {
            LABC_HIDE_VECTOR(bits);
            const __m512i second = _mm512_permutexvar_epi16(_mm512_srli_epi16(bits, 5), b);
            const __m512i ab = _mm512_add_epi16(_mm512_permutexvar_epi16(bits, a), second);
            const __m512i third = _mm512_permutex2var_epi16(c, _mm512_srli_epi16(bits, 10), d);
            part[g] = _mm512_add_epi16(part[g], _mm512_add_epi16(ab, third));
            LABC_HIDE_VECTOR(part[g]);
        }
    }
    return (uint64_t)steps * 4 * 16 * 32;
}
