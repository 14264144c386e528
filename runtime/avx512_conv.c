/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of signs with AVX-512 and its population count (VPOPCNTDQ). 32 rows of registers, 16 lanes: a lane is a row of w. */
#include "avx512.h"
#include "region.h"

#define EACH_PIXEL(DO) DO(0) DO(1) DO(2) DO(3)

enum { LANES = 16, GROUPS = 2, ROWS = LANES * GROUPS, PIXELS = 4 };

/*
 * counts[p], counts[PIXELS + p], lane l: how many bits of what pixel p of `pixels` sees, beginning at x[p], differ from row l, and from
 * row 16 + l. A vector of weights meets four pixels, a word of x two vectors. On a Zen 4 this counts every difference faster than
 * avx512.c's adder of pairs would: operations with three sources are slower there, and these sums are short.
 */
INLINE void count_pixels(const uint32_t *const x[PIXELS], const uint32_t *w, const path *along, uint32_t pixels, uint32_t groups,
                         __m512i counts[GROUPS * PIXELS])
{
#define BEGIN(p) counts[p] = counts[PIXELS + p] = _mm512_setzero_si512();
    EACH_PIXEL(BEGIN)
#undef BEGIN
    w += along->before * LANES * groups;
    for (uint32_t line = 0; line < along->lines; ++line) {
        for (uint32_t run = 0; run < along->runs; ++run) {
            size_t at = line * along->line_step + run * along->run_step;
            for (const size_t end = at + along->length; at < end; ++at, w += LANES * groups) {
                const __m512i w0 = _mm512_load_si512(w), w1 = groups > 1 ? _mm512_load_si512(w + LANES) : w0;
#define STEP(p)                                                                                                         \
    if (p < pixels) {                                                                                                   \
        const __m512i bits = _mm512_set1_epi32((int32_t)x[p][at]);                                                      \
        counts[p] = _mm512_add_epi32(counts[p], _mm512_popcnt_epi32(_mm512_xor_si512(bits, w0)));                       \
        if (groups > 1) {                                                                                               \
            counts[PIXELS + p] = _mm512_add_epi32(counts[PIXELS + p], _mm512_popcnt_epi32(_mm512_xor_si512(bits, w1))); \
        }                                                                                                               \
    }
                EACH_PIXEL(STEP)
#undef STEP
            }
        }
        w += line + 1 < along->lines ? along->between * LANES * groups : 0;
    }
}

/* Up to 32 rows of w for the next `pixels` pixels: their sums. y begins at the first of these rows, and has `rows` per pixel in all. */
INLINE void sums_pixels(const uint32_t *x, const uint32_t *w, const labc_window *v, const region *r, const path *along, uint32_t some,
                        uint32_t rows, uint32_t pixels, uint32_t groups, cursor *next, int32_t *y)
{
    const uint32_t *from[PIXELS];
    int32_t *to[PIXELS];
    __m512i counts[GROUPS * PIXELS];
    const __m512i most = _mm512_set1_epi32((int32_t)(inside(&r->sees) * v->channels));
#define NEXT(p)                      \
    if (p < pixels) {                \
        from[p] = x + next->from;    \
        to[p] = y + next->to * rows; \
        advance(next, v, r, along);  \
    }
    EACH_PIXEL(NEXT)
#undef NEXT
    count_pixels(from, w, along, pixels, groups, counts);
#define STORE_GROUP(p, g)                                                                          \
    {                                                                                              \
        const __m512i sums = _mm512_sub_epi32(most, _mm512_slli_epi32(counts[PIXELS * g + p], 1)); \
        if (some >= LANES * (g + 1)) { /* on some processors a store with a mask is slow */        \
            _mm512_storeu_si512(to[p] + LANES * g, sums);                                          \
        } else {                                                                                   \
            _mm512_mask_storeu_epi32(to[p] + LANES * g, first_lanes(some - LANES * g), sums);      \
        }                                                                                          \
    }
#define STORE(p)              \
    if (p < pixels) {         \
        STORE_GROUP(p, 0)     \
        if (groups > 1) {     \
            STORE_GROUP(p, 1) \
        }                     \
    }
    EACH_PIXEL(STORE)
#undef STORE
#undef STORE_GROUP
}

/* The same, then signs: limits[g] are those of D. y begins at the word of these rows, and has `row_words` per pixel in all. */
INLINE void threshold_pixels(const uint32_t *x, const uint32_t *w, const __m512i limits[GROUPS], const labc_window *v, const region *r,
                             const path *along, uint32_t row_words, uint32_t pixels, uint32_t groups, cursor *next, uint32_t *y)
{
    const uint32_t *from[PIXELS];
    uint32_t *to[PIXELS];
    __m512i counts[GROUPS * PIXELS];
#define NEXT(p)                           \
    if (p < pixels) {                     \
        from[p] = x + next->from;         \
        to[p] = y + next->to * row_words; \
        advance(next, v, r, along);       \
    }
    EACH_PIXEL(NEXT)
#undef NEXT
    count_pixels(from, w, along, pixels, groups, counts);
#define COMPARE(p)                                                                                      \
    if (p < pixels) {                                                                                   \
        const __mmask16 low = _mm512_cmple_epi32_mask(counts[p], limits[0]);                            \
        const __mmask16 high = groups > 1 ? _mm512_cmple_epi32_mask(counts[PIXELS + p], limits[1]) : 0; \
        *to[p] = (uint32_t)low | (uint32_t)high << 16;                                                  \
    }
    EACH_PIXEL(COMPARE)
#undef COMPARE
}

/* All pixels of a region: DO(pixels), with their number a constant. */
#define EACH_PIXELS(r, DO)                       \
    {                                            \
        uint32_t left = pixels_of(r);            \
        for (; left >= PIXELS; left -= PIXELS) { \
            DO(PIXELS);                          \
        }                                        \
        if (left >= 2) {                         \
            DO(2);                               \
            left -= 2;                           \
        }                                        \
        if (left > 0) {                          \
            DO(1);                               \
        }                                        \
    }

INLINE void sums_rows(const uint32_t *x, const uint32_t *w, const labc_window *v, uint32_t some, uint32_t rows, uint32_t groups, int32_t *y)
{
    region r = region_at(v, 0, 0);
    do {
        const path along = path_of(v, &r, words_of(v->channels));
        cursor next = cursor_at(v, &r, &along);
#define DO(pixels) sums_pixels(x, w, v, &r, &along, some, rows, pixels, groups, &next, y)
        EACH_PIXELS(&r, DO)
#undef DO
    } while (next_region(v, &r));
}

INLINE void threshold_rows(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t some,
                           uint32_t row_words, uint32_t groups, uint32_t *y)
{
    region r = region_at(v, 0, 0);
    do {
        const path along = path_of(v, &r, words_of(v->channels));
        cursor next = cursor_at(v, &r, &along);
        const __m512i missing = _mm512_set1_epi32((int32_t)((taps_of(v) - inside(&r.sees)) * v->channels));
        __m512i most[GROUPS];
        for (uint32_t g = 0; g < groups; ++g) {
            most[g] = most_differences(limits + LANES * g, missing, first_lanes(some - LANES * g));
        }
#define DO(pixels) threshold_pixels(x, w, most, v, &r, &along, row_words, pixels, groups, &next, y)
        EACH_PIXELS(&r, DO)
#undef DO
    } while (next_region(v, &r));
}

void labc_sign_conv_sums_avx512(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                int32_t *restrict y, void *restrict scratch)
{
    const size_t row_words = (size_t)taps_of(window) * words_of(window->channels);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += ROWS) {
        if (rows - n > LANES) {
            sums_rows(x, w + n * row_words, window, rows - n, rows, 2, y + n);
        } else {
            sums_rows(x, w + n * row_words, window, rows - n, rows, 1, y + n);
        }
    }
}

void labc_sign_conv_threshold_avx512(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                     const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const size_t row_words = (size_t)taps_of(window) * words_of(window->channels);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += ROWS) {
        if (rows - n > LANES) {
            threshold_rows(x, w + n * row_words, limits + n, window, rows - n, words_of(rows), 2, y + n / ROWS);
        } else {
            threshold_rows(x, w + n * row_words, limits + n, window, rows - n, words_of(rows), 1, y + n / ROWS);
        }
    }
}
