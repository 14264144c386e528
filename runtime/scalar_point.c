/* SPDX-License-Identifier: Apache-2.0 */
/* What is done element by element, in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include <stdbool.h>
#include <stddef.h>

#include "scalar.h"

void labc_sign_widen_scalar(const uint32_t *restrict x, uint32_t channels, uint32_t pixels, int32_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p, x += words_of(channels)) {
        for (uint32_t c = 0; c < channels; ++c) {
            *y++ = (int32_t)(2 * (x[c / 32] >> c % 32 & 1)) - 1;
        }
    }
}

void labc_byte_widen_scalar(const uint8_t *restrict x, uint32_t offset, uint32_t channels, uint32_t pixels, int32_t *restrict y)
{
    const uint32_t count = channels * pixels;
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = (int32_t)(x[i] ^ offset) - (int32_t)offset;
    }
}

void labc_word_widen_scalar(const int16_t *restrict x, uint32_t channels, uint32_t pixels, int32_t *restrict y)
{
    const uint32_t count = channels * pixels;
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = x[i];
    }
}

void labc_sum_threshold_scalar(const int32_t *restrict x, const int32_t *restrict thresholds, const uint32_t *restrict flips,
                               uint32_t channels, uint32_t pixels, uint32_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; c += 32) {
            const uint32_t some = channels - c < 32 ? channels - c : 32;
            uint32_t signs = 0;
            for (uint32_t i = 0; i < some; ++i) {
                signs |= at_least(*x++, labc_flash_i32(thresholds + c + i)) << i;
            }
            *y++ = signs ^ labc_flash_u32(flips + c / 32);
        }
    }
}

void labc_word_threshold_scalar(const int16_t *restrict x, const int32_t *restrict thresholds, const uint32_t *restrict flips,
                                uint32_t channels, uint32_t pixels, uint32_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; c += 32) {
            const uint32_t some = channels - c < 32 ? channels - c : 32;
            uint32_t signs = 0;
            for (uint32_t i = 0; i < some; ++i) {
                signs |= at_least(*x++, labc_flash_i32(thresholds + c + i)) << i;
            }
            *y++ = signs ^ labc_flash_u32(flips + c / 32);
        }
    }
}

void labc_sum_requantize_scalar(const int32_t *restrict x, const int32_t *restrict m, const int64_t *restrict b, uint32_t shift,
                                uint32_t channels, uint32_t pixels, uint8_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; ++c) {
            *y++ = requantize(product_of(*x++, labc_flash_i32(m + c)) + labc_flash_i64(b + c), shift);
        }
    }
}

/* v within low..high, all of magnitude below 2^30; without a branch. */
static inline int32_t clip(int32_t v, int32_t low, int32_t high)
{
    v = low + ((v - low) & mask_if_at_least(v, low));
    return high + ((v - high) & mask_if_at_least(high, v));
}

void labc_sum_requantize_word_scalar(const int32_t *restrict x, const int32_t *restrict m, const int64_t *restrict b, uint32_t shift,
                                     uint32_t channels, uint32_t pixels, int16_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; ++c) {
            const int64_t v = product_of(*x++, labc_flash_i32(m + c)) + labc_flash_i64(b + c);
            /* An unsigned shift of v + 2^52 rounds down as a signed one of v would: 2^52 >> shift, at least 4, is taken off again. */
            const uint64_t shifted = (uint64_t)(v + (INT64_C(1) << 52)) >> shift, half = (UINT64_C(1) << 52) >> shift;
            /* In 0 .. 65535 once 32768 is added; the borrows of the two comparisons become masks. */
            const uint64_t biased = shifted + 32768 - half;
            const uint32_t negative = opaque((uint32_t)(biased >> 63));
            const uint64_t positive = biased & ((uint64_t)negative - 1);
            const uint32_t above = opaque((uint32_t)((65535 - positive) >> 63));
            *y++ = (int16_t)((int32_t)(((uint32_t)positive | (0 - above)) & 65535) - 32768);
        }
    }
}

/*
 * Fields of 16 bits added without a carry from one into the next. Where both have one sign and the sum another, it is the last number
 * on that side: 0x7fff, and one more, 0x8000, for negative ones.
 */
static inline void add_fields(const int16_t *a, const int16_t *b, size_t bytes, int16_t *y)
{
    const chunk tops = HALVES(0x8000);
    chunk u = 0, v = 0;
    __builtin_memcpy(&u, a, bytes);
    __builtin_memcpy(&v, b, bytes);
    const chunk sum = ((u & ~tops) + (v & ~tops)) ^ ((u ^ v) & tops);
    const chunk over = ~(u ^ v) & (u ^ sum) & tops;
    const chunk mask = over | (over - (over >> 15)), last = HALVES(0x7fff) + ((u & tops) >> 15);
    v = sum ^ ((sum ^ last) & mask);
    __builtin_memcpy(y, &v, bytes);
}

void labc_word_add_scalar(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    uint32_t i = 0;
    for (; count - i >= CHUNK_HALVES; i += CHUNK_HALVES) {
        add_fields(a + i, b + i, sizeof(chunk), y + i);
    }
    for (; i < count; ++i) {
        add_fields(a + i, b + i, 2, y + i);
    }
}

/* The larger of x and low, and of that and high the smaller: of the complements the larger. All with the top bit turned over. */
static inline void clip_fields(const int16_t *x, chunk low, chunk high, size_t bytes, int16_t *y)
{
    const chunk tops = HALVES(0x8000);
    chunk v = 0;
    __builtin_memcpy(&v, x, bytes);
    v = ~larger_of_fields(~larger_of_fields(v ^ tops, low, tops, 16), ~high, tops, 16) ^ tops;
    __builtin_memcpy(y, &v, bytes);
}

void labc_word_clip_scalar(const int16_t *x, int32_t low, int32_t high, uint32_t count, int16_t *y)
{
    const chunk lows = HALVES((chunk)(low + 32768)), highs = HALVES((chunk)(high + 32768));
    uint32_t i = 0;
    for (; count - i >= CHUNK_HALVES; i += CHUNK_HALVES) {
        clip_fields(x + i, lows, highs, sizeof(chunk), y + i);
    }
    for (; i < count; ++i) {
        clip_fields(x + i, lows, highs, 2, y + i);
    }
}

void labc_word_prelu_scalar(const int16_t *x, const int16_t *slopes, uint32_t channels, uint32_t pixels, int16_t *y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; ++c) {
            const int32_t v = *x++;
            /* At least -2^15 2^8: with 2^23 added the unsigned shift rounds down. */
            const int32_t scaled = (int32_t)((uint32_t)(v * labc_flash_i16(slopes + c) + 128 + (INT32_C(1) << 23)) >> 8) - 32768;
            *y++ = (int16_t)clip(scaled + ((v - scaled) & mask_if_at_least(v, 0)), INT16_MIN, INT16_MAX);
        }
    }
}

/* `count` signs of x from `first` on, into y from `at` on; bits of y at and after `at` are still 0. */
static void copy_signs(const uint32_t *x, uint32_t first, uint32_t count, uint32_t *y, uint32_t at)
{
    while (count > 0) {
        const uint32_t left = 32 - first % 32, free = 32 - at % 32;
        uint32_t some = left < free ? left : free;
        some = some < count ? some : count;
        y[at / 32] |= (x[first / 32] >> first % 32 & (UINT32_MAX >> (32 - some))) << at % 32;
        first += some;
        at += some;
        count -= some;
    }
}

static void clear(uint32_t *y, uint32_t words)
{
    for (uint32_t i = 0; i < words; ++i) {
        y[i] = 0;
    }
}

void labc_sign_join_scalar(const uint32_t *restrict a, uint32_t a_channels, const uint32_t *restrict b, uint32_t b_channels,
                           uint32_t pixels, uint32_t *restrict y)
{
    const uint32_t words = words_of(a_channels + b_channels);
    for (uint32_t p = 0; p < pixels; ++p, a += words_of(a_channels), b += words_of(b_channels), y += words) {
        clear(y, words);
        copy_signs(a, 0, a_channels, y, 0);
        copy_signs(b, 0, b_channels, y, a_channels);
    }
}

void labc_byte_join_scalar(const void *restrict a, uint32_t a_bytes, const void *restrict b, uint32_t b_bytes, uint32_t pixels,
                           void *restrict y)
{
    const uint8_t *from_a = a, *from_b = b;
    uint8_t *to = y;
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t i = 0; i < a_bytes; ++i) {
            *to++ = *from_a++;
        }
        for (uint32_t i = 0; i < b_bytes; ++i) {
            *to++ = *from_b++;
        }
    }
}

void labc_sign_slice_scalar(const uint32_t *restrict x, uint32_t channels, uint32_t first, uint32_t count, uint32_t pixels,
                            uint32_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p, x += words_of(channels), y += words_of(count)) {
        clear(y, words_of(count));
        copy_signs(x, first, count, y, 0);
    }
}

void labc_byte_slice_scalar(const void *restrict x, uint32_t channel_bytes, uint32_t first_bytes, uint32_t count_bytes, uint32_t pixels,
                            void *restrict y)
{
    const uint8_t *from = x;
    uint8_t *to = y;
    for (uint32_t p = 0; p < pixels; ++p, from += channel_bytes) {
        for (uint32_t i = 0; i < count_bytes; ++i) {
            *to++ = from[first_bytes + i];
        }
    }
}

void labc_sign_pad_scalar(const uint32_t *restrict x, const labc_window *restrict window, uint32_t plus, uint32_t *restrict y)
{
    const uint32_t words = words_of(window->channels), last = UINT32_MAX >> (31 - (window->channels - 1) % 32);
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            /* Above and left of the image the differences wrap, and are not less than its size either. */
            const bool inside = i - window->top < window->height && j - window->left < window->width;
            for (uint32_t k = 0; k < words; ++k) {
                const uint32_t border = (0 - plus) & (k + 1 == words ? last : UINT32_MAX);
                *y++ = inside ? x[((i - window->top) * window->width + j - window->left) * words + k] : border;
            }
        }
    }
}

void labc_byte_interleave_scalar(const uint8_t *restrict x, uint32_t channels, uint32_t pixels, uint8_t *restrict y)
{
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t c = 0; c < channels; ++c) {
            *y++ = x[c * pixels + p];
        }
    }
}
