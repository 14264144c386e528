/* SPDX-License-Identifier: Apache-2.0 */
/* What the plain C kernels share. `int` may have 16 bits here. */
#ifndef LABC_SCALAR_H
#define LABC_SCALAR_H

#include "kernels.h"

/* How many 32-bit words hold `count` signs; written so that no count overflows. */
static inline uint32_t words_of(uint32_t count)
{
    return count / 32 + (count % 32 != 0);
}

/*
 * Signs are compared a chunk at a time, of 64 bits where registers have that many. The order of the bits does not matter, as they
 * are only counted. No machine with such registers has flash that plain loads cannot reach.
 */
#if UINTPTR_MAX > 0xffffffff || defined(__x86_64__) || defined(__wasm__)

typedef uint64_t chunk;

/* The same byte in each place. */
#define BYTES(value) (UINT64_C(0x0101010101010101) * (value))

/* Differences of the chunk of two words that x and w point to, which are aligned to one. */
#if defined(__riscv) /* where compilers may not load a chunk from there, and would take bytes */

static inline chunk difference(const uint32_t *x, const uint32_t *w)
{
    return (chunk)(x[1] ^ w[1]) << 32 | (x[0] ^ w[0]);
}

#else

static inline chunk difference(const uint32_t *x, const uint32_t *w)
{
    uint64_t a, b;
    __builtin_memcpy(&a, x, sizeof a);
    __builtin_memcpy(&b, w, sizeof b);
    return a ^ b;
}

#endif

#else

typedef uint32_t chunk;

#define BYTES(value) (UINT32_C(0x01010101) * (value))

static inline chunk difference(const uint32_t *x, const uint32_t *w)
{
    return *x ^ labc_flash_u32(w);
}

#endif

enum { CHUNK_WORDS = sizeof(chunk) / 4, CHUNK_HALVES = sizeof(chunk) / 2 };

/* The same 16 bits in each place. */
#define HALVES(value) (BYTES(1) / 257 * (value))

/*
 * The larger of unsigned numbers in fields of a chunk, `bits` each with the top bit in `tops`. Where a has that bit set and b not, the
 * difference of the others does not borrow from the next field: so a is larger if its own top bit is and b's is not, or, where both are
 * the same, if the difference leaves it set. Arithmetic on fields, so no compiler makes a branch of it.
 */
static inline chunk larger_of_fields(chunk a, chunk b, chunk tops, uint32_t bits)
{
    const chunk difference = (a | tops) - (b & ~tops);
    const chunk reached = ((a & ~b) | (~(a ^ b) & difference)) & tops;
    const chunk mask = reached | (reached - (reached >> (bits - 1)));
    return b ^ ((a ^ b) & mask);
}

/* Where the processor counts bits itself: x86, RISC-V, Power, WebAssembly, and 64-bit Arm by way of its vector registers. */
#if defined(__POPCNT__) || defined(__riscv_zbb) || defined(_ARCH_PWR7) || defined(__wasm__) || (defined(__aarch64__) && defined(__ARM_NEON))

/* Of 32 bits not as 64: gcc, for size, would call its library. */
static inline uint32_t popcount(chunk v)
{
    return (uint32_t)(sizeof v > sizeof(long) ? __builtin_popcountll(v) : __builtin_popcountl((unsigned long)v));
}

/* popcount(x ^ w) over `words` words. */
static inline uint32_t disagreements(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t words)
{
    uint32_t count = 0;
    uint32_t i = 0;
    for (; words - i >= CHUNK_WORDS; i += CHUNK_WORDS) {
        count += popcount(difference(x + i, w + i));
    }
    for (; i < words; ++i) {
        count += popcount(x[i] ^ labc_flash_u32(w + i));
    }
    return count;
}

#else

/*
 * Bit counts in fields of 4 bits: v - (v >> 1 & 01..01) is, in each field of 2 bits, high + low, since 2 high + low - high = high + low;
 * then neighbours are added, to at most 4.
 */
static inline chunk popcounts_of_nibbles(chunk v)
{
    v -= (v >> 1) & BYTES(0x55);
    return (v & BYTES(0x33)) + ((v >> 2) & BYTES(0x33));
}

/* Of fields of at most 12: at most 24 per byte, and 192 in all, which fits one. Multiplying by 1 + 2^8 + 2^16 + ... puts it into the top one. */
static inline uint32_t sum_of_nibbles(chunk v)
{
    return (uint32_t)((((v & BYTES(0x0f)) + ((v >> 4) & BYTES(0x0f))) * BYTES(1)) >> (8 * sizeof v - 8));
}

static inline uint32_t popcount(chunk v)
{
    return sum_of_nibbles(popcounts_of_nibbles(v));
}

/* popcount(ones) + 2 popcount(twos) + 4 popcount(fours) + 8 popcount(eights). Two fit a field of 4 bits together: at most 4 + 2 * 4. */
static inline uint32_t weighted(chunk ones, chunk twos, chunk fours, chunk eights)
{
    return sum_of_nibbles(popcounts_of_nibbles(ones) + 2 * popcounts_of_nibbles(twos)) +
           4 * sum_of_nibbles(popcounts_of_nibbles(fours) + 2 * popcounts_of_nibbles(eights));
}

/* A full adder per bit: the sum bits of *sum + b + c stay in *sum, the carries (majority of the three) are returned. */
static inline chunk carry_save(chunk *sum, chunk b, chunk c)
{
    const chunk half = *sum ^ b;
    const chunk carry = (*sum & b) | (half & c);
    *sum = half ^ c;
    return carry;
}

/*
 * popcount(x ^ w) over `words` words. Eight chunks at a time go through a tree of full adders: ones, twos and fours hold, in
 * each column of bits, a binary counter of those seen so far, and only its carry into the eights is counted: one population
 * count for eight chunks. It starts with the up to seven chunks that make no eight. Executed instructions per product:
 * tests/runtime/test_counts.py.
 */
static inline uint32_t disagreements(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t words)
{
    const uint32_t chunks = words / CHUNK_WORDS, whole = chunks * CHUNK_WORDS;
    chunk ones = 0, twos = 0, fours = 0, eights = 0;
    uint32_t count = 0, i = 0;
#define DIFFERENCE(j) difference(x + i + (j) * CHUNK_WORDS, w + i + (j) * CHUNK_WORDS)
    if (chunks % 2 != 0) {
        ones = DIFFERENCE(0);
        i = CHUNK_WORDS;
    }
    if (chunks / 2 % 2 != 0) {
        twos = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
        i += 2 * CHUNK_WORDS;
    }
    if (chunks / 4 % 2 != 0) {
        const chunk twos_a = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
        const chunk twos_b = carry_save(&ones, DIFFERENCE(2), DIFFERENCE(3));
        fours = carry_save(&twos, twos_a, twos_b);
        i += 4 * CHUNK_WORDS;
    }
    while (i < whole) {
        const chunk twos_a = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
        const chunk twos_b = carry_save(&ones, DIFFERENCE(2), DIFFERENCE(3));
        const chunk fours_a = carry_save(&twos, twos_a, twos_b);
        const chunk twos_c = carry_save(&ones, DIFFERENCE(4), DIFFERENCE(5));
        const chunk twos_d = carry_save(&ones, DIFFERENCE(6), DIFFERENCE(7));
        const chunk fours_b = carry_save(&twos, twos_c, twos_d);
        eights = carry_save(&fours, fours_a, fours_b);
        i += 8 * CHUNK_WORDS;
        if (i < whole) {
            count += 8 * popcount(eights);
            eights = 0;
        }
    }
#undef DIFFERENCE
    count += weighted(ones, twos, fours, eights);
    if (whole < words) {
        count += popcount(x[whole] ^ labc_flash_u32(w + whole)); /* the one word that is no chunk */
    }
    return count;
}

#endif

/*
 * v, without letting the compiler know where it came from. It would recognize the comparison in the arithmetic below, and
 * on a processor without conditional instructions (Cortex-M0) make a branch of it. Once per row, it costs a store and a load.
 */
static inline uint32_t opaque(uint32_t v)
{
    volatile uint32_t hidden = v;
    return hidden;
}

/* 1 if a >= b, else 0: the sign bit of the difference, which must not overflow. */
static inline uint32_t at_least(int32_t a, int32_t b)
{
    return (opaque((uint32_t)(a - b)) >> 31) ^ 1;
}

/* -1 if a >= b, else 0, as a mask; hidden, or clang sees a choice in what it is applied to, and branches on a Cortex-M0. */
static inline int32_t mask_if_at_least(int32_t a, int32_t b)
{
    return (int32_t)opaque(0 - at_least(a, b));
}

#if UINTPTR_MAX > 0xffffffff || defined(__x86_64__) || defined(__wasm__)

/* a b, exact: one instruction. */
static inline int64_t product_of(int32_t a, int32_t b)
{
    return (int64_t)a * b;
}

#else

/*
 * a b, exact, from the four products of 16-bit halves: where there is no 32 x 32 -> 64 bit instruction (Cortex-M0), gcc's
 * library function branches on a carry. Read as unsigned, a negative a is a + 2^32, which adds 2^32 b to the product; that is
 * taken off the upper half again, likewise for b.
 */
static inline int64_t product_of(int32_t a, int32_t b)
{
    const uint32_t ua = (uint32_t)a, ub = (uint32_t)b;
    const uint32_t low_low = (ua & 0xffff) * (ub & 0xffff), low_high = (ua & 0xffff) * (ub >> 16);
    const uint32_t high_low = (ua >> 16) * (ub & 0xffff), high_high = (ua >> 16) * (ub >> 16);
    const uint32_t middle = (low_low >> 16) + (low_high & 0xffff) + (high_low & 0xffff);
    const uint32_t low = (middle << 16) | (low_low & 0xffff);
    const uint32_t high = high_high + (low_high >> 16) + (high_low >> 16) + (middle >> 16);
    const uint32_t excess = ((0 - opaque(ua >> 31)) & ub) + ((0 - opaque(ub >> 31)) & ua);
    return (int64_t)((uint64_t)(high - excess) << 32 | low);
}

#endif

/* min(max(v, 0) >> shift, 255) for |v| < 2^52. A borrow out of bit 63 says which bound is passed, and becomes a mask. */
static inline uint8_t requantize(int64_t v, uint32_t shift)
{
    const uint32_t negative = opaque((uint32_t)((uint64_t)v >> 63));
    const uint64_t shifted = ((uint64_t)v & ((uint64_t)negative - 1)) >> shift;
    const uint32_t above = opaque((uint32_t)((255 - shifted) >> 63));
    return (uint8_t)(((uint32_t)shifted | (0 - above)) & 255);
}

/*
 * table[i] = sum over j of value[j] * (bit j of i ? +1 : -1), from the four sums of the first two values and the four of the
 * others. At most 4 * 255 in magnitude.
 */
static inline void partial_sums(int16_t a, int16_t b, int16_t c, int16_t d, int16_t table[16])
{
    const int16_t low[4] = {(int16_t)(-a - b), (int16_t)(a - b), (int16_t)(b - a), (int16_t)(a + b)};
    const int16_t high[4] = {(int16_t)(-c - d), (int16_t)(c - d), (int16_t)(d - c), (int16_t)(c + d)};
    for (uint32_t i = 0; i < 4; ++i) {
        table[4 * i] = (int16_t)(low[0] + high[i]);
        table[4 * i + 1] = (int16_t)(low[1] + high[i]);
        table[4 * i + 2] = (int16_t)(low[2] + high[i]);
        table[4 * i + 3] = (int16_t)(low[3] + high[i]);
    }
}

/* x[k] as a number; beyond the inputs, where weights are only padding, nothing. */
static inline int16_t input_at(const uint8_t *x, uint32_t offset, uint32_t inputs, uint32_t k)
{
    return k < inputs ? (int16_t)((int16_t)(x[k] ^ offset) - (int16_t)offset) : 0;
}

/*
 * y[n] = sum over k of x_k w_nk. Four inputs can be summed in only 16 ways, so for each 32 inputs eight tables of 16 partial
 * sums are made once, and a row's word of weights indexes them: 8 look-ups in place of 32 additions. The tables (256 bytes)
 * live on the stack. The index is a weight, so neither branch nor address depends on x.
 */
static inline void byte_sums(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                             int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    int16_t table[8][16];
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = 0;
    }
    for (uint32_t k = 0; k < inputs; k += 32, ++w) {
        for (uint32_t t = 0; t < 8; ++t) {
            const uint32_t at = k + 4 * t;
            partial_sums(input_at(x, offset, inputs, at), input_at(x, offset, inputs, at + 1), input_at(x, offset, inputs, at + 2),
                         input_at(x, offset, inputs, at + 3), table[t]);
        }
        const uint32_t *word = w;
        for (uint32_t n = 0; n < rows; ++n, word += words) {
            const uint32_t bits = labc_flash_u32(word);
            /* At most 32 * 255 in magnitude: fits an int of 16 bits. */
            const int sum = table[0][bits & 15] + table[1][bits >> 4 & 15] + table[2][bits >> 8 & 15] + table[3][bits >> 12 & 15] +
                            table[4][bits >> 16 & 15] + table[5][bits >> 20 & 15] + table[6][bits >> 24 & 15] + table[7][bits >> 28];
            y[n] += sum;
        }
    }
}

#endif
