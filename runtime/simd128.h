/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of WebAssembly's simd128 share. */
#ifndef LABC_SIMD128_H
#define LABC_SIMD128_H

#include "kernels.h"

#include <stddef.h>
#include <wasm_simd128.h>

/* Rows of signs are taken a block at a time: eight rows are a group, a vector of 16 bits each. */
enum { GROUPS = 8, BLOCK = 8 * GROUPS };

/* Counts up to here are no negative numbers of 16 bits. */
enum { MOST = 32767 };

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Hides where an address comes from: clang keeps constants that are added to one in a loop out of its loads, two instructions each. */
#define HIDE(at) __asm__("" : "+r"(at))

/*
 * A column is 16 inputs: a vector of w holds those of the eight rows of a group, and x has them in each lane. Its differences, counted per
 * byte, are at most 8, so bytes hold the sum of 31 columns. All groups of a block share what is loaded of x; each adds up several columns
 * before it widens them, in an expression that keeps no sums in variables, as reading one costs an instruction, too. A vector of 128
 * products is then 6: w's address, its load, x, xor, popcnt, add. 16 columns at once would be 5 % fewer instructions, but ran slower by
 * 10 % in wasmtime on x86-64, whose registers hold eight columns and eight counts.
 */
#define COLUMN(i) const v128_t x##i = wasm_v128_load16_splat(x + 2 * (i))
#define COUNT(at, g, i) wasm_i8x16_popcnt(wasm_v128_xor(wasm_v128_load(at + 16 * (g)), x##i))
#define PLUS(a, b) wasm_i8x16_add(a, b)
#define COUNT4(g) PLUS(PLUS(PLUS(COUNT(w, g, 0), COUNT(w, 8 + g, 1)), COUNT(w, 16 + g, 2)), COUNT(w, 24 + g, 3))
#define COUNT8(g) PLUS(PLUS(PLUS(PLUS(COUNT4(g), COUNT(w, 32 + g, 4)), COUNT(w, 40 + g, 5)), COUNT(w, 48 + g, 6)), COUNT(w, 56 + g, 7))

/* The two bytes of a row added up, and to a count. */
#define ADD(count, bytes) count = wasm_i16x8_add(count, wasm_u16x8_extadd_pairwise_u8x16(bytes))

/* Adds to counts[8] the differences of x and w, a block of eight groups, in so many columns. */
static void add_8_groups(const uint8_t *x, const uint8_t *w, uint32_t columns, v128_t *counts)
{
    v128_t a = counts[0], b = counts[1], c = counts[2], d = counts[3], e = counts[4], f = counts[5], g = counts[6], h = counts[7];
    for (; columns >= 8; columns -= 8, x += 16, w += 1024) {
        HIDE(x);
        HIDE(w);
        COLUMN(0);
        COLUMN(1);
        COLUMN(2);
        COLUMN(3);
        COLUMN(4);
        COLUMN(5);
        COLUMN(6);
        COLUMN(7);
        ADD(a, COUNT8(0));
        ADD(b, COUNT8(1));
        ADD(c, COUNT8(2));
        ADD(d, COUNT8(3));
        ADD(e, COUNT8(4));
        ADD(f, COUNT8(5));
        ADD(g, COUNT8(6));
        ADD(h, COUNT8(7));
    }
    if (columns >= 4) {
        COLUMN(0);
        COLUMN(1);
        COLUMN(2);
        COLUMN(3);
        ADD(a, COUNT4(0));
        ADD(b, COUNT4(1));
        ADD(c, COUNT4(2));
        ADD(d, COUNT4(3));
        ADD(e, COUNT4(4));
        ADD(f, COUNT4(5));
        ADD(g, COUNT4(6));
        ADD(h, COUNT4(7));
        columns -= 4;
        x += 8;
        w += 512;
    }
    for (; columns != 0; --columns, x += 2, w += 128) {
        HIDE(w);
        COLUMN(0);
        ADD(a, COUNT(w, 0, 0));
        ADD(b, COUNT(w, 1, 0));
        ADD(c, COUNT(w, 2, 0));
        ADD(d, COUNT(w, 3, 0));
        ADD(e, COUNT(w, 4, 0));
        ADD(f, COUNT(w, 5, 0));
        ADD(g, COUNT(w, 6, 0));
        ADD(h, COUNT(w, 7, 0));
    }
    counts[0] = a;
    counts[1] = b;
    counts[2] = c;
    counts[3] = d;
    counts[4] = e;
    counts[5] = f;
    counts[6] = g;
    counts[7] = h;
}

/* The same of the first four groups of fewer than eight, or of the one at `done`: a column of w is `step` bytes behind the one before. */
static void add_4_groups(const uint8_t *x, const uint8_t *w, uint32_t columns, uint32_t step, v128_t *counts)
{
    v128_t a = counts[0], b = counts[1], c = counts[2], d = counts[3];
    for (; columns >= 4; columns -= 4, x += 8, w += 4 * step) {
        const uint8_t *second = w + step, *third = w + 2 * step, *fourth = w + 3 * step;
        HIDE(x);
        HIDE(w);
        HIDE(second);
        HIDE(third);
        HIDE(fourth);
        COLUMN(0);
        COLUMN(1);
        COLUMN(2);
        COLUMN(3);
#define FOUR(g) PLUS(PLUS(PLUS(COUNT(w, g, 0), COUNT(second, g, 1)), COUNT(third, g, 2)), COUNT(fourth, g, 3))
        ADD(a, FOUR(0));
        ADD(b, FOUR(1));
        ADD(c, FOUR(2));
        ADD(d, FOUR(3));
    }
    for (; columns != 0; --columns, x += 2, w += step) {
        HIDE(w);
        COLUMN(0);
        ADD(a, COUNT(w, 0, 0));
        ADD(b, COUNT(w, 1, 0));
        ADD(c, COUNT(w, 2, 0));
        ADD(d, COUNT(w, 3, 0));
    }
    counts[0] = a;
    counts[1] = b;
    counts[2] = c;
    counts[3] = d;
}

static void add_group(const uint8_t *x, const uint8_t *block, uint32_t done, uint32_t columns, uint32_t step, v128_t *count)
{
    v128_t a = *count;
    for (; columns >= 4; columns -= 4, x += 8, done += 4 * step) {
        const uint8_t *const w = block + done, *const second = w + step, *const third = w + 2 * step, *const fourth = w + 3 * step;
        HIDE(x);
        COLUMN(0);
        COLUMN(1);
        COLUMN(2);
        COLUMN(3);
        ADD(a, FOUR(0));
    }
#undef FOUR
    for (; columns != 0; --columns, x += 2, done += step) {
        const uint8_t *const w = block + done;
        COLUMN(0);
        ADD(a, COUNT(w, 0, 0));
    }
    *count = a;
}

/* Adds to `counts` the differences of x and w, a block of so many groups. */
static void add_differences(const uint8_t *x, const uint8_t *w, uint32_t columns, v128_t *counts, uint32_t groups)
{
    uint32_t done = 0;
    if (groups == GROUPS) {
        add_8_groups(x, w, columns, counts);
        return;
    }
    if (groups >= 4) {
        add_4_groups(x, w, columns, 16 * groups, counts);
        done = 4;
    }
    for (; done < groups; ++done) {
        add_group(x, w, 16 * done, columns, 16 * groups, counts + done);
    }
}

static inline uint32_t groups_of(uint32_t rows)
{
    return rows / 8 + (rows % 8 != 0);
}

static inline void clear(v128_t counts[GROUPS])
{
    for (uint32_t i = 0; i < GROUPS; ++i) {
        counts[i] = wasm_i16x8_splat(0);
    }
}

/* Adds to totals[BLOCK] what counts of 16 bits do not hold: pieces of 2047 columns, the most that MOST holds. */
static void add_many(const uint8_t *x, const uint8_t *w, uint32_t columns, uint32_t *totals, uint32_t groups)
{
    for (uint32_t done = 0; done < columns; done += 2047) {
        v128_t counts[GROUPS];
        clear(counts);
        add_differences(x + (size_t)2 * done, w + (size_t)16 * groups * done, least(columns - done, 2047), counts, groups);
        for (uint32_t i = 0; i < groups; ++i) {
            uint32_t *const at = totals + 8 * i;
            wasm_v128_store(at, wasm_i32x4_add(wasm_v128_load(at), wasm_u32x4_extend_low_u16x8(counts[i])));
            wasm_v128_store(at + 4, wasm_i32x4_add(wasm_v128_load(at + 4), wasm_u32x4_extend_high_u16x8(counts[i])));
        }
    }
}

/* ---- what becomes of the counts ---- */

/* all - 2 counts, of eight rows or the first `rows` of them. */
static inline void store_sums(int32_t *y, v128_t all, v128_t counts, uint32_t rows)
{
    const v128_t twice = wasm_i16x8_shl(counts, 1); /* at most 65534 */
    int32_t some[8];
    int32_t *const to = rows < 8 ? some : y;
    wasm_v128_store(to, wasm_i32x4_sub(all, wasm_u32x4_extend_low_u16x8(twice)));
    wasm_v128_store(to + 4, wasm_i32x4_sub(all, wasm_u32x4_extend_high_u16x8(twice)));
    for (uint32_t i = 0; rows < 8 && i < rows; ++i) {
        y[i] = some[i];
    }
}

/* 32 masks of 16 bits, each as a bit, the first in the lowest. */
static inline uint32_t bits_of(v128_t a, v128_t b, v128_t c, v128_t d)
{
    return wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(a, b)) | wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(c, d)) << 16;
}

/* `some` elements, and `fill` up to 32. */
static inline void copy_some(int32_t to[32], const int32_t *from, uint32_t some, int32_t fill)
{
    for (uint32_t i = 0; i < 32; i += 4) {
        wasm_v128_store(to + i, wasm_i32x4_splat(fill));
    }
    for (uint32_t i = 0; i < some; ++i) {
        to[i] = from[i];
    }
}

/* ---- bytes times signs ---- */

/* Bytes of the tables of a column, which is eight inputs here, and of w the bytes of 16 rows. */
enum { TABLES = 64 };

static inline uint32_t byte_columns(uint32_t inputs)
{
    return inputs / 8 + (inputs % 8 != 0);
}

/* The lane of four, h or h + 4, in every lane. */
#define SPREAD(v, i) wasm_i16x8_splat(wasm_i16x8_extract_lane(v, i))

/*
 * The tables of four inputs, lanes h to h + 3 of `values`: entry i is the sum of those whose bit in i is 1, made non-negative by `bias` per
 * input (offset 128 reads down to -128), so from 0 to 4 * 255 = 1020. Kept as two tables of bytes: the lower 5 bits, and the upper 5.
 */
#define MAKE_TABLES(values, h, to)                                                                               \
    do {                                                                                                         \
        const v128_t zero = wasm_v128_and(SPREAD(values, h), wasm_i16x8_const(0, -1, 0, -1, 0, -1, 0, -1));      \
        const v128_t one = wasm_v128_and(SPREAD(values, (h) + 1), wasm_i16x8_const(0, 0, -1, -1, 0, 0, -1, -1)); \
        const v128_t two = wasm_v128_and(SPREAD(values, (h) + 2), wasm_i16x8_const(0, 0, 0, 0, -1, -1, -1, -1)); \
        const v128_t low = wasm_i16x8_add(wasm_i16x8_add(bias, zero), wasm_i16x8_add(one, two));                 \
        const v128_t high = wasm_i16x8_add(low, SPREAD(values, (h) + 3)), low5 = wasm_i16x8_const_splat(31);     \
        wasm_v128_store(to, wasm_u8x16_narrow_i16x8(wasm_v128_and(low, low5), wasm_v128_and(high, low5)));       \
        wasm_v128_store((to) + 16, wasm_u8x16_narrow_i16x8(wasm_u16x8_shr(low, 5), wasm_u16x8_shr(high, 5)));    \
    } while (0)

/*
 * The tables of x. Eight entries of each add up in a byte: at most 8 * 31 = 248. Returns what 2 * (sum of entries) is too much: each
 * column's biases twice, and sum x, as sum x w = 2 sum over w = 1 of x - sum x. Modulo 2^32, where the result fits.
 */
static inline uint32_t make_tables(const uint8_t *x, uint32_t offset, uint32_t inputs, uint8_t *tables)
{
    const v128_t bias = wasm_i16x8_splat((int16_t)(4 * offset)), less = wasm_i16x8_splat((int16_t)offset);
    const v128_t flip = wasm_i8x16_splat((int8_t)offset);
    v128_t all = wasm_i32x4_splat(0);
    for (uint32_t k = 0; k < inputs; k += 8, tables += TABLES) {
        uint64_t eight = 0;
        if (inputs - k >= 8) {
            __builtin_memcpy(&eight, x + k, sizeof eight);
        } else {
            for (uint32_t i = 0; i < inputs - k; ++i) {
                eight |= (uint64_t)x[k + i] << 8 * i;
            }
        }
        const v128_t bytes = wasm_v128_xor(wasm_i64x2_splat((int64_t)eight), flip);
        /* Inputs that are not there are 0 whatever the offset, as flip - less is then. */
        const v128_t values = wasm_i16x8_sub(wasm_u16x8_extend_low_u8x16(bytes), less);
        all = wasm_i32x4_add(all, wasm_i32x4_extadd_pairwise_i16x8(values));
        MAKE_TABLES(values, 0, tables);
        MAKE_TABLES(values, 4, tables + 32);
    }
    const uint32_t sum = (uint32_t)(wasm_i32x4_extract_lane(all, 0) + wasm_i32x4_extract_lane(all, 1) + wasm_i32x4_extract_lane(all, 2) +
                                    wasm_i32x4_extract_lane(all, 3));
    return sum + 2 * 2 * 4 * offset * byte_columns(inputs);
}

/* The entries of 16 rows in a column, or sums of up to four of those: their lower and upper 5 bits. */
typedef struct {
    v128_t low, high;
} entries;

static inline entries look_up(const uint8_t *tables, const uint8_t *w)
{
    const v128_t weights = wasm_v128_load(w);
    const v128_t first = wasm_v128_and(weights, wasm_i8x16_const_splat(15)), second = wasm_u8x16_shr(weights, 4);
    const entries sum = {
        wasm_i8x16_add(wasm_i8x16_swizzle(wasm_v128_load(tables), first), wasm_i8x16_swizzle(wasm_v128_load(tables + 32), second)),
        wasm_i8x16_add(wasm_i8x16_swizzle(wasm_v128_load(tables + 16), first), wasm_i8x16_swizzle(wasm_v128_load(tables + 48), second))};
    return sum;
}

static inline entries plus(entries a, entries b)
{
    const entries sum = {wasm_i8x16_add(a.low, b.low), wasm_i8x16_add(a.high, b.high)};
    return sum;
}

/* Many entries of 16 rows, in order of rows. */
typedef struct {
    v128_t low0, low1, high0, high1;
} entry_sums;

static inline entry_sums accumulate(entry_sums sums, entries some)
{
    sums.low0 = wasm_i16x8_add(sums.low0, wasm_u16x8_extend_low_u8x16(some.low));
    sums.low1 = wasm_i16x8_add(sums.low1, wasm_u16x8_extend_high_u8x16(some.low));
    sums.high0 = wasm_i16x8_add(sums.high0, wasm_u16x8_extend_low_u8x16(some.high));
    sums.high1 = wasm_i16x8_add(sums.high1, wasm_u16x8_extend_high_u8x16(some.high));
    return sums;
}

/* to[0..8) += 2 * (low + 32 * high) */
static inline void add_twice(int32_t *to, v128_t low, v128_t high)
{
    const v128_t first =
        wasm_i32x4_add(wasm_i32x4_shl(wasm_u32x4_extend_low_u16x8(low), 1), wasm_i32x4_shl(wasm_u32x4_extend_low_u16x8(high), 6));
    const v128_t second =
        wasm_i32x4_add(wasm_i32x4_shl(wasm_u32x4_extend_high_u16x8(low), 1), wasm_i32x4_shl(wasm_u32x4_extend_high_u16x8(high), 6));
    wasm_v128_store(to, wasm_i32x4_add(wasm_v128_load(to), first));
    wasm_v128_store(to + 4, wasm_i32x4_add(wasm_v128_load(to + 4), second));
}

/*
 * sums[n] = 2 * (sum of row n's entries) - excess for 16 rows. Four columns are eight look-ups a row, which fit a byte; 1024 columns at 62
 * and the last three fit 16 bits.
 */
static inline void sum_16_rows(const uint8_t *tables, uint32_t excess, const uint8_t *w, uint32_t columns, int32_t sums[16])
{
    for (uint32_t i = 0; i < 16; i += 4) {
        wasm_v128_store(sums + i, wasm_i32x4_splat((int32_t)(0 - excess)));
    }
    while (columns != 0) {
        const uint32_t some = least(columns, 1024);
        const v128_t none = wasm_i16x8_splat(0);
        entry_sums found = {none, none, none, none};
        columns -= some;
        for (uint32_t left = some / 4; left != 0; --left, tables += 4 * TABLES, w += 64) {
            HIDE(tables);
            HIDE(w);
            found = accumulate(found, plus(plus(look_up(tables, w), look_up(tables + TABLES, w + 16)),
                                           plus(look_up(tables + 2 * TABLES, w + 32), look_up(tables + 3 * TABLES, w + 48))));
        }
        for (uint32_t left = some % 4; left != 0; --left, tables += TABLES, w += 16) {
            found = accumulate(found, look_up(tables, w));
        }
        add_twice(sums, found.low0, found.high0);
        add_twice(sums + 8, found.low1, found.high1);
    }
}

/* ---- the rows of one vector of bytes, by its tables: what the byte ops do with their sums ---- */

static inline void sum_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; n += 16, block += 16 * byte_columns(inputs)) {
        int32_t sums[16];
        sum_16_rows(tables, excess, block, byte_columns(inputs), rows - n < 16 ? sums : y + n);
        for (uint32_t i = 0; rows - n < 16 && i < rows - n; ++i) {
            y[n + i] = sums[i];
        }
    }
}

/* Which of eight sums reach their threshold: 16 bits each, all ones or zeros. */
static inline v128_t reached(const int32_t *sums, const int32_t *thresholds)
{
    return wasm_i16x8_narrow_i32x4(wasm_i32x4_ge(wasm_v128_load(sums), wasm_v128_load(thresholds)),
                                   wasm_i32x4_ge(wasm_v128_load(sums + 4), wasm_v128_load(thresholds + 4)));
}

static inline void threshold_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, const int32_t *thresholds, uint32_t inputs,
                                  uint32_t rows, uint32_t *y)
{
    const uint32_t columns = byte_columns(inputs);
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint8_t *const block = (const uint8_t *)w + n * columns;
        int32_t sums[32] = {0}, last[32];
        const int32_t *threshold = thresholds + n;
        sum_16_rows(tables, excess, block, columns, sums);
        if (rows - n > 16) {
            sum_16_rows(tables, excess, block + 16 * columns, columns, sums + 16);
        }
        if (rows - n < 32) {
            copy_some(last, threshold, rows - n, INT32_MAX);
            threshold = last;
        }
        y[n / 32] = bits_of(reached(sums, threshold), reached(sums + 8, threshold + 8), reached(sums + 16, threshold + 16),
                            reached(sums + 24, threshold + 24));
    }
}

/* min(max(v, 0) >> shift, 255) of two v of 64 bits, |v| < 2^52. */
static inline v128_t shifted(v128_t v, uint32_t shift)
{
    const v128_t most = wasm_i64x2_const_splat(255), positive = wasm_v128_andnot(v, wasm_i64x2_shr(v, 63));
    const v128_t result = wasm_i64x2_shr(positive, shift);
    return wasm_v128_bitselect(most, result, wasm_i64x2_gt(result, most));
}

static inline void requantize_rows(const uint8_t *tables, uint32_t excess, const uint32_t *w, const int32_t *m, const int64_t *b,
                                   uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *y)
{
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; block += 16 * byte_columns(inputs)) {
        int32_t sums[16];
        sum_16_rows(tables, excess, block, byte_columns(inputs), sums);
        for (uint32_t i = 0; i < 16 && n < rows; i += 4, n += 4) {
            const uint32_t some = least(rows - n, 4);
            int32_t last_m[4] = {0, 0, 0, 0};
            int64_t last_b[4] = {0, 0, 0, 0};
            const int32_t *factor = m + n;
            const int64_t *term = b + n;
            if (some < 4) {
                for (uint32_t j = 0; j < some; ++j) {
                    last_m[j] = factor[j];
                    last_b[j] = term[j];
                }
                factor = last_m;
                term = last_b;
            }
            const v128_t four = wasm_v128_load(sums + i), factors = wasm_v128_load(factor);
            const v128_t low = shifted(wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(four, factors), wasm_v128_load(term)), shift);
            const v128_t high = shifted(wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(four, factors), wasm_v128_load(term + 2)), shift);
            const v128_t bytes = wasm_i8x16_shuffle(low, high, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24);
            const uint32_t packed = (uint32_t)wasm_i32x4_extract_lane(bytes, 0);
            if (some == 4) {
                __builtin_memcpy(y + n, &packed, sizeof packed);
            } else {
                for (uint32_t j = 0; j < some; ++j) {
                    y[n + j] = (uint8_t)(packed >> 8 * j);
                }
            }
        }
    }
}

#endif
