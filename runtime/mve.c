/* SPDX-License-Identifier: Apache-2.0 */
/* Integer MVE (Helium), Cortex-M55 and M85: kernels.def says what each computes. What is not here is in cortexm.c. */
#include "mve.h"

/* ---- signs times signs ---- */

static NOT_INLINED void count(const uint32_t *x, const uint32_t *w, uint32_t words, size_t gap, uint32_t *counts, const uint32_t *end)
{
    count_run(x, w, words, gap, counts, end, 0);
}

/* The differences of SOME_ROWS or fewer. */
static void differences(const uint32_t *x, const uint32_t *w, uint32_t words, uint32_t rows, uint32_t counts[SOME_ROWS])
{
    const uint32_t *const end = clear(counts, rows);
    for (uint32_t done = 0; done < words;) {
        const uint32_t left = words - done, some = left <= MOST_WORDS ? left : MOST_WORDS / 4 * 4;
        count(x + done, w + 4 * done, some, 4 * (size_t)(words - some), counts, end);
        done += some;
    }
}

void labc_sign_matvec_sums_mve(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    const uint32_t words = inputs / 32 + (inputs % 32 != 0);
    uint32_t counts[SOME_ROWS];
    for (uint32_t n = 0; n < rows; n += SOME_ROWS) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        differences(x, w + (size_t)n * words, words, some, counts);
        store_sums(counts, inputs, some, y + n);
    }
}

void labc_sign_matvec_threshold_mve(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits, uint32_t inputs,
                                    uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = inputs / 32 + (inputs % 32 != 0);
    uint32_t counts[SOME_ROWS];
    for (uint32_t n = 0; n < rows; n += SOME_ROWS) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        differences(x, w + (size_t)n * words, words, some, counts);
        store_signs(counts, 1, 0, limits + n, some, y + n / 32);
    }
}
