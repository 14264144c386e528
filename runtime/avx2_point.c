/* SPDX-License-Identifier: Apache-2.0 */
/* Element by element with AVX2: what residual networks do to sums and 16-bit activations. */
#include "avx2.h"

/* ---- signs ---- */

/* The first `count` of eight int16, all from 8 on, as int32; the others 0. */
INLINE __m256i widened(const int16_t *x, uint32_t count)
{
    int16_t some[8] = {0};
    if (count < 8) {
        memcpy(some, x, count * sizeof *x);
        x = some;
    }
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
}

/*
 * One pixel's signs, of sums or, where those are NULL, of words: the sign bits of eight lanes are eight signs.
 */
INLINE void threshold(const int32_t *sums, const int16_t *words, const int32_t *thresholds, const uint32_t *flips, uint32_t channels,
                      uint32_t *y)
{
    uint32_t signs = 0;
    for (uint32_t c = 0; c < channels; c += 8) {
        const uint32_t left = channels - c;
        __m256i x, least;
        uint32_t all = 255;
        if (left >= 8) {
            least = _mm256_loadu_si256((const __m256i *)(const void *)(thresholds + c));
            x = sums != NULL ? _mm256_loadu_si256((const __m256i *)(const void *)(sums + c)) : widened(words + c, 8);
        } else {
            least = _mm256_maskload_epi32(thresholds + c, first_lanes(left));
            x = sums != NULL ? _mm256_maskload_epi32(sums + c, first_lanes(left)) : widened(words + c, left);
            all >>= 8 - left;
        }
        const uint32_t below = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(least, x)));
        signs |= (~below & all) << c % 32;
        if (c % 32 == 24 || left <= 8) {
            y[c / 32] = signs ^ flips[c / 32];
            signs = 0;
        }
    }
}

void labc_sum_threshold_avx2(const int32_t *restrict x, const int32_t *restrict thresholds, const uint32_t *restrict flips,
                             uint32_t channels, uint32_t pixels, uint32_t *restrict y)
{
    for (; pixels > 0; --pixels, x += channels, y += words_of(channels)) {
        threshold(x, NULL, thresholds, flips, channels, y);
    }
}

void labc_word_threshold_avx2(const int16_t *restrict x, const int32_t *restrict thresholds, const uint32_t *restrict flips,
                              uint32_t channels, uint32_t pixels, uint32_t *restrict y)
{
    for (; pixels > 0; --pixels, x += channels, y += words_of(channels)) {
        threshold(NULL, x, thresholds, flips, channels, y);
    }
}

/* ---- bytes and words ---- */

void labc_sum_requantize_avx2(const int32_t *restrict x, const int32_t *restrict m, const int64_t *restrict b, uint32_t shift,
                              uint32_t channels, uint32_t pixels, uint8_t *restrict y)
{
    const __m128i right = _mm_cvtsi32_si128((int32_t)shift);
    for (; pixels > 0; --pixels, x += channels, y += channels) {
        requantize_all(x, m, b, right, channels, y);
    }
}

/*
 * Four int16, min(max((x m + b) >> shift, -32768), 32767). There is no arithmetic shift of 64-bit lanes: an unsigned one of v + 2^52 rounds
 * down as it would, and 2^52 >> shift is taken off again.
 */
INLINE int64_t requantize_words(const int32_t *x, const int32_t *m, const int64_t *b, __m128i shift)
{
    const __m256i bias = _mm256_set1_epi64x(INT64_C(1) << 52);
    const __m256i lowest = _mm256_set1_epi64x(INT16_MIN), highest = _mm256_set1_epi64x(INT16_MAX);
    /* The low 16 bits of each lane: bytes 0, 1, 8 and 9 of each half. */
    /* clang-format off */
    const __m256i low = _mm256_setr_epi8(0, 1, 8, 9, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                         -1, -1, -1, -1, 0, 1, 8, 9, -1, -1, -1, -1, -1, -1, -1, -1);
    /* clang-format on */
    const __m256i v = _mm256_add_epi64(scaled(x, m, b), bias);
    __m256i word = _mm256_sub_epi64(_mm256_srl_epi64(v, shift), _mm256_srl_epi64(bias, shift));
    word = _mm256_blendv_epi8(word, lowest, _mm256_cmpgt_epi64(lowest, word));
    word = _mm256_shuffle_epi8(_mm256_blendv_epi8(word, highest, _mm256_cmpgt_epi64(word, highest)), low);
    return _mm_cvtsi128_si64(_mm_or_si128(_mm256_castsi256_si128(word), _mm256_extracti128_si256(word, 1)));
}

void labc_sum_requantize_word_avx2(const int32_t *restrict x, const int32_t *restrict m, const int64_t *restrict b, uint32_t shift,
                                   uint32_t channels, uint32_t pixels, int16_t *restrict y)
{
    const __m128i right = _mm_cvtsi32_si128((int32_t)shift);
    const uint32_t whole = channels / 4 * 4, rest = channels % 4;
    int32_t factors[4] = {0};
    int64_t terms[4] = {0};
    memcpy(factors, m + whole, rest * sizeof *m);
    memcpy(terms, b + whole, rest * sizeof *b);
    for (; pixels > 0; --pixels, x += channels, y += channels) {
        for (uint32_t c = 0; c < whole; c += 4) {
            const int64_t four = requantize_words(x + c, m + c, b + c, right);
            memcpy(y + c, &four, sizeof four);
        }
        if (rest > 0) {
            int32_t last[4] = {0};
            memcpy(last, x + whole, rest * sizeof *x);
            const int64_t four = requantize_words(last, factors, terms, right);
            memcpy(y + whole, &four, rest * sizeof *y);
        }
    }
}

void labc_word_add_avx2(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    const uint32_t whole = count / 16 * 16, rest = count % 16;
    for (uint32_t i = 0; i < whole; i += 16) {
        const __m256i sum = _mm256_adds_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(a + i)),
                                              _mm256_loadu_si256((const __m256i *)(const void *)(b + i)));
        _mm256_storeu_si256((__m256i *)(void *)(y + i), sum);
    }
    if (rest > 0) {
        __m256i last_a = _mm256_setzero_si256(), last_b = last_a;
        memcpy(&last_a, a + whole, rest * sizeof *a);
        memcpy(&last_b, b + whole, rest * sizeof *b);
        const __m256i sum = _mm256_adds_epi16(last_a, last_b);
        memcpy(y + whole, &sum, rest * sizeof *y);
    }
}
