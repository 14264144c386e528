/* SPDX-License-Identifier: Apache-2.0 */
/* WebAssembly's simd128: kernels.def says what each computes. What is not here is in scalar.c. */
#include "simd128.h"

/* ---- signs times signs ---- */

static inline uint32_t columns_of(uint32_t inputs)
{
    return inputs / 16 + (inputs % 16 != 0);
}

/* The differences of a block of any number of inputs. */
static void count_wide(const uint32_t *x, const uint8_t *w, uint32_t inputs, uint32_t rows, uint32_t totals[BLOCK])
{
    for (uint32_t i = 0; i < BLOCK; ++i) {
        totals[i] = 0;
    }
    add_many((const uint8_t *)x, w, columns_of(inputs), totals, groups_of(rows));
}

static void count(const uint32_t *x, const uint8_t *w, uint32_t inputs, uint32_t rows, v128_t counts[GROUPS])
{
    clear(counts);
    add_differences((const uint8_t *)x, w, columns_of(inputs), counts, groups_of(rows));
}

void labc_sign_matvec_sums_simd128(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                   int32_t *restrict y)
{
    const v128_t all = wasm_i32x4_splat((int32_t)inputs);
    for (uint32_t n = 0; n < rows; n += BLOCK) {
        const uint8_t *const block = (const uint8_t *)w + n / 8 * 16 * columns_of(inputs);
        const uint32_t some = least(rows - n, BLOCK);
        if (inputs > MOST) {
            uint32_t totals[BLOCK];
            count_wide(x, block, inputs, some, totals);
            for (uint32_t i = 0; i < some; ++i) {
                y[n + i] = (int32_t)(inputs - 2 * totals[i]);
            }
            continue;
        }
        v128_t counts[GROUPS];
        count(x, block, inputs, some, counts);
        for (uint32_t i = 0; i < some; i += 8) {
            store_sums(y + n + i, all, counts[i / 8], some - i);
        }
    }
}

/* Eight counts that are within their limits; those are narrowed to 16 bits, which changes none that counts. */
static inline v128_t within(v128_t counts, const int32_t *limits)
{
    return wasm_i16x8_le(counts, wasm_i16x8_narrow_i32x4(wasm_v128_load(limits), wasm_v128_load(limits + 4)));
}

void labc_sign_matvec_threshold_simd128(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                        uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    for (uint32_t n = 0; n < rows; n += BLOCK) {
        const uint8_t *const block = (const uint8_t *)w + n / 8 * 16 * columns_of(inputs);
        const uint32_t some = least(rows - n, BLOCK);
        if (inputs > MOST) {
            uint32_t totals[BLOCK];
            count_wide(x, block, inputs, some, totals);
            for (uint32_t i = 0; i < some; ++i) {
                y[(n + i) / 32] = (i % 32 ? y[(n + i) / 32] : 0) | (uint32_t)((int32_t)totals[i] <= limits[n + i]) << i % 32;
            }
            continue;
        }
        v128_t counts[GROUPS];
        const v128_t *at = counts;
        count(x, block, inputs, some, counts);
        for (uint32_t i = 0; i < some; i += 32, at += 4) {
            int32_t last[32];
            const int32_t *limit = limits + n + i;
            if (some - i < 32) {
                copy_some(last, limit, some - i, -1);
                limit = last;
            }
            HIDE(limit);
            y[(n + i) / 32] = bits_of(within(at[0], limit), within(at[1], limit + 8), within(at[2], limit + 16), within(at[3], limit + 24));
        }
    }
}

/* ---- bytes times signs ---- */

void labc_byte_matvec_sums_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                   int32_t *restrict y, void *restrict scratch)
{
    sum_rows(scratch, make_tables(x, offset, inputs, scratch), w, inputs, rows, y);
}

void labc_byte_matvec_threshold_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                        const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                        void *restrict scratch)
{
    threshold_rows(scratch, make_tables(x, offset, inputs, scratch), w, thresholds, inputs, rows, y);
}

void labc_byte_matvec_requantize_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                         const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                         void *restrict scratch)
{
    requantize_rows(scratch, make_tables(x, offset, inputs, scratch), w, m, b, shift, inputs, rows, y);
}
