/* SPDX-License-Identifier: Apache-2.0 */
/* What NEON could do at most: the inner step of neon.c with its operands in registers. */
#include <arm_neon.h>

#include "ceilings.h"

uint64_t labc_ceiling_sign_neon(uint32_t steps)
{
    uint8x16_t x = vdupq_n_u8(0x5b), w = vdupq_n_u8(0x25);
    uint16x8_t sums = vdupq_n_u16(0);
    for (uint32_t i = 0; i < steps; ++i) {
        uint8x16_t c[8];
        for (uint32_t j = 0; j < 8; ++j) {
            LABC_HIDE_VECTOR(w);
            c[j] = vcntq_u8(veorq_u8(x, w));
        }
        LABC_HIDE_VECTOR(x);
        const uint8x16_t a = vpaddq_u8(vpaddq_u8(c[0], c[1]), vpaddq_u8(c[2], c[3]));
        const uint8x16_t b = vpaddq_u8(vpaddq_u8(c[4], c[5]), vpaddq_u8(c[6], c[7]));
        sums = vpadalq_u8(sums, vpaddq_u8(a, b));
    }
    LABC_HIDE_VECTOR(sums);
    return (uint64_t)steps * 8 * 128;
}

uint64_t labc_stream_neon(const void *from, size_t bytes)
{
    const uint8_t *at = from;
    uint8x16_t a = vdupq_n_u8(0), b = a;
    for (size_t i = 0; i < bytes / 64; ++i, at += 64) {
        a = vorrq_u8(a, vorrq_u8(vld1q_u8(at), vld1q_u8(at + 16)));
        b = vorrq_u8(b, vorrq_u8(vld1q_u8(at + 32), vld1q_u8(at + 48)));
    }
    a = vorrq_u8(a, b);
    LABC_HIDE_VECTOR(a);
    return bytes / 64 * 64;
}
