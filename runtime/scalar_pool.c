/* SPDX-License-Identifier: Apache-2.0 */
/* Pools in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include "scalar.h"
#include "window.h"

void labc_sign_max_pool_scalar(const uint32_t *restrict x, const uint32_t *restrict flips, const labc_window *restrict window,
                               uint32_t *restrict y)
{
    const uint32_t words = words_of(window->channels);
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j, y += words) {
            const sight s = sight_of(window, i, j);
            for (uint32_t k = 0; k < words; ++k) {
                const uint32_t flip = labc_flash_u32(flips + k);
                uint32_t any = 0;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        any |= x[pixel_of(window, &s, a, b) * words + k] ^ flip;
                    }
                }
                y[k] = any ^ flip;
            }
        }
    }
}

/* The larger, without a branch; the difference of the two must fit an int32. */
static inline int32_t larger(int32_t a, int32_t b)
{
    return a + ((b - a) & (0 - (int32_t)at_least(b, a)));
}

void labc_byte_max_pool_scalar(const uint8_t *restrict x, const uint8_t *restrict flips, const labc_window *restrict window,
                               uint8_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t c = 0; c < window->channels; ++c) {
                const uint32_t flip = labc_flash_u8(flips + c);
                int32_t most = 0;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        most = larger(most, (int32_t)(x[pixel_of(window, &s, a, b) * window->channels + c] ^ flip));
                    }
                }
                *y++ = (uint8_t)((uint32_t)most ^ flip);
            }
        }
    }
}

void labc_word_max_pool_scalar(const int16_t *restrict x, const labc_window *restrict window, int16_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t c = 0; c < window->channels; ++c) {
                int32_t most = INT16_MIN;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        most = larger(most, x[pixel_of(window, &s, a, b) * window->channels + c]);
                    }
                }
                *y++ = (int16_t)most;
            }
        }
    }
}

void labc_sum_max_pool_scalar(const int32_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t c = 0; c < window->channels; ++c) {
                int32_t most = x[pixel_of(window, &s, s.rows.first, s.columns.first) * window->channels + c];
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        most = larger(most, x[pixel_of(window, &s, a, b) * window->channels + c]);
                    }
                }
                *y++ = most;
            }
        }
    }
}

void labc_word_add_pool_scalar(const int16_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t c = 0; c < window->channels; ++c) {
                int32_t sum = 0;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        sum += x[pixel_of(window, &s, a, b) * window->channels + c];
                    }
                }
                *y++ = sum;
            }
        }
    }
}

void labc_sum_add_pool_scalar(const int32_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t c = 0; c < window->channels; ++c) {
                int32_t sum = 0;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        sum += x[pixel_of(window, &s, a, b) * window->channels + c];
                    }
                }
                *y++ = sum;
            }
        }
    }
}
