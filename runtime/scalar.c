/* SPDX-License-Identifier: Apache-2.0 */
/* Every op in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
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
static inline chunk difference(const uint32_t *x, const uint32_t *w)
{
    uint64_t a, b;
    __builtin_memcpy(&a, x, sizeof a);
    __builtin_memcpy(&b, w, sizeof b);
    return a ^ b;
}

#else

typedef uint32_t chunk;

#define BYTES(value) (UINT32_C(0x01010101) * (value))

static inline chunk difference(const uint32_t *x, const uint32_t *w)
{
    return *x ^ labc_flash_u32(w);
}

#endif

enum { CHUNK_WORDS = sizeof(chunk) / 4 };

/* Where the processor counts bits itself: x86, RISC-V, Power, WebAssembly, and 64-bit Arm by way of its vector registers. */
#if defined(__POPCNT__) || defined(__riscv_zbb) || defined(_ARCH_PWR7) || defined(__wasm__) || \
    (defined(__aarch64__) && defined(__ARM_NEON))

static inline uint32_t popcount(chunk v)
{
    return (uint32_t)__builtin_popcountll(v);
}

/* popcount(x ^ w) over `words` words. */
static uint32_t disagreements(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t words)
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
 * Bit counts in parallel, in fields that double: v - (v >> 1 & 01..01) is, in each field of 2 bits, high + low, since
 * 2 high + low - high = high + low. Then neighbours are added in fields of 4 bits (at most 4) and of 8 (at most 8).
 */
static inline chunk popcounts_of_bytes(chunk v)
{
    v -= (v >> 1) & BYTES(0x55);
    v = (v & BYTES(0x33)) + ((v >> 2) & BYTES(0x33));
    return (v + (v >> 4)) & BYTES(0x0f);
}

/* At most 64: the sum fits a byte. Multiplying by 1 + 2^8 + 2^16 + ... puts it into the top one. */
static inline uint32_t popcount(chunk v)
{
    return (uint32_t)((popcounts_of_bytes(v) * BYTES(1)) >> (8 * sizeof v - 8));
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
 * count for eight chunks. Executed instructions per product: tests/runtime/test_counts.py.
 */
static uint32_t disagreements(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t words)
{
    uint32_t count = 0;
    uint32_t i = 0;
    if (words >= 8 * CHUNK_WORDS) {
        chunk ones = 0, twos = 0, fours = 0;
#define DIFFERENCE(j) difference(x + i + (j) * CHUNK_WORDS, w + i + (j) * CHUNK_WORDS)
        for (; words - i >= 8 * CHUNK_WORDS; i += 8 * CHUNK_WORDS) {
            const chunk twos_a = carry_save(&ones, DIFFERENCE(0), DIFFERENCE(1));
            const chunk twos_b = carry_save(&ones, DIFFERENCE(2), DIFFERENCE(3));
            const chunk fours_a = carry_save(&twos, twos_a, twos_b);
            const chunk twos_c = carry_save(&ones, DIFFERENCE(4), DIFFERENCE(5));
            const chunk twos_d = carry_save(&ones, DIFFERENCE(6), DIFFERENCE(7));
            const chunk fours_b = carry_save(&twos, twos_c, twos_d);
            count += popcount(carry_save(&fours, fours_a, fours_b));
        }
#undef DIFFERENCE
        count = 8 * count + 4 * popcount(fours) + 2 * popcount(twos) + popcount(ones);
    }
    for (; words - i >= CHUNK_WORDS; i += CHUNK_WORDS) {
        count += popcount(difference(x + i, w + i));
    }
    for (; i < words; ++i) {
        count += popcount(x[i] ^ labc_flash_u32(w + i));
    }
    return count;
}

#endif

void labc_sign_matvec_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                  int32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (uint32_t n = 0; n < rows; ++n, w += words) {
        y[n] = (int32_t)(inputs - 2 * disagreements(x, w, words)); /* modulo 2^32: twice the count may not fit an int32 */
    }
}

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

void labc_sign_matvec_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                       uint32_t inputs, uint32_t rows, uint32_t *restrict y)
{
    const uint32_t words = words_of(inputs);
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        uint32_t signs = 0;
        for (uint32_t i = 0; i < some; ++i, w += words) {
            signs |= at_least(labc_flash_i32(limits + n + i), (int32_t)disagreements(x, w, words)) << i;
        }
        y[n / 32] = signs;
    }
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
static void byte_sums(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
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

void labc_byte_matvec_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                  int32_t *restrict y, void *restrict scratch)
{
    (void)scratch;
    byte_sums(x, offset, w, inputs, rows, y);
}

/*
 * The two ops that keep no sums work on 32 rows at a time, the signs of one word, with the sums on the stack. Making the
 * tables again for each 32 rows costs about 8 * 16 stores for 32 * 32 products.
 */
void labc_byte_matvec_threshold_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                       const int32_t *restrict thresholds, uint32_t inputs, uint32_t rows, uint32_t *restrict y,
                                       void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        int32_t sums[32];
        uint32_t signs = 0;
        byte_sums(x, offset, w, inputs, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            signs |= at_least(sums[i], labc_flash_i32(thresholds + n + i)) << i;
        }
        y[n / 32] = signs;
        w += some * words;
    }
}

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

/* min(max(v, 0) >> shift, 255) for |v| < 2^52. A borrow out of bit 63 says which bound is passed, and becomes a mask. */
static inline uint8_t requantize(int64_t v, uint32_t shift)
{
    const uint32_t negative = opaque((uint32_t)((uint64_t)v >> 63));
    const uint64_t shifted = ((uint64_t)v & ((uint64_t)negative - 1)) >> shift;
    const uint32_t above = opaque((uint32_t)((255 - shifted) >> 63));
    return (uint8_t)(((uint32_t)shifted | (0 - above)) & 255);
}

void labc_byte_matvec_requantize_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                        const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                        void *restrict scratch)
{
    const uint32_t words = words_of(inputs);
    (void)scratch;
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        int32_t sums[32];
        byte_sums(x, offset, w, inputs, some, sums);
        for (uint32_t i = 0; i < some; ++i) {
            y[n + i] = requantize(product_of(sums[i], labc_flash_i32(m + n + i)) + labc_flash_i64(b + n + i), shift);
        }
        w += some * words;
    }
}

/*
 * x s + t. The product passes through a volatile float: a compiler that would fuse the two operations (gcc does by default
 * where there is an fma) has to store the rounded product instead, whatever its flags.
 */
static inline float score(int32_t x, float s, float t)
{
    volatile float product = (float)x * s;
    return product + t;
}

void labc_affine_scalar(const int32_t *restrict x, const float *restrict s, const float *restrict t, uint32_t rows, float *restrict y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = score(x[n], labc_flash_f32(s + n), labc_flash_f32(t + n));
    }
}

/*
 * An int32 that orders as the finite float does, without comparing floats (float libraries branch there, and so do float
 * units by way of their flags). The bits of a float are sign and magnitude: positive ones order as integers already, for
 * negative ones -magnitude is wanted. With s = sign ? ~0 : 0, (magnitude ^ s) - s is that, and -0 becomes +0.
 */
static inline int32_t order_of(float value)
{
    const union {
        float value;
        uint32_t bits;
    } pun = {value};
    const uint32_t magnitude = pun.bits & UINT32_C(0x7fffffff);
    const uint32_t s = 0 - (pun.bits >> 31);
    return (int32_t)((magnitude ^ s) - s);
}

void labc_affine_argmax_scalar(const int32_t *restrict x, const float *restrict s, const float *restrict t, uint32_t rows,
                               uint32_t *restrict y)
{
    uint32_t best = 0;
    int32_t most = order_of(score(x[0], labc_flash_f32(s), labc_flash_f32(t)));
    for (uint32_t n = 1; n < rows; ++n) {
        const int32_t order = order_of(score(x[n], labc_flash_f32(s + n), labc_flash_f32(t + n)));
        /* all ones where order > most; the difference of two orders needs 33 bits */
        const uint32_t greater = (uint32_t)((uint64_t)((int64_t)most - order) >> 32);
        best ^= (best ^ n) & greater;
        most = (int32_t)((uint32_t)most ^ (((uint32_t)most ^ (uint32_t)order) & greater));
    }
    *y = best;
}
