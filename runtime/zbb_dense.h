/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices times vectors for RISC-V with Zbb: the chunks of 16 rows lie side by side, and one of x is loaded once for all of them. Then a
 * chunk costs a load, an exclusive or, a count and a subtraction: full adders, which save counts elsewhere, cost more than cpop does.
 */
#ifndef LABC_ZBB_DENSE_H
#define LABC_ZBB_DENSE_H

#include "zbb.h"

enum { BLOCK = 16 };

/* Macros that are whole statements, one per line; clang-format, which sees no semicolon, would join them. */
/* clang-format off */
/* left##r, less the bits in which row r and x differ. The next chunk of a row is `step` on. */
#define SUBTRACT(rows, TAKE)            \
    do {                                \
        const chunk v = TAKE(&at, end); \
        LESS_##rows                     \
        w += step;                      \
    } while (at != end);
#define LESS(r) left##r -= popcount(v ^ w[r]);
/* Compilers would load all rows before they count any, and then lack registers: for them, w is another pointer when four rows are done. */
#define TIE(a, b, c, d) __asm__("" : "+r"(w), "+r"(left##a), "+r"(left##b), "+r"(left##c), "+r"(left##d));
#define LESS_1 LESS(0)
#define LESS_4 EACH_4(LESS)
#define LESS_16                                         \
    LESS(0) LESS(1) LESS(2) LESS(3) TIE(0, 1, 2, 3)     \
    LESS(4) LESS(5) LESS(6) LESS(7) TIE(4, 5, 6, 7)     \
    LESS(8) LESS(9) LESS(10) LESS(11) TIE(8, 9, 10, 11) \
    LESS(12) LESS(13) LESS(14) LESS(15)

/* From limits down: bit r of the result is 1 where left##r did not become negative. */
#define LIMIT(r) chunk left##r = (chunk)limits[r];
#define SIGN(r) negative |= left##r >> (8 * sizeof(chunk) - 1) << r;
#define THRESHOLD(rows, TAKE) \
    const uint32_t *at = x;   \
    chunk negative = 0;       \
    EACH_##rows(LIMIT)        \
    SUBTRACT(rows, TAKE)      \
    EACH_##rows(SIGN)         \
    const uint32_t signs = (uint32_t)negative ^ (UINT32_MAX >> (32 - (rows)));

#define NOTHING(r) chunk left##r = 0;
#define SUM(r) y[r] = (int32_t)(inputs + 2 * (uint32_t)left##r);
#define SUMS(rows, TAKE)    \
    const uint32_t *at = x; \
    EACH_##rows(NOTHING)    \
    SUBTRACT(rows, TAKE)    \
    EACH_##rows(SUM)
/* clang-format on */

/* `count` rows, of whole blocks; a word of y has the signs of two. */
#define THRESHOLD_BLOCKS(name, TAKE)                                                                                    \
    NOT_INLINE void name(const uint32_t *x, const uint32_t *end, const chunk *w, const int32_t *limits, uint32_t count, \
                         uint32_t *restrict y)                                                                          \
    {                                                                                                                   \
        const size_t step = BLOCK;                                                                                      \
        uint32_t low = 0;                                                                                               \
        for (uint32_t n = 0; n < count; n += BLOCK, limits += BLOCK) {                                                  \
            THRESHOLD(16, TAKE)                                                                                         \
            low |= signs << n % 32;                                                                                     \
            *y = low;                                                                                                   \
            if (n % 32 != 0) {                                                                                          \
                low = 0;                                                                                                \
                ++y;                                                                                                    \
            }                                                                                                           \
        }                                                                                                               \
    }
#define SUM_BLOCKS(name, TAKE)                                                                                                         \
    NOT_INLINE void name(const uint32_t *x, const uint32_t *end, const chunk *w, uint32_t inputs, uint32_t count, int32_t *restrict y) \
    {                                                                                                                                  \
        const size_t step = BLOCK;                                                                                                     \
        for (; count > 0; count -= BLOCK, y += BLOCK) {                                                                                \
            SUMS(16, TAKE)                                                                                                             \
        }                                                                                                                              \
    }

#if __riscv_xlen == 64

THRESHOLD_BLOCKS(threshold_whole, take_whole)
THRESHOLD_BLOCKS(threshold_any, take_any)
SUM_BLOCKS(sum_whole, take_whole)
SUM_BLOCKS(sum_any, take_any)

INLINE void threshold_blocks(const uint32_t *x, const uint32_t *end, const chunk *w, const int32_t *limits, uint32_t count,
                             uint32_t *restrict y)
{
    if (is_whole(x, end)) {
        threshold_whole(x, end, w, limits, count, y);
    } else {
        threshold_any(x, end, w, limits, count, y);
    }
}

INLINE void sum_blocks(const uint32_t *x, const uint32_t *end, const chunk *w, uint32_t inputs, uint32_t count, int32_t *restrict y)
{
    if (is_whole(x, end)) {
        sum_whole(x, end, w, inputs, count, y);
    } else {
        sum_any(x, end, w, inputs, count, y);
    }
}

#else

THRESHOLD_BLOCKS(threshold_blocks, take_any)
SUM_BLOCKS(sum_blocks, take_any)

#endif

/* The rows that make no block: the last one of the layout is only as wide as it has rows. */
NOT_INLINE uint32_t threshold_rest(const uint32_t *x, const uint32_t *end, const chunk *weights, const int32_t *limits, uint32_t count)
{
    const size_t step = count;
    uint32_t all = 0, n = 0;
    for (; count - n >= 4; n += 4, limits += 4) {
        const chunk *w = weights + n;
        THRESHOLD(4, take_any)
        all |= signs << n;
    }
    for (; n < count; ++n, ++limits) {
        const chunk *w = weights + n;
        THRESHOLD(1, take_any)
        all |= signs << n;
    }
    return all;
}

NOT_INLINE void sum_rest(const uint32_t *x, const uint32_t *end, const chunk *weights, uint32_t inputs, uint32_t count, int32_t *restrict y)
{
    const size_t step = count;
    for (; count >= 4; count -= 4, weights += 4, y += 4) {
        const chunk *w = weights;
        SUMS(4, take_any)
    }
    for (; count > 0; --count, ++weights, ++y) {
        const chunk *w = weights;
        SUMS(1, take_any)
    }
}

INLINE void matvec_sums(const uint32_t *restrict x, const uint32_t *restrict weights, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    const chunk *const w = chunks_at(weights);
    const uint32_t *const end = x + words_of(inputs);
    const uint32_t count = rows / BLOCK * BLOCK;
    sum_blocks(x, end, w, inputs, count, y);
    sum_rest(x, end, w + (size_t)count * chunks_of(inputs), inputs, rows - count, y + count);
}

INLINE void matvec_threshold(const uint32_t *restrict x, const uint32_t *restrict weights, const int32_t *restrict limits, uint32_t inputs,
                             uint32_t rows, uint32_t *restrict y)
{
    const chunk *const w = chunks_at(weights);
    const uint32_t *const end = x + words_of(inputs);
    const uint32_t count = rows / BLOCK * BLOCK;
    threshold_blocks(x, end, w, limits, count, y);
    if (count < rows) {
        const uint32_t low = count % 32 != 0 ? y[count / 32] : 0;
        y[count / 32] = low | threshold_rest(x, end, w + (size_t)count * chunks_of(inputs), limits + count, rows - count) << count % 32;
    }
}

#endif
