/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by integer MVE (Helium), Cortex-M55 and M85: kernels.def says what each computes. */
#include "mve.h"
#include "region.h"

/* ---- signs times signs ---- */

/*
 * What an output pixel sees is gathered once, each word four times, and compared with every four rows of weights. In those, the weights of
 * its taps are one run of words if no column is missing, else one per kernel row, `step` numbers on.
 */
typedef struct {
    uint32_t runs, words; /* words of a run */
    size_t first, step;
    uint32_t inside, outside; /* products */
} view;

static inline view view_of(const labc_window *v, const region *r, const path *p)
{
    const uint32_t sees = inside(&r->sees), words = (uint32_t)(p->runs * p->length);
    const uint32_t whole = p->between == 0;
    const view seen = {whole ? 1 : p->lines, words * (whole ? p->lines : 1),   4 * p->before, 4 * (words + p->between),
                       sees * v->channels,   (taps_of(v) - sees) * v->channels};
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

static NOT_INLINED void count(const uint32_t *patch, const uint32_t *w, uint32_t words, size_t gap, uint32_t *counts, const uint32_t *end)
{
    count_run(patch, w, words, gap, counts, end, 1);
}

/* The differences of SOME_ROWS or fewer; four rows of w are `step` numbers. */
static void differences(const view *seen, const uint32_t *patch, const uint32_t *w, size_t step, uint32_t rows, uint32_t counts[SOME_ROWS])
{
    const uint32_t *const end = clear(counts, rows);
    for (uint32_t i = 0; i < seen->runs; ++i) {
        const uint32_t *const run = w + i * seen->step;
        for (uint32_t done = 0; done < seen->words;) {
            const uint32_t left = seen->words - done, some = left <= MOST_WORDS ? left : MOST_WORDS / 4 * 4;
            count(patch, run + 4 * done, some, step - 4 * (size_t)some, counts, end);
            patch += 4 * some;
            done += some;
        }
    }
}

INLINED void convolve(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, uint32_t *signs,
                      int32_t *sums, uint32_t *patch)
{
    const uint32_t words = v->channels / 32 + (v->channels % 32 != 0), row_words = taps_of(v) * words;
    const size_t sign_words = rows / 32 + (rows % 32 != 0);
    uint32_t counts[SOME_ROWS];
    region r = region_at(v, 0, 0);
    do {
        const path p = path_of(v, &r, words);
        const view seen = view_of(v, &r, &p);
        cursor c = cursor_at(v, &r, &p);
        for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, v, &r, &p)) {
            gather(x + c.from, &p, patch);
            for (uint32_t n = 0; n < rows; n += SOME_ROWS) {
                const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
                differences(&seen, patch, w + seen.first + (size_t)n * row_words, 4 * (size_t)row_words, some, counts);
                if (sums != 0) {
                    store_sums(counts, seen.inside, some, sums + c.to * rows + n);
                } else {
                    store_signs(counts, 2, seen.outside, limits + n, some, signs + c.to * sign_words + n / 32);
                }
            }
        }
    } while (next_region(v, &r));
}

void labc_sign_conv_sums_mve(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                             int32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, 0, window, rows, 0, y, scratch);
}

void labc_sign_conv_threshold_mve(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                  const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, limits, window, rows, y, 0, scratch);
}
