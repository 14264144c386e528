/* SPDX-License-Identifier: Apache-2.0 */
/* What plain C could do at most: the inner steps of scalar.c with their operands in registers (the byte tables in the first cache). */
#include <string.h>

#include "ceilings.h"

static inline uint64_t carry_save(uint64_t *sum, uint64_t b, uint64_t c)
{
    const uint64_t half = *sum ^ b;
    const uint64_t carry = (*sum & b) | (half & c);
    *sum = half ^ c;
    return carry;
}

static inline uint64_t popcount(uint64_t v)
{
    v -= (v >> 1) & UINT64_C(0x5555555555555555);
    v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
    v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return v * UINT64_C(0x0101010101010101) >> 56;
}

/* x ^ w, every time anew: the compiler cannot know that neither has changed. */
#define DIFFERENCE(d) \
    uint64_t d = x;   \
    LABC_HIDE(d);     \
    d ^= w;

uint64_t labc_ceiling_sign_scalar(uint32_t steps)
{
    uint64_t x = UINT64_C(0x5bd1e9955bd1e995), w = UINT64_C(0x2545f4912545f491), ones = 0, twos = 0, fours = 0, count = 0;
    for (uint32_t i = 0; i < steps; ++i) {
        LABC_HIDE(x);
        DIFFERENCE(d0)
        DIFFERENCE(d1)
        const uint64_t twos_a = carry_save(&ones, d0, d1);
        DIFFERENCE(d2)
        DIFFERENCE(d3)
        const uint64_t twos_b = carry_save(&ones, d2, d3);
        const uint64_t fours_a = carry_save(&twos, twos_a, twos_b);
        DIFFERENCE(d4)
        DIFFERENCE(d5)
        const uint64_t twos_c = carry_save(&ones, d4, d5);
        DIFFERENCE(d6)
        DIFFERENCE(d7)
        const uint64_t twos_d = carry_save(&ones, d6, d7);
        const uint64_t fours_b = carry_save(&twos, twos_c, twos_d);
        count += popcount(carry_save(&fours, fours_a, fours_b));
    }
    LABC_HIDE(ones);
    LABC_HIDE(twos);
    LABC_HIDE(fours);
    LABC_HIDE(count);
    return (uint64_t)steps * 8 * 64;
}

uint64_t labc_ceiling_byte_scalar(uint32_t steps)
{
    static int16_t table[8][16];
    int32_t sum = 0;
    uint32_t bits = UINT32_C(0x2545f491);
    for (uint32_t i = 0; i < steps; ++i) {
        LABC_HIDE(bits);
        sum += table[0][bits & 15] + table[1][bits >> 4 & 15] + table[2][bits >> 8 & 15] + table[3][bits >> 12 & 15] +
               table[4][bits >> 16 & 15] + table[5][bits >> 20 & 15] + table[6][bits >> 24 & 15] + table[7][bits >> 28];
        LABC_HIDE(sum);
    }
    return (uint64_t)steps * 32;
}

uint64_t labc_stream_scalar(const void *from, size_t bytes)
{
    const unsigned char *at = from;
    uint64_t all = 0;
    for (size_t i = 0; i < bytes / 32; ++i, at += 32) {
        uint64_t v[4];
        memcpy(v, at, sizeof v);
        all |= v[0] | v[1] | v[2] | v[3];
    }
    LABC_HIDE(all);
    return bytes / 32 * 32;
}
