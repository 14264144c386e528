/* SPDX-License-Identifier: Apache-2.0 */
/* What the NEON kernels share: little-endian AArch64 and ARMv7-A. */
#ifndef LABC_NEON_H
#define LABC_NEON_H

#include "kernels.h"

#include <arm_neon.h>

/*
 * What the two instruction sets spell differently. pairs(a, b): the sums of neighbouring bytes, those of a first. look_up: the
 * bytes of `table` at `index`, each below 16. load4: 64 bytes, in one instruction where there is one; gcc has it from 10.3 on.
 */
#if defined(__aarch64__) && (defined(__clang__) || __GNUC__ > 10 || (__GNUC__ == 10 && __GNUC_MINOR__ >= 3))
static inline uint8x16x4_t load4(const uint8_t *at)
{
    return vld1q_u8_x4(at);
}
#else
static inline uint8x16x4_t load4(const uint8_t *at)
{
    const uint8x16x4_t four = {{vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)}};
    return four;
}
#endif

#if defined(__aarch64__)
#define MANY_REGISTERS 1 /* 32 of 128 bits */

static inline uint8x16_t pairs(uint8x16_t a, uint8x16_t b)
{
    return vpaddq_u8(a, b);
}

static inline uint8x16_t look_up(uint8x16_t table, uint8x16_t index)
{
    return vqtbl1q_u8(table, index);
}
#else
#define MANY_REGISTERS 0 /* 16 of 128 bits */

static inline uint8x16_t pairs(uint8x16_t a, uint8x16_t b)
{
    return vcombine_u8(vpadd_u8(vget_low_u8(a), vget_high_u8(a)), vpadd_u8(vget_low_u8(b), vget_high_u8(b)));
}

static inline uint8x16_t look_up(uint8x16_t table, uint8x16_t index)
{
    const union {
        uint8x16_t whole;
        uint8x8x2_t halves;
    } pun = {table};
    return vcombine_u8(vtbl2_u8(pun.halves, vget_low_u8(index)), vtbl2_u8(pun.halves, vget_high_u8(index)));
}
#endif

/* Before a loop: clang unrolls it no further, which costs more in spilled registers than it saves. */
#if defined(__clang__)
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED
#endif

/* Sixteen bytes of a vector of signs, as they lie in memory. */
static inline uint8x16_t load_signs(const uint32_t *at)
{
    return vreinterpretq_u8_u32(vld1q_u32(at));
}

/* ---- rows in lanes: what a block of 32-bit results becomes ---- */

/* A mask of 16 bytes becomes 16 bits in order: these of each byte, then three rounds of adding neighbours. */
static const uint8_t bit_weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

/* The mask, all ones or zeros, of each of eight lanes as one byte, lane 0 in its lowest bit. */
static inline uint8_t bits_of(uint32x4_t low, uint32x4_t high)
{
    const uint8x8_t masks = vmovn_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high)));
    uint8x8_t bits = vand_u8(masks, vld1_u8(bit_weights));
    bits = vpadd_u8(bits, bits);
    bits = vpadd_u8(bits, bits);
    return vget_lane_u8(vpadd_u8(bits, bits), 0);
}

/* `some` elements, and `fill` up to eight. */
static inline void copy_some(int32_t to[8], const int32_t *from, uint32_t some, int32_t fill)
{
    for (uint32_t i = 0; i < 8; ++i) {
        to[i] = fill;
    }
    for (uint32_t i = 0; i < some; ++i) {
        to[i] = from[i];
    }
}

/* ---- bytes times signs ---- */

/*
 * Four inputs have 16 partial sums: the table entry i is the sum of those whose bit in i is 1, made non-negative by `bias` per
 * input (offset 128 reads down to -128), so from 0 to 4 * 255 = 1020, kept as two tables of bytes: its lower 5 bits, and the
 * upper 5. Then eight entries of each add up in a byte: at most 8 * 31 = 248. Columns are bytes of eight inputs, whose two
 * tables take 64 bytes of scratch. Returns what 2 * (sum of entries) is too much: each column's biases twice, and sum x, as
 * sum x w = 2 sum over w = 1 of x - sum x. Modulo 2^32, where the result fits.
 */
static inline uint32_t make_tables(const uint8_t *x, uint32_t offset, uint32_t inputs, uint8_t *tables)
{
    static const uint16_t bits[3][8] = {{0, 1, 0, 1, 0, 1, 0, 1}, {0, 0, 1, 1, 0, 0, 1, 1}, {0, 0, 0, 0, 1, 1, 1, 1}};
    const uint16x8_t bit0 = vld1q_u16(bits[0]), bit1 = vld1q_u16(bits[1]), bit2 = vld1q_u16(bits[2]);
    const uint16x8_t bias = vdupq_n_u16((uint16_t)(4 * offset));
    const uint8x8_t flip = vdup_n_u8((uint8_t)offset);
    const uint8x16_t low5 = vdupq_n_u8(31);
    uint32x4_t all = vdupq_n_u32(0);
    for (uint32_t k = 0; k < inputs; k += 8, tables += 64) {
        uint8_t last[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        const uint8_t *at = x + k;
        if (inputs - k < 8) {
            for (uint32_t i = 0; i < inputs - k; ++i) {
                last[i] = at[i];
            }
            at = last;
        }
        const uint8x8_t flipped = veor_u8(vld1_u8(at), flip);
        const uint16x8_t values = vsubl_u8(flipped, flip);
        all = vreinterpretq_u32_s32(vpadalq_s16(vreinterpretq_s32_u32(all), vreinterpretq_s16_u16(values)));
#define MAKE_TABLE(half, to)                                                             \
    do {                                                                                 \
        uint16x8_t first = vmlaq_lane_u16(bias, bit0, half, 0);                          \
        first = vmlaq_lane_u16(first, bit1, half, 1);                                    \
        first = vmlaq_lane_u16(first, bit2, half, 2);                                    \
        const uint16x8_t second = vaddq_u16(first, vdupq_lane_u16(half, 3));             \
        vst1q_u8(to, vandq_u8(vcombine_u8(vmovn_u16(first), vmovn_u16(second)), low5));  \
        vst1q_u8((to) + 16, vcombine_u8(vshrn_n_u16(first, 5), vshrn_n_u16(second, 5))); \
    } while (0)
        MAKE_TABLE(vget_low_u16(values), tables);
        MAKE_TABLE(vget_high_u16(values), tables + 32);
#undef MAKE_TABLE
    }
    const uint32_t columns = inputs / 8 + (inputs % 8 != 0);
    return vgetq_lane_u32(all, 0) + vgetq_lane_u32(all, 1) + vgetq_lane_u32(all, 2) + vgetq_lane_u32(all, 3) + 2 * 2 * 4 * offset * columns;
}

/* Entries of 16 rows, or sums of at most eight of them: their lower and upper 5 bits. */
typedef struct {
    uint8x16_t low, high;
} entries;

/* The tables of a column: of its first four inputs, and of the others. */
typedef struct {
    entries first, second;
} column;

static inline column load_column(const uint8_t *at)
{
    const column tables = {{vld1q_u8(at), vld1q_u8(at + 16)}, {vld1q_u8(at + 32), vld1q_u8(at + 48)}};
    return tables;
}

static inline entries look_up_column(column tables, uint8x16_t weights)
{
    const uint8x16_t first = vandq_u8(weights, vdupq_n_u8(15)), second = vshrq_n_u8(weights, 4);
    const entries sum = {vaddq_u8(look_up(tables.first.low, first), look_up(tables.second.low, second)),
                         vaddq_u8(look_up(tables.first.high, first), look_up(tables.second.high, second))};
    return sum;
}

static inline entries plus(entries a, entries b)
{
    const entries sum = {vaddq_u8(a.low, b.low), vaddq_u8(a.high, b.high)};
    return sum;
}

/* Many entries of 16 rows, in order of rows. */
typedef struct {
    uint16x8_t low0, low1, high0, high1;
} entry_sums;

static inline entry_sums none(void)
{
    const entry_sums sums = {vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)};
    return sums;
}

static inline entry_sums accumulate(entry_sums sums, entries some)
{
    sums.low0 = vaddw_u8(sums.low0, vget_low_u8(some.low));
    sums.low1 = vaddw_u8(sums.low1, vget_high_u8(some.low));
    sums.high0 = vaddw_u8(sums.high0, vget_low_u8(some.high));
    sums.high1 = vaddw_u8(sums.high1, vget_high_u8(some.high));
    return sums;
}

/* to[0..4) += 2 * (low + 32 * high) */
static inline void add_twice(int32_t *to, uint16x4_t low, uint16x4_t high)
{
    const uint32x4_t twice = vaddq_u32(vshll_n_u16(low, 1), vshll_n_u16(high, 6));
    vst1q_s32(to, vaddq_s32(vld1q_s32(to), vreinterpretq_s32_u32(twice)));
}

static inline void flush(entry_sums sums, int32_t *to)
{
    add_twice(to, vget_low_u16(sums.low0), vget_low_u16(sums.high0));
    add_twice(to + 4, vget_high_u16(sums.low0), vget_high_u16(sums.high0));
    add_twice(to + 8, vget_low_u16(sums.low1), vget_low_u16(sums.high1));
    add_twice(to + 12, vget_high_u16(sums.low1), vget_high_u16(sums.high1));
}

/*
 * to[n] += 2 * (sum of row n's entries) for 16 rows, whose weights are `stride` bytes apart from column to column. Four
 * columns are eight look-ups a row, which fit a byte; 1024 columns at 62 and the last three fit 16 bits.
 */
static inline void sum_16_rows(const uint8_t *tables, const uint8_t *w, uint32_t columns, uint32_t stride, int32_t *to)
{
    while (columns != 0) {
        const uint32_t some = columns < 1024 ? columns : 1024;
        const uint8_t *const end = tables + some / 4 * 256;
        entry_sums sums = none();
        ROLLED
        for (; tables != end; tables += 256) {
            entries a = look_up_column(load_column(tables), vld1q_u8(w));
            w += stride;
            a = plus(a, look_up_column(load_column(tables + 64), vld1q_u8(w)));
            w += stride;
            a = plus(a, look_up_column(load_column(tables + 128), vld1q_u8(w)));
            w += stride;
            a = plus(a, look_up_column(load_column(tables + 192), vld1q_u8(w)));
            w += stride;
            sums = accumulate(sums, a);
        }
        ROLLED
        for (columns -= some / 4 * 4; columns > 0 && columns < 4; --columns, tables += 64, w += stride) {
            sums = accumulate(sums, look_up_column(load_column(tables), vld1q_u8(w)));
        }
        flush(sums, to);
    }
}

/* The same for 32 rows side by side, which share the loads of the tables: for a processor with 32 vector registers. */
static inline void sum_32_rows(const uint8_t *tables, const uint8_t *w, uint32_t columns, int32_t *to)
{
    while (columns != 0) {
        const uint32_t some = columns < 1024 ? columns : 1024;
        const uint8_t *const end = tables + some / 4 * 256;
        entry_sums first = none(), second = none();
        ROLLED
        for (; tables != end; tables += 256, w += 128) {
            column c = load_column(tables);
            entries a = look_up_column(c, vld1q_u8(w)), b = look_up_column(c, vld1q_u8(w + 16));
            c = load_column(tables + 64);
            a = plus(a, look_up_column(c, vld1q_u8(w + 32)));
            b = plus(b, look_up_column(c, vld1q_u8(w + 48)));
            c = load_column(tables + 128);
            a = plus(a, look_up_column(c, vld1q_u8(w + 64)));
            b = plus(b, look_up_column(c, vld1q_u8(w + 80)));
            c = load_column(tables + 192);
            first = accumulate(first, plus(a, look_up_column(c, vld1q_u8(w + 96))));
            second = accumulate(second, plus(b, look_up_column(c, vld1q_u8(w + 112))));
        }
        ROLLED
        for (columns -= some / 4 * 4; columns > 0 && columns < 4; --columns, tables += 64, w += 32) {
            const column c = load_column(tables);
            first = accumulate(first, look_up_column(c, vld1q_u8(w)));
            second = accumulate(second, look_up_column(c, vld1q_u8(w + 16)));
        }
        flush(first, to);
        flush(second, to + 16);
    }
}

static inline void fill_16(int32_t *to, int32_t value)
{
    const int32x4_t four = vdupq_n_s32(value);
    vst1q_s32(to, four);
    vst1q_s32(to + 4, four);
    vst1q_s32(to + 8, four);
    vst1q_s32(to + 12, four);
}

/* sum x_k w_nk of 32 rows, or, of the last 16 or fewer, of 16. */
static inline void byte_sums(const uint8_t *tables, uint32_t excess, const uint8_t *w, uint32_t inputs, uint32_t rows, int32_t sums[32])
{
    const uint32_t columns = inputs / 8 + (inputs % 8 != 0);
    fill_16(sums, (int32_t)(0 - excess));
    fill_16(sums + 16, (int32_t)(0 - excess));
    if (rows <= 16) {
        sum_16_rows(tables, w, columns, 16, sums);
    } else if (MANY_REGISTERS) {
        sum_32_rows(tables, w, columns, sums);
    } else {
        sum_16_rows(tables, w, columns, 32, sums);
        sum_16_rows(tables, w + 16, columns, 32, sums + 16);
    }
}

/* Bytes of a block of two groups of 16 rows. */
static inline uint32_t byte_block_bytes(uint32_t inputs)
{
    return (inputs / 8 + (inputs % 8 != 0)) * 32;
}

/* ---- the rows of one vector of bytes, by its tables: what the byte ops do with their sums ---- */

static inline void sum_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; n += 32, block += byte_block_bytes(inputs)) {
        int32_t sums[32];
        byte_sums(tables, excess, block, inputs, rows - n, rows - n < 32 ? sums : y + n);
        for (uint32_t i = 0; rows - n < 32 && i < rows - n; ++i) {
            y[n + i] = sums[i];
        }
    }
}

/* Which of eight sums reach their threshold: a byte each, all ones or zeros. */
static inline uint8x8_t reached(const int32_t *sums, const int32_t *thresholds)
{
    const uint16x4_t low = vmovn_u32(vcgeq_s32(vld1q_s32(sums), vld1q_s32(thresholds)));
    const uint16x4_t high = vmovn_u32(vcgeq_s32(vld1q_s32(sums + 4), vld1q_s32(thresholds + 4)));
    return vmovn_u16(vcombine_u16(low, high));
}

static inline void threshold_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, const int32_t *thresholds, uint32_t inputs,
                                  uint32_t rows, uint32_t *y)
{
    const uint8x16_t weights = vld1q_u8(bit_weights);
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; n += 32, block += byte_block_bytes(inputs)) {
        int32_t sums[32], last[32];
        const int32_t *threshold = thresholds + n;
        byte_sums(tables, excess, block, inputs, rows - n, sums);
        if (rows - n < 32) {
            fill_16(last, INT32_MAX);
            fill_16(last + 16, INT32_MAX);
            for (uint32_t i = 0; i < rows - n; ++i) {
                last[i] = threshold[i];
            }
            threshold = last;
        }
        const uint8x16_t low = vcombine_u8(reached(sums, threshold), reached(sums + 8, threshold + 8));
        const uint8x16_t high = vcombine_u8(reached(sums + 16, threshold + 16), reached(sums + 24, threshold + 24));
        uint8x16_t bits = pairs(vandq_u8(low, weights), vandq_u8(high, weights));
        bits = pairs(bits, bits);
        y[n / 32] = vgetq_lane_u32(vreinterpretq_u32_u8(pairs(bits, bits)), 0);
    }
}

/* Two products, sums and shifts of 64 bits; saturating on the way to 32 keeps what is below 0 there and what is above 255 above. */
static inline int32x2_t shifted(int32x2_t sums, const int32_t *m, const int64_t *b, int64x2_t right)
{
    return vqmovn_s64(vshlq_s64(vaddq_s64(vmull_s32(sums, vld1_s32(m)), vld1q_s64(b)), right));
}

static inline void requantize_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, const int32_t *m, const int64_t *b,
                                   uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *y)
{
    const int64x2_t right = vdupq_n_s64(-(int64_t)shift);
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; block += byte_block_bytes(inputs)) {
        int32_t sums[32];
        byte_sums(tables, excess, block, inputs, rows - n, sums);
        for (uint32_t i = 0; i < 32 && n < rows; i += 4, n += 4) {
            const uint32_t some = rows - n < 4 ? rows - n : 4;
            int32_t last_m[4] = {0, 0, 0, 0};
            int64_t last_b[4] = {0, 0, 0, 0};
            const int32_t *factor = m + n;
            const int64_t *plus = b + n;
            if (some < 4) {
                for (uint32_t j = 0; j < some; ++j) {
                    last_m[j] = factor[j];
                    last_b[j] = plus[j];
                }
                factor = last_m;
                plus = last_b;
            }
            const int32x4_t values = vcombine_s32(shifted(vld1_s32(sums + i), factor, plus, right),
                                                  shifted(vld1_s32(sums + i + 2), factor + 2, plus + 2, right));
            const uint16x4_t positive = vqmovun_s32(values);
            const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(positive, positive))), 0);
            if (some == 4) {
                __builtin_memcpy(y + n, &four, sizeof four);
            } else {
                __builtin_memcpy(last_m, &four, sizeof four);
                for (uint32_t j = 0; j < some; ++j) {
                    y[n + j] = ((const uint8_t *)last_m)[j];
                }
            }
        }
    }
}

#endif
