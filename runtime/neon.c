/* SPDX-License-Identifier: Apache-2.0 */
/* NEON, little-endian AArch64 and ARMv7-A: kernels.def says what each computes. What is not here is in scalar.c. */
#include "neon.h"

/* ---- signs times signs ---- */

/* The bits that differ, counted per byte, of the four rows at w, which moves on to the next four. */
#define DIFFER4(v, x)                                                                                        \
    const uint8x16x4_t v##_bits = load4(w);                                                                  \
    w += 64;                                                                                                 \
    uint8x16_t v##0 = vcntq_u8(veorq_u8(v##_bits.val[0], x)), v##1 = vcntq_u8(veorq_u8(v##_bits.val[1], x)); \
    uint8x16_t v##2 = vcntq_u8(veorq_u8(v##_bits.val[2], x)), v##3 = vcntq_u8(veorq_u8(v##_bits.val[3], x))

/*
 * popcount(x ^ w) for the eight rows of a block. 128 columns at a time: eight vectors of counts, one per row, become one by
 * three rounds of adding neighbours, in which two neighbouring bytes are a row's, in order of rows. So no vector is ever
 * summed up by itself, and what the accumulator adds is outputs side by side. Two such steps share one tree: a byte of
 * counts is at most 16, after three rounds 128. The 16-bit accumulator takes 128 per step: 510 steps, an odd one and at most
 * 127 columns that fill no step are 65535.
 * Unrolled by macro, as gcc leaves such loops rolled; inlined, so that only a call of the kernel saves the vector registers
 * and counts the steps. Executed instructions per product, 2048 inputs and rows, AArch64, -O2, emulated: 0.032 with gcc 12 and
 * clang 22, of which eor, cnt and one addition per 16 bytes are 0.0234.
 */
__attribute__((always_inline)) static inline uint32x4x2_t disagreements(const uint32_t *x, const uint8_t *w, uint32_t inputs,
                                                                        uint8x16_t tail)
{
    uint32x4x2_t total = {{vdupq_n_u32(0), vdupq_n_u32(0)}};
    uint32_t steps = inputs / 128;
    uint16x8_t sum = vdupq_n_u16(0);
    for (;;) {
        const uint32_t some = steps < 510 ? steps : 510;
        const uint32_t *const end = x + some / 2 * 8;
        ROLLED
        for (; x != end; x += 8) {
            const uint8x16_t x0 = load_signs(x), x1 = load_signs(x + 4);
            DIFFER4(a, x0);
            DIFFER4(b, x0);
            DIFFER4(c, x1);
            DIFFER4(d, x1);
            const uint8x16_t rows0 = pairs(vaddq_u8(a0, c0), vaddq_u8(a1, c1)), rows2 = pairs(vaddq_u8(a2, c2), vaddq_u8(a3, c3));
            const uint8x16_t rows4 = pairs(vaddq_u8(b0, d0), vaddq_u8(b1, d1)), rows6 = pairs(vaddq_u8(b2, d2), vaddq_u8(b3, d3));
            sum = vpadalq_u8(sum, pairs(pairs(rows0, rows2), pairs(rows4, rows6)));
        }
        steps -= some / 2 * 2;
        if (steps < 2) {
            break;
        }
        total.val[0] = vaddw_u16(total.val[0], vget_low_u16(sum));
        total.val[1] = vaddw_u16(total.val[1], vget_high_u16(sum));
        sum = vdupq_n_u16(0);
    }
    /* What is left: an odd step, then the columns that fill no vector. */
    ROLLED
    for (uint32_t left = steps + (inputs % 128 != 0); left != 0; --left) {
        const uint8x16_t last = steps != 0 && left == steps + (inputs % 128 != 0) ? load_signs(x) : tail;
        DIFFER4(a, last);
        DIFFER4(b, last);
        sum = vpadalq_u8(sum, pairs(pairs(pairs(a0, a1), pairs(a2, a3)), pairs(pairs(b0, b1), pairs(b2, b3))));
    }
    total.val[0] = vaddw_u16(total.val[0], vget_low_u16(sum));
    total.val[1] = vaddw_u16(total.val[1], vget_high_u16(sum));
    return total;
}

/* The last inputs % 128 signs of x, then zeros: x ends with its last word. */
static inline uint8x16_t tail_of(const uint32_t *x, uint32_t inputs)
{
    uint32_t words[4] = {0, 0, 0, 0};
    const uint32_t first = inputs / 128 * 4, end = inputs / 32 + (inputs % 32 != 0);
    for (uint32_t i = first; i < end; ++i) {
        words[i - first] = x[i];
    }
    return load_signs(words);
}

/* Bytes of a block of eight rows. */
static inline uint32_t block_bytes(uint32_t inputs)
{
    return (inputs / 128 + (inputs % 128 != 0)) * 128;
}

void labc_sign_matvec_sums_neon(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    const uint8x16_t tail = tail_of(x, inputs);
    const int32x4_t all = vdupq_n_s32((int32_t)inputs);
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; n += 8, block += block_bytes(inputs)) {
        const uint32x4x2_t counts = disagreements(x, block, inputs, tail);
        const int32x4_t low = vsubq_s32(all, vreinterpretq_s32_u32(vaddq_u32(counts.val[0], counts.val[0])));
        const int32x4_t high = vsubq_s32(all, vreinterpretq_s32_u32(vaddq_u32(counts.val[1], counts.val[1])));
        if (rows - n >= 8) {
            vst1q_s32(y + n, low);
            vst1q_s32(y + n + 4, high);
        } else {
            int32_t sums[8];
            vst1q_s32(sums, low);
            vst1q_s32(sums + 4, high);
            for (uint32_t i = 0; i < rows - n; ++i) {
                y[n + i] = sums[i];
            }
        }
    }
}

void labc_sign_matvec_threshold_neon(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                     uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint8x16_t tail = tail_of(x, inputs);
    const uint8_t *block = (const uint8_t *)w;
    uint8_t *bytes = (uint8_t *)y;
    y[(rows - 1) / 32] = 0;
    for (uint32_t n = 0; n < rows; n += 8, block += block_bytes(inputs)) {
        const uint32x4x2_t counts = disagreements(x, block, inputs, tail);
        int32_t last[8];
        const int32_t *limit = limits + n;
        if (rows - n < 8) {
            copy_some(last, limit, rows - n, -1);
            limit = last;
        }
        bytes[n / 8] = bits_of(vcleq_s32(vreinterpretq_s32_u32(counts.val[0]), vld1q_s32(limit)),
                               vcleq_s32(vreinterpretq_s32_u32(counts.val[1]), vld1q_s32(limit + 4)));
    }
}

/* ---- bytes times signs ---- */

void labc_byte_matvec_sums_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                int32_t *restrict y, void *restrict scratch)
{
    sum_rows(scratch, make_tables(x, offset, inputs, scratch), w, inputs, rows, y);
}

void labc_byte_matvec_threshold_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                     void *restrict scratch)
{
    threshold_rows(scratch, make_tables(x, offset, inputs, scratch), w, thresholds, inputs, rows, y);
}

void labc_byte_matvec_requantize_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                      const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                      void *restrict scratch)
{
    requantize_rows(scratch, make_tables(x, offset, inputs, scratch), w, m, b, shift, inputs, rows, y);
}
