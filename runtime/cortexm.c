/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm Cortex-M, 32-bit integers only: kernels.def says what each kernel computes. Two things differ between cores and are
 * chosen by the preprocessor: Thumb-1 (M0, M0+, M23: two operands, eight registers) or Thumb-2, and whether there are DSP
 * instructions (M4, M7, most M33).
 */
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
        ones = twos = fours = eights = 0;
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

void labc_sign_matvec_sums_cortexm(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                   int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (; rows > 0; --rows) {
        *y++ = (int32_t)(inputs - 2 * differences(x, &w, words));
    }
}

void labc_sign_matvec_threshold_cortexm(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                        uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    while (rows > 0) {
        const uint32_t some = rows < 32 ? rows : 32;
        uint32_t signs = 0;
        for (uint32_t left = some; left > 0; --left) {
            /* count - limit - 1, whose sign bit is count <= limit; -limit - 1 is ~limit */
            uint32_t below = differences(x, &w, words) + ~(uint32_t)*limits++;
            OPAQUE(below);
            signs = signs >> 1 | (below & UINT32_C(0x80000000));
        }
        *y++ = signs >> (32 - some);
        rows -= some;
    }
}

/* ---- bytes times signs ---- */

/*
 * Five inputs can be added or left out in only 32 ways, six in 64. For each 32 inputs, six tables of these sums are made, and a
 * row's word of weights indexes them: six look-ups in place of 32 additions. Fields of the word, from the least significant: 5,
 * 5, 5, 5, 6 and 6 bits. The index is a weight, so neither branch nor address depends on x.
 *
 * The sum over k of x_k w_nk is twice the sum of the x_k whose bit is set, less the sum of all x_k. An entry of a table is BIAS +
 * twice the sum of its x_k whose bits are set; in the last table also less the sum of all 32. The biases keep entries from being
 * negative, so that two of 16 bits can be added to as one number: nothing is borrowed from the upper one. BIAS >= 2 * 6 * 128,
 * LAST_BIAS >= BIAS + 32 * 255, and LAST_BIAS + 32 * 128 + 2 * 6 * 255 < 2^16.
 */
enum { ENTRIES = 4 * 32 + 2 * 64, BIAS = 1536, LAST_BIAS = 9696, BIASES = 5 * BIAS + LAST_BIAS, SOME_ROWS = 128 };
#define BOTH UINT32_C(0x10001) /* times a number: it is in both halves of a word */

typedef struct {
    union {
        uint32_t pairs[ENTRIES / 2];
        uint16_t entries[ENTRIES];
    } table;
    int32_t sums[SOME_ROWS]; /* of the ops that have no other place for them */
} byte_scratch;

/* A table of 5 or 6 inputs, whose entry of no bit is `none`. Returns the sum of the inputs. */
NOT_INLINE uint32_t make_table(const uint8_t *restrict x, uint32_t offset, uint32_t bits, uint32_t none, uint32_t *restrict pairs)
{
#define INPUT(j) ((x[j] ^ offset) - offset)
    const uint32_t a = INPUT(0), b = INPUT(1), c = INPUT(2);
    const uint32_t first = none * BOTH + (a << 17), more_b = 2 * BOTH * b, more_c = 2 * BOTH * c;
    uint32_t total = a + b + c;
    pairs[0] = first;
    pairs[1] = first + more_b;
    pairs[2] = first + more_c;
    pairs[3] = first + more_b + more_c;
    /* A further bit set is as much more everywhere: what is there, once more. */
    uint32_t *end = pairs + 4;
    for (uint32_t j = 3; j < bits; ++j) {
        const uint32_t d = INPUT(j), more = 2 * BOTH * d;
        const uint32_t *from = pairs;
        uint32_t *to = end;
        total += d;
        do {
            to[0] = from[0] + more;
            to[1] = from[1] + more;
            to[2] = from[2] + more;
            to[3] = from[3] + more;
            from += 4;
            to += 4;
        } while (from != end);
        end = to;
    }
#undef INPUT
    return total;
}

#if defined(__thumb2__)

/* The entry that `width` bits of a word, from bit `at` on, name. */
INLINE uint32_t entry(const uint16_t *table, uint32_t bits, uint32_t at, uint32_t width)
{
    return table[bits >> at & ((1U << width) - 1)];
}

#else

/* The same; the index is cut out where it is already twice itself, as there is no load that doubles it. */
INLINE uint32_t entry(const uint16_t *table, uint32_t bits, uint32_t at, uint32_t width)
{
    const uint32_t twice = (at > 0 ? bits >> (at - 1) : bits << 1) & ((2U << width) - 2);
    const void *at_entry = (const unsigned char *)table + twice;
    return *(const uint16_t *)at_entry;
}

#endif

/* y[n] += the six entries that word n * words of w names. */
NOT_INLINE void look_up(const uint16_t *table, const uint32_t *restrict w, uint32_t words, uint32_t rows, int32_t *restrict y)
{
    const uint16_t *b = table + 32, *c = table + 64, *d = table + 96, *e = table + 128, *f = table + 192;
    OPAQUE(b);
    OPAQUE(c);
    OPAQUE(d);
    OPAQUE(e);
    OPAQUE(f);
    for (; rows > 0; --rows, w += words) {
        const uint32_t bits = *w;
        uint32_t sum = (uint32_t)*y;
        sum += entry(table, bits, 0, 5);
        sum += entry(b, bits, 5, 5);
        sum += entry(c, bits, 10, 5);
        sum += entry(d, bits, 15, 5);
        sum += entry(e, bits, 20, 6);
        sum += entry(f, bits, 26, 6);
        *y++ = (int32_t)sum;
    }
}

/*
 * y[n] = sum over k of x_k w_nk, for `rows` rows. Integers wrap around, so it does not matter that biases may pass 2^31 before they
 * are all taken off again. Making the tables costs about as much as 25 rows.
 */
NOT_INLINE void byte_sums(const uint8_t *x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                          int32_t *restrict y, byte_scratch *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    uint32_t *const pairs = scratch->table.pairs;
    uint8_t last[32]; /* where x ends before its word of weights does, which are only padding there, it goes on with zeros */
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = (int32_t)(0 - words * BIASES);
    }
    for (uint32_t left = inputs; left > 0; x += 32, ++w) {
        if (left < 32) {
            for (uint32_t j = 0; j < 32; ++j) {
                last[j] = j < left ? x[j] : 0;
            }
            x = last;
            left = 32;
        }
        left -= 32;
        uint32_t total = make_table(x, offset, 5, BIAS, pairs);
        total += make_table(x + 5, offset, 5, BIAS, pairs + 16);
        total += make_table(x + 10, offset, 5, BIAS, pairs + 32);
        total += make_table(x + 15, offset, 5, BIAS, pairs + 48);
        total += make_table(x + 20, offset, 6, BIAS, pairs + 64);
        for (uint32_t j = 26; j < 32; ++j) {
            total += (x[j] ^ offset) - offset;
        }
        make_table(x + 26, offset, 6, LAST_BIAS - total, pairs + 96);
        look_up(scratch->table.entries, w, words, rows, y);
    }
}

void labc_byte_matvec_sums_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs,
                                   uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    byte_sums(x, offset, w, inputs, rows, y, scratch);
}

void labc_byte_matvec_threshold_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                        const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                        void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    byte_scratch *const s = scratch;
    for (uint32_t n = 0; n < rows; n += SOME_ROWS) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        byte_sums(x, offset, w, inputs, some, s->sums, s);
        for (uint32_t i = 0; i < some; i += 32) {
            const uint32_t signs_here = some - i < 32 ? some - i : 32;
            uint32_t signs = 0;
            for (uint32_t j = 0; j < signs_here; ++j) {
                /* sum - threshold, whose sign bit is sum < threshold */
                uint32_t below = (uint32_t)(s->sums[i + j] - *thresholds++);
                OPAQUE(below);
                signs = signs >> 1 | (~below & UINT32_C(0x80000000));
            }
            *y++ = signs >> (32 - signs_here);
        }
        w += some * words;
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

void labc_byte_matvec_requantize_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                         const int32_t *restrict m, const int64_t *restrict b, uint32_t shift, uint32_t inputs,
                                         uint32_t rows, uint8_t *restrict y, void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    byte_scratch *const s = scratch;
    for (uint32_t n = 0; n < rows; n += SOME_ROWS) {
        const uint32_t some = rows - n < SOME_ROWS ? rows - n : SOME_ROWS;
        byte_sums(x, offset, w, inputs, some, s->sums, s);
        for (uint32_t i = 0; i < some; ++i) {
            *y++ = requantize(product_of(s->sums[i], *m++) + *b++, shift);
        }
        w += some * words;
    }
}
