/* SPDX-License-Identifier: Apache-2.0 */
/* What the MVE kernels share: integer MVE (Helium) of Armv8.1-M, little-endian. */
#ifndef LABC_MVE_H
#define LABC_MVE_H

#include "kernels.h"

#include <arm_mve.h>

/* Where arguments must be constants, and counts stay in registers. */
#define INLINED __attribute__((always_inline)) static inline

/* ---- lanes are rows, bits of a lane are columns ---- */

/* 128 full adders: *sum becomes the sum bits of the three, the carries (their majority) are returned. */
INLINED uint32x4_t full_add(uint32x4_t *sum, uint32x4_t b, uint32x4_t c)
{
    const uint32x4_t half = veorq_u32(*sum, b);
    const uint32x4_t carry = vorrq_u32(vandq_u32(*sum, b), vandq_u32(half, c));
    *sum = veorq_u32(half, c);
    return carry;
}

INLINED uint32x4_t half_add(uint32x4_t *sum, uint32x4_t b)
{
    const uint32x4_t carry = vandq_u32(*sum, b);
    *sum = veorq_u32(*sum, b);
    return carry;
}

/*
 * Bit counts of nibbles, by bytes. In each field of 2 bits, v - (v >> 1 & 01..01) = 2 high + low - high is their count; in each of 4,
 * v - 3 (v >> 2 & 0011..0011) = 4 high + low - 3 high. A product with a number costs no more than an addition.
 */
INLINED uint8x16_t count_nibbles(uint32x4_t bits)
{
    const uint8x16_t v = vreinterpretq_u8_u32(bits);
    const uint8x16_t pairs = vsubq_u8(v, vandq_u8(vshrq_n_u8(v, 1), vdupq_n_u8(0x55)));
    return vmlaq_n_u8(pairs, vandq_u8(vshrq_n_u8(pairs, 2), vdupq_n_u8(0x33)), (uint8_t)-3);
}

/* Nibbles up to 15, summed in pairs to bytes: 16 high + low - 15 high. */
INLINED uint8x16_t add_nibbles(uint8x16_t v)
{
    return vmlaq_n_u8(v, vshrq_n_u8(v, 4), (uint8_t)-15);
}

/* `times` the sum of the four bytes of each lane, below 256. */
INLINED uint32x4_t add_bytes(uint8x16_t v, uint32_t times)
{
    return vshrq_n_u32(vmulq_n_u32(vreinterpretq_u32_u8(v), times * UINT32_C(0x01010101)), 24);
}

/*
 * Columns of bits count the differences in them, with the digits ones and twos kept and each carry into the fours counted: a population
 * count for 512 products. Table look-ups (gathers) would be fewer instructions, but not fewer cycles, and their addresses would depend on x.
 */
typedef struct {
    uint32x4_t ones, twos, fours; /* fours: how many, in each row */
} counter;

INLINED counter nothing(void)
{
    const counter c = {vdupq_n_u32(0), vdupq_n_u32(0), vdupq_n_u32(0)};
    return c;
}

/* Seven counts of fours fill a lane's sum of bytes: 7 * 32 = 224. */
enum { QUADS = 6 };

/*
 * Four words at a time, of which there are 4 quads. This is where the time goes, and it needs all eight vector registers: compilers spill,
 * and load the words of x one by one. DIFFER takes the next two words, whose x `first` and `second` bring, and leaves in %q[a] the carries.
 */
#define FULL_ADD(sum, b, c, half)                                                                                                  \
    "veor %q[" half "], %q[" sum "], %q[" b "]\n\t"                                                                                \
    "vand %q[" b "], %q[" sum "], %q[" b "]\n\t"                                                                                   \
    "veor %q[" sum "], %q[" half "], %q[" c "]\n\t"                                                                                \
    "vand %q[" half "], %q[" half "], %q[" c "]\n\t"                                                                               \
    "vorr %q[" b "], %q[" b "], %q[" half "]\n\t"
#define DIFFER(load, to, w)                                                                                                        \
    load                                                                                                                           \
    "vldrw.32 %q[" w "], [%[w]], #16\n\t"                                                                                          \
    "veor %q[" to "], %q[" to "], %q[" w "]\n\t"
#define COUNT_QUADS(load4, load_a, load_b, load_c, load_d)                                                                         \
    __asm__("wls lr, %[quads], 2f\n"                                                                                               \
            "1:\n\t"                                                                                                               \
            load4                                                                                                                  \
            DIFFER(load_a, "a", "b")                                                                                               \
            DIFFER(load_b, "b", "c")                                                                                               \
            FULL_ADD("ones", "a", "b", "c")                                                                                        \
            DIFFER(load_c, "b", "c")                                                                                               \
            DIFFER(load_d, "c", "d")                                                                                               \
            FULL_ADD("ones", "b", "c", "d")                                                                                        \
            FULL_ADD("twos", "a", "b", "c")                                                                                        \
            "vshr.u8 %q[b], %q[a], #1\n\t" /* fours += add_nibbles(count_nibbles(a)) */                                            \
            "vand %q[b], %q[b], %q[odd]\n\t"                                                                                       \
            "vsub.i8 %q[a], %q[a], %q[b]\n\t"                                                                                      \
            "vmov.i8 %q[c], #0x33\n\t"                                                                                             \
            "vshr.u8 %q[b], %q[a], #2\n\t"                                                                                         \
            "vand %q[b], %q[b], %q[c]\n\t"                                                                                         \
            "vmla.u8 %q[a], %q[b], %[minus_3]\n\t"                                                                                 \
            "vshr.u8 %q[b], %q[a], #4\n\t"                                                                                         \
            "vmla.u8 %q[a], %q[b], %[minus_15]\n\t"                                                                                \
            "vadd.i8 %q[fours], %q[fours], %q[a]\n\t"                                                                              \
            "le lr, 1b\n"                                                                                                          \
            "2:"                                                                                                                   \
            : [ones] "+w"(c->ones), [twos] "+w"(c->twos), [fours] "+w"(*fours), [x] "+r"(*x), [w] "+r"(*w), [a] "=&w"(a),           \
              [b] "=&w"(b), [c] "=&w"(d), [d] "=&w"(e)                                                                              \
            : [quads] "r"(quads), [odd] "w"(vdupq_n_u8(0x55)), [minus_3] "r"(253), [minus_15] "r"(241)                              \
            : "r3", "r4", "r5", "r6", "lr", "cc", "memory")

INLINED void count_quads(counter *c, uint8x16_t *fours, const uint32_t **x, const uint32_t **w, uint32_t quads, int spread)
{
    uint32x4_t a, b, d, e;
    if (spread) {
        COUNT_QUADS("", "vldrw.32 %q[a], [%[x]], #16\n\t", "vldrw.32 %q[b], [%[x]], #16\n\t", "vldrw.32 %q[b], [%[x]], #16\n\t",
                    "vldrw.32 %q[c], [%[x]], #16\n\t");
    } else {
        COUNT_QUADS("ldmia %[x]!, {r3, r4, r5, r6}\n\t", "vdup.32 %q[a], r3\n\t", "vdup.32 %q[b], r4\n\t",
                    "vdup.32 %q[b], r5\n\t", "vdup.32 %q[c], r6\n\t");
    }
}

/* The next word of x, in every lane: as it is, or `spread`, where it is there four times. */
INLINED uint32x4_t next_word(const uint32_t **x, int spread)
{
    const uint32x4_t word = spread ? vld1q_u32(*x) : vdupq_n_u32(**x);
    *x += spread ? 4 : 1;
    return word;
}

INLINED uint32x4_t difference(const uint32_t **x, const uint32_t **w, int spread)
{
    const uint32x4_t word = next_word(x, spread), bits = vld1q_u32(*w);
    *w += 4;
    return veorq_u32(word, bits);
}

/* Counts a run of `words` words that follow each other in x as in w: four at a time, what is over four first. */
INLINED void count_run(counter *c, const uint32_t **x, const uint32_t **w, uint32_t words, int spread)
{
    uint32_t quads = words / 4;
    uint8x16_t fours = vdupq_n_u8(0);
    if (words % 4 != 0) {
        uint32x4_t twos_a = vdupq_n_u32(0), twos_b = twos_a;
        if (words & 1) {
            twos_a = half_add(&c->ones, difference(x, w, spread));
        }
        if (words & 2) {
            const uint32x4_t d = difference(x, w, spread);
            twos_b = full_add(&c->ones, d, difference(x, w, spread));
        }
        fours = add_nibbles(count_nibbles(full_add(&c->twos, twos_a, twos_b)));
    }
    for (; quads > QUADS; quads -= QUADS) {
        count_quads(c, &fours, x, w, QUADS, spread);
        c->fours = vaddq_u32(c->fours, add_bytes(fours, 1));
        fours = vdupq_n_u8(0);
    }
    count_quads(c, &fours, x, w, quads, spread);
    c->fours = vaddq_u32(c->fours, add_bytes(fours, 1));
}

/* `times`, 1 or 2, what was counted. A nibble of ones + 2 twos is at most 12, a lane's sum of them at most 96. */
INLINED int32x4_t counted(const counter *c, uint32_t times)
{
    const uint8x16_t low = vmlaq_n_u8(count_nibbles(c->ones), count_nibbles(c->twos), 2);
    return vreinterpretq_s32_u32(vmlaq_n_u32(add_bytes(add_nibbles(low), times), c->fours, 4 * times));
}

/* ---- what becomes of the counts of four rows, or of the last `left` ---- */

INLINED void store_sums(int32_t *y, uint32_t most, int32x4_t twice, uint32_t left)
{
    vst1q_p_s32(y, vaddq_n_s32(vnegq_s32(twice), (int32_t)most), vctp32q(left));
}

/* Four signs more, count + more <= limit, above 28 that move down. */
INLINED uint32_t push_signs(uint32_t signs, int32x4_t counts, int32_t more, const int32_t *limits, uint32_t left)
{
    static const uint32_t top[4] = {UINT32_C(1) << 28, UINT32_C(1) << 29, UINT32_C(1) << 30, UINT32_C(1) << 31};
    const mve_pred16_t there = vctp32q(left);
    const int32x4_t limit = vld1q_z_s32(limits, there);
    return vaddvaq_p_u32(signs >> 4, vld1q_u32(top), vcmpleq_m_s32(vaddq_n_s32(counts, more), limit, there));
}

#endif
