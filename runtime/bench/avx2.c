/* SPDX-License-Identifier: Apache-2.0 */
/* What AVX2 could do at most: the inner steps of avx2.c with their operands in registers. */
#include <immintrin.h>

#include "ceilings.h"

static inline __m256i carry_save(__m256i *sum, __m256i b, __m256i c)
{
    const __m256i half = _mm256_xor_si256(*sum, b);
    const __m256i carry = _mm256_or_si256(_mm256_and_si256(*sum, b), _mm256_and_si256(half, c));
    *sum = _mm256_xor_si256(half, c);
    return carry;
}

/* x ^ w, every time anew: the compiler cannot know that neither has changed. */
#define DIFFERENCE(d)    \
    LABC_HIDE_VECTOR(w); \
    const __m256i d = _mm256_xor_si256(x, w);

uint64_t labc_ceiling_sign_avx2(uint32_t steps)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i ones = _mm256_setzero_si256(), twos = ones, fours = ones, eights = ones;
    __m256i x = _mm256_set1_epi32(0x5bd1e995), w = _mm256_set1_epi32(0x2545f491);
    for (uint32_t i = 0; i < steps; ++i) {
        LABC_HIDE_VECTOR(x);
        DIFFERENCE(d0)
        DIFFERENCE(d1)
        const __m256i twos_a = carry_save(&ones, d0, d1);
        DIFFERENCE(d2)
        DIFFERENCE(d3)
        const __m256i twos_b = carry_save(&ones, d2, d3);
        const __m256i fours_a = carry_save(&twos, twos_a, twos_b);
        DIFFERENCE(d4)
        DIFFERENCE(d5)
        const __m256i twos_c = carry_save(&ones, d4, d5);
        DIFFERENCE(d6)
        DIFFERENCE(d7)
        const __m256i twos_d = carry_save(&ones, d6, d7);
        const __m256i fours_b = carry_save(&twos, twos_c, twos_d);
        const __m256i v = carry_save(&fours, fours_a, fours_b);
        const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(v, 4), low));
        eights = _mm256_add_epi8(eights, _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)), high));
    }
    LABC_HIDE_VECTOR(ones);
    LABC_HIDE_VECTOR(twos);
    LABC_HIDE_VECTOR(fours);
    LABC_HIDE_VECTOR(eights);
    return (uint64_t)steps * 8 * 256;
}

uint64_t labc_ceiling_byte_avx2(uint32_t steps)
{
    const __m256i nibble = _mm256_set1_epi8(15), weights = _mm256_set1_epi16(64 << 8 | 1);
    __m256i first = _mm256_setzero_si256(), second = first;
    __m256i a = _mm256_set1_epi32(0x2545f491), b = a, low_table = _mm256_set1_epi8(3), high_table = _mm256_set1_epi8(5);
    for (uint32_t i = 0; i < steps; ++i) {
        LABC_HIDE_VECTOR(a);
        LABC_HIDE_VECTOR(b);
        LABC_HIDE_VECTOR(low_table);
        LABC_HIDE_VECTOR(high_table);
        const __m256i i0 = _mm256_and_si256(a, nibble), i1 = _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble);
        const __m256i i2 = _mm256_and_si256(b, nibble), i3 = _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble);
        const __m256i low = _mm256_add_epi8(_mm256_add_epi8(_mm256_shuffle_epi8(low_table, i0), _mm256_shuffle_epi8(low_table, i1)),
                                            _mm256_add_epi8(_mm256_shuffle_epi8(low_table, i2), _mm256_shuffle_epi8(low_table, i3)));
        const __m256i high = _mm256_add_epi8(_mm256_add_epi8(_mm256_shuffle_epi8(high_table, i0), _mm256_shuffle_epi8(high_table, i1)),
                                             _mm256_add_epi8(_mm256_shuffle_epi8(high_table, i2), _mm256_shuffle_epi8(high_table, i3)));
        first = _mm256_add_epi16(first, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(low, high), weights));
        second = _mm256_add_epi16(second, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(low, high), weights));
    }
    LABC_HIDE_VECTOR(first);
    LABC_HIDE_VECTOR(second);
    return (uint64_t)steps * 16 * 32;
}

uint64_t labc_stream_avx2(const void *from, size_t bytes)
{
    const unsigned char *at = from;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
#define LOAD(i) _mm256_load_si256((const __m256i *)(const void *)(at + 32 * (i)))
    for (size_t i = 0; i < bytes / 128; ++i, at += 128) {
        a = _mm256_or_si256(a, LOAD(0));
        b = _mm256_or_si256(b, LOAD(1));
        c = _mm256_or_si256(c, LOAD(2));
        d = _mm256_or_si256(d, LOAD(3));
    }
#undef LOAD
    a = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    LABC_HIDE_VECTOR(a);
    return bytes / 128 * 128;
}
