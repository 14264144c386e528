/* SPDX-License-Identifier: Apache-2.0 */
/* 64-bit RISC-V with Zbb: kernels.def says what each kernel computes. */
#include "zbb_byte.h"
#include "zbb_dense.h"

void labc_sign_matvec_sums_zbb64(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                 int32_t *restrict y)
{
    matvec_sums(x, w, inputs, rows, y);
}

void labc_sign_matvec_threshold_zbb64(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                      uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    matvec_threshold(x, w, limits, inputs, rows, y);
}

void labc_byte_matvec_sums_zbb64(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                 int32_t *restrict y, void *restrict scratch)
{
    byte_sums(x, offset, w, inputs, rows, y, scratch);
}

void labc_byte_matvec_threshold_zbb64(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                      const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                      void *restrict scratch)
{
    byte_threshold(x, offset, w, thresholds, inputs, rows, y, scratch);
}

void labc_byte_matvec_requantize_zbb64(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                       const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                       void *restrict scratch)
{
    byte_requantize(x, offset, w, m, b, shift, inputs, rows, y, scratch);
}
