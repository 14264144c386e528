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

/*
 * table[i] = sum over j of value[j] * (bit j of i ? +1 : -1), from the four sums of the first two values and the four of the
 * others. At most 4 * 255 in magnitude.
 */
static inline void partial_sums(int16_t a, int16_t b, int16_t c, int16_t d, int16_t table[16])
{
    const int16_t low[4] = {(int16_t)(-a - b), (int16_t)(a - b), (int16_t)(b - a), (int16_t)(a + b)};
    const int16_t high[4] = {(int16_t)(-c - d), (int16_t)(c - d), (int16_t)(d - c), (int16_t)(c + d)};
    for (uint32_t i = 0; i < 4; ++i) {
        table[4 * i] = (int16_t)(low[0] + high[i]);
        table[4 * i + 1] = (int16_t)(low[1] + high[i]);
        table[4 * i + 2] = (int16_t)(low[2] + high[i]);
        table[4 * i + 3] = (int16_t)(low[3] + high[i]);
    }
}

/* x[k] as a number; beyond the inputs, where weights are only padding, nothing. */
static inline int16_t input_at(const uint8_t *x, uint32_t offset, uint32_t inputs, uint32_t k)
{
    return k < inputs ? (int16_t)((int16_t)(x[k] ^ offset) - (int16_t)offset) : 0;
}

/*
 * y[n] = sum over k of x_k w_nk. Four inputs can be summed in only 16 ways, so for each 32 inputs eight tables of 16 partial
 * sums are made once, and a row's word of weights indexes them: 8 look-ups in place of 32 additions. The tables (256 bytes)
 * live on the stack. The index is a weight, so neither branch nor address depends on x.
 */
static void byte_sums(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                      int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    int16_t table[8][16];
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = 0;
    }
    for (uint32_t k = 0; k < inputs; k += 32, ++w) {
        for (uint32_t t = 0; t < 8; ++t) {
            const uint32_t at = k + 4 * t;
            partial_sums(input_at(x, offset, inputs, at), input_at(x, offset, inputs, at + 1), input_at(x, offset, inputs, at + 2),
                         input_at(x, offset, inputs, at + 3), table[t]);
        }
        const uint32_t *word = w;
        for (uint32_t n = 0; n < rows; ++n, word += words) {
            const uint32_t bits = labc_flash_u32(word);
            /* At most 32 * 255 in magnitude: fits an int of 16 bits. */
            const int sum = table[0][bits & 15] + table[1][bits >> 4 & 15] + table[2][bits >> 8 & 15] + table[3][bits >> 12 & 15] +
                            table[4][bits >> 16 & 15] + table[5][bits >> 20 & 15] + table[6][bits >> 24 & 15] + table[7][bits >> 28];
            y[n] += sum;
        }
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
