/* SPDX-License-Identifier: Apache-2.0 */
/* Arm Cortex-M, 32-bit integers only: kernels.def says what each kernel computes. */
#include "cortexm.h"

/* ---- signs times signs ---- */

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
        (void)make_table(x + 26, offset, 6, LAST_BIAS - total, pairs + 96);
        look_up(scratch->table.entries, w, words, rows, y);
    }
}

void labc_byte_matvec_sums_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, uint32_t inputs, uint32_t rows,
                                   int32_t *restrict y, void *restrict scratch)
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
        sign_sums(s->sums, thresholds + n, some, y + n / 32);
        w += some * words;
    }
}

void labc_byte_matvec_requantize_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                         const int64_t *restrict b, uint32_t shift, uint32_t inputs, uint32_t rows, uint8_t *restrict y,
                                         void *restrict scratch)
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
