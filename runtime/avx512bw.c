/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 without a population count (F and BW): signs times signs by carry-save adders and a byte table, and bytes times signs by
 * tables of partial sums. A lane is a row of w.
 */
#include "avx512bw.h"

/* ---- signs times signs: 64 rows at a time, 16 in a vector ---- */

/* `rows` is the number of rows in this block: 64, or in the last block what is left. */
INLINE void sign_sums(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t words, uint32_t rows, uint32_t groups, int32_t *y)
{
    __m512i counts[GROUPS];
    count_block(x, w, words, groups, counts);
#define STORE(g)                                                                                                    \
    if (g < groups) {                                                                                               \
        const __m512i sums = _mm512_sub_epi32(_mm512_set1_epi32((int32_t)inputs), _mm512_slli_epi32(counts[g], 1)); \
        _mm512_mask_storeu_epi32(y + SIGN_LANES * g, first_lanes(rows - SIGN_LANES * g), sums);                     \
    }
    EACH_GROUP(STORE)
#undef STORE
}

/* A comparison of vectors is already a mask of bits: 16 signs as they are stored. */
INLINE void sign_threshold(const uint32_t *x, const uint32_t *w, const int32_t *limits, uint32_t words, uint32_t rows, uint32_t groups,
                           uint32_t *y)
{
    __m512i counts[GROUPS];
    uint32_t signs[GROUPS] = {0, 0, 0, 0};
    count_block(x, w, words, groups, counts);
#define COMPARE(g)                                                                                                         \
    if (g < groups) {                                                                                                      \
        const __mmask16 some = first_lanes(rows - SIGN_LANES * g);                                                         \
        signs[g] = _mm512_mask_cmple_epi32_mask(some, counts[g], _mm512_maskz_loadu_epi32(some, limits + SIGN_LANES * g)); \
    }
    EACH_GROUP(COMPARE)
#undef COMPARE
    y[0] = signs[0] | signs[1] << 16;
    if (groups > 2) {
        y[1] = signs[2] | signs[3] << 16;
    }
}

void labc_sign_matvec_sums_avx512bw(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                    int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (; rows >= SIGN_ROWS; rows -= SIGN_ROWS, w += (size_t)words * SIGN_ROWS, y += SIGN_ROWS) {
        sign_sums(x, w, inputs, words, SIGN_ROWS, 4, y);
    }
    if (rows > 3 * SIGN_LANES) {
        sign_sums(x, w, inputs, words, rows, 4, y);
    } else if (rows > 2 * SIGN_LANES) {
        sign_sums(x, w, inputs, words, rows, 3, y);
    } else if (rows > SIGN_LANES) {
        sign_sums(x, w, inputs, words, rows, 2, y);
    } else if (rows > 0) {
        sign_sums(x, w, inputs, words, rows, 1, y);
    }
}

void labc_sign_matvec_threshold_avx512bw(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                         uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (; rows >= SIGN_ROWS; rows -= SIGN_ROWS, w += (size_t)words * SIGN_ROWS, limits += SIGN_ROWS, y += SIGN_ROWS / 32) {
        sign_threshold(x, w, limits, words, SIGN_ROWS, 4, y);
    }
    if (rows > 3 * SIGN_LANES) {
        sign_threshold(x, w, limits, words, rows, 4, y);
    } else if (rows > 2 * SIGN_LANES) {
        sign_threshold(x, w, limits, words, rows, 3, y);
    } else if (rows > SIGN_LANES) {
        sign_threshold(x, w, limits, words, rows, 2, y);
    } else if (rows > 0) {
        sign_threshold(x, w, limits, words, rows, 1, y);
    }
}

/* ---- bytes times signs: 128 rows at a time, 32 in a vector ---- */

enum { BYTE_ROWS = BYTE_LANES * GROUPS };

/* Walk the blocks: BLOCK(rows, groups) with the number of groups a constant. */
#define EACH_BLOCK(BLOCK, ADVANCE)                          \
    for (; rows >= BYTE_ROWS; rows -= BYTE_ROWS, ADVANCE) { \
        BLOCK(BYTE_ROWS, 4);                                \
    }                                                       \
    if (rows > 3 * BYTE_LANES) {                            \
        BLOCK(rows, 4);                                     \
    } else if (rows > 2 * BYTE_LANES) {                     \
        BLOCK(rows, 3);                                     \
    } else if (rows > BYTE_LANES) {                         \
        BLOCK(rows, 2);                                     \
    } else if (rows > 0) {                                  \
        BLOCK(rows, 1);                                     \
    }

/* How many 32-bit words of w a block of 128 rows has. */
static inline size_t block_words(uint32_t inputs)
{
    return (size_t)(inputs / STEP_INPUTS + (inputs % STEP_INPUTS != 0)) * (BYTE_ROWS / 2);
}

void labc_byte_matvec_sums_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                    int32_t *restrict y, void *restrict scratch)
{
    int16_t *const tables = aligned_in(scratch);
    __m512i sums[2 * GROUPS];
    make_tables(x, offset, inputs, tables);
#define BLOCK(some, groups) (byte_sums(tables, w, inputs, groups, sums), store_sums(sums, some, groups, y))
    EACH_BLOCK(BLOCK, (w += block_words(inputs), y += BYTE_ROWS))
#undef BLOCK
}

void labc_byte_matvec_threshold_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                         const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                         void *restrict scratch)
{
    int16_t *const tables = aligned_in(scratch);
    __m512i sums[2 * GROUPS];
    make_tables(x, offset, inputs, tables);
#define BLOCK(some, groups) (byte_sums(tables, w, inputs, groups, sums), store_signs(sums, thresholds, some, groups, y))
    EACH_BLOCK(BLOCK, (w += block_words(inputs), thresholds += BYTE_ROWS, y += BYTE_ROWS / 32))
#undef BLOCK
}

void labc_byte_matvec_requantize_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                          const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                          void *restrict scratch)
{
    int16_t *const tables = aligned_in(scratch);
    __m512i sums[2 * GROUPS];
    make_tables(x, offset, inputs, tables);
#define BLOCK(some, groups) (byte_sums(tables, w, inputs, groups, sums), store_bytes(sums, m, b, shift, some, y))
    EACH_BLOCK(BLOCK, (w += block_words(inputs), m += BYTE_ROWS, b += BYTE_ROWS, y += BYTE_ROWS))
#undef BLOCK
}
