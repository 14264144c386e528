/* SPDX-License-Identifier: Apache-2.0 */
/* Integer MVE (Helium), Cortex-M55 and M85: kernels.def says what each computes. What is not here is in cortexm.c. */
#include "mve.h"

/* ---- signs times signs ---- */

/* The differences of four rows, whose words lie side by side in w, which moves on to the next. */
INLINED counter differences(const uint32_t *x, const uint32_t **w, uint32_t words)
{
    counter c = nothing();
    count_run(&c, &x, w, words, 0);
    return c;
}

void labc_sign_matvec_sums_mve(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    const uint32_t words = inputs / 32 + (inputs % 32 != 0);
    const uint32_t *at = w;
    for (uint32_t n = 0; n < rows; n += 4) {
        const counter c = differences(x, &at, words);
        store_sums(y + n, inputs, counted(&c, 2), rows - n);
    }
}

void labc_sign_matvec_threshold_mve(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits, uint32_t inputs,
                                    uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = inputs / 32 + (inputs % 32 != 0);
    const uint32_t *at = w;
    uint32_t signs = 0;
    for (uint32_t n = 0; n < rows; n += 4) {
        const counter c = differences(x, &at, words);
        signs = push_signs(signs, counted(&c, 1), 0, limits + n, rows - n);
        if (n % 32 == 28 || rows - n <= 4) {
            y[n / 32] = signs >> (28 - n % 32);
            signs = 0;
        }
    }
}
