/* SPDX-License-Identifier: Apache-2.0 */
/* WebAssembly's simd128: kernels.def says what each computes. What is not here is in scalar.c. */
#include "simd128.h"

/* ---- signs times signs ---- */

/* Columns of a row, and groups of up to a block of rows. */
static inline uint32_t columns_of(uint32_t inputs)
{
    return inputs / 16 + (inputs % 16 != 0);
}

static inline uint32_t groups_of(uint32_t rows)
{
    return rows / 8 + (rows % 8 != 0);
}

/*
 * The differences of a block of any number of inputs, `counts` a place to count some in: pieces of 2047 columns, the most that MOST holds,
 * go into 32 bits.
 */
static void count_wide(const uint8_t *x, const uint8_t *w, uint32_t inputs, uint32_t groups, v128_t *counts, uint32_t totals[BLOCK])
{
    const uint32_t columns = columns_of(inputs);
    for (uint32_t i = 0; i < 8 * groups; ++i) {
        totals[i] = 0;
    }
    for (uint32_t done = 0; done < columns; done += 2047) {
        clear(counts, groups);
        add_differences(x + 2 * done, w + 16 * done, least(columns - done, 2047), 16 * columns, counts, groups);
        for (uint32_t i = 0; i < groups; ++i) {
            uint32_t *const at = totals + 8 * i;
            wasm_v128_store(at, wasm_i32x4_add(wasm_v128_load(at), wasm_u32x4_extend_low_u16x8(counts[i])));
            wasm_v128_store(at + 4, wasm_i32x4_add(wasm_v128_load(at + 4), wasm_u32x4_extend_high_u16x8(counts[i])));
        }
    }
}

void labc_sign_matvec_sums_simd128(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                   int32_t *restrict y)
{
    const v128_t all = wasm_i32x4_splat((int32_t)inputs);
    const uint8_t *block = (const uint8_t *)w;
    for (uint32_t n = 0; n < rows; n += BLOCK, block += GROUPS * 16 * columns_of(inputs)) {
        const uint32_t some = least(rows - n, BLOCK), groups = groups_of(some);
        v128_t counts[GROUPS];
        if (inputs > MOST) {
            uint32_t totals[BLOCK];
            count_wide((const uint8_t *)x, block, inputs, groups, counts, totals);
            for (uint32_t i = 0; i < some; ++i) {
                y[n + i] = (int32_t)(inputs - 2 * totals[i]);
            }
            continue;
        }
        clear(counts, groups);
        add_differences((const uint8_t *)x, block, columns_of(inputs), 16 * columns_of(inputs), counts, groups);
        for (uint32_t i = 0; i < groups; ++i) {
            store_sums(y + n + 8 * i, all, counts[i], some - 8 * i);
        }
    }
}

void labc_sign_matvec_threshold_simd128(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                        uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint8_t *block = (const uint8_t *)w;
    uint8_t *bytes = (uint8_t *)y;
    y[(rows - 1) / 32] = 0;
    for (uint32_t n = 0; n < rows; n += BLOCK, block += GROUPS * 16 * columns_of(inputs)) {
        const uint32_t some = least(rows - n, BLOCK), groups = groups_of(some);
        v128_t counts[GROUPS];
        if (inputs > MOST) {
            uint32_t totals[BLOCK];
            count_wide((const uint8_t *)x, block, inputs, groups, counts, totals);
            for (uint32_t i = 0; i < some; ++i) {
                y[(n + i) / 32] = (i % 32 ? y[(n + i) / 32] : 0) | (uint32_t)((int32_t)totals[i] <= limits[n + i]) << i % 32;
            }
            continue;
        }
        clear(counts, groups);
        add_differences((const uint8_t *)x, block, columns_of(inputs), 16 * columns_of(inputs), counts, groups);
        const int32_t *limit = limits + n;
        for (uint32_t i = 0; i < groups; ++i, limit += 8) {
            int32_t last[8];
            if (some - 8 * i < 8) {
                copy_some(last, limit, some - 8 * i, -1);
                limit = last;
            }
            const v128_t bounds = wasm_i16x8_narrow_i32x4(wasm_v128_load(limit), wasm_v128_load(limit + 4));
            bytes[n / 8 + i] = (uint8_t)wasm_i16x8_bitmask(wasm_i16x8_le(counts[i], bounds));
        }
    }
}
