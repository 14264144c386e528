/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: signs times signs by carry-save adders and a byte table, bytes times signs by tables of partial sums. A lane is a row of w. */
#include "avx2.h"

/* ---- signs times signs: 8 rows in a vector ---- */

void labc_sign_matvec_sums_avx2(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (uint32_t n = 0; n < rows; n += SIGN_LANES, w += (size_t)words * SIGN_LANES) {
        const __m256i count = count_differing(x, w, words);
        const __m256i sums = _mm256_sub_epi32(_mm256_set1_epi32((int32_t)inputs), _mm256_slli_epi32(count, 1));
        store_first(y + n, sums, rows - n);
    }
}

void labc_sign_matvec_threshold_avx2(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                     uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    uint32_t signs = 0;
    for (uint32_t n = 0; n < rows; n += SIGN_LANES, w += (size_t)words * SIGN_LANES) {
        const __m256i some = first_lanes(rows - n);
        const __m256i above = _mm256_cmpgt_epi32(count_differing(x, w, words), _mm256_maskload_epi32(limits + n, some));
        /* +1 where the count is not above its limit; the sign bits of eight lanes are eight signs. */
        const __m256i up = _mm256_andnot_si256(above, some);
        signs |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(up)) << n % 32;
        if (n % 32 == 24 || rows - n <= SIGN_LANES) {
            y[n / 32] = signs;
            signs = 0;
        }
    }
}

/* ---- bytes times signs: 32 rows in a vector of bytes ---- */

enum {
    BYTE_LANES = 32,
    STEP_INPUTS = 16,     /* inputs of a step: two words of w with 8 bits, four tables */
    TABLE_BIAS = 4 * 255, /* makes a table's sums positive */
    LOW_BITS = 6,         /* of a sum that the first byte table holds; the other five are in the second */
    STEPS_IN_16_BITS = 8  /* 8 steps x 4 tables x 2040 = 65280 still fits an unsigned int16 */
};

/*
 * Tables: four inputs can be summed in only 16 ways, bit j of an index saying whether input j is added or subtracted. Two inputs at a
 * time are multiplied by their signs and added, for 16 indices at once (VPMADDUBSW). It takes inputs as unsigned bytes; where they are
 * signed they come with 128 added, and `start` takes 128 times the signs off. Beyond the inputs such a byte is `offset`, and so stands
 * for 0. A byte shuffle looks up bytes, so a table is two: with the bias its sums are 0 to 2040, and the low six bits go into the
 * first, the high five into the second. Four low parts then add up to at most 252, and four high ones to 124: four look-ups are
 * added as bytes.
 */
static void make_tables(const uint8_t *x, uint32_t offset, uint32_t inputs, uint8_t *tables)
{
    /* of indices 0 to 15, two bytes each: the signs of inputs 0 and 1, and of 2 and 3 */
    const __m256i signs01 =
        _mm256_setr_epi8(-1, -1, 1, -1, -1, 1, 1, 1, -1, -1, 1, -1, -1, 1, 1, 1, -1, -1, 1, -1, -1, 1, 1, 1, -1, -1, 1, -1, -1, 1, 1, 1);
    const __m256i signs23 =
        _mm256_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1, -1, 1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m256i low = _mm256_set1_epi16((1 << LOW_BITS) - 1), offsets = _mm256_set1_epi8((char)offset);
    const __m256i shift = _mm256_add_epi16(_mm256_maddubs_epi16(offsets, signs01), _mm256_maddubs_epi16(offsets, signs23));
    const __m256i start = _mm256_sub_epi16(_mm256_set1_epi16(TABLE_BIAS), shift);
    for (uint32_t k = 0; k < inputs; k += STEP_INPUTS) {
        uint8_t bytes[STEP_INPUTS] = {0};
        if (inputs - k >= STEP_INPUTS) {
            memcpy(bytes, x + k, STEP_INPUTS);
        } else {
            memcpy(bytes, x + k, inputs - k);
        }
        const __m128i all = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)bytes), _mm256_castsi256_si128(offsets));
        __m128i rest = all;
        for (uint32_t i = 0; i < STEP_INPUTS / 4; ++i, tables += 32, rest = _mm_srli_si128(rest, 4)) {
            const __m256i pair01 = _mm256_broadcastw_epi16(rest), pair23 = _mm256_broadcastw_epi16(_mm_srli_epi32(rest, 16));
            const __m256i sums =
                _mm256_add_epi16(_mm256_add_epi16(start, _mm256_maddubs_epi16(pair01, signs01)), _mm256_maddubs_epi16(pair23, signs23));
            /* Narrowed within each half of a vector, so the halves are put together again: first 16 low parts, then 16 high ones. */
            const __m256i parts = _mm256_packus_epi16(_mm256_and_si256(sums, low), _mm256_srli_epi16(sums, LOW_BITS));
            _mm256_store_si256((__m256i *)(void *)tables, _mm256_permute4x64_epi64(parts, _MM_SHUFFLE(3, 1, 2, 0)));
        }
    }
}

/* The 16 bytes at `at` in both halves of a vector. */
INLINE __m256i twice(const uint8_t *at)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)at));
}

/*
 * sums[i], i = 0..3: the sums of rows 8 i to 8 i + 7 of 32. A step is two words of 8 weights per row, each two indices: eight
 * look-ups of 32 rows, added as bytes, then low and high parts of the same row are brought side by side and put together by one
 * multiplication: low * 1 + high * 64, 32 x 16 products for about 27 operations.
 */
INLINE void byte_sums(const uint8_t *tables, const uint32_t *w, uint32_t inputs, __m256i sums[4])
{
    const __m256i nibble = _mm256_set1_epi8(15), weights = _mm256_set1_epi16((1 << LOW_BITS) << 8 | 1), zero = _mm256_setzero_si256();
    const uint32_t all = inputs / STEP_INPUTS + (inputs % STEP_INPUTS != 0), words = inputs / 8 + (inputs % 8 != 0);
    uint32_t word = 0;
    sums[0] = sums[1] = sums[2] = sums[3] = _mm256_set1_epi32(-4 * TABLE_BIAS * (int32_t)all);
    for (uint32_t steps = all; steps > 0;) {
        const uint32_t now = steps < STEPS_IN_16_BITS ? steps : STEPS_IN_16_BITS;
        __m256i first = zero, second = zero; /* 16-bit sums of rows 0-7, 16-23 and 8-15, 24-31 */
        for (uint32_t i = 0; i < now; ++i, tables += 128, word += 2) {
            const __m256i a = _mm256_load_si256((const __m256i *)(const void *)(w + 8 * word));
            /* An odd number of words: the last step has one, and tables whose inputs are all 0 for the other. */
            const __m256i b = word + 1 < words ? _mm256_load_si256((const __m256i *)(const void *)(w + 8 * (word + 1))) : zero;
            const __m256i index0 = _mm256_and_si256(a, nibble), index1 = _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble);
            const __m256i index2 = _mm256_and_si256(b, nibble), index3 = _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble);
            const __m256i low = _mm256_add_epi8(
                _mm256_add_epi8(_mm256_shuffle_epi8(twice(tables), index0), _mm256_shuffle_epi8(twice(tables + 32), index1)),
                _mm256_add_epi8(_mm256_shuffle_epi8(twice(tables + 64), index2), _mm256_shuffle_epi8(twice(tables + 96), index3)));
            const __m256i high = _mm256_add_epi8(
                _mm256_add_epi8(_mm256_shuffle_epi8(twice(tables + 16), index0), _mm256_shuffle_epi8(twice(tables + 48), index1)),
                _mm256_add_epi8(_mm256_shuffle_epi8(twice(tables + 80), index2), _mm256_shuffle_epi8(twice(tables + 112), index3)));
            first = _mm256_add_epi16(first, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(low, high), weights));
            second = _mm256_add_epi16(second, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(low, high), weights));
        }
        steps -= now;
        sums[0] = _mm256_add_epi32(sums[0], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(first)));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(second)));
        sums[2] = _mm256_add_epi32(sums[2], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(first, 1)));
        sums[3] = _mm256_add_epi32(sums[3], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(second, 1)));
    }
}

/* How many 32-bit words of w a block of 32 rows has. */
static inline size_t block_words(uint32_t inputs)
{
    return (size_t)(inputs / 8 + (inputs % 8 != 0)) * (BYTE_LANES / 4);
}

void labc_byte_matvec_sums_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                int32_t *restrict y, void *restrict scratch)
{
    uint8_t *const tables = aligned(scratch);
    __m256i sums[4];
    make_tables(x, offset, inputs, tables);
    for (uint32_t n = 0; n < rows; n += BYTE_LANES, w += block_words(inputs)) {
        byte_sums(tables, w, inputs, sums);
        for (uint32_t i = 0; i < 4 && n + 8 * i < rows; ++i) {
            store_first(y + n + 8 * i, sums[i], rows - n - 8 * i);
        }
    }
}

void labc_byte_matvec_threshold_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                     void *restrict scratch)
{
    uint8_t *const tables = aligned(scratch);
    __m256i sums[4];
    make_tables(x, offset, inputs, tables);
    for (uint32_t n = 0; n < rows; n += BYTE_LANES, w += block_words(inputs)) {
        uint32_t signs = 0;
        byte_sums(tables, w, inputs, sums);
        for (uint32_t i = 0; i < 4 && n + 8 * i < rows; ++i) {
            const __m256i some = first_lanes(rows - n - 8 * i);
            const __m256i below = _mm256_cmpgt_epi32(_mm256_maskload_epi32(thresholds + n + 8 * i, some), sums[i]);
            const __m256i up = _mm256_andnot_si256(below, some);
            signs |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(up)) << 8 * i;
        }
        y[n / 32] = signs;
    }
}

void labc_byte_matvec_requantize_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                      const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                      void *restrict scratch)
{
    const __m128i shifts = _mm_cvtsi32_si128((int32_t)shift);
    uint8_t *const tables = aligned(scratch);
    make_tables(x, offset, inputs, tables);
    for (uint32_t n = 0; n < rows; n += BYTE_LANES, w += block_words(inputs)) {
        __m256i sums[4];
        int32_t all[BYTE_LANES];
        byte_sums(tables, w, inputs, sums);
        memcpy(all, sums, sizeof all);
        requantize_all(all, m + n, b + n, shifts, rows - n < BYTE_LANES ? rows - n : BYTE_LANES, y + n);
    }
}
