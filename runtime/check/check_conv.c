/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the convolutions, element by element from the definition. */
#include "check.h"

enum { STREAM_X = 4000, STREAM_LIMITS = 4001 };

/* A call of any of these ops; what an op does not take stays unused. */
typedef struct {
    union {
        labc_sign_conv_sums_fn *sign_sums;
        labc_sign_conv_threshold_fn *sign_threshold;
        labc_byte_conv_sums_fn *byte_sums;
        labc_byte_conv_threshold_fn *byte_threshold;
        labc_byte_conv_requantize_fn *byte_requantize;
        labc_sign_depthwise_sums_fn *depthwise_sums;
        labc_sign_depthwise_threshold_fn *depthwise_threshold;
        labc_byte_depthwise_sums_fn *byte_depthwise;
    } kernel;
    const void *x;
    uint32_t x_bits, offset;
    const uint32_t *w;
    const int32_t *limits, *m;
    const int64_t *b;
    uint32_t shift;
    const labc_window *window;
    uint32_t rows;
    void *y, *scratch;
} conv;

/* The weights of row `row` of case `number`, kept because all pixels of a row are compared before the next. */
static struct {
    uint32_t case_number, row, signs[LABC_CHECK_WINDOW_WORDS];
} kept;

static uint32_t pixels_of(const labc_window *v)
{
    return v->out_height * v->out_width;
}

static void keep(const labc_check_case *c, uint32_t n)
{
    if (kept.case_number == c->number + 1 && kept.row == n) {
        return;
    }
    for (uint32_t i = 0; i < (c->inputs + 31) / 32; ++i) {
        kept.signs[i] = labc_check_w(c, n, i);
    }
    kept.case_number = c->number + 1; /* 0 is none */
    kept.row = n;
}

/* The sum of channels first to end - 1 of one pixel of x, times elements k, k + 1, ... of the row that is kept. */
static int32_t sum_of_tap(const conv *a, uint32_t pixel, uint32_t first, uint32_t end, uint32_t k)
{
    const uint32_t channels = a->window->channels;
    int32_t sum = 0;
    if (a->x_bits == 1) {
        const uint32_t *x = (const uint32_t *)a->x + pixel * ((channels + 31) / 32);
        for (uint32_t c = first; c < end; ++c, ++k) {
            const uint32_t same = (x[c / 32] >> c % 32 & 1) == (kept.signs[k / 32] >> k % 32 & 1);
            sum += same ? 1 : -1;
        }
        return sum;
    }
    const uint8_t *x = (const uint8_t *)a->x + pixel * channels;
    for (uint32_t c = first; c < end; ++c, ++k) {
        const int32_t number = (int32_t)(x[c] ^ a->offset) - (int32_t)a->offset;
        sum += kept.signs[k / 32] >> k % 32 & 1 ? number : -number;
    }
    return sum;
}

/* The sum of an output element, and the elements of its row of weights that are outside. */
static int32_t sum_of(const labc_check_case *c, const conv *a, uint32_t pixel, uint32_t n, uint32_t *outside)
{
    const labc_window *v = c->window;
    const uint32_t i = pixel / v->out_width, j = pixel % v->out_width;
    const uint32_t depthwise = c->weights == LABC_CHECK_DEPTHWISE;
    const uint32_t first = depthwise ? n / (c->rows / v->channels) : 0, end = depthwise ? first + 1 : v->channels;
    uint32_t k = 0;
    int32_t sum = 0;
    keep(c, n);
    *outside = 0;
    for (uint32_t down = 0; down < v->kernel_height; ++down) {
        for (uint32_t across = 0; across < v->kernel_width; ++across, k += end - first) {
            const int32_t at = labc_check_tap(v, i, j, down, across);
            if (at >= 0) {
                sum += sum_of_tap(a, (uint32_t)at, first, end, k);
            } else {
                *outside += end - first;
            }
        }
    }
    return sum;
}

/* 2 D + the elements outside, of signs: with D differing, I inside and sum = I - 2 D that is I - sum + outside. */
static int32_t twice_of(const labc_check_case *c, const conv *a, uint32_t pixel, uint32_t n)
{
    uint32_t outside;
    const int32_t sum = sum_of(c, a, pixel, n, &outside);
    return (int32_t)c->inputs - sum;
}

/* ---- what an output element must be ---- */

static int32_t want_sum(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t n)
{
    uint32_t outside;
    return sum_of(c, context, pixel, n, &outside);
}

static int32_t want_limit(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t n)
{
    const conv *a = context;
    return twice_of(c, a, pixel, n) <= a->limits[n] ? 1 : 0;
}

static int32_t want_threshold(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t n)
{
    const conv *a = context;
    return want_sum(c, a, pixel, n) >= a->limits[n] ? 1 : 0;
}

static int32_t want_requantized(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t n)
{
    const conv *a = context;
    return labc_check_scaled((int64_t)want_sum(c, a, pixel, n) * a->m[n] + a->b[n], a->shift, 0, 255);
}

/* ---- arguments ---- */

static void prepare(const labc_check_case *c, conv *a, uint32_t x_bits, uint32_t y_bits)
{
    const labc_window *v = c->window;
    const uint32_t pixels = v->height * v->width;
    kept.case_number = 0;
    a->x_bits = x_bits;
    a->offset = x_bits == 8 && c->round % 2 ? 128 : 0;
    a->window = labc_check_window(c);
    if (x_bits == 1) {
        a->x = labc_check_image(c, STREAM_X, 1, v->channels, pixels, 0, 1);
    } else {
        const int32_t low = a->offset ? -128 : 0;
        a->x = labc_check_image(c, STREAM_X, 8, v->channels, pixels, low, low + 255);
    }
    a->w = c->weights == LABC_CHECK_DEPTHWISE ? labc_check_packed_depthwise(c) : labc_check_packed_w(c);
    a->rows = c->rows;
    a->y = labc_check_output_image(c, y_bits, c->rows, pixels_of(v));
    if (c->weights != LABC_CHECK_DEPTHWISE) {
        a->scratch = labc_check_scratch(c);
    }
}

/* Constants of row n are made for one of its pixels. */
static uint32_t pixel_for(const labc_check_case *c, uint32_t n)
{
    return (n + c->number) % pixels_of(c->window);
}

static void prepare_limits(const labc_check_case *c, conv *a)
{
    int32_t *limits = labc_check_input(c, c->rows, sizeof *limits);
    const int32_t most = 2 * (int32_t)c->inputs;
    for (uint32_t n = 0; n < c->rows; ++n) {
        const int32_t twice = twice_of(c, a, pixel_for(c, n), n);
        const uint32_t any = labc_check_random(c->seed + c->number, STREAM_LIMITS, n);
        const int32_t kinds[6] = {twice - 1, twice, twice < most ? twice + 1 : most,
                                  -1,        most,  (int32_t)(any / 8 % (uint32_t)(most + 2)) - 1};
        limits[n] = kinds[(n + c->number) % 6];
    }
    a->limits = limits;
}

static void prepare_thresholds(const labc_check_case *c, conv *a)
{
    int32_t *thresholds = labc_check_input(c, c->rows, sizeof *thresholds);
    for (uint32_t n = 0; n < c->rows; ++n) {
        thresholds[n] = labc_check_threshold(c, n, want_sum(c, a, pixel_for(c, n), n), 255 * (int32_t)c->inputs);
    }
    a->limits = thresholds;
}

static void prepare_scaling(const labc_check_case *c, conv *a)
{
    int32_t *m = labc_check_input(c, c->rows, sizeof *m);
    int64_t *b = labc_check_input(c, c->rows, sizeof *b);
    a->shift = labc_check_shift(c);
    for (uint32_t n = 0; n < c->rows; ++n) {
        labc_check_scaling(c, n, a->shift, want_sum(c, a, pixel_for(c, n), n), 255 * (int64_t)c->inputs, labc_check_byte_edges,
                           LABC_CHECK_BYTE_EDGES, &m[n], &b[n]);
    }
    a->m = m;
    a->b = b;
}

static uint32_t compare(const labc_check_case *c, conv *a, void (*call)(void *), uint32_t y_bits,
                        int32_t (*want)(const labc_check_case *, const void *, uint32_t, uint32_t))
{
    const uint32_t finding = labc_check_run(c, call, a);
    return finding ? finding : labc_check_equal_image(c, a->y, y_bits, c->rows, pixels_of(c->window), want, a);
}

/* ---- sign_conv_sums ---- */

static void call_sign_sums(void *context)
{
    const conv *a = context;
    a->kernel.sign_sums(a->x, a->w, a->window, a->rows, a->y, a->scratch);
}

static uint32_t one_sign_sums(const labc_check_case *c, void *context)
{
    prepare(c, context, 1, 32);
    return compare(c, context, call_sign_sums, 32, want_sum);
}

uint32_t labc_check_sign_conv_sums(const labc_check_row *row, labc_sign_conv_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.sign_sums = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_FILLED_TAPS, 1, 32, one_sign_sums, &a, cases);
}

/* ---- sign_conv_threshold ---- */

static void call_sign_threshold(void *context)
{
    const conv *a = context;
    a->kernel.sign_threshold(a->x, a->w, a->limits, a->window, a->rows, a->y, a->scratch);
}

static uint32_t one_sign_threshold(const labc_check_case *c, void *context)
{
    prepare(c, context, 1, 1);
    prepare_limits(c, context);
    return compare(c, context, call_sign_threshold, 1, want_limit);
}

uint32_t labc_check_sign_conv_threshold(const labc_check_row *row, labc_sign_conv_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.sign_threshold = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_FILLED_TAPS, 1, 1, one_sign_threshold, &a, cases);
}

/* ---- byte_conv_sums ---- */

static void call_byte_sums(void *context)
{
    const conv *a = context;
    a->kernel.byte_sums(a->x, a->offset, a->w, a->window, a->rows, a->y, a->scratch);
}

static uint32_t one_byte_sums(const labc_check_case *c, void *context)
{
    prepare(c, context, 8, 32);
    return compare(c, context, call_byte_sums, 32, want_sum);
}

uint32_t labc_check_byte_conv_sums(const labc_check_row *row, labc_byte_conv_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.byte_sums = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_TAPS, 8, 32, one_byte_sums, &a, cases);
}

/* ---- byte_conv_threshold ---- */

static void call_byte_threshold(void *context)
{
    const conv *a = context;
    a->kernel.byte_threshold(a->x, a->offset, a->w, a->limits, a->window, a->rows, a->y, a->scratch);
}

static uint32_t one_byte_threshold(const labc_check_case *c, void *context)
{
    prepare(c, context, 8, 1);
    prepare_thresholds(c, context);
    return compare(c, context, call_byte_threshold, 1, want_threshold);
}

uint32_t labc_check_byte_conv_threshold(const labc_check_row *row, labc_byte_conv_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.byte_threshold = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_TAPS, 8, 1, one_byte_threshold, &a, cases);
}

/* ---- byte_conv_requantize ---- */

static void call_byte_requantize(void *context)
{
    const conv *a = context;
    a->kernel.byte_requantize(a->x, a->offset, a->w, a->m, a->b, a->shift, a->window, a->rows, a->y, a->scratch);
}

static uint32_t one_byte_requantize(const labc_check_case *c, void *context)
{
    prepare(c, context, 8, 8);
    prepare_scaling(c, context);
    return compare(c, context, call_byte_requantize, 8, want_requantized);
}

uint32_t labc_check_byte_conv_requantize(const labc_check_row *row, labc_byte_conv_requantize_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.byte_requantize = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_TAPS, 8, 8, one_byte_requantize, &a, cases);
}

/* ---- sign_depthwise_sums ---- */

static void call_depthwise_sums(void *context)
{
    const conv *a = context;
    a->kernel.depthwise_sums(a->x, a->w, a->window, a->rows, a->y);
}

static uint32_t one_depthwise_sums(const labc_check_case *c, void *context)
{
    prepare(c, context, 1, 32);
    return compare(c, context, call_depthwise_sums, 32, want_sum);
}

uint32_t labc_check_sign_depthwise_sums(const labc_check_row *row, labc_sign_depthwise_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.depthwise_sums = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_DEPTHWISE, 1, 32, one_depthwise_sums, &a, cases);
}

/* ---- sign_depthwise_threshold ---- */

static void call_depthwise_threshold(void *context)
{
    const conv *a = context;
    a->kernel.depthwise_threshold(a->x, a->w, a->limits, a->window, a->rows, a->y);
}

static uint32_t one_depthwise_threshold(const labc_check_case *c, void *context)
{
    prepare(c, context, 1, 1);
    prepare_limits(c, context);
    return compare(c, context, call_depthwise_threshold, 1, want_limit);
}

uint32_t labc_check_sign_depthwise_threshold(const labc_check_row *row, labc_sign_depthwise_threshold_fn *kernel, uint32_t seed,
                                             uint32_t *cases)
{
    conv a = {.kernel.depthwise_threshold = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_DEPTHWISE, 1, 1, one_depthwise_threshold, &a, cases);
}

/* ---- byte_depthwise_sums ---- */

static void call_byte_depthwise(void *context)
{
    const conv *a = context;
    a->kernel.byte_depthwise(a->x, a->offset, a->w, a->window, a->rows, a->y);
}

static uint32_t one_byte_depthwise(const labc_check_case *c, void *context)
{
    prepare(c, context, 8, 32);
    return compare(c, context, call_byte_depthwise, 32, want_sum);
}

uint32_t labc_check_byte_depthwise_sums(const labc_check_row *row, labc_byte_depthwise_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    conv a = {.kernel.byte_depthwise = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_DEPTHWISE, 8, 32, one_byte_depthwise, &a, cases);
}
