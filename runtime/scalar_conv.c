/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include "scalar.h"
#include "window.h"

/* How many bits differ between what an output pixel sees and one row of weights. */
static uint32_t differing(const uint32_t *x, const uint32_t *w, const labc_window *v, const sight *s)
{
    const uint32_t words = words_of(v->channels);
    uint32_t count = 0;
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        if (v->dilation_x == 1 && s->columns.first < s->columns.end) {
            count += disagreements(x + pixel_of(v, s, a, s->columns.first) * words, w + (a * v->kernel_width + s->columns.first) * words,
                                   (s->columns.end - s->columns.first) * words);
            continue;
        }
        for (uint32_t b = s->columns.first; b < s->columns.end; ++b) {
            count += disagreements(x + pixel_of(v, s, a, b) * words, w + (a * v->kernel_width + b) * words, words);
        }
    }
    return count;
}

void labc_sign_conv_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                int32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = taps_of(window) * words_of(window->channels);
    (void)scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            const int32_t most = (int32_t)(inside(&s) * window->channels);
            for (uint32_t n = 0; n < rows; ++n) {
                *y++ = most - 2 * (int32_t)differing(x, w + n * row_words, window, &s);
            }
        }
    }
}

void labc_sign_conv_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                     const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = taps_of(window) * words_of(window->channels);
    (void)scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            const int32_t missing = (int32_t)((taps_of(window) - inside(&s)) * window->channels);
            uint32_t signs = 0;
            for (uint32_t n = 0; n < rows; ++n) {
                const int32_t twice = 2 * (int32_t)differing(x, w + n * row_words, window, &s);
                signs |= (uint32_t)(twice + missing <= labc_flash_i32(limits + n)) << n % 32;
                if (n % 32 == 31 || n + 1 == rows) {
                    *y++ = signs;
                    signs = 0;
                }
            }
        }
    }
}

/* The sum of one row of byte weights over what an output pixel sees. */
static int32_t byte_sum(const uint8_t *x, int32_t offset, const uint32_t *w, const labc_window *v, const sight *s)
{
    int32_t sum = 0;
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        for (uint32_t b = s->columns.first; b < s->columns.end; ++b) {
            const uint8_t *at = x + pixel_of(v, s, a, b) * v->channels;
            const uint32_t first = (a * v->kernel_width + b) * v->channels;
            for (uint32_t c = 0; c < v->channels; ++c) {
                const uint32_t k = first + c;
                /* 0 or -1, so that the sign is applied without a branch */
                const int32_t minus = (int32_t)(labc_flash_u32(w + k / 32) >> k % 32 & 1) - 1;
                sum += (((int32_t)at[c] ^ offset) - offset + minus) ^ minus;
            }
        }
    }
    return sum;
}

void labc_byte_conv_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                                uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = words_of(taps_of(window) * window->channels);
    (void)scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; ++n) {
                *y++ = byte_sum(x, (int32_t)offset, w + n * row_words, window, &s);
            }
        }
    }
}

void labc_byte_conv_threshold_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                     uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = words_of(taps_of(window) * window->channels);
    (void)scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            uint32_t signs = 0;
            for (uint32_t n = 0; n < rows; ++n) {
                const int32_t sum = byte_sum(x, (int32_t)offset, w + n * row_words, window, &s);
                signs |= (uint32_t)(sum >= labc_flash_i32(thresholds + n)) << n % 32;
                if (n % 32 == 31 || n + 1 == rows) {
                    *y++ = signs;
                    signs = 0;
                }
            }
        }
    }
}

void labc_byte_conv_requantize_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                      const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                      uint8_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = words_of(taps_of(window) * window->channels);
    (void)scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; ++n) {
                const int32_t sum = byte_sum(x, (int32_t)offset, w + n * row_words, window, &s);
                *y++ = requantize(product_of(sum, labc_flash_i32(m + n)) + labc_flash_i64(b + n), shift);
            }
        }
    }
}

/* +1 or -1: bit n of a vector of signs. */
static inline int32_t sign_at(uint32_t word, uint32_t n)
{
    return (int32_t)(2 * (word >> n % 32 & 1)) - 1;
}

/* The sum of output channel n over the taps inside: of signs times its weights. */
static int32_t sign_depthwise(const uint32_t *x, const uint32_t *w, const labc_window *v, const sight *s, uint32_t rows, uint32_t n)
{
    const uint32_t words = words_of(v->channels), row_words = words_of(rows), c = n / (rows / v->channels);
    int32_t sum = 0;
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        for (uint32_t b = s->columns.first; b < s->columns.end; ++b) {
            const uint32_t weights = labc_flash_u32(w + (a * v->kernel_width + b) * row_words + n / 32);
            sum += sign_at(x[pixel_of(v, s, a, b) * words + c / 32], c) * sign_at(weights, n);
        }
    }
    return sum;
}

void labc_sign_depthwise_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window,
                                     uint32_t rows, int32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; ++n) {
                *y++ = sign_depthwise(x, w, window, &s, rows, n);
            }
        }
    }
}

void labc_sign_depthwise_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                          const labc_window *restrict window, uint32_t rows, uint32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            uint32_t signs = 0;
            for (uint32_t n = 0; n < rows; ++n) {
                /* 2 D + (taps outside) = taps - sum */
                const int32_t twice = (int32_t)taps_of(window) - sign_depthwise(x, w, window, &s, rows, n);
                signs |= (uint32_t)(twice <= labc_flash_i32(limits + n)) << n % 32;
                if (n % 32 == 31 || n + 1 == rows) {
                    *y++ = signs;
                    signs = 0;
                }
            }
        }
    }
}

void labc_byte_depthwise_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const labc_window *restrict window, uint32_t rows, int32_t *restrict y)
{
    const uint32_t row_words = words_of(rows), each = rows / window->channels;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; ++n) {
                int32_t sum = 0;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        const uint32_t weights = labc_flash_u32(w + (a * window->kernel_width + b) * row_words + n / 32);
                        const uint32_t byte = x[pixel_of(window, &s, a, b) * window->channels + n / each];
                        sum += ((int32_t)(byte ^ offset) - (int32_t)offset) * sign_at(weights, n);
                    }
                }
                *y++ = sum;
            }
        }
    }
}
