/* SPDX-License-Identifier: Apache-2.0 */
/* Pools in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include <stddef.h>

#include "scalar.h"
#include "window.h"

/* Combine the `count` elements of a pixel of x with those y has of the taps before; if this is the first, y has nothing yet. */
typedef void combine_fn(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y);

/* Every output pixel, tap after tap; pixels have `count` elements, of `x_bytes` and `y_bytes`. */
static inline void pool(const void *x, uint32_t x_bytes, const void *flips, const labc_window *v, uint32_t count, void *y, uint32_t y_bytes,
                        combine_fn *combine)
{
    unsigned char *to = y;
    for (uint32_t i = 0; i < v->out_height; ++i) {
        for (uint32_t j = 0; j < v->out_width; ++j, to += count * y_bytes) {
            const sight s = sight_of(v, i, j);
            uint32_t first = 1;
            for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                for (uint32_t b = s.columns.first; b < s.columns.end; ++b, first = 0) {
                    combine((const unsigned char *)x + pixel_of(v, &s, a, b) * count * x_bytes, flips, count, first, to);
                }
            }
        }
    }
}

/* ---- the largest ---- */

/* Where a bit is flipped, both; else either. */
static void more_signs(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const uint32_t *from = x, *flip = flips;
    uint32_t *to = y;
    for (uint32_t k = 0; k < count; ++k) {
        const uint32_t before = first ? from[k] : to[k];
        to[k] = (from[k] & before) | ((from[k] | before) & ~labc_flash_u32(flip + k));
    }
}

void labc_sign_max_pool_scalar(const uint32_t *restrict x, const uint32_t *restrict flips, const labc_window *restrict window,
                               uint32_t *restrict y)
{
    pool(x, 4, flips, window, words_of(window->channels), y, 4, more_signs);
}

/* The larger of each pair, of one chunk of memory or, at the end, of what is left of one; flips may be in flash. */
static inline void larger_bytes(const uint8_t *restrict x, const uint8_t *restrict flips, size_t bytes, uint8_t *restrict y)
{
    uint8_t flip_bytes[sizeof(chunk)] = {0};
    chunk a = 0, b = 0, flip;
    for (size_t k = 0; k < bytes; ++k) {
        flip_bytes[k] = labc_flash_u8(flips + k);
    }
    __builtin_memcpy(&flip, flip_bytes, sizeof flip);
    __builtin_memcpy(&a, x, bytes);
    __builtin_memcpy(&b, y, bytes);
    b = larger_of_fields(a ^ flip, b ^ flip, BYTES(0x80), 8) ^ flip;
    __builtin_memcpy(y, &b, bytes);
}

static void more_bytes(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const uint8_t *from = x, *flip = flips;
    uint8_t *to = y;
    uint32_t k = 0;
    for (; first && k < count; ++k) {
        to[k] = from[k];
    }
    for (; count - k >= sizeof(chunk); k += (uint32_t)sizeof(chunk)) {
        larger_bytes(from + k, flip + k, sizeof(chunk), to + k);
    }
    for (; k < count; ++k) {
        larger_bytes(from + k, flip + k, 1, to + k);
    }
}

void labc_byte_max_pool_scalar(const uint8_t *restrict x, const uint8_t *restrict flips, const labc_window *restrict window,
                               uint8_t *restrict y)
{
    pool(x, 1, flips, window, window->channels, y, 1, more_bytes);
}

/* Signed numbers of 16 bits order as unsigned ones with the top bit turned over. */
static inline void larger_words(const int16_t *restrict x, size_t bytes, int16_t *restrict y)
{
    const chunk tops = HALVES(0x8000);
    chunk a = 0, b = 0;
    __builtin_memcpy(&a, x, bytes);
    __builtin_memcpy(&b, y, bytes);
    b = larger_of_fields(a ^ tops, b ^ tops, tops, 16) ^ tops;
    __builtin_memcpy(y, &b, bytes);
}

static void more_words(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const int16_t *from = x;
    int16_t *to = y;
    uint32_t k = 0;
    (void)flips;
    for (; first && k < count; ++k) {
        to[k] = from[k];
    }
    for (; count - k >= CHUNK_HALVES; k += CHUNK_HALVES) {
        larger_words(from + k, sizeof(chunk), to + k);
    }
    for (; k < count; ++k) {
        larger_words(from + k, 2, to + k);
    }
}

void labc_word_max_pool_scalar(const int16_t *restrict x, const labc_window *restrict window, int16_t *restrict y)
{
    pool(x, 2, 0, window, window->channels, y, 2, more_words);
}

/* The difference of two sums fits an int32. */
static void more_sums(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const int32_t *from = x;
    int32_t *to = y;
    (void)flips;
    for (uint32_t k = 0; k < count; ++k) {
        const int32_t before = first ? from[k] : to[k];
        to[k] = before + ((from[k] - before) & mask_if_at_least(from[k], before));
    }
}

void labc_sum_max_pool_scalar(const int32_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    pool(x, 4, 0, window, window->channels, y, 4, more_sums);
}

/* ---- sums ---- */

static void add_words(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const int16_t *from = x;
    int32_t *to = y;
    (void)flips;
    for (uint32_t k = 0; k < count; ++k) {
        to[k] = (first ? 0 : to[k]) + from[k];
    }
}

void labc_word_add_pool_scalar(const int16_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    pool(x, 2, 0, window, window->channels, y, 4, add_words);
}

static void add_sums(const void *restrict x, const void *restrict flips, uint32_t count, uint32_t first, void *restrict y)
{
    const int32_t *from = x;
    int32_t *to = y;
    (void)flips;
    for (uint32_t k = 0; k < count; ++k) {
        to[k] = (first ? 0 : to[k]) + from[k];
    }
}

void labc_sum_add_pool_scalar(const int32_t *restrict x, const labc_window *restrict window, int32_t *restrict y)
{
    pool(x, 4, 0, window, window->channels, y, 4, add_sums);
}
