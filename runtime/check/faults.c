/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels with one planted fault each. The check is worth what it catches. */
#include "check.h"

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

/* ---- the list ---- */

static uint32_t no_scratch(uint32_t inputs, uint32_t rows)
{
    (void)inputs;
    (void)rows;
    return 0;
}

/* FAULT(op, kernel, what the check must find) */
#define FAULTS                                                     \
    FAULT(sign_matvec_sums, sums, NOTHING)                         \
    FAULT(sign_matvec_sums, sums_wrong_tail, VALUE)                \
    FAULT(sign_matvec_sums, sums_unwritten, VALUE)                 \
    FAULT(sign_matvec_sums, sums_better_alignment, VALUE)          \
    FAULT(sign_matvec_sums, sums_write_past_end, WROTE_PAST)       \
    FAULT(sign_matvec_sums, sums_write_before_start, WROTE_BEFORE) \
    FAULT(sign_matvec_sums, sums_changed_input, CHANGED_INPUT)     \
    FAULT(sign_matvec_sums, sums_read_past_end, READ_PAST)         \
    FAULT(sign_matvec_threshold, threshold_strict, VALUE)          \
    FAULT(sign_matvec_threshold, threshold_dirty_tail, UNUSED_BITS) \
    FAULT(byte_matvec_sums, byte_sums_unsigned, VALUE)             \
    FAULT(byte_matvec_sums, byte_sums_16_bit, VALUE)               \
    FAULT(byte_matvec_threshold, byte_threshold_above, VALUE)      \
    FAULT(byte_matvec_requantize, requantize_unclamped, VALUE)     \
    FAULT(byte_matvec_requantize, requantize_one_more, VALUE)      \
    FAULT(affine, affine_fused, VALUE)                             \
    FAULT(affine_argmax, argmax_last, VALUE)

#define FAULT(op, kernel, finding) +1
enum { FAULT_COUNT = 0 FAULTS };
#undef FAULT

/* The sound kernel among the faulty ones must pass, or the others would prove nothing. */
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

static void not_run_here(const char *op, const char *kernel, uint32_t number)
{
    labc_check_put("ok ");
    labc_check_put_number((int32_t)number);
    labc_check_put_words((const char *const[]){" - ", op, " ", kernel, " # SKIP not run here: no unreadable page\n", 0});
}

uint32_t labc_check_faults(uint32_t seed)
{
    uint32_t number = 0, missed = 0, cases = 0;
    labc_check_put("TAP version 13\n1..");
    labc_check_put_number(FAULT_COUNT);
    labc_check_put("\n# seed ");
    labc_check_put_number((int32_t)seed);
    labc_check_put("\n");
#define FAULT(op, kernel, finding)                                                                       \
    ++number;                                                                                            \
    if (LABC_CHECK_##finding == LABC_CHECK_READ_PAST && !labc_check_has_fence()) {                       \
        not_run_here(#op, #kernel, number);                                                              \
    } else {                                                                                             \
        static const labc_check_row row = {#op, #kernel, {32, 1, 1}, 1, no_scratch, 1};                  \
        const uint32_t found = labc_check_##op(&row, kernel, seed, &cases);                              \
        missed += report(#op, #kernel, number, found, LABC_CHECK_##finding);                             \
    }
    FAULTS
#undef FAULT
    return missed;
}
