/* SPDX-License-Identifier: Apache-2.0 */
/* Signs times signs with AVX-512 and its population count (VPOPCNTDQ). 32 rows of registers, 16 lanes: a lane is a row of w. */
#include "avx512.h"

#define EACH_GROUP(DO) DO(0) DO(1) DO(2) DO(3)

enum { LANES = 16, GROUPS = 4, ROWS = LANES * GROUPS };

/*
 * counts[g], lane l: popcount(x ^ w) of row 16 g + l of a block with `groups` groups. One word of x meets 16 rows at once, so no
 * sum runs across a vector, and four groups share its broadcast and read memory as one stream.
 *
 * Two words a step. A full adder of `ones` (the lowest bit of a counter in each of 512 columns) and the differences d0 = x0 ^ w0
 * and d1 = x1 ^ w1 leaves one carry to be counted instead of two differences, and its XORs merge with those of the differences
 * into three-input operations:
 *
 *     t = ones ^ x0 ^ w0          = ones ^ d0                   0x96 is a ^ b ^ c
 *     s = t ^ x1 ^ w1             = ones ^ d0 ^ d1, the new ones
 *     carry = t ? ~s : ones       majority of ones, d0, d1      0x3a is a ? ~b : c
 *
 * since ones = d0 where t is 0, and then that is the majority; where t is 1 ones and d0 differ, and d1 = t ^ s = ~s decides. So
 * 512 x 2 products cost 3 + 1 + 1 operations in place of 2 (xor, count, add).
 */
INLINE void count_block(const uint32_t *x, const uint32_t *w, uint32_t words, uint32_t groups, __m512i counts[GROUPS])
{
    __m512i ones[GROUPS], twos[GROUPS];
#define BEGIN(g) ones[g] = twos[g] = _mm512_setzero_si512();
    EACH_GROUP(BEGIN)
#undef BEGIN
    for (; words >= 2; words -= 2, x += 2, w += 2 * LANES * groups) {
        const __m512i x0 = _mm512_set1_epi32((int32_t)x[0]), x1 = _mm512_set1_epi32((int32_t)x[1]);
#define STEP(g)                                                                                                   \
    if (g < groups) {                                                                                             \
        const __m512i t = _mm512_ternarylogic_epi32(ones[g], x0, _mm512_load_si512(w + LANES * g), 0x96);         \
        const __m512i s = _mm512_ternarylogic_epi32(t, x1, _mm512_load_si512(w + LANES * (groups + g)), 0x96);    \
        twos[g] = _mm512_add_epi32(twos[g], _mm512_popcnt_epi32(_mm512_ternarylogic_epi32(t, s, ones[g], 0x3a))); \
        ones[g] = s;                                                                                              \
    }
        EACH_GROUP(STEP)
#undef STEP
    }
#define LAST(g)                                                                                                     \
    if (g < groups) {                                                                                               \
        if (words > 0) {                                                                                            \
            const __m512i d = _mm512_xor_si512(_mm512_set1_epi32((int32_t)x[0]), _mm512_load_si512(w + LANES * g)); \
            twos[g] = _mm512_add_epi32(twos[g], _mm512_popcnt_epi32(_mm512_and_si512(ones[g], d)));                 \
            ones[g] = _mm512_xor_si512(ones[g], d);                                                                 \
        }                                                                                                           \
        counts[g] = _mm512_add_epi32(_mm512_add_epi32(twos[g], twos[g]), _mm512_popcnt_epi32(ones[g]));             \
    }
    EACH_GROUP(LAST)
#undef LAST
}

/* `rows` is the number of rows in this block: 64, or in the last block what is left. */
INLINE void sums_block(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t words, uint32_t rows, uint32_t groups, int32_t *y)
{
    __m512i counts[GROUPS];
    count_block(x, w, words, groups, counts);
#define STORE(g)                                                                                                    \
    if (g < groups) {                                                                                               \
        const __m512i sums = _mm512_sub_epi32(_mm512_set1_epi32((int32_t)inputs), _mm512_slli_epi32(counts[g], 1)); \
        _mm512_mask_storeu_epi32(y + LANES * g, first_lanes(rows - LANES * g), sums);                               \
    }
    EACH_GROUP(STORE)
#undef STORE
}

/* A comparison of vectors is already a mask of bits: 16 signs as they are stored. */
INLINE void threshold_block(const uint32_t *x, const uint32_t *w, const int32_t *limits, uint32_t words, uint32_t rows, uint32_t groups,
                            uint32_t *y)
{
    __m512i counts[GROUPS];
    uint32_t signs[GROUPS] = {0, 0, 0, 0};
    count_block(x, w, words, groups, counts);
#define COMPARE(g)                                                                                                    \
    if (g < groups) {                                                                                                 \
        const __mmask16 some = first_lanes(rows - LANES * g);                                                         \
        signs[g] = _mm512_mask_cmple_epi32_mask(some, counts[g], _mm512_maskz_loadu_epi32(some, limits + LANES * g)); \
    }
    EACH_GROUP(COMPARE)
#undef COMPARE
    y[0] = signs[0] | signs[1] << 16;
    if (groups > 2) {
        y[1] = signs[2] | signs[3] << 16;
    }
}

void labc_sign_matvec_sums_avx512(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                  int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (; rows >= ROWS; rows -= ROWS, w += (size_t)words * ROWS, y += ROWS) {
        sums_block(x, w, inputs, words, ROWS, GROUPS, y);
    }
    if (rows > 3 * LANES) {
        sums_block(x, w, inputs, words, rows, 4, y);
    } else if (rows > 2 * LANES) {
        sums_block(x, w, inputs, words, rows, 3, y);
    } else if (rows > LANES) {
        sums_block(x, w, inputs, words, rows, 2, y);
    } else if (rows > 0) {
        sums_block(x, w, inputs, words, rows, 1, y);
    }
}

void labc_sign_matvec_threshold_avx512(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                       uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (; rows >= ROWS; rows -= ROWS, w += (size_t)words * ROWS, limits += ROWS, y += ROWS / 32) {
        threshold_block(x, w, limits, words, ROWS, GROUPS, y);
    }
    if (rows > 3 * LANES) {
        threshold_block(x, w, limits, words, rows, 4, y);
    } else if (rows > 2 * LANES) {
        threshold_block(x, w, limits, words, rows, 3, y);
    } else if (rows > LANES) {
        threshold_block(x, w, limits, words, rows, 2, y);
    } else if (rows > 0) {
        threshold_block(x, w, limits, words, rows, 1, y);
    }
}
