/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices times vectors, and scores, in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include "scalar.h"

void labc_sign_matvec_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                  int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (uint32_t n = 0; n < rows; ++n, w += words) {
        y[n] = (int32_t)(inputs - 2 * disagreements(x, w, words)); /* modulo 2^32: twice the count may not fit an int32 */
    }
}

void labc_sign_matvec_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                       uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        uint32_t signs = 0;
        for (uint32_t i = 0; i < some; ++i, w += words) {
            signs |= at_least(labc_flash_i32(limits + n + i), (int32_t)disagreements(x, w, words)) << i;
        }
        y[n / 32] = signs;
    }
}

void labc_byte_matvec_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                  int32_t *restrict y, void *restrict scratch)
{
    (void)scratch;
    byte_sums(x, offset, w, inputs, rows, y);
}

/*
 * The two ops that keep no sums work on 32 rows at a time, the signs of one word, with the sums on the stack. Making the
 * tables again for each 32 rows costs about 8 * 16 stores for 32 * 32 products.
 */
void labc_byte_matvec_threshold_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                       const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                       void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        int32_t sums[32];
        uint32_t signs = 0;
        byte_sums(x, offset, w, inputs, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            signs |= at_least(sums[i], labc_flash_i32(thresholds + n + i)) << i;
        }
        y[n / 32] = signs;
        w += some * words;
    }
}

void labc_byte_matvec_requantize_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                        const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                        void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        int32_t sums[32];
        byte_sums(x, offset, w, inputs, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            y[n + i] = requantize(product_of(sums[i], labc_flash_i32(m + n + i)) + labc_flash_i64(b + n + i), shift);
        }
        w += some * words;
    }
}

/*
 * x s + t. The product passes through a volatile float: a compiler that would fuse the two operations (gcc does by default
 * where there is an fma) has to store the rounded product instead, whatever its flags.
 */
static inline float score(int32_t x, float s, float t)
{
    volatile float product = (float)x * s;
    return product + t;
}

void labc_affine_scalar(const int32_t *restrict x, const float *restrict s, const float *restrict t, uint32_t rows, float *restrict y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = score(x[n], labc_flash_f32(s + n), labc_flash_f32(t + n));
    }
}

/*
 * An int32 that orders as the finite float does, without comparing floats (float libraries branch there, and so do float
 * units by way of their flags). The bits of a float are sign and magnitude: positive ones order as integers already, for
 * negative ones -magnitude is wanted. With s = sign ? ~0 : 0, (magnitude ^ s) - s is that, and -0 becomes +0.
 */
static inline int32_t order_of(float value)
{
    const union {
        float value;
        uint32_t bits;
    } pun = {value};
    const uint32_t magnitude = pun.bits & UINT32_C(0x7fffffff);
    const uint32_t s = 0 - (pun.bits >> 31);
    return (int32_t)((magnitude ^ s) - s);
}

void labc_affine_argmax_scalar(const int32_t *restrict x, const float *restrict s, const float *restrict t, uint32_t rows,
                               uint32_t *restrict y)
{
    uint32_t best = 0;
    int32_t most = order_of(score(x[0], labc_flash_f32(s), labc_flash_f32(t)));
    for (uint32_t n = 1; n < rows; ++n) {
        const int32_t order = order_of(score(x[n], labc_flash_f32(s + n), labc_flash_f32(t + n)));
        /* all ones where order > most; the difference of two orders needs 33 bits */
        const uint32_t greater = (uint32_t)((uint64_t)((int64_t)most - order) >> 32);
        best ^= (best ^ n) & greater;
        most = (int32_t)((uint32_t)most ^ (((uint32_t)most ^ (uint32_t)order) & greater));
    }
    *y = best;
}
