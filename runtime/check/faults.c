/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels with one planted fault each. The check is worth what it catches. */
#include "faults.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* ---- the faults: each is right but for the line marked so ---- */

static uint32_t count_differing(const uint32_t *x, const uint32_t *w, uint32_t inputs)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < inputs; ++k) {
        count += ((x[k / 32] ^ w[k / 32]) >> k % 32) & 1;
    }
    return count;
}

static void sums(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = (int32_t)inputs - 2 * (int32_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs);
    }
}

static void sums_wrong_tail(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const uint32_t whole = inputs / 32 * 32; /* the fault: a last word that is not full is not looked at */
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = (int32_t)inputs - 2 * (int32_t)count_differing(x, w + n * ((inputs + 31) / 32), whole);
    }
}

static void sums_write_past_end(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x, w, inputs, rows, y);
    y[(rows + 3) / 4 * 4 - 1] = y[rows - 1]; /* the fault: rows rounded up to a vector of four */
}

static void sums_write_before_start(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x, w, inputs, rows, y);
    y[-1] = 0; /* the fault */
}

static void sums_unwritten(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x, w, inputs, rows - (rows > 64), y); /* the fault: the last row of many is forgotten */
}

static void sums_dense_rows(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        uint32_t count = 0;
        for (uint32_t k = 0; k < inputs; ++k) {
            const uint32_t at = n * inputs + k; /* the fault: rows follow each other without padding */
            count += (x[k / 32] >> k % 32 ^ w[at / 32] >> at % 32) & 1;
        }
        y[n] = (int32_t)inputs - 2 * (int32_t)count;
    }
}

static void sums_8_bit(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        const uint8_t count = (uint8_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs); /* the fault: a counter of 8 bits */
        y[n] = (int32_t)inputs - 2 * (int32_t)count;
    }
}

static void sums_16_bit(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        const uint16_t count = (uint16_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs); /* the fault: a counter of 16 bits */
        y[n] = (int32_t)inputs - 2 * (int32_t)count;
    }
}

static void sums_late_flush(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n, w += (inputs + 31) / 32) {
        uint8_t lanes[4] = {0};
        uint32_t count = 0;
        for (uint32_t k = 0; k < inputs; ++k) {
            lanes[k / 8 % 4] = (uint8_t)(lanes[k / 8 % 4] + (((x[k / 32] ^ w[k / 32]) >> k % 32) & 1));
            if (k % 1024 == 1023 || k == inputs - 1) { /* the fault: lanes of 8 bits are emptied after 32 words, at most 31 are right */
                count += (uint32_t)lanes[0] + lanes[1] + lanes[2] + lanes[3];
                lanes[0] = lanes[1] = lanes[2] = lanes[3] = 0;
            }
        }
        y[n] = (int32_t)inputs - 2 * (int32_t)count;
    }
}

static void sums_read_past_x(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const volatile uint32_t *ahead = x + (inputs + 31) / 32;
    sums(x, w, inputs, rows, y);
    (void)*ahead; /* the fault */
}

static void sums_illegal(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x, w, inputs, rows, y);
    if (inputs > 100) {
        __builtin_trap(); /* the fault: an instruction that no processor has */
    }
}

static void sums_read_past_end(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const volatile uint32_t *ahead = w + rows * ((inputs + 31) / 32);
    sums(x, w, inputs, rows, y);
    (void)*ahead; /* the fault: one word too many is loaded, though not used */
}

static void sums_changed_input(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    const union {
        const uint32_t *given;
        uint32_t *taken;
    } input = {x};
    sums(x, w, inputs, rows, y);
    input.taken[inputs / 64] ^= 1; /* the fault */
}

static void sums_better_alignment(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x - (uintptr_t)x / 4 % 2, w, inputs, rows, y); /* the fault: loads that round an address down to a multiple of 8 */
}

#if defined(__x86_64__)

static void sums_aligned_load(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    sums(x, w, inputs, rows, y);
    if (inputs > 96) {
        const union {
            const uint32_t *words;
            const __m128i *vector;
        } input = {x};
        const volatile __m128i loaded = _mm_load_si128(input.vector); /* the fault: an instruction that wants a multiple of 16 */
        (void)loaded;
    }
}

#define FAULTS_OF_THE_MACHINE FAULT(sign_matvec_sums, sums_aligned_load, STOPPED, ROWS, SMALL)

#else
#define FAULTS_OF_THE_MACHINE
#endif

static void threshold_word_more(const uint32_t *x, const uint32_t *w, const int32_t *limits, uint32_t inputs, uint32_t rows, uint32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t sign = (int32_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs) <= limits[n];
        y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
    }
    y[rows / 32] &= UINT32_MAX >> (31 - rows % 32); /* the fault: the last word, where rows are a multiple of 32 one too far */
}

static void threshold_strict(const uint32_t *x, const uint32_t *w, const int32_t *limits, uint32_t inputs, uint32_t rows, uint32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t sign = (int32_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs) < limits[n]; /* the fault: < for <= */
        y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
    }
}

static void threshold_dirty_tail(const uint32_t *x, const uint32_t *w, const int32_t *limits, uint32_t inputs, uint32_t rows, uint32_t *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t sign = (int32_t)count_differing(x, w + n * ((inputs + 31) / 32), inputs) <= limits[n];
        const uint32_t bit = UINT32_C(1) << n % 32;
        y[n / 32] = (y[n / 32] & ~bit) | (sign ? bit : 0); /* the fault: unused bits stay what they were */
    }
}

static int32_t byte_sum(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs)
{
    int32_t sum = 0;
    for (uint32_t k = 0; k < inputs; ++k) {
        const int32_t value = (int32_t)(x[k] ^ offset) - (int32_t)offset;
        sum += w[k / 32] >> k % 32 & 1 ? value : -value;
    }
    return sum;
}

static void byte_sums_unsigned(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y,
                               void *scratch)
{
    (void)offset;
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = byte_sum(x, 0, w + n * ((inputs + 31) / 32), inputs); /* the fault: bytes are always 0..255 */
    }
}

static void byte_sums_16_bit(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y,
                             void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t sum = (uint32_t)byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs) & 0xffff;
        y[n] = (int32_t)(sum ^ 0x8000) - 0x8000; /* the fault: the sum wraps like an int16 */
    }
}

static void byte_sums_late_flush(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y,
                                 void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n, w += (inputs + 31) / 32) {
        uint32_t lane = 0;
        y[n] = 0;
        for (uint32_t k = 0; k < inputs; ++k) {
            const uint32_t value = (uint32_t)(x[k] ^ offset) - offset;
            lane += w[k / 32] >> k % 32 & 1 ? value : 0 - value;
            if (k % 132 == 131 || k == inputs - 1) { /* the fault: a lane of 16 bits holds 32 sums of 4 inputs, not 33 */
                y[n] += (int32_t)((lane & 0xffff) ^ 0x8000) - 0x8000;
                lane = 0;
            }
        }
    }
}

static void byte_sums_added(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        const int32_t sum = byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs);
        y[n] = (int32_t)((uint32_t)y[n] + (uint32_t)sum); /* the fault: what y held before counts */
    }
}

static void byte_sums_past_scratch(const uint8_t *x, uint32_t offset, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y,
                                   void *scratch)
{
    *(unsigned char *)scratch = 0; /* the fault: the row says that it needs none */
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs);
    }
}

static void byte_threshold_above(const uint8_t *x, uint32_t offset, const uint32_t *w, const int32_t *thresholds, uint32_t inputs,
                                 uint32_t rows, uint32_t *y, void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t sign = byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs) > thresholds[n]; /* the fault: > for >= */
        y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
    }
}

/* min(max(v, 0) >> shift, most), as a byte */
static uint8_t requantized(int64_t v, uint32_t shift, int64_t most)
{
    v = v < 0 ? 0 : v / ((int64_t)1 << shift);
    return (uint8_t)(v > most ? most : v);
}

static void requantize_unclamped(const uint8_t *x, uint32_t offset, const uint32_t *w, const int32_t *m, const int64_t *b, uint32_t shift,
                                 uint32_t inputs, uint32_t rows, uint8_t *y, void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        const int64_t v = (int64_t)byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs) * m[n] + b[n];
        y[n] = requantized(v, shift, 256); /* the fault: 256 becomes 0 */
    }
}

static void requantize_one_more(const uint8_t *x, uint32_t offset, const uint32_t *w, const int32_t *m, const int64_t *b, uint32_t shift,
                                uint32_t inputs, uint32_t rows, uint8_t *y, void *scratch)
{
    (void)scratch;
    for (uint32_t n = 0; n < rows; ++n) {
        const int64_t v = (int64_t)byte_sum(x, offset, w + n * ((inputs + 31) / 32), inputs) * m[n] + b[n];
        y[n] = requantized(v + 1, shift, 255); /* the fault: one is added before the shift */
    }
}

static void argmax_last(const int32_t *x, const float *s, const float *t, uint32_t rows, uint32_t *y)
{
    volatile float most = 0;
    for (uint32_t n = 0; n < rows; ++n) {
        volatile float score = (float)x[n] * s[n];
        score = score + t[n];
        if (n == 0 || score >= most) { /* the fault: the last of several equal scores */
            most = score;
            *y = n;
        }
    }
}

static void affine_fused(const int32_t *x, const float *s, const float *t, uint32_t rows, float *y)
{
    for (uint32_t n = 0; n < rows; ++n) {
        y[n] = (float)((double)x[n] * (double)s[n] + (double)t[n]); /* the fault: the product is not rounded, as in a fused multiply-add */
    }
}

/* ---- a layout of blocks: 4 lanes, 2 groups ---- */

enum { LANES = 4, GROUPS = 2, TOGETHER = LANES * GROUPS };

static void blocked_sums(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y, uint32_t last_groups)
{
    const uint32_t words = (inputs + 31) / 32;
    const uint32_t size = (rows + LANES - 1) / LANES * LANES * words;
    for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t first = n / TOGETHER * TOGETHER;
        const uint32_t groups = rows - first < TOGETHER ? last_groups : GROUPS;
        uint32_t count = 0;
        for (uint32_t k = 0; k < inputs; ++k) {
            const uint32_t at = first * words + (k / 32 * groups + (n - first) / LANES) * LANES + n % LANES;
            count += (x[k / 32] ^ w[at % size]) >> k % 32 & 1; /* % size: the fault below stays in the array */
        }
        y[n] = (int32_t)inputs - 2 * (int32_t)count;
    }
}

static void blocked(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    blocked_sums(x, w, inputs, rows, y, (rows % TOGETHER + LANES - 1) / LANES);
}

static void blocked_full_groups(const uint32_t *x, const uint32_t *w, uint32_t inputs, uint32_t rows, int32_t *y)
{
    blocked_sums(x, w, inputs, rows, y, GROUPS); /* the fault: the last block is read as if it had all its groups */
}

/* ---- the list ---- */

static uint32_t no_scratch(uint32_t inputs, uint32_t rows, uint32_t channels, uint32_t taps)
{
    (void)inputs;
    (void)rows;
    (void)channels;
    (void)taps;
    return 0;
}

/* braces hold commas: as macros of their own they reach FAULT as one argument */
#define ROWS {32, 1, 1}
#define BLOCKS {32, LANES, GROUPS}
#ifdef LABC_CHECK_SMALL
#define SMALL 1
#else
#define SMALL LABC_CHECK_LEAST_BYTES
#endif
#define LARGE (3 * LABC_CHECK_MOST_INPUTS / 8 + 1024) /* three rows of the most inputs, and guards */

/* FAULT(op, kernel, what the check must find, layout, bytes a block must have for that) */
#define FAULTS                                                                      \
    FAULT(sign_matvec_sums, sums, NOTHING, ROWS, SMALL)                             \
    FAULT(sign_matvec_sums, sums_wrong_tail, VALUE, ROWS, SMALL)                    \
    FAULT(sign_matvec_sums, sums_unwritten, VALUE, ROWS, SMALL)                     \
    FAULT(sign_matvec_sums, sums_better_alignment, VALUE, ROWS, SMALL)              \
    FAULT(sign_matvec_sums, sums_dense_rows, VALUE, ROWS, SMALL)                    \
    FAULT(sign_matvec_sums, sums_8_bit, VALUE, ROWS, SMALL)                         \
    FAULT(sign_matvec_sums, sums_16_bit, VALUE, ROWS, LARGE)                        \
    FAULT(sign_matvec_sums, sums_late_flush, VALUE, ROWS, SMALL)                    \
    FAULT(sign_matvec_sums, blocked, NOTHING, BLOCKS, SMALL)                        \
    FAULT(sign_matvec_sums, blocked_full_groups, VALUE, BLOCKS, SMALL)              \
    FAULT(sign_matvec_sums, sums_write_past_end, WROTE_PAST, ROWS, SMALL)           \
    FAULT(sign_matvec_sums, sums_write_before_start, WROTE_BEFORE, ROWS, SMALL)     \
    FAULT(sign_matvec_sums, sums_changed_input, CHANGED_INPUT, ROWS, SMALL)         \
    FAULT(sign_matvec_sums, sums_read_past_end, STOPPED, ROWS, SMALL)               \
    FAULT(sign_matvec_sums, sums_read_past_x, STOPPED, ROWS, SMALL)                 \
    FAULT(sign_matvec_sums, sums_illegal, UNKNOWN_INSTRUCTION, ROWS, SMALL)         \
    FAULTS_OF_THE_MACHINE                                                           \
    FAULT(sign_matvec_threshold, threshold_strict, VALUE, ROWS, SMALL)              \
    FAULT(sign_matvec_threshold, threshold_dirty_tail, UNUSED_BITS, ROWS, SMALL)    \
    FAULT(sign_matvec_threshold, threshold_word_more, WROTE_PAST, ROWS, SMALL)      \
    FAULT(byte_matvec_sums, byte_sums_unsigned, VALUE, ROWS, SMALL)                 \
    FAULT(byte_matvec_sums, byte_sums_16_bit, VALUE, ROWS, SMALL)                   \
    FAULT(byte_matvec_sums, byte_sums_late_flush, VALUE, ROWS, SMALL)               \
    FAULT(byte_matvec_sums, byte_sums_added, VALUE, ROWS, SMALL)                    \
    FAULT(byte_matvec_sums, byte_sums_past_scratch, WROTE_PAST, ROWS, SMALL)        \
    FAULT(byte_matvec_threshold, byte_threshold_above, VALUE, ROWS, SMALL)          \
    FAULT(byte_matvec_requantize, requantize_unclamped, VALUE, ROWS, SMALL)         \
    FAULT(byte_matvec_requantize, requantize_one_more, VALUE, ROWS, SMALL)          \
    FAULT(affine, affine_fused, VALUE, ROWS, SMALL)                                 \
    FAULT(affine_argmax, argmax_last, VALUE, ROWS, SMALL)                           \
    FAULT(sign_conv_sums, conv, NOTHING, ROWS, SMALL)                               \
    FAULT(sign_conv_sums, conv_border_counted, VALUE, ROWS, SMALL)                  \
    FAULT(sign_conv_sums, conv_stride_as_dilation, VALUE, ROWS, SMALL)              \
    FAULT(sign_conv_sums, conv_wrong_tail, VALUE, ROWS, SMALL)                      \
    FAULT(sign_conv_sums, conv_dense_taps, VALUE, ROWS, SMALL)                      \
    FAULT(sign_conv_sums, conv_swapped_axes, VALUE, ROWS, SMALL)                    \
    FAULT(sign_conv_sums, conv_write_past_end, WROTE_PAST, ROWS, SMALL)             \
    FAULT(sign_conv_sums, conv_changed_window, CHANGED_INPUT, ROWS, SMALL)          \
    FAULT(sign_conv_sums, conv_read_past_x, STOPPED, ROWS, SMALL)                   \
    FAULT(sign_conv_threshold, conv_threshold_no_border, VALUE, ROWS, SMALL)        \
    FAULT(sign_conv_threshold, conv_threshold_dirty_tail, UNUSED_BITS, ROWS, SMALL) \
    FAULT(byte_conv_sums, byte_conv, NOTHING, ROWS, SMALL)                          \
    FAULT(byte_conv_sums, byte_conv_border_is_offset, VALUE, ROWS, SMALL)           \
    FAULT(byte_conv_sums, byte_conv_filled_taps, VALUE, ROWS, SMALL)                \
    FAULT(byte_conv_sums, byte_conv_16_bit, VALUE, ROWS, SMALL)                     \
    FAULT(byte_conv_requantize, byte_conv_unclamped, VALUE, ROWS, SMALL)            \
    FAULT(sign_depthwise_sums, depthwise_modulo, VALUE, ROWS, SMALL)                \
    FAULT(sign_depthwise_threshold, depthwise_3_bit, VALUE, ROWS, SMALL)            \
    FAULT(sign_max_pool, pool_without_flips, VALUE, ROWS, SMALL)                    \
    FAULT(sign_max_pool, pool_border_is_minus, VALUE, ROWS, SMALL)                  \
    FAULT(byte_max_pool, byte_pool_unsigned, VALUE, ROWS, SMALL)                    \
    FAULT(word_max_pool, word_pool_from_zero, VALUE, ROWS, SMALL)                   \
    FAULT(sum_add_pool, add_pool_16_bit, VALUE, ROWS, SMALL)                        \
    FAULT(sum_threshold, threshold_flip_all, VALUE, ROWS, SMALL)                    \
    FAULT(sum_threshold, threshold_ones_behind, UNUSED_BITS, ROWS, SMALL)           \
    FAULT(sum_requantize_word, word_toward_zero, VALUE, ROWS, SMALL)                \
    FAULT(word_add, add_unsaturated, VALUE, ROWS, SMALL)                            \
    FAULT(word_add, add_in_fours, WROTE_PAST, ROWS, SMALL)                          \
    FAULT(word_add, add_aligned_pairs, VALUE, ROWS, SMALL)                          \
    FAULT(word_add, add_not_in_place, VALUE, ROWS, SMALL)                           \
    FAULT(word_prelu, prelu_toward_zero, VALUE, ROWS, SMALL)                        \
    FAULT(word_prelu, prelu_most, VALUE, ROWS, SMALL)                               \
    FAULT(sign_join, join_by_words, VALUE, ROWS, SMALL)                             \
    FAULT(sign_slice, slice_reads_ahead, STOPPED, ROWS, SMALL)                      \
    FAULT(byte_slice, slice_all_of_a_pixel, WROTE_PAST, ROWS, SMALL)                \
    FAULT(sign_pad, pad_dirty_tail, UNUSED_BITS, ROWS, SMALL)

#define FAULT(op, kernel, finding, layout, bytes) +1
enum { FAULT_COUNT = 0 FAULTS };
#undef FAULT

/* The sound kernels among the faulty ones must pass, or the others would prove nothing. */
static uint32_t report(const char *op, const char *kernel, uint32_t number, uint32_t found, uint32_t wanted)
{
    labc_check_put(found == wanted ? "ok " : "not ok ");
    labc_check_put_number((int32_t)number);
    labc_check_put_words((const char *const[]){" - ", op, " ", kernel, ": found: ", labc_check_findings[found], 0});
    if (found != wanted) {
        labc_check_put_words((const char *const[]){", planted: ", labc_check_findings[wanted], 0});
    }
    labc_check_put("\n");
    return found != wanted;
}

static uint32_t not_run_here(const char *op, const char *kernel, uint32_t number, const char *reason)
{
    labc_check_put("ok ");
    labc_check_put_number((int32_t)number);
    labc_check_put_words((const char *const[]){" - ", op, " ", kernel, " # SKIP not run here: ", reason, "\n", 0});
    return 0;
}

static uint32_t stops(uint32_t finding)
{
    return finding == LABC_CHECK_STOPPED || finding == LABC_CHECK_UNKNOWN_INSTRUCTION;
}

uint32_t labc_check_fault_count(void)
{
    return FAULT_COUNT;
}

uint32_t labc_check_fault_stops(uint32_t number)
{
#define FAULT(op, kernel, finding, layout, bytes) LABC_CHECK_##finding,
    static const uint8_t findings[FAULT_COUNT] = {FAULTS};
#undef FAULT
    return stops(findings[number - 1]);
}

uint32_t labc_check_fault(uint32_t seed, uint32_t number)
{
    const uint32_t wanted = LABC_CHECK_ONLY(number);
    uint32_t at = 0, cases = 0;
#define FAULT(op, kernel, finding, layout, bytes)                                                               \
    if (++at == wanted) {                                                                                       \
        static const labc_check_row row = {#op, #kernel, layout, 1, no_scratch, 1};                             \
        if (stops(LABC_CHECK_##finding) && !labc_check_has_fence()) {                                           \
            return not_run_here(#op, #kernel, number, "no unreadable page, nor a handler");                     \
        }                                                                                                       \
        if (labc_check_block_bytes < bytes) {                                                                   \
            return not_run_here(#op, #kernel, number, "the blocks are too small for as many inputs");           \
        }                                                                                                       \
        return report(#op, #kernel, number, labc_check_##op(&row, kernel, seed, &cases), LABC_CHECK_##finding); \
    }
    FAULTS
#undef FAULT
    return 1;
}

#ifndef LABC_CHECK_NUMBER
uint32_t labc_check_faults(uint32_t seed)
{
    uint32_t missed = 0;
    labc_check_put("TAP version 13\n1..");
    labc_check_put_number(FAULT_COUNT);
    labc_check_put("\n# seed ");
    labc_check_put_number((int32_t)seed);
    labc_check_put("\n");
    for (uint32_t number = 1; number <= FAULT_COUNT; ++number) {
        missed += labc_check_fault(seed, number);
    }
    return missed;
}
#endif
