/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by integer MVE (Helium), Cortex-M55 and M85: kernels.def says what each computes. */
#include "mve.h"
#include "region.h"

/* ---- signs times signs ---- */

/*
 * What an output pixel sees is gathered once, each word four times, and compared with every four rows of weights. In those, the weights of
 * its taps are one run of words if no column is missing, else one per kernel row, `step` numbers from one to the next.
 */
typedef struct {
    uint32_t runs, words; /* words of a run */
    size_t first, step;
    uint32_t inside, outside; /* products */
} view;

static inline view view_of(const labc_window *v, const region *r, const path *p)
{
    const uint32_t taps = inside(&r->sees), words = (uint32_t)(p->runs * p->length);
    const uint32_t whole = p->between == 0;
    const view seen = {whole ? 1 : p->lines, words * (whole ? p->lines : 1), 4 * p->before, 4 * (words + p->between),
                       taps * v->channels, (taps_of(v) - taps) * v->channels};
    return seen;
}

/* x is where the first tap inside is. */
INLINED void gather(const uint32_t *x, const path *p, uint32_t *patch)
{
    for (size_t i = 0; i < p->lines; ++i) {
        for (size_t j = 0; j < p->runs; ++j) {
            const uint32_t *from = x + i * p->line_step + j * p->run_step;
            for (size_t left = p->length; left > 0; --left, patch += 4) {
                vst1q_u32(patch, vdupq_n_u32(*from++));
            }
        }
    }
}

INLINED counter differences(const view *seen, const uint32_t *patch, const uint32_t *w)
{
    counter c = nothing();
    for (uint32_t i = 0; i < seen->runs; ++i, w += seen->step) {
        const uint32_t *at = w;
        count_run(&c, &patch, &at, seen->words, 1);
    }
    return c;
}

/* Of one pixel, all rows: their sums, or, where there are limits, their signs. */
INLINED void compare(const view *seen, const uint32_t *patch, const uint32_t *w, size_t row_words, const int32_t *limits, uint32_t rows,
                     void *y)
{
    uint32_t signs = 0;
    for (uint32_t n = 0; n < rows; n += 4, w += 4 * row_words) {
        const counter c = differences(seen, patch, w);
        if (limits == 0) {
            store_sums((int32_t *)y + n, seen->inside, counted(&c, 2), rows - n);
            continue;
        }
        signs = push_signs(signs, counted(&c, 2), (int32_t)seen->outside, limits + n, rows - n);
        if (n % 32 == 28 || rows - n <= 4) {
            ((uint32_t *)y)[n / 32] = signs >> (28 - n % 32);
            signs = 0;
        }
    }
}

INLINED void convolve(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, uint32_t *y,
                      size_t pixel_words, uint32_t *patch)
{
    const uint32_t words = v->channels / 32 + (v->channels % 32 != 0);
    region r = region_at(v, 0, 0);
    do {
        const path p = path_of(v, &r, words);
        const view seen = view_of(v, &r, &p);
        cursor c = cursor_at(v, &r, &p);
        for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, v, &r, &p)) {
            gather(x + c.from, &p, patch);
            compare(&seen, patch, w + seen.first, (size_t)taps_of(v) * words, limits, rows, y + c.to * pixel_words);
        }
    } while (next_region(v, &r));
}

void labc_sign_conv_sums_mve(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                             int32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, 0, window, rows, (uint32_t *)y, rows, scratch);
}

void labc_sign_conv_threshold_mve(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                  const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, limits, window, rows, y, rows / 32 + (rows % 32 != 0), scratch);
}
