/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions for 32-bit RISC-V with Zbb: kernels.def says what each computes. */
#include "zbb_conv.h"

void labc_sign_conv_sums_zbb32(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                               int32_t *restrict y, void *restrict scratch)
{
    conv_sums(x, w, window, rows, y, scratch);
}

void labc_sign_conv_threshold_zbb32(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                    const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    conv_threshold(x, w, limits, window, rows, y, scratch);
}
