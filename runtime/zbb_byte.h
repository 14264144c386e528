/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes times signs for RISC-V with Zbb. Bit b of many inputs is a chunk, plane b: the sum of the inputs whose weight is 1 is the sum over b
 * of 2^b popcount(plane b & weights), and 2^7 is negative where bytes are signed. The sum over k of x_k w_nk is twice that, less all x_k.
 */
#ifndef LABC_ZBB_BYTE_H
#define LABC_ZBB_BYTE_H

#include "zbb.h"

enum { PLANES = 8, SOME_ROWS = 32 };

/* For each plane. */
#define EACH_PLANE(DO) EACH_8(DO)

/* How one vector is read: its planes in scratch, chunk by chunk, what the last one counts, and the sum of all inputs. */
typedef struct {
    const chunk *planes, *end;
    uint32_t top, total;
} planed;

/* Byte i of `to` and each PLANES-th chunk from there on: bit i of eight inputs, a transposition of 8 x 8 bits. */
INLINE void transpose(const uint8_t x[8], uint8_t *to)
{
    uint32_t low = x[0] | (uint32_t)x[1] << 8 | (uint32_t)x[2] << 16 | (uint32_t)x[3] << 24;
    uint32_t high = x[4] | (uint32_t)x[5] << 8 | (uint32_t)x[6] << 16 | (uint32_t)x[7] << 24;
    uint32_t t = (low ^ low >> 7) & UINT32_C(0x00aa00aa);
    low ^= t ^ t << 7;
    t = (high ^ high >> 7) & UINT32_C(0x00aa00aa);
    high ^= t ^ t << 7;
    t = (low ^ low >> 14) & UINT32_C(0x0000cccc);
    low ^= t ^ t << 14;
    t = (high ^ high >> 14) & UINT32_C(0x0000cccc);
    high ^= t ^ t << 14;
    t = (low ^ high << 4) & UINT32_C(0xf0f0f0f0);
    low ^= t;
    high ^= t >> 4;
    for (uint32_t b = 0; b < 4; ++b) {
        to[b * sizeof(chunk)] = (uint8_t)(low >> 8 * b);
        to[(b + 4) * sizeof(chunk)] = (uint8_t)(high >> 8 * b);
    }
}

/* Where x ends before a chunk does, it goes on with zeros, as weights do. */
NOT_INLINE planed planes_of(const uint8_t *x, uint32_t offset, uint32_t inputs, void *scratch)
{
    chunk *const planes = whole_chunks(scratch);
    planed v = {planes, planes + PLANES * (size_t)chunks_of(inputs), 128 - 2 * offset, 0};
    for (uint32_t k = 0; k < inputs; ++k) {
        v.total += (x[k] ^ offset) - offset;
    }
    for (chunk *to = planes; to != v.end; to += PLANES) {
        for (uint32_t i = 0; i < sizeof(chunk); ++i) {
            uint8_t last[8] = {0, 0, 0, 0, 0, 0, 0, 0};
            const uint8_t *from = x;
            if (inputs < 8) {
                for (uint32_t j = 0; j < inputs; ++j) {
                    last[j] = x[j];
                }
                from = last;
            }
            transpose(from, (uint8_t *)to + i);
            x += inputs < 8 ? inputs : 8;
            inputs -= inputs < 8 ? inputs : 8;
        }
    }
    return v;
}

#define NOTHING_TWO(p) chunk a##p = 0, b##p = 0;
#define COUNT_TWO(p)                      \
    {                                     \
        const chunk plane = at[p];        \
        a##p += popcount(plane & first);  \
        b##p += popcount(plane & second); \
    }                                     \
    __asm__("" : "+r"(at), "+r"(a##p), "+r"(b##p));
#define NOTHING_ONE(p) chunk a##p = 0;
#define COUNT_ONE(p) a##p += popcount(at[p] & first);
/* In 32 bits, modulo 2^32, where the result fits. */
#define SUM_OF(c)                                                                                                        \
    (int32_t)(2 * ((uint32_t)c##0 + 2 * (uint32_t)c##1 + 4 * (uint32_t)c##2 + 8 * (uint32_t)c##3 + 16 * (uint32_t)c##4 + \
                   32 * (uint32_t)c##5 + 64 * (uint32_t)c##6 + v->top * (uint32_t)c##7) -                                \
              v->total)

/* Rows of weights come in twos; compilers would load all planes first, and then lack registers. */
NOT_INLINE void sum_rows(const planed *v, const chunk *w, uint32_t rows, int32_t *restrict y)
{
    const chunk *const end = v->end;
    for (; rows >= 2; rows -= 2, y += 2) {
        EACH_PLANE(NOTHING_TWO)
        const chunk *at = v->planes;
        do {
            const chunk first = w[0], second = w[1];
            EACH_PLANE(COUNT_TWO)
            at += PLANES;
            w += 2;
        } while (at != end);
        y[0] = SUM_OF(a);
        y[1] = SUM_OF(b);
    }
    if (rows > 0) {
        EACH_PLANE(NOTHING_ONE)
        const chunk *at = v->planes;
        do {
            const chunk first = *w++;
            EACH_PLANE(COUNT_ONE)
            at += PLANES;
        } while (at != end);
        *y = SUM_OF(a);
    }
}

INLINE void byte_sums(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict weights, uint32_t inputs, uint32_t rows,
                      int32_t *restrict y, void *restrict scratch)
{
    const planed v = planes_of(x, offset, inputs, scratch);
    sum_rows(&v, chunks_at(weights), rows, y);
}

INLINE void byte_threshold(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict weights, const int32_t *restrict thresholds,
                           uint32_t inputs, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const planed v = planes_of(x, offset, inputs, scratch);
    const chunk *w = chunks_at(weights);
    for (uint32_t n = 0; n < rows; n += SOME_ROWS, w += SOME_ROWS * (size_t)chunks_of(inputs)) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        int32_t sums[SOME_ROWS];
        uint32_t below = 0;
        sum_rows(&v, w, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            below |= (uint32_t)(sums[i] - thresholds[n + i]) >> 31 << i;
        }
        *y++ = below ^ UINT32_MAX >> (32 - some);
    }
}

/* min(max(v, 0) >> shift, 255) for |v| < 2^52. A borrow out of bit 63 says which bound is passed, and becomes a mask. */
INLINE uint8_t requantize(int64_t v, uint32_t shift)
{
    uint32_t negative = (uint32_t)((uint64_t)v >> 63);
    __asm__("" : "+r"(negative));
    const uint64_t shifted = ((uint64_t)v & ((uint64_t)negative - 1)) >> shift;
    uint32_t above = (uint32_t)((255 - shifted) >> 63);
    __asm__("" : "+r"(above));
    return (uint8_t)(((uint32_t)shifted | (0 - above)) & 255);
}

INLINE void byte_requantize(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict weights, const int32_t *restrict m,
                            const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                            void *restrict scratch)
{
    const planed v = planes_of(x, offset, inputs, scratch);
    const chunk *w = chunks_at(weights);
    for (uint32_t n = 0; n < rows; n += SOME_ROWS, w += SOME_ROWS * (size_t)chunks_of(inputs)) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        int32_t sums[SOME_ROWS];
        sum_rows(&v, w, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            *y++ = requantize((int64_t)sums[i] * *m++ + *b++, shift);
        }
    }
}

#endif
