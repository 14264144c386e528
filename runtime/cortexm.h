/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels for Arm Cortex-M share. Two things differ between cores and are chosen by the preprocessor: Thumb-1 (M0, M0+, M23:
 * two operands, eight registers) or Thumb-2, and whether there are DSP instructions (M4, M7, most M33).
 */
#ifndef LABC_CORTEXM_H
#define LABC_CORTEXM_H

#include "kernels.h"

/* Said of every function, as the compilers' own choices differ. Where a loop is a function, all registers are the loop's. */
#define INLINE static inline __attribute__((always_inline))
#define NOT_INLINE static __attribute__((noinline))

/*
 * The compiler forgets where v came from. It would otherwise turn masks into branches where the core has no conditional
 * instructions, or undo an order of operations chosen for the core. Costs no instruction.
 */
#define OPAQUE(v) __asm__("" : "+r"(v))

/* How many 32-bit words hold `count` signs; written so that no count overflows. */
INLINE uint32_t words_of(uint32_t count)
{
    return count / 32 + (count % 32 != 0);
}

/* ---- 32 adders side by side: bit i of each word is a number, or a digit of one ---- */

#if defined(__thumb2__)

/* 32 full adders: *sum becomes the sum bits of the three, the carries (their majority) are returned. */
INLINE uint32_t full_add(uint32_t *sum, uint32_t b, uint32_t c)
{
    const uint32_t half = *sum ^ b;
    const uint32_t carry = (*sum & b) | (half & c);
    *sum = half ^ c;
    return carry;
}

INLINE uint32_t half_add(uint32_t *sum, uint32_t b)
{
    const uint32_t carry = *sum & b;
    *sum ^= b;
    return carry;
}

/*
 * Bit counts of the eight nibbles. In each field of 2 bits, v - (v >> 1 & 01..01) = 2 high + low - high is their count. Masks
 * first, then shifts: `and` takes such a mask, and `sub` and `add` a shift, without an instruction more.
 */
INLINE uint32_t count_nibbles(uint32_t v)
{
    uint32_t high = v & UINT32_C(0xaaaaaaaa);
    OPAQUE(high);
    v -= high >> 1;
    high = v & UINT32_C(0xcccccccc);
    OPAQUE(high);
    return (v & UINT32_C(0x33333333)) + (high >> 2);
}

/* Nibbles up to 15, summed in pairs to bytes. */
INLINE uint32_t add_nibbles(uint32_t v)
{
    uint32_t high = v & UINT32_C(0xf0f0f0f0);
    OPAQUE(high);
    return (v & UINT32_C(0x0f0f0f0f)) + (high >> 4);
}

#else

/*
 * With b' = a ^ b and c' = a ^ c, the sum a ^ b ^ c is a ^ (b' ^ c'), and the majority is a unless b and c both differ from it:
 * a ^ (b' & c'); and b' & c' is c' & ~(b' ^ c'), which overwrites its operand. So six instructions of two operands add three words in
 * place. Compilers know no such order: they need two more, and registers that are not there.
 */
INLINE uint32_t full_add(uint32_t *sum, uint32_t b, uint32_t c)
{
    uint32_t a = *sum;
    __asm__(".syntax unified\n\t"
            "eors %1, %0\n\t"
            "eors %2, %0\n\t"
            "eors %1, %2\n\t"
            "bics %2, %1\n\t"
            "eors %2, %0\n\t"
            "eors %0, %1"
            : "+l"(a), "+l"(b), "+l"(c)
            :
            : "cc");
    *sum = a;
    return c;
}

/* b & ~(a ^ b) is a & b. */
INLINE uint32_t half_add(uint32_t *sum, uint32_t b)
{
    uint32_t a = *sum;
    __asm__(".syntax unified\n\t"
            "eors %0, %1\n\t"
            "bics %1, %0"
            : "+l"(a), "+l"(b)
            :
            : "cc");
    *sum = a;
    return b;
}

/* Bit counts of the eight nibbles: in each field of 2 bits, v - (v >> 1 & 01..01) = 2 high + low - high is their count. */
INLINE uint32_t count_nibbles(uint32_t v)
{
    v -= (v >> 1) & UINT32_C(0x55555555);
    return (v & UINT32_C(0x33333333)) + ((v >> 2) & UINT32_C(0x33333333));
}

/* Nibbles up to 15, summed in pairs to bytes. */
INLINE uint32_t add_nibbles(uint32_t v)
{
    return (v & UINT32_C(0x0f0f0f0f)) + ((v >> 4) & UINT32_C(0x0f0f0f0f));
}

#endif

/* Bit counts of the four bytes: those of two nibbles are at most 8 and fit one. */
INLINE uint32_t count_bytes(uint32_t v)
{
    v = count_nibbles(v);
    return (v + (v >> 4)) & UINT32_C(0x0f0f0f0f);
}

#if defined(__ARM_FEATURE_SIMD32)

#include <arm_acle.h>

/* sum + the four bytes, whose own sum is below 256: the sum of their absolute differences from 0. */
INLINE uint32_t plus_bytes(uint32_t sum, uint32_t bytes)
{
    return __usada8(bytes, 0, sum);
}

/* One instruction, and its time is constant. */
INLINE int64_t product_of(int32_t a, int32_t b)
{
    return (int64_t)a * b;
}

#else

/*
 * sum + the four bytes, whose own sum is below 256: 1 + 2^8 + 2^16 + 2^24 times them has it in the top byte. gcc would make
 * shifts and additions of the factor.
 */
INLINE uint32_t plus_bytes(uint32_t sum, uint32_t bytes)
{
    uint32_t factor = UINT32_C(0x01010101);
    OPAQUE(factor);
    return sum + ((bytes * factor) >> 24);
}

/*
 * a b, exact, from the four products of 16-bit halves: a Cortex-M0 has no longer ones, and a Cortex-M3's take a time that depends
 * on the values. Read as unsigned, a negative a is a + 2^32, which adds 2^32 b to the product; that is taken off the upper half
 * again, likewise for b.
 */
INLINE int64_t product_of(int32_t a, int32_t b)
{
    const uint32_t ua = (uint32_t)a, ub = (uint32_t)b;
    const uint32_t low_low = (ua & 0xffff) * (ub & 0xffff), low_high = (ua & 0xffff) * (ub >> 16);
    const uint32_t high_low = (ua >> 16) * (ub & 0xffff), high_high = (ua >> 16) * (ub >> 16);
    const uint32_t middle = (low_low >> 16) + (low_high & 0xffff) + (high_low & 0xffff);
    const uint32_t low = (middle << 16) | (low_low & 0xffff);
    const uint32_t high = high_high + (low_high >> 16) + (high_low >> 16) + (middle >> 16);
    uint32_t a_negative = ua >> 31, b_negative = ub >> 31;
    OPAQUE(a_negative);
    OPAQUE(b_negative);
    const uint32_t excess = ((0 - a_negative) & ub) + ((0 - b_negative) & ua);
    return (int64_t)((uint64_t)(high - excess) << 32 | low);
}

#endif

/* Bit n of y = sums[n] >= thresholds[n]. */
INLINE void sign_sums(const int32_t *restrict sums, const int32_t *restrict thresholds, uint32_t rows, uint32_t *restrict y)
{
    for (uint32_t i = 0; i < rows; i += 32) {
        const uint32_t signs_here = rows - i < 32 ? rows - i : 32;
        uint32_t signs = 0;
        for (uint32_t j = 0; j < signs_here; ++j) {
            /* sum - threshold, whose sign bit is sum < threshold */
            uint32_t below = (uint32_t)(*sums++ - *thresholds++);
            OPAQUE(below);
            signs = signs >> 1 | (~below & UINT32_C(0x80000000));
        }
        *y++ = signs >> (32 - signs_here);
    }
}

/* min(max(v, 0) >> shift, 255) for |v| < 2^52. A borrow out of bit 63 says which bound is passed, and becomes a mask. */
INLINE uint8_t requantize(int64_t v, uint32_t shift)
{
    uint32_t negative = (uint32_t)((uint64_t)v >> 63);
    OPAQUE(negative);
    const uint64_t shifted = ((uint64_t)v & ((uint64_t)negative - 1)) >> shift;
    uint32_t above = (uint32_t)((255 - shifted) >> 63);
    OPAQUE(above);
    return (uint8_t)(((uint32_t)shifted | (0 - above)) & 255);
}

/* ---- signs times signs ---- */

/*
 * popcount(x ^ w) over `words` words, 8 at a time. Each of the 32 columns of bits is a counter of the differences in it, with
 * the digits ones, twos and fours kept and each carry into the eights counted: one population count for 256 products. What is
 * over 8 comes first, since into counters that are still 0 there is little to add; where nothing is, the first 8 do. Executed
 * instructions per product: tests/runtime/test_counts.py.
 */
INLINE uint32_t differences(const uint32_t *restrict x, const uint32_t *restrict *row, uint32_t words)
{
    const uint32_t *restrict w = *row;
#define DIFFERENCE(j) (x[j] ^ w[j])
    uint32_t ones, twos, fours, eights;
    uint32_t blocks = words / 8;
    OPAQUE(x); /* one register walks; x of the first row is kept elsewhere */
    if (words % 8 == 0) {
        ones = DIFFERENCE(0);
        twos = full_add(&ones, DIFFERENCE(1), DIFFERENCE(2));
        const uint32_t twos_b = full_add(&ones, DIFFERENCE(3), DIFFERENCE(4));
        const uint32_t twos_c = full_add(&ones, DIFFERENCE(5), DIFFERENCE(6));
        fours = full_add(&twos, twos_b, twos_c);
        const uint32_t twos_d = half_add(&ones, DIFFERENCE(7));
        const uint32_t fours_b = half_add(&twos, twos_d);
        eights = plus_bytes(0, count_bytes(half_add(&fours, fours_b)));
        x += 8;
        w += 8;
        --blocks;
    } else {
        ones = 0;
        twos = 0;
        fours = 0;
        eights = 0;
        if (words & 1) {
            ones = DIFFERENCE(0);
            x += 1;
            w += 1;
        }
        if (words & 2) {
            twos = full_add(&ones, DIFFERENCE(0), DIFFERENCE(1));
            x += 2;
            w += 2;
        }
        if (words & 4) {
            const uint32_t twos_a = full_add(&ones, DIFFERENCE(0), DIFFERENCE(1));
            const uint32_t twos_b = full_add(&ones, DIFFERENCE(2), DIFFERENCE(3));
            fours = full_add(&twos, twos_a, twos_b);
            x += 4;
            w += 4;
        }
    }
    for (; blocks > 0; --blocks) {
        const uint32_t twos_a = full_add(&ones, DIFFERENCE(0), DIFFERENCE(1));
        const uint32_t twos_b = full_add(&ones, DIFFERENCE(2), DIFFERENCE(3));
        const uint32_t fours_a = full_add(&twos, twos_a, twos_b);
        const uint32_t twos_c = full_add(&ones, DIFFERENCE(4), DIFFERENCE(5));
        const uint32_t twos_d = full_add(&ones, DIFFERENCE(6), DIFFERENCE(7));
        const uint32_t fours_b = full_add(&twos, twos_c, twos_d);
        eights = plus_bytes(eights, count_bytes(full_add(&fours, fours_a, fours_b)));
        x += 8;
        w += 8;
        OPAQUE(x); /* two pointers and a count: not sums of them for each load */
        OPAQUE(w);
    }
#undef DIFFERENCE
    *row = w;
    /* A nibble of ones + 2 twos is at most 12; a byte of all at most 24 + 4 * 8 = 56, so four together at most 224. */
    const uint32_t low = count_nibbles(ones) + 2 * count_nibbles(twos);
    return plus_bytes(8 * eights, add_nibbles(low) + 4 * count_bytes(fours));
}

#endif
