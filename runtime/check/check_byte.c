/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the ops on bytes, element by element from the definition. */
#include "check.h"

enum { STREAM_BYTES = 1000, STREAM_CONSTANTS = 1001 };

/* Pairs of sizes take the two readings of a byte in turn. */
static uint32_t offset_of(const labc_check_case *c)
{
    return c->round % 2 ? 128 : 0;
}

/*
 * The k-th input as a number in 0..255 or -128..127. random: any.   agree, differ: the extreme on the side of the sign, so that
 * sums are extreme.   walk: one extreme among zeros.   least, most: the extreme everywhere.
 */
static int32_t number_at(const labc_check_case *c, uint32_t k)
{
    const uint32_t positive = labc_check_x(c, k / 32) >> k % 32 & 1;
    const int32_t low = offset_of(c) ? -128 : 0, high = low + 255;
    switch (c->fill) {
    case LABC_CHECK_RANDOM:
        return low + (int32_t)(labc_check_random(c->seed + c->number, STREAM_BYTES, k) & 255);
    case LABC_CHECK_WALK:
        return positive ? (low < 0 ? low : high) : 0;
    case LABC_CHECK_LEAST:
        return low;
    case LABC_CHECK_MOST:
        return high;
    default:
        return positive ? high : low;
    }
}

static const uint8_t *bytes_of(const labc_check_case *c)
{
    uint8_t *x = labc_check_input(c, c->inputs, 1);
    for (uint32_t k = 0; k < c->inputs; ++k) {
        const int32_t number = number_at(c, k);
        x[k] = (uint8_t)(number < 0 ? number + 256 : number); /* two's complement */
    }
    return x;
}

/* sum over k of x_k w_nk, of the bytes x that the kernel is given */
static int32_t sum_of(const labc_check_case *c, const uint8_t *x, uint32_t n)
{
    const int32_t offset = (int32_t)offset_of(c);
    uint32_t w = 0;
    int32_t sum = 0;
    for (uint32_t k = 0; k < c->inputs; ++k, w >>= 1) {
        if (k % 32 == 0) {
            w = labc_check_w(c, n, k / 32);
        }
        const int32_t number = (x[k] ^ offset) - offset;
        sum += w & 1 ? number : -number;
    }
    return sum;
}

/* ---- byte_matvec_sums ---- */

typedef struct {
    labc_byte_matvec_sums_fn *kernel;
    const uint8_t *x;
    uint32_t offset;
    const uint32_t *w;
    uint32_t inputs, rows;
    int32_t *y;
    void *scratch;
} sums_call;

static void call_sums(void *context)
{
    const sums_call *a = context;
    a->kernel(a->x, a->offset, a->w, a->inputs, a->rows, a->y, a->scratch);
}

static uint32_t one_sums(const labc_check_case *c, void *context)
{
    sums_call *a = context;
    a->x = bytes_of(c);
    a->offset = offset_of(c);
    a->w = labc_check_packed_w(c);
    a->inputs = c->inputs;
    a->rows = c->rows;
    a->y = labc_check_output(c, c->rows, sizeof *a->y);
    a->scratch = labc_check_scratch(c);
    uint32_t finding = labc_check_run(c, call_sums, a);
    for (uint32_t n = 0; !finding && n < c->rows; ++n) {
        finding = labc_check_equal(c, n, a->y[n], sum_of(c, a->x, n));
    }
    return finding;
}

uint32_t labc_check_byte_matvec_sums(const labc_check_row *row, labc_byte_matvec_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    sums_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 8, one_sums, &a, cases);
}

/* ---- byte_matvec_threshold ---- */

typedef struct {
    labc_byte_matvec_threshold_fn *kernel;
    const uint8_t *x;
    uint32_t offset;
    const uint32_t *w;
    const int32_t *thresholds;
    uint32_t inputs, rows;
    uint32_t *y;
    void *scratch;
} threshold_call;

static void call_threshold(void *context)
{
    const threshold_call *a = context;
    a->kernel(a->x, a->offset, a->w, a->thresholds, a->inputs, a->rows, a->y, a->scratch);
}

int32_t labc_check_threshold(const labc_check_case *c, uint32_t n, int32_t sum, int32_t most)
{
    switch ((n + c->number) % 6) {
    case 0:
        return sum > -most ? sum - 1 : -most;
    case 1:
        return sum;
    case 2:
        return sum + 1;
    case 3:
        return -most;
    case 4:
        return most + 1;
    default:
        return (int32_t)(labc_check_random(c->seed + c->number, STREAM_CONSTANTS, n) % (2 * (uint32_t)most + 2)) - most;
    }
}

static uint32_t one_threshold(const labc_check_case *c, void *context)
{
    threshold_call *a = context;
    uint8_t want[LABC_CHECK_MOST_ROWS];
    int32_t *thresholds = labc_check_input(c, c->rows, sizeof *thresholds);
    a->x = bytes_of(c);
    for (uint32_t n = 0; n < c->rows; ++n) {
        const int32_t sum = sum_of(c, a->x, n);
        thresholds[n] = labc_check_threshold(c, n, sum, 255 * (int32_t)c->inputs);
        want[n] = sum >= thresholds[n] ? 1 : 0;
    }
    a->offset = offset_of(c);
    a->w = labc_check_packed_w(c);
    a->thresholds = thresholds;
    a->inputs = c->inputs;
    a->rows = c->rows;
    a->y = labc_check_output(c, (c->rows + 31) / 32, sizeof *a->y);
    a->scratch = labc_check_scratch(c);
    const uint32_t finding = labc_check_run(c, call_threshold, a);
    return finding ? finding : labc_check_equal_signs(c, a->y, want);
}

uint32_t labc_check_byte_matvec_threshold(const labc_check_row *row, labc_byte_matvec_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    threshold_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 8, one_threshold, &a, cases);
}

/* ---- byte_matvec_requantize ---- */

typedef struct {
    labc_byte_matvec_requantize_fn *kernel;
    const uint8_t *x;
    uint32_t offset;
    const uint32_t *w;
    const int32_t *m;
    const int64_t *b;
    uint32_t shift, inputs, rows;
    uint8_t *y;
    void *scratch;
} requantize_call;

static void call_requantize(void *context)
{
    const requantize_call *a = context;
    a->kernel(a->x, a->offset, a->w, a->m, a->b, a->shift, a->inputs, a->rows, a->y, a->scratch);
}

const int32_t labc_check_byte_edges[LABC_CHECK_BYTE_EDGES] = {0, 1, 127, 254, 255, 256};

uint32_t labc_check_shift(const labc_check_case *c)
{
    static const uint8_t shifts[] = {1, 2, 8, 20, 31, 32, 33, 43, 50};
    return shifts[c->number % (sizeof shifts / sizeof shifts[0])];
}

int32_t labc_check_scaled(int64_t v, uint32_t shift, int32_t low, int32_t high)
{
    /* -1 - v is ~v: what rounds down on one side of zero does so on the other. */
    v = v < 0 ? -1 - (int64_t)((uint64_t)(-1 - v) >> shift) : (int64_t)((uint64_t)v >> shift);
    return v < low ? low : v > high ? high : (int32_t)v;
}

void labc_check_scaling(const labc_check_case *c, uint32_t n, uint32_t shift, int32_t sum, int64_t most, const int32_t *edges,
                        uint32_t edge_count, int32_t *m, int64_t *b)
{
    const int64_t room = ((int64_t)1 << 52) - 1;
    const uint32_t any = labc_check_random(c->seed + c->number, STREAM_CONSTANTS + 1, n);
    const uint32_t kind = any % (edge_count + 4);
    int64_t factor = (int64_t)(labc_check_random(c->seed + c->number, STREAM_CONSTANTS + 2, n) >> any / 16 % 31) - 1;
    factor = factor > INT32_MAX ? INT32_MAX : factor;
    /* So that |sum m| is below 2^51: it is by itself where |sum| is below 2^20, and for each bit that this has more, m has one less. */
    for (int64_t magnitude = most; magnitude >= INT32_C(1) << 20; magnitude /= 2) {
        factor /= 2;
    }
    *m = (int32_t)(any & 8 ? -factor : factor);
    const int64_t product = (int64_t)sum * *m;
    const int64_t left = room - most * (factor < 0 ? -factor : factor);
    int64_t wanted;
    if (kind < edge_count) {
        wanted = edges[kind];
        for (uint32_t i = 0; i < shift && wanted <= room && -wanted <= room; ++i) {
            wanted *= 2;
        }
        wanted = wanted - (any / 512 % 2) - product;
    } else if (kind < edge_count + 2) {
        wanted = kind == edge_count ? left : -left;
    } else {
        /* Anything from 0 to 512: nine bits before the point, and the other 23 behind it as far as the shift shows them. */
        const int64_t whole = (int64_t)(any % 512) * ((int64_t)1 << shift);
        const int64_t rest = any / 512;
        wanted = whole + (shift >= 23 ? rest * ((int64_t)1 << (shift - 23)) : rest >> (23 - shift)) - product;
    }
    *b = wanted > left ? left : wanted < -left ? -left : wanted;
}

static uint32_t one_requantize(const labc_check_case *c, void *context)
{
    requantize_call *a = context;
    int32_t *m = labc_check_input(c, c->rows, sizeof *m);
    int64_t *b = labc_check_input(c, c->rows, sizeof *b);
    uint8_t want[LABC_CHECK_MOST_ROWS];
    a->x = bytes_of(c);
    a->shift = labc_check_shift(c);
    for (uint32_t n = 0; n < c->rows; ++n) {
        const int32_t sum = sum_of(c, a->x, n);
        labc_check_scaling(c, n, a->shift, sum, sum < 0 ? -sum : sum, labc_check_byte_edges, LABC_CHECK_BYTE_EDGES, &m[n], &b[n]);
        want[n] = (uint8_t)labc_check_scaled((int64_t)sum * m[n] + b[n], a->shift, 0, 255);
    }
    a->offset = offset_of(c);
    a->w = labc_check_packed_w(c);
    a->m = m;
    a->b = b;
    a->inputs = c->inputs;
    a->rows = c->rows;
    a->y = labc_check_output(c, c->rows, sizeof *a->y);
    a->scratch = labc_check_scratch(c);
    uint32_t finding = labc_check_run(c, call_requantize, a);
    for (uint32_t n = 0; !finding && n < c->rows; ++n) {
        finding = labc_check_equal(c, n, a->y[n], want[n]);
    }
    return finding;
}

uint32_t labc_check_byte_matvec_requantize(const labc_check_row *row, labc_byte_matvec_requantize_fn *kernel, uint32_t seed,
                                           uint32_t *cases)
{
    requantize_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 8, one_requantize, &a, cases);
}
