/* SPDX-License-Identifier: Apache-2.0 */
/* 32-bit RISC-V with Zbb: kernels.def says what each kernel computes. */
#include "zbb_dense.h"

void labc_sign_matvec_sums_zbb32(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows, int32_t *restrict y)
{
    matvec_sums(x, w, inputs, rows, y);
}

void labc_sign_matvec_threshold_zbb32(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                      uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    matvec_threshold(x, w, limits, inputs, rows, y);
}
