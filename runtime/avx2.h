/* SPDX-License-Identifier: Apache-2.0 */
/* What the AVX2 kernels share. */
#ifndef LABC_AVX2_H
#define LABC_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* A lane of signs is a row of w. */
enum { SIGN_LANES = 8 };

static inline uint32_t words_of(uint32_t count)
{
    return count / 32 + (count % 32 != 0);
}

/* The bits of each byte counted, times `weight`: a table of 16 answers the low half and the high half. */
INLINE __m256i popcounts_of_bytes(__m256i v, int weight)
{
#define ENTRY(bits) (char)((bits) * weight)
    const __m128i entries = _mm_setr_epi8(ENTRY(0), ENTRY(1), ENTRY(1), ENTRY(2), ENTRY(1), ENTRY(2), ENTRY(2), ENTRY(3), ENTRY(1),
                                          ENTRY(2), ENTRY(2), ENTRY(3), ENTRY(2), ENTRY(3), ENTRY(3), ENTRY(4));
#undef ENTRY
    const __m256i table = _mm256_set_m128i(entries, entries), low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(v, 4), low)));
}

/* The four unsigned bytes of each 32-bit lane added up, times `weight`, at most 16. */
INLINE __m256i sums_of_bytes(__m256i v, int weight)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(v, _mm256_set1_epi8((char)weight)), _mm256_set1_epi16(1));
}

/* 256 full adders: the sum bits stay in *sum, the carries are returned. */
INLINE __m256i carry_save(__m256i *sum, __m256i b, __m256i c)
{
    const __m256i half = _mm256_xor_si256(*sum, b);
    const __m256i carry = _mm256_or_si256(_mm256_and_si256(*sum, b), _mm256_and_si256(half, c));
    *sum = _mm256_xor_si256(half, c);
    return carry;
}

/* 256 half adders. */
INLINE __m256i half_add(__m256i *sum, __m256i b)
{
    const __m256i carry = _mm256_and_si256(*sum, b);
    *sum = _mm256_xor_si256(*sum, b);
    return carry;
}

/*
 * Lane l: popcount(x ^ w) of row l of eight. One word of x meets eight rows at once, so no sum runs across a vector. Eight words a
 * step: ones, twos and fours are, in each of 256 columns, a counter of the differences so far, and only its carry into the eights is
 * counted: 256 x 8 products for 8 differences, 7 x 5 operations of adders and 7 of counting, where counting each word
 * would take 8 x 7. A byte counts at most 8 of the eights, so it is emptied every 31 steps. The words that make no whole step come
 * first, as the counter is still 0 then and up to seven carry nothing out of it.
 */
INLINE __m256i count_differing(const uint32_t *x, const uint32_t *w, uint32_t words)
{
    const __m256i zero = _mm256_setzero_si256();
    const uint32_t odd = words % 4;
    __m256i count = zero, ones = zero, twos = zero, fours = zero;
#define DIFFERENCE(j) \
    _mm256_xor_si256(_mm256_set1_epi32((int32_t)x[j]), _mm256_load_si256((const __m256i *)(const void *)(w + SIGN_LANES * (j))))
    if (odd > 0) {
        ones = DIFFERENCE(0);
        if (odd == 2) {
            twos = half_add(&ones, DIFFERENCE(1));
        } else if (odd == 3) {
            twos = carry_save(&ones, DIFFERENCE(1), DIFFERENCE(2));
        }
        x += odd;
        w += odd * SIGN_LANES;
    }
    if (words & 4) {
        if (odd > 0) {
            const __m256i twos_a = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
            const __m256i twos_b = carry_save(&ones, DIFFERENCE(2), DIFFERENCE(3));
            fours = carry_save(&twos, twos_a, twos_b);
        } else {
            ones = DIFFERENCE(0);
            twos = carry_save(&ones, DIFFERENCE(1), DIFFERENCE(2));
            const __m256i carry = half_add(&ones, DIFFERENCE(3));
            fours = half_add(&twos, carry);
        }
        x += 4;
        w += 4 * SIGN_LANES;
    }
    /* Left in one place only: with two, gcc copies the counters in every step. */
    uint32_t left = words / 8;
    do {
        uint32_t steps = left < 31 ? left : 31;
        __m256i eights = zero;
        left -= steps;
        for (; steps > 0; --steps, x += 8, w += 8 * SIGN_LANES) {
            const __m256i twos_a = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
            const __m256i twos_b = carry_save(&ones, DIFFERENCE(2), DIFFERENCE(3));
            const __m256i fours_a = carry_save(&twos, twos_a, twos_b);
            const __m256i twos_c = carry_save(&ones, DIFFERENCE(4), DIFFERENCE(5));
            const __m256i twos_d = carry_save(&ones, DIFFERENCE(6), DIFFERENCE(7));
            const __m256i fours_b = carry_save(&twos, twos_c, twos_d);
            eights = _mm256_add_epi8(eights, popcounts_of_bytes(carry_save(&fours, fours_a, fours_b), 1));
        }
        count = _mm256_add_epi32(count, sums_of_bytes(eights, 8));
    } while (left > 0);
#undef DIFFERENCE
    /* What the counters still hold: a byte of it at most 8 (1 + 2 + 4) = 56. */
    const __m256i upper = _mm256_add_epi8(popcounts_of_bytes(twos, 2), popcounts_of_bytes(fours, 4));
    const __m256i rest = _mm256_add_epi8(popcounts_of_bytes(ones, 1), upper);
    return _mm256_add_epi32(count, sums_of_bytes(rest, 1));
}

/* All ones in the first `count` of eight 32-bit lanes, all from 8 on: a lane is in if its number is less. */
static inline __m256i first_lanes(uint32_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)(count < 8 ? count : 8)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first `count` of eight 32-bit lanes, all from 8 on. Not by a masked store, which takes some processors twenty times as long. */
static inline void store_first(int32_t *y, __m256i v, uint32_t count)
{
    if (count >= 8) {
        _mm256_storeu_si256((__m256i *)(void *)y, v);
    } else {
        memcpy(y, &v, count * sizeof *y);
    }
}

/* The first multiple of 32 bytes in scratch: no vector there then lies across two cache lines. */
static inline uint8_t *aligned(void *scratch)
{
    uint8_t *bytes = scratch;
    return bytes + (32 - (uintptr_t)bytes % 32) % 32;
}

/* Four values v = sum m + b in 64-bit lanes; the product of two int32 is exact there, and so is the rest. */
INLINE __m256i scaled(const int32_t *sums, const int32_t *m, const int64_t *b)
{
    const __m256i product = _mm256_mul_epi32(_mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)sums)),
                                             _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)m)));
    return _mm256_add_epi64(product, _mm256_loadu_si256((const __m256i *)(const void *)b));
}

/* Four bytes min(max(sum m + b, 0) >> shift, 255), the first lowest. */
INLINE int32_t requantize_four(const int32_t *sums, const int32_t *m, const int64_t *b, __m128i shift)
{
    /* The lowest byte of each 64-bit lane, four together: bytes 0 and 8 of each half. */
    /* clang-format off */
    const __m256i lowest = _mm256_setr_epi8(0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, 0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    /* clang-format on */
    const __m256i v = scaled(sums, m, b), most = _mm256_set1_epi64x(255);
    const __m256i positive = _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_setzero_si256(), v), v);
    const __m256i shifted = _mm256_srl_epi64(positive, shift);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_blendv_epi8(shifted, most, _mm256_cmpgt_epi64(shifted, most)), lowest);
    return _mm_cvtsi128_si32(_mm_or_si128(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}

/* The same of `count` sums, each with its own m and b. */
INLINE void requantize_all(const int32_t *sums, const int32_t *m, const int64_t *b, __m128i shift, uint32_t count, uint8_t *y)
{
    for (; count >= 4; count -= 4, sums += 4, m += 4, b += 4, y += 4) {
        const int32_t four = requantize_four(sums, m, b, shift);
        memcpy(y, &four, sizeof four);
    }
    if (count > 0) {
        int32_t last[4] = {0}, factors[4] = {0};
        int64_t terms[4] = {0};
        memcpy(last, sums, count * sizeof *sums);
        memcpy(factors, m, count * sizeof *m);
        memcpy(terms, b, count * sizeof *b);
        const int32_t four = requantize_four(last, factors, terms, shift);
        memcpy(y, &four, count);
    }
}

#endif
