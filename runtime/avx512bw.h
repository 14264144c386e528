/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of AVX-512 without a population count share: counting differences, and what becomes of sums of bytes. */
#ifndef LABC_AVX512BW_H
#define LABC_AVX512BW_H

#include <string.h>

#include "avx512.h"

#define EACH_GROUP(DO) DO(0) DO(1) DO(2) DO(3)

enum { GROUPS = 4 };

/* ---- signs times signs: 64 rows at a time, 16 in a vector ---- */

enum { SIGN_LANES = 16, SIGN_ROWS = SIGN_LANES * GROUPS };

/* The bits of each byte counted: a table of 16 answers the low half and the high half. */
INLINE __m512i popcounts_of_bytes(__m512i v)
{
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(15);
    return _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(v, low)),
                           _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi32(v, 4), low)));
}

/* The four unsigned bytes of each 32-bit lane added up. */
INLINE __m512i sums_of_bytes(__m512i v)
{
    return _mm512_madd_epi16(_mm512_maddubs_epi16(v, _mm512_set1_epi8(1)), _mm512_set1_epi16(1));
}

/* 512 full adders: the sum bits stay in *sum, the carries are returned. 0x96 is a ^ b ^ c, 0xe8 the majority. */
INLINE __m512i carry_save(__m512i *sum, __m512i b, __m512i c)
{
    const __m512i carry = _mm512_ternarylogic_epi32(*sum, b, c, 0xe8);
    *sum = _mm512_ternarylogic_epi32(*sum, b, c, 0x96);
    return carry;
}

/* The same for the differences x0 ^ w0 and x1 ^ w1: their XORs merge with the adder's. avx512.c derives it. */
INLINE __m512i carry_save_differences(__m512i *ones, __m512i x0, __m512i w0, __m512i x1, __m512i w1)
{
    const __m512i t = _mm512_ternarylogic_epi32(*ones, x0, w0, 0x96);
    const __m512i s = _mm512_ternarylogic_epi32(t, x1, w1, 0x96);
    const __m512i carry = _mm512_ternarylogic_epi32(t, s, *ones, 0x3a);
    *ones = s;
    return carry;
}

/*
 * counts[g], lane l: popcount(x ^ w) of row 16 g + l of a block with `groups` groups. Eight words a step: ones, twos and fours
 * are, in each of 512 columns, a counter of the differences so far, and only its carry into the eights is counted: 512 x 8 products
 * for 4 x 3 + 3 x 2 operations of adders and 7 of counting. A byte counts at most 8 of these, so it is emptied every 31 steps.
 */
INLINE void count_block(const uint32_t *x, const uint32_t *w, uint32_t words, uint32_t groups, __m512i counts[GROUPS])
{
    __m512i ones[GROUPS], twos[GROUPS], fours[GROUPS], eights[GROUPS];
#define BEGIN(g) ones[g] = twos[g] = fours[g] = eights[g] = counts[g] = _mm512_setzero_si512();
    EACH_GROUP(BEGIN)
#undef BEGIN
#define W(j) _mm512_load_si512(w + SIGN_LANES * (groups * (j) + g))
#define X(j) _mm512_set1_epi32((int32_t)x[j])
    while (words >= 8) {
        uint32_t steps = words / 8 < 31 ? words / 8 : 31;
        words -= 8 * steps;
        for (; steps > 0; --steps, x += 8, w += 8 * SIGN_LANES * groups) {
#define STEP(g_)                                                                                             \
    if (g_ < groups) {                                                                                       \
        enum { g = g_ };                                                                                     \
        const __m512i twos_a = carry_save_differences(&ones[g], X(0), W(0), X(1), W(1));                     \
        const __m512i twos_b = carry_save_differences(&ones[g], X(2), W(2), X(3), W(3));                     \
        const __m512i fours_a = carry_save(&twos[g], twos_a, twos_b);                                        \
        const __m512i twos_c = carry_save_differences(&ones[g], X(4), W(4), X(5), W(5));                     \
        const __m512i twos_d = carry_save_differences(&ones[g], X(6), W(6), X(7), W(7));                     \
        const __m512i fours_b = carry_save(&twos[g], twos_c, twos_d);                                        \
        eights[g] = _mm512_add_epi8(eights[g], popcounts_of_bytes(carry_save(&fours[g], fours_a, fours_b))); \
    }
            EACH_GROUP(STEP)
#undef STEP
        }
#define EMPTY(g)                                                                                 \
    if (g < groups) {                                                                            \
        counts[g] = _mm512_add_epi32(counts[g], _mm512_slli_epi32(sums_of_bytes(eights[g]), 3)); \
        eights[g] = _mm512_setzero_si512();                                                      \
    }
        EACH_GROUP(EMPTY)
#undef EMPTY
    }
    /* What the counters still hold: a byte of it at most 8 (1 + 2 + 4) = 56; and up to seven words, at most 56 more. */
#define REST(g)                                                                                                                 \
    if (g < groups) {                                                                                                           \
        const __m512i upper = _mm512_add_epi8(popcounts_of_bytes(twos[g]), _mm512_slli_epi32(popcounts_of_bytes(fours[g]), 1)); \
        eights[g] = _mm512_add_epi8(popcounts_of_bytes(ones[g]), _mm512_slli_epi32(upper, 1));                                  \
    }
    EACH_GROUP(REST)
#undef REST
    for (; words > 0; --words, ++x, w += SIGN_LANES * groups) {
#define LAST(g_)                                                                                  \
    if (g_ < groups) {                                                                            \
        enum { g = g_ };                                                                          \
        eights[g] = _mm512_add_epi8(eights[g], popcounts_of_bytes(_mm512_xor_si512(X(0), W(0)))); \
    }
        EACH_GROUP(LAST)
#undef LAST
    }
#undef X
#undef W
#define ADD(g)                                                             \
    if (g < groups) {                                                      \
        counts[g] = _mm512_add_epi32(counts[g], sums_of_bytes(eights[g])); \
    }
    EACH_GROUP(ADD)
#undef ADD
}

/* ---- bytes times signs: 32 rows in a vector ---- */

enum {
    BYTE_LANES = 32,
    STEP_INPUTS = 16,    /* inputs per word of 16 bits */
    STEP_TABLES = 128,   /* int16 of tables per step: 32 + 32 + 64 */
    STEPS_IN_16_BITS = 8 /* 8 steps x 16 inputs x 255 = 32640 still fits an int16 */
};

/* For each of 32 indices two bytes, what a pair of inputs is multiplied by: +1 where the index is in the input's mask, else -1. */
static inline __m512i pair_of_signs(__mmask32 plus0, __mmask32 plus1)
{
    return _mm512_or_si512(_mm512_mask_blend_epi16(plus0, _mm512_set1_epi16(0x00ff), _mm512_set1_epi16(0x0001)),
                           _mm512_mask_blend_epi16(plus1, _mm512_set1_epi16((int16_t)0xff00), _mm512_set1_epi16(0x0100)));
}

/* The two bytes at `bytes`, each multiplied by its sign and added, for 32 indices. */
INLINE __m512i sums_of_pair(const uint8_t *bytes, __m512i signs)
{
    int16_t pair;
    memcpy(&pair, bytes, sizeof pair);
    return _mm512_maddubs_epi16(_mm512_set1_epi16(pair), signs);
}

/* The sums of six bytes, three pairs. */
INLINE __m512i sums_of_pairs(__m512i start, const uint8_t *bytes, __m512i signs0, __m512i signs1, __m512i signs2)
{
    return _mm512_add_epi16(_mm512_add_epi16(start, sums_of_pair(bytes, signs0)),
                            _mm512_add_epi16(sums_of_pair(bytes + 2, signs1), sums_of_pair(bytes + 4, signs2)));
}

/*
 * The tables of a step. Bit i of an index says whether input i is added or subtracted: for inputs 0..4 and 5..9 a table of 32 sums,
 * for 10..15 one of 64. Two inputs at a time are multiplied by their signs and added, for 32 indices at once (VPMADDUBSW). It takes
 * inputs as unsigned bytes; where they are signed they come with 128 added, and a start of -128 times the signs takes that off.
 * Beyond the inputs such a byte is `offset`, and so stands for 0.
 */
static inline void make_tables(const uint8_t *x, uint32_t offset, uint32_t inputs, int16_t *tables)
{
    const __mmask32 bit0 = 0xaaaaaaaau, bit1 = 0xccccccccu, bit2 = 0xf0f0f0f0u, bit3 = 0xff00ff00u, bit4 = 0xffff0000u;
    const __m512i signs01 = pair_of_signs(bit0, bit1), signs23 = pair_of_signs(bit2, bit3);
    const __m512i plus4 = pair_of_signs(bit4, 0xffffffffu), minus4 = pair_of_signs(bit4, 0);
    const __m512i only4 = _mm512_and_si512(plus4, _mm512_set1_epi16(0xff)), zero = _mm512_setzero_si512();
    uint8_t bytes[STEP_INPUTS];
    const __m128i offsets = _mm_set1_epi8((char)offset);
    _mm_storeu_si128((__m128i *)(void *)bytes, offsets);
    const __m512i start = _mm512_sub_epi16(zero, sums_of_pairs(zero, bytes, signs01, signs23, only4));
    const __m512i start_minus = _mm512_sub_epi16(zero, sums_of_pairs(zero, bytes, signs01, signs23, minus4));
    const __m512i start_plus = _mm512_sub_epi16(zero, sums_of_pairs(zero, bytes, signs01, signs23, plus4));
    for (uint32_t k = 0; k < inputs; k += STEP_INPUTS, tables += STEP_TABLES) {
        const __mmask16 some = first_lanes(inputs - k);
        _mm_storeu_si128((__m128i *)(void *)bytes, _mm_xor_si128(_mm_maskz_loadu_epi8(some, x + k), offsets));
        _mm512_store_si512(tables, sums_of_pairs(start, bytes, signs01, signs23, only4));
        _mm512_store_si512(tables + 32, sums_of_pairs(start, bytes + 5, signs01, signs23, only4));
        _mm512_store_si512(tables + 64, sums_of_pairs(start_minus, bytes + 10, signs01, signs23, minus4));
        _mm512_store_si512(tables + 96, sums_of_pairs(start_plus, bytes + 10, signs01, signs23, plus4));
    }
}

/*
 * sums[2 g], sums[2 g + 1]: the sums of rows 32 g to 32 g + 15, and + 16 to + 31, of a block with `groups` groups. A word of 16
 * weights is three indices: VPERMW looks up 32 rows at once by the lowest five bits of each lane and ignores the others, so the
 * second index needs a shift and no mask; VPERMI2W takes six bits, which is what a shift by ten leaves. 512 products for 3 look-ups,
 * 2 shifts and 3 additions.
 */
INLINE void byte_sums(const int16_t *tables, const uint32_t *w, uint32_t inputs, uint32_t groups, __m512i sums[2 * GROUPS])
{
    uint32_t steps = inputs / STEP_INPUTS + (inputs % STEP_INPUTS != 0);
#define BEGIN(g) sums[2 * g] = sums[2 * g + 1] = _mm512_setzero_si512();
    EACH_GROUP(BEGIN)
#undef BEGIN
    while (steps > 0) {
        const uint32_t now = steps < STEPS_IN_16_BITS ? steps : STEPS_IN_16_BITS;
        __m512i part[GROUPS];
        part[0] = part[1] = part[2] = part[3] = _mm512_setzero_si512();
        for (uint32_t i = 0; i < now; ++i, tables += STEP_TABLES, w += 16 * groups) {
            const __m512i a = _mm512_load_si512(tables), b = _mm512_load_si512(tables + 32);
            const __m512i c = _mm512_load_si512(tables + 64), d = _mm512_load_si512(tables + 96);
#define STEP(g)                                                                                                                          \
    if (g < groups) {                                                                                                                    \
        const __m512i bits = _mm512_load_si512(w + 16 * g);                                                                              \
        const __m512i ab = _mm512_add_epi16(_mm512_permutexvar_epi16(bits, a), _mm512_permutexvar_epi16(_mm512_srli_epi16(bits, 5), b)); \
        part[g] = _mm512_add_epi16(part[g], _mm512_add_epi16(ab, _mm512_permutex2var_epi16(c, _mm512_srli_epi16(bits, 10), d)));         \
    }
            EACH_GROUP(STEP)
#undef STEP
        }
        steps -= now;
#define WIDEN(g)                                                                                                           \
    if (g < groups) {                                                                                                      \
        sums[2 * g] = _mm512_add_epi32(sums[2 * g], _mm512_cvtepi16_epi32(_mm512_castsi512_si256(part[g])));               \
        sums[2 * g + 1] = _mm512_add_epi32(sums[2 * g + 1], _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(part[g], 1))); \
    }
        EACH_GROUP(WIDEN)
#undef WIDEN
    }
}

/* What a block's sums become: y and the constants have advanced to its first row, `rows` is how many it has. */
INLINE void store_sums(const __m512i *sums, uint32_t rows, uint32_t groups, int32_t *y)
{
    for (uint32_t h = 0; h < 2 * groups && 16 * h < rows; ++h) {
        if (rows - 16 * h >= 16) { /* a store with a mask is slow on some processors */
            _mm512_storeu_si512(y + 16 * h, sums[h]);
        } else {
            _mm512_mask_storeu_epi32(y + 16 * h, first_lanes(rows - 16 * h), sums[h]);
        }
    }
}

INLINE void store_signs(const __m512i *sums, const int32_t *thresholds, uint32_t rows, uint32_t groups, uint32_t *y)
{
    for (uint32_t g = 0; g < groups; ++g) {
        uint32_t signs = 0;
        for (uint32_t h = 0; h < 2 && 32 * g + 16 * h < rows; ++h) {
            const uint32_t n = 32 * g + 16 * h;
            const __mmask16 some = first_lanes(rows - n);
            const __mmask16 up = _mm512_mask_cmpge_epi32_mask(some, sums[2 * g + h], _mm512_maskz_loadu_epi32(some, thresholds + n));
            signs |= (uint32_t)up << 16 * h;
        }
        y[g] = signs;
    }
}

/* min(max(sum m + b, 0) >> shift, 255) for eight rows: the product of two int32 is exact in 64 bits, and so is the rest. */
INLINE void store_bytes(const __m512i *sums, const int32_t *m, const int64_t *b, uint32_t shift, uint32_t rows, uint8_t *y)
{
    const unsigned char *const all = (const unsigned char *)sums;
    for (uint32_t n = 0; n < rows; n += 8) {
        const __mmask8 some = (__mmask8)first_lanes(rows - n);
        const __m512i sum = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)(all + 4 * n)));
        const __m512i factor = _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(some, m + n));
        const __m512i v = _mm512_add_epi64(_mm512_mul_epi32(sum, factor), _mm512_maskz_loadu_epi64(some, b + n));
        const __m512i shifted = _mm512_srl_epi64(_mm512_max_epi64(v, _mm512_setzero_si512()), _mm_cvtsi32_si128((int32_t)shift));
        const __m128i bytes = _mm512_cvtusepi64_epi8(shifted); /* at most 255 */
        if (rows - n >= 8) {
            _mm_storel_epi64((__m128i *)(void *)(y + n), bytes);
        } else {
            const int64_t eight = _mm_cvtsi128_si64(bytes);
            memcpy(y + n, &eight, rows - n);
        }
    }
}

/* The first multiple of 64 bytes in scratch: vectors in it then never lie across two cache lines. */
static inline void *aligned_in(void *scratch)
{
    unsigned char *bytes = scratch;
    return bytes + (64 - (uintptr_t)bytes % 64) % 64;
}

#endif
