/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of WebAssembly's simd128 share. */
#ifndef LABC_SIMD128_H
#define LABC_SIMD128_H

#include "kernels.h"

#include <stddef.h>
#include <wasm_simd128.h>

/* Rows are taken a block at a time, whose counts are kept: eight rows are a group, a vector of 16 bits each. */
enum { GROUPS = 32, BLOCK = 8 * GROUPS };

/* Counts up to here are no negative numbers of 16 bits. */
enum { MOST = 32767 };

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*
 * A column is 16 inputs: a vector of w holds those of eight rows, and x has them in each lane. Its differences, counted per byte, are at
 * most 8, so bytes hold the sum of 31 columns.
 */
#define LOAD_COLUMN(i) const v128_t x##i = wasm_v128_load16_splat(x + 2 * (i))
#define COUNT(i) wasm_i8x16_popcnt(wasm_v128_xor(wasm_v128_load(w + 16 * (i)), x##i))
#define PLUS(a, b) wasm_i8x16_add(a, b)
#define COUNT2(i, j) PLUS(COUNT(i), COUNT(j))
#define COUNT4(i, j, k, l) PLUS(PLUS(COUNT2(i, j), COUNT(k)), COUNT(l))
#define COUNT8(i, j, k, l, m, n, o, p) PLUS(PLUS(PLUS(PLUS(COUNT4(i, j, k, l), COUNT(m)), COUNT(n)), COUNT(o)), COUNT(p))

/* The two bytes of a row added up. */
#define ROWS_OF(bytes) wasm_u16x8_extadd_pairwise_u8x16(bytes)

/* Hides where an address comes from: clang keeps constants added to one in a loop out of the loads, and each would cost two instructions. */
#define HIDE(at) __asm__("" : "+r"(at))

/* Adds the expression `more` to the counts of every group. */
#define EACH_GROUP(more)                                                                                                           \
    do {                                                                                                                           \
        v128_t *count = counts;                                                                                                    \
        for (const v128_t *const end = count + groups; count != end; ++count, w += stride) {                                       \
            HIDE(w);                                                                                                               \
            *count = wasm_i16x8_add(*count, more);                                                                                 \
        }                                                                                                                          \
    } while (0)

/* The same for so many columns. Their x stays in variables while the groups go by. */
static inline void add_1(const uint8_t *x, const uint8_t *w, uint32_t stride, v128_t *counts, uint32_t groups)
{
    LOAD_COLUMN(0);
    EACH_GROUP(ROWS_OF(COUNT(0)));
}

static inline void add_4(const uint8_t *x, const uint8_t *w, uint32_t stride, v128_t *counts, uint32_t groups)
{
    LOAD_COLUMN(0);
    LOAD_COLUMN(1);
    LOAD_COLUMN(2);
    LOAD_COLUMN(3);
    EACH_GROUP(ROWS_OF(COUNT4(0, 1, 2, 3)));
}

static inline void add_8(const uint8_t *x, const uint8_t *w, uint32_t stride, v128_t *counts, uint32_t groups)
{
    LOAD_COLUMN(0);
    LOAD_COLUMN(1);
    LOAD_COLUMN(2);
    LOAD_COLUMN(3);
    LOAD_COLUMN(4);
    LOAD_COLUMN(5);
    LOAD_COLUMN(6);
    LOAD_COLUMN(7);
    EACH_GROUP(ROWS_OF(COUNT8(0, 1, 2, 3, 4, 5, 6, 7)));
}

static inline void add_32(const uint8_t *x, const uint8_t *w, uint32_t stride, v128_t *counts, uint32_t groups)
{
    LOAD_COLUMN(0);
    LOAD_COLUMN(1);
    LOAD_COLUMN(2);
    LOAD_COLUMN(3);
    LOAD_COLUMN(4);
    LOAD_COLUMN(5);
    LOAD_COLUMN(6);
    LOAD_COLUMN(7);
    LOAD_COLUMN(8);
    LOAD_COLUMN(9);
    LOAD_COLUMN(10);
    LOAD_COLUMN(11);
    LOAD_COLUMN(12);
    LOAD_COLUMN(13);
    LOAD_COLUMN(14);
    LOAD_COLUMN(15);
    LOAD_COLUMN(16);
    LOAD_COLUMN(17);
    LOAD_COLUMN(18);
    LOAD_COLUMN(19);
    LOAD_COLUMN(20);
    LOAD_COLUMN(21);
    LOAD_COLUMN(22);
    LOAD_COLUMN(23);
    LOAD_COLUMN(24);
    LOAD_COLUMN(25);
    LOAD_COLUMN(26);
    LOAD_COLUMN(27);
    LOAD_COLUMN(28);
    LOAD_COLUMN(29);
    LOAD_COLUMN(30);
    LOAD_COLUMN(31);
    EACH_GROUP(wasm_i16x8_add(ROWS_OF(PLUS(COUNT8(0, 1, 2, 3, 4, 5, 6, 7), COUNT8(8, 9, 10, 11, 12, 13, 14, 15))),
                              ROWS_OF(PLUS(COUNT8(16, 17, 18, 19, 20, 21, 22, 23), COUNT8(24, 25, 26, 27, 28, 29, 30, 31)))));
}

/* Adds to counts[groups] the differences of x and w in so many columns; each group's w is `stride` bytes behind that of the one before. */
static void add_differences(const uint8_t *x, const uint8_t *w, uint32_t columns, uint32_t stride, v128_t *counts, uint32_t groups)
{
    for (; columns >= 32; columns -= 32, x += 64, w += 512) {
        add_32(x, w, stride, counts, groups);
    }
    for (; columns >= 8; columns -= 8, x += 16, w += 128) {
        add_8(x, w, stride, counts, groups);
    }
    if (columns >= 4) {
        add_4(x, w, stride, counts, groups);
        columns -= 4;
        x += 8;
        w += 64;
    }
    for (; columns != 0; --columns, x += 2, w += 16) {
        add_1(x, w, stride, counts, groups);
    }
}

static inline uint32_t groups_of(uint32_t rows)
{
    return rows / 8 + (rows % 8 != 0);
}

/* Rows come out 32 at a time: so many counts are read. */
static inline void clear(v128_t *counts, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i += 32, counts += 4) {
        counts[0] = counts[1] = counts[2] = counts[3] = wasm_i16x8_splat(0);
    }
}

/* Adds to totals[8 groups] what counts of 16 bits do not hold: pieces of 2047 columns, the most that MOST holds. */
static inline void add_many(const uint8_t *x, const uint8_t *w, uint32_t columns, uint32_t stride, uint32_t *totals, uint32_t groups)
{
    for (uint32_t done = 0; done < columns; done += 2047) {
        v128_t counts[GROUPS];
        clear(counts, 8 * groups);
        add_differences(x + (size_t)2 * done, w + (size_t)16 * done, least(columns - done, 2047), stride, counts, groups);
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

#endif
