/* SPDX-License-Identifier: Apache-2.0 */
/* What the MVE kernels share: integer MVE (Helium) of Armv8.1-M, little-endian. */
#ifndef LABC_MVE_H
#define LABC_MVE_H

#include "kernels.h"

#include <arm_mve.h>
#include <stddef.h>

/* Where arguments must be constants, and counts stay in registers. */
#define INLINED __attribute__((always_inline)) static inline
#define NOT_INLINED __attribute__((noinline))

/* ---- lanes are rows, bits of a lane are columns ---- */

/* 128 full adders: *sum becomes the sum bits of the three, the carries (their majority) are returned. */
INLINED uint32x4_t full_add(uint32x4_t *sum, uint32x4_t b, uint32x4_t c)
{
    const uint32x4_t half = veorq_u32(*sum, b);
    const uint32x4_t carry = vorrq_u32(vandq_u32(*sum, b), vandq_u32(half, c));
    *sum = veorq_u32(half, c);
    return carry;
}

/*
 * Columns of bits count the differences in them, with the digits ones and twos kept, and each carry into the fours counted by bytes: a
 * population count for 512 products. Look-ups (gathers) would be fewer instructions, not fewer cycles, and their addresses would depend on x.
 * In assembly, as this needs all eight vector registers: compilers spill, and load the words of x one by one.
 */
typedef struct {
    uint32x4_t ones, twos;
    uint8x16_t fours;
} digits;

/* A byte of all digits is at most 8 per word. */
enum { MOST_WORDS = 31 };

/* Assembly has an instruction, or a macro of some, per line; clang-format would join them. */
/* clang-format off */
/* full_add with registers; the carries become b. */
#define FULL_ADD(sum, b, c, half)                                                                                                  \
    "veor %q[" half "], %q[" sum "], %q[" b "]\n\t"                                                                                \
    "vand %q[" b "], %q[" sum "], %q[" b "]\n\t"                                                                                   \
    "veor %q[" sum "], %q[" half "], %q[" c "]\n\t"                                                                                \
    "vand %q[" half "], %q[" half "], %q[" c "]\n\t"                                                                               \
    "vorr %q[" b "], %q[" b "], %q[" half "]\n\t"
/*
 * Bit counts of nibbles: in each field of 2 bits, v - (v >> 1 & 01..01) = 2 high + low - high is their count; in each of 4,
 * v - 3 (v >> 2 & 0011..0011) = 4 high + low - 3 high. A product with a number costs no more than an addition.
 */
#define COUNT_NIBBLES(v, t, odd, pairs)                                                                                            \
    "vshr.u8 %q[" t "], %q[" v "], #1\n\t"                                                                                         \
    "vand %q[" t "], %q[" t "], %q[" odd "]\n\t"                                                                                   \
    "vsub.i8 %q[" v "], %q[" v "], %q[" t "]\n\t"                                                                                  \
    "vshr.u8 %q[" t "], %q[" v "], #2\n\t"                                                                                         \
    "vand %q[" t "], %q[" t "], %q[" pairs "]\n\t"                                                                                 \
    "vmla.u8 %q[" v "], %q[" t "], %[minus_3]\n\t"
/* Nibbles up to 15, summed in pairs to bytes: 16 high + low - 15 high. */
#define ADD_NIBBLES(v, t)                                                                                                          \
    "vshr.u8 %q[" t "], %q[" v "], #4\n\t"                                                                                         \
    "vmla.u8 %q[" v "], %q[" t "], %[minus_15]\n\t"
/* A word of each row, and x, which `load` brings. */
#define DIFFER(load, to, t)                                                                                                        \
    load                                                                                                                           \
    "vldrw.32 %q[" t "], [%[w]], #16\n\t"                                                                                          \
    "veor %q[" to "], %q[" to "], %q[" t "]\n\t"
#define COUNT_QUADS(load, load_0, load_1, load_2, load_3)                                                                          \
    __asm__("vmov.i8 %q[odd], #0x55\n\t"                                                                                           \
            "vmov.i8 %q[fours], #0\n\t"                                                                                            \
            "lsr r3, %[words], #2\n\t"                                                                                             \
            "wls lr, r3, 2f\n"                                                                                                     \
            "1:\n\t"                                                                                                               \
            load                                                                                                                   \
            DIFFER(load_0, "a", "b")                                                                                               \
            DIFFER(load_1, "b", "c")                                                                                               \
            FULL_ADD("ones", "a", "b", "c")                                                                                        \
            DIFFER(load_2, "b", "c")                                                                                               \
            DIFFER(load_3, "c", "d")                                                                                               \
            FULL_ADD("ones", "b", "c", "d")                                                                                        \
            FULL_ADD("twos", "a", "b", "c")                                                                                        \
            "vmov.i8 %q[c], #0x33\n\t"                                                                                             \
            COUNT_NIBBLES("a", "b", "odd", "c")                                                                                    \
            ADD_NIBBLES("a", "b")                                                                                                  \
            "vadd.i8 %q[fours], %q[fours], %q[a]\n\t"                                                                              \
            "le lr, 1b\n"                                                                                                          \
            "2:"                                                                                                                   \
            : [ones] "+w"(s->ones), [twos] "+w"(s->twos), [fours] "=&w"(s->fours), [x] "+r"(*x), [w] "+r"(*w), [a] "=&w"(a),       \
              [b] "=&w"(b), [c] "=&w"(c), [d] "=&w"(d), [odd] "=&w"(odd)                                                           \
            : [words] "r"(words), [minus_3] "r"(-3), [minus_15] "r"(-15)                                                           \
            : "r3", "r4", "r5", "r6", "lr", "cc", "memory")
/* clang-format on */

/* Four words at a time, and not what is over; where x is `spread`, each of its words is there four times. */
INLINED void count_quads(digits *s, const uint32_t **x, const uint32_t **w, uint32_t words, int spread)
{
    uint32x4_t a, b, c, d, odd;
    if (spread) {
        COUNT_QUADS("", "vldrw.32 %q[a], [%[x]], #16\n\t", "vldrw.32 %q[b], [%[x]], #16\n\t", "vldrw.32 %q[b], [%[x]], #16\n\t",
                    "vldrw.32 %q[c], [%[x]], #16\n\t");
    } else {
        COUNT_QUADS("ldmia %[x]!, {r3, r4, r5, r6}\n\t", "vdup.32 %q[a], r3\n\t", "vdup.32 %q[b], r4\n\t", "vdup.32 %q[b], r5\n\t",
                    "vdup.32 %q[c], r6\n\t");
    }
}

/* Counts what was left out: a nibble of ones + 2 twos is at most 12. Then sums the four bytes of each lane. */
INLINED uint32x4_t counted(digits s)
{
    uint32x4_t a, b, c;
    /* clang-format off */
    __asm__("vmov.i8 %q[b], #0x55\n\t"
            "vmov.i8 %q[c], #0x33\n\t"
            COUNT_NIBBLES("twos", "a", "b", "c")
            COUNT_NIBBLES("ones", "a", "b", "c")
            "movs r3, #2\n\t"
            "movs r4, #4\n\t"
            "vmla.u8 %q[ones], %q[twos], r3\n\t"
            ADD_NIBBLES("ones", "a")
            "vmla.u8 %q[ones], %q[fours], r4\n\t"
            "vmovlb.u8 %q[a], %q[ones]\n\t"
            "vmovlt.u8 %q[b], %q[ones]\n\t"
            "vadd.i16 %q[a], %q[a], %q[b]\n\t"
            "vmovlb.u16 %q[b], %q[a]\n\t"
            "vmovlt.u16 %q[a], %q[a]\n\t"
            "vadd.i32 %q[ones], %q[a], %q[b]"
            : [ones] "+w"(s.ones), [twos] "+w"(s.twos), [a] "=&w"(a), [b] "=&w"(b), [c] "=&w"(c)
            : [fours] "w"(s.fours), [minus_3] "r"(-3), [minus_15] "r"(-15)
            : "r3", "r4", "cc");
    /* clang-format on */
    return s.ones;
}

#undef FULL_ADD
#undef COUNT_NIBBLES
#undef ADD_NIBBLES
#undef DIFFER
#undef COUNT_QUADS

INLINED uint32x4_t difference(const uint32_t **x, const uint32_t **w, int spread)
{
    const uint32x4_t word = spread ? vld1q_u32(*x) : vdupq_n_u32(**x), bits = vld1q_u32(*w);
    *x += spread ? 4 : 1;
    *w += 4;
    return veorq_u32(word, bits);
}

/*
 * Adds to the counts of each four rows those of a run of words, at most MOST_WORDS; w has its words side by side, and `gap` numbers from
 * the end of one run to the next four rows'. No more is in registers at once than there are. Of what is over four nothing carries.
 */
INLINED void count_run(const uint32_t *x, const uint32_t *w, uint32_t words, size_t gap, uint32_t *counts, const uint32_t *end, int spread)
{
    for (;;) {
        const uint32_t *at = x;
        digits s;
        s.ones = s.twos = vdupq_n_u32(0);
        if (words & 1) {
            s.ones = difference(&at, &w, spread);
        }
        if (words & 2) {
            const uint32x4_t d = difference(&at, &w, spread);
            s.twos = full_add(&s.ones, d, difference(&at, &w, spread));
        }
        count_quads(&s, &at, &w, words, spread);
        vst1q_u32(counts, vaddq_u32(vld1q_u32(counts), counted(s)));
        counts += 4;
        if (counts == end) {
            break;
        }
        w += gap;
    }
}

/* Rows whose counts are kept at once. */
enum { SOME_ROWS = 64 };

INLINED uint32_t *clear(uint32_t counts[SOME_ROWS], uint32_t rows)
{
    uint32_t *at = counts;
    for (uint32_t n = 0; n < rows; n += 4, at += 4) {
        vst1q_u32(at, vdupq_n_u32(0));
    }
    return at;
}

/* ---- what becomes of the counts ---- */

INLINED int32x4_t sums_of(const uint32_t *counts, uint32_t most)
{
    return vreinterpretq_s32_u32(vmlaq_n_u32(vdupq_n_u32(most), vld1q_u32(counts), UINT32_MAX - 1));
}

/* y = most - 2 counts. */
INLINED void store_sums(const uint32_t *counts, uint32_t most, uint32_t rows, int32_t *y)
{
    for (uint32_t left = rows / 4; left > 0; --left, counts += 4, y += 4) {
        vst1q_s32(y, sums_of(counts, most));
    }
    if (rows % 4 != 0) {
        vst1q_p_s32(y, sums_of(counts, most), vctp32q(rows % 4));
    }
}

/* Signs of times count + more <= limit, of so many rows; times is 1 or 2. */
INLINED void store_signs(const uint32_t *counts, uint32_t times, uint32_t more, const int32_t *limits, uint32_t rows, uint32_t *y)
{
    static const int32_t down[4] = {-3, -2, -1, 0};
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        uint32x4_t above = vdupq_n_u32(0); /* every fourth bit of a lane: whether its row is above its limit */
#define PUSH(limit)                                                                                       \
    do {                                                                                                  \
        const uint32x4_t below = vmlaq_n_u32(vreinterpretq_u32_s32(limit), vld1q_u32(counts), 0 - times); \
        above = vsriq_n_u32(times == 1 ? below : vaddq_n_u32(below, 0 - more), above, 4);                 \
        counts += 4;                                                                                      \
    } while (0)
        for (uint32_t left = some / 4; left > 0; --left, limits += 4) {
            PUSH(vld1q_s32(limits));
        }
        if (some % 4 != 0) {
            PUSH(vld1q_z_s32(limits, vctp32q(some % 4)));
        }
#undef PUSH
        /* Lane 3 has its rows' bits in their places, the others have theirs 1, 2 and 3 too high. */
        const uint32x4_t signs = vbicq_u32(vdupq_n_u32(UINT32_C(0x88888888)), above);
        *y++ = vaddvq_u32(vshlq_u32(signs, vld1q_s32(down))) >> (28 - (some - 1) / 4 * 4) & UINT32_MAX >> (32 - some);
    }
}

#endif
