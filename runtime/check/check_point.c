/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the ops that go element by element, from the definition. */
#include "check.h"

enum { STREAM_X = 6000, STREAM_OTHER = 6001, STREAM_CONSTANTS = 6002, STREAM_SIZES = 6003 };

/* A call of any of these ops; what an op does not take stays unused. */
typedef struct {
    union {
        labc_sign_widen_fn *sign_widen;
        labc_byte_widen_fn *byte_widen;
        labc_word_widen_fn *word_widen;
        labc_sum_threshold_fn *sum_threshold;
        labc_word_threshold_fn *word_threshold;
        labc_sum_requantize_fn *sum_requantize;
        labc_sum_requantize_word_fn *sum_requantize_word;
        labc_word_add_fn *word_add;
        labc_word_clip_fn *word_clip;
        labc_word_prelu_fn *word_prelu;
        labc_sign_join_fn *sign_join;
        labc_byte_join_fn *byte_join;
        labc_sign_slice_fn *sign_slice;
        labc_byte_slice_fn *byte_slice;
        labc_sign_pad_fn *sign_pad;
        labc_byte_interleave_fn *byte_interleave;
    } kernel;
    const void *x, *other;             /* `other`: a second image */
    const void *given_x, *given_other; /* what the kernel is given for them, where y may be an input */
    uint32_t x_bits, offset, channels, others, first, pixels, plus, shift;
    int32_t low, high;
    const int32_t *thresholds, *m;
    const int64_t *b;
    const int16_t *slopes;
    const uint32_t *flips;
    const labc_window *window;
    void *y;
} point;

typedef int32_t want_fn(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel);

static int32_t x_of(const point *a, uint32_t pixel, uint32_t channel)
{
    return labc_check_element(a->x, a->x_bits, a->channels, pixel, channel);
}

static uint32_t constant(const labc_check_case *c, uint32_t channel)
{
    return labc_check_random(c->seed + c->number, STREAM_CONSTANTS, channel);
}

/* x of the case's channels and pixels. */
static void prepare(const labc_check_case *c, point *a, uint32_t bits, int32_t low, int32_t high)
{
    a->x_bits = bits;
    a->channels = c->rows;
    a->pixels = c->pixels;
    a->x = labc_check_image(c, STREAM_X, bits, c->rows, c->pixels, low, high);
}

/*
 * y, which of word_add, word_clip and word_prelu may be an input: then it is a copy of that one, which itself is kept to compare with. One
 * round in three, and of two inputs each in turn.
 */
static uint32_t check_in_place(const labc_check_case *c, point *a, void (*call)(void *), want_fn *want)
{
    uint8_t *y = labc_check_output_image(c, 16, a->channels, a->pixels);
    const uint32_t place = c->round % 3 == 0 ? 0 : c->round % 3 == 1 || a->other == 0 ? 1 : 2;
    const uint8_t *from = place == 2 ? a->other : a->x;
    for (uint32_t i = 0; place && i < labc_check_image_bytes(16, a->channels, a->pixels); ++i) {
        y[i] = from[i];
    }
    a->y = y;
    a->given_x = place == 1 ? y : a->x;
    a->given_other = place == 2 ? y : a->other;
    const uint32_t finding = labc_check_run(c, call, a);
    return finding ? finding : labc_check_equal_image(c, y, 16, a->channels, a->pixels, want, a);
}

/* y of `channels`, and what it must be. */
static uint32_t check(const labc_check_case *c, point *a, uint32_t bits, uint32_t channels, void (*call)(void *), want_fn *want)
{
    a->y = labc_check_output_image(c, bits, channels, a->pixels);
    const uint32_t finding = labc_check_run(c, call, a);
    return finding ? finding : labc_check_equal_image(c, a->y, bits, channels, a->pixels, want, a);
}

/* ---- sign_widen, byte_widen, word_widen ---- */

static void call_sign_widen(void *context)
{
    const point *a = context;
    a->kernel.sign_widen(a->x, a->channels, a->pixels, a->y);
}

static int32_t want_sign_widened(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    (void)c;
    return x_of(context, pixel, channel) ? 1 : -1;
}

static uint32_t one_sign_widen(const labc_check_case *c, void *context)
{
    prepare(c, context, 1, 0, 1);
    return check(c, context, 32, c->rows, call_sign_widen, want_sign_widened);
}

uint32_t labc_check_sign_widen(const labc_check_row *row, labc_sign_widen_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sign_widen = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_sign_widen, &a, cases);
}

static void call_byte_widen(void *context)
{
    const point *a = context;
    a->kernel.byte_widen(a->x, a->offset, a->channels, a->pixels, a->y);
}

static int32_t want_byte_widened(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    const int32_t byte = x_of(a, pixel, channel);
    (void)c;
    return a->offset && byte > 127 ? byte - 256 : byte;
}

static uint32_t one_byte_widen(const labc_check_case *c, void *context)
{
    point *a = context;
    a->offset = c->round % 2 ? 128 : 0;
    prepare(c, a, 8, 0, 255);
    return check(c, a, 32, c->rows, call_byte_widen, want_byte_widened);
}

uint32_t labc_check_byte_widen(const labc_check_row *row, labc_byte_widen_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.byte_widen = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_byte_widen, &a, cases);
}

static void call_word_widen(void *context)
{
    const point *a = context;
    a->kernel.word_widen(a->x, a->channels, a->pixels, a->y);
}

static int32_t want_same(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    (void)c;
    return x_of(context, pixel, channel);
}

static uint32_t one_word_widen(const labc_check_case *c, void *context)
{
    prepare(c, context, 16, INT16_MIN, INT16_MAX);
    return check(c, context, 32, c->rows, call_word_widen, want_same);
}

uint32_t labc_check_word_widen(const labc_check_row *row, labc_word_widen_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.word_widen = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_word_widen, &a, cases);
}

/* ---- sum_threshold, word_threshold ---- */

static int32_t want_threshold(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    const uint32_t reached = x_of(a, pixel, channel) >= a->thresholds[channel];
    (void)c;
    return (int32_t)(reached ^ (a->flips[channel / 32] >> channel % 32 & 1));
}

/* Thresholds for one pixel of each channel, within -most..most + 1; every third channel or so is flipped. */
static void prepare_thresholds(const labc_check_case *c, point *a, int32_t most)
{
    int32_t *thresholds = labc_check_input(c, c->rows, sizeof *thresholds);
    uint32_t *flips = labc_check_input(c, (c->rows + 31) / 32, sizeof *flips);
    for (uint32_t n = 0; n < c->rows; ++n) {
        thresholds[n] = labc_check_threshold(c, n, x_of(a, (n + c->number) % c->pixels, n), most);
        flips[n / 32] = (n % 32 ? flips[n / 32] : 0) | (uint32_t)(constant(c, n) % 3 == 0) << n % 32;
    }
    a->thresholds = thresholds;
    a->flips = flips;
}

static void call_sum_threshold(void *context)
{
    const point *a = context;
    a->kernel.sum_threshold(a->x, a->thresholds, a->flips, a->channels, a->pixels, a->y);
}

static uint32_t one_sum_threshold(const labc_check_case *c, void *context)
{
    prepare(c, context, 32, -LABC_CHECK_MOST_SUM, LABC_CHECK_MOST_SUM);
    prepare_thresholds(c, context, LABC_CHECK_MOST_SUM);
    return check(c, context, 1, c->rows, call_sum_threshold, want_threshold);
}

uint32_t labc_check_sum_threshold(const labc_check_row *row, labc_sum_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sum_threshold = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_sum_threshold, &a, cases);
}

static void call_word_threshold(void *context)
{
    const point *a = context;
    a->kernel.word_threshold(a->x, a->thresholds, a->flips, a->channels, a->pixels, a->y);
}

static uint32_t one_word_threshold(const labc_check_case *c, void *context)
{
    prepare(c, context, 16, INT16_MIN, INT16_MAX);
    prepare_thresholds(c, context, c->round % 2 ? LABC_CHECK_MOST_SUM : 32768);
    return check(c, context, 1, c->rows, call_word_threshold, want_threshold);
}

uint32_t labc_check_word_threshold(const labc_check_row *row, labc_word_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.word_threshold = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_word_threshold, &a, cases);
}

/* ---- sum_requantize, sum_requantize_word ---- */

static int32_t want_scaled(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return labc_check_scaled((int64_t)x_of(a, pixel, channel) * a->m[channel] + a->b[channel], a->shift, a->low, a->high);
}

/* Sums of a few inputs, of many, and any int32, in turn; constants for one pixel of each channel. */
static void prepare_scaling(const labc_check_case *c, point *a, const int32_t *edges, uint32_t edge_count)
{
    static const int32_t largest[] = {300, LABC_CHECK_MOST_SUM >> 8, INT32_MAX};
    const int32_t most = largest[c->round % 3];
    int32_t *m = labc_check_input(c, c->rows, sizeof *m);
    int64_t *b = labc_check_input(c, c->rows, sizeof *b);
    prepare(c, a, 32, -most, most);
    a->shift = labc_check_shift(c);
    for (uint32_t n = 0; n < c->rows; ++n) {
        labc_check_scaling(c, n, a->shift, x_of(a, (n + c->number) % c->pixels, n), most, edges, edge_count, &m[n], &b[n]);
    }
    a->m = m;
    a->b = b;
}

static void call_sum_requantize(void *context)
{
    const point *a = context;
    a->kernel.sum_requantize(a->x, a->m, a->b, a->shift, a->channels, a->pixels, a->y);
}

static uint32_t one_sum_requantize(const labc_check_case *c, void *context)
{
    point *a = context;
    prepare_scaling(c, a, labc_check_byte_edges, LABC_CHECK_BYTE_EDGES);
    a->low = 0;
    a->high = 255;
    return check(c, a, 8, c->rows, call_sum_requantize, want_scaled);
}

uint32_t labc_check_sum_requantize(const labc_check_row *row, labc_sum_requantize_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sum_requantize = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_sum_requantize, &a, cases);
}

static void call_sum_requantize_word(void *context)
{
    const point *a = context;
    a->kernel.sum_requantize_word(a->x, a->m, a->b, a->shift, a->channels, a->pixels, a->y);
}

static uint32_t one_sum_requantize_word(const labc_check_case *c, void *context)
{
    static const int32_t edges[] = {-32769, -32768, -32767, -256, -1, 0, 1, 255, 32766, 32767, 32768};
    point *a = context;
    prepare_scaling(c, a, edges, sizeof edges / sizeof edges[0]);
    a->low = INT16_MIN;
    a->high = INT16_MAX;
    return check(c, a, 16, c->rows, call_sum_requantize_word, want_scaled);
}

uint32_t labc_check_sum_requantize_word(const labc_check_row *row, labc_sum_requantize_word_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sum_requantize_word = kernel};
    return labc_check_pixel_cases(row, seed, 32, one_sum_requantize_word, &a, cases);
}

/* ---- word_add, word_clip ---- */

static int32_t within(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

static void call_word_add(void *context)
{
    const point *a = context;
    a->kernel.word_add(a->given_x, a->given_other, a->channels * a->pixels, a->y);
}

static int32_t want_word_sum(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return within(x_of(a, pixel, channel) + labc_check_element(a->other, 16, a->channels, pixel, channel), INT16_MIN, INT16_MAX);
}

static uint32_t one_word_add(const labc_check_case *c, void *context)
{
    point *a = context;
    prepare(c, a, 16, INT16_MIN, INT16_MAX);
    a->other = labc_check_image(c, STREAM_OTHER, 16, c->rows, c->pixels, INT16_MIN, INT16_MAX);
    return check_in_place(c, a, call_word_add, want_word_sum);
}

uint32_t labc_check_word_add(const labc_check_row *row, labc_word_add_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.word_add = kernel};
    return labc_check_pixel_cases(row, seed, 16, one_word_add, &a, cases);
}

static void call_word_clip(void *context)
{
    const point *a = context;
    a->kernel.word_clip(a->given_x, a->low, a->high, a->channels * a->pixels, a->y);
}

static int32_t want_clipped(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return within(x_of(a, pixel, channel), a->low, a->high);
}

static uint32_t one_word_clip(const labc_check_case *c, void *context)
{
    static const int16_t bounds[][2] = {{0, 6}, {-128, 127}, {INT16_MIN, INT16_MAX}, {-1, -1}, {INT16_MIN, -1000}, {0, INT16_MAX}};
    point *a = context;
    const int16_t *pair = bounds[c->number / 2 % (sizeof bounds / sizeof bounds[0])];
    a->low = pair[0];
    a->high = pair[1];
    const int32_t narrow = c->round % 2; /* most numbers near the bounds */
    prepare(c, a, 16, narrow ? -140 : INT16_MIN, narrow ? 140 : INT16_MAX);
    return check_in_place(c, a, call_word_clip, want_clipped);
}

uint32_t labc_check_word_clip(const labc_check_row *row, labc_word_clip_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.word_clip = kernel};
    return labc_check_pixel_cases(row, seed, 16, one_word_clip, &a, cases);
}

/* ---- word_prelu ---- */

static void call_word_prelu(void *context)
{
    const point *a = context;
    a->kernel.word_prelu(a->given_x, a->slopes, a->channels, a->pixels, a->y);
}

static int32_t want_prelu(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    const int32_t x = x_of(a, pixel, channel);
    (void)c;
    return x >= 0 ? x : labc_check_scaled((int64_t)x * a->slopes[channel] + 128, 8, INT16_MIN, INT16_MAX);
}

static uint32_t one_word_prelu(const labc_check_case *c, void *context)
{
    static const int16_t edges[] = {-256, -255, -1, 0, 1, 64, 255, 256};
    point *a = context;
    int16_t *slopes = labc_check_input(c, c->rows, sizeof *slopes);
    for (uint32_t n = 0; n < c->rows; ++n) {
        const uint32_t any = constant(c, n);
        slopes[n] = any % 3 ? edges[any / 4 % 8] : (int16_t)((int32_t)(any / 4 % 513) - 256);
    }
    a->slopes = slopes;
    const int32_t narrow = c->round % 2; /* numbers of which products are rounded to zero or to -1 */
    prepare(c, a, 16, narrow ? -300 : INT16_MIN, narrow ? 20 : INT16_MAX);
    return check_in_place(c, a, call_word_prelu, want_prelu);
}

uint32_t labc_check_word_prelu(const labc_check_row *row, labc_word_prelu_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.word_prelu = kernel};
    return labc_check_pixel_cases(row, seed, 16, one_word_prelu, &a, cases);
}

/* ---- sign_join, byte_join: the case's channels are the result's, a of them from the first image ---- */

static int32_t want_joined(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return channel < a->channels ? x_of(a, pixel, channel)
                                 : labc_check_element(a->other, a->x_bits, a->others, pixel, channel - a->channels);
}

static uint32_t join(const labc_check_case *c, point *a, uint32_t bits, void (*call)(void *))
{
    const int32_t most = bits == 1 ? 1 : 255;
    const uint32_t any = labc_check_random(c->seed + c->number, STREAM_SIZES, 0);
    /* Every third time a whole word; one channel is joined to one. */
    const uint32_t channels = c->rows == 1 ? 2 : c->rows;
    a->x_bits = bits;
    a->channels = any % 3 == 0 && channels > 32 ? 32 : 1 + any / 4 % (channels - 1);
    a->others = channels - a->channels;
    a->pixels = c->pixels;
    a->x = labc_check_image(c, STREAM_X, bits, a->channels, c->pixels, 0, most);
    a->other = labc_check_image(c, STREAM_OTHER, bits, a->others, c->pixels, 0, most);
    return check(c, a, bits, channels, call, want_joined);
}

static void call_sign_join(void *context)
{
    const point *a = context;
    a->kernel.sign_join(a->x, a->channels, a->other, a->others, a->pixels, a->y);
}

static uint32_t one_sign_join(const labc_check_case *c, void *context)
{
    return join(c, context, 1, call_sign_join);
}

uint32_t labc_check_sign_join(const labc_check_row *row, labc_sign_join_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sign_join = kernel};
    return labc_check_pixel_cases(row, seed, 8, one_sign_join, &a, cases);
}

static void call_byte_join(void *context)
{
    const point *a = context;
    a->kernel.byte_join(a->x, a->channels, a->other, a->others, a->pixels, a->y);
}

static uint32_t one_byte_join(const labc_check_case *c, void *context)
{
    return join(c, context, 8, call_byte_join);
}

uint32_t labc_check_byte_join(const labc_check_row *row, labc_byte_join_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.byte_join = kernel};
    return labc_check_pixel_cases(row, seed, 8, one_byte_join, &a, cases);
}

/* ---- sign_slice, byte_slice ---- */

static int32_t want_sliced(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return x_of(a, pixel, a->first + channel);
}

static uint32_t slice(const labc_check_case *c, point *a, uint32_t bits, void (*call)(void *))
{
    const uint32_t any = labc_check_random(c->seed + c->number, STREAM_SIZES, 0);
    prepare(c, a, bits, 0, bits == 1 ? 1 : 255);
    /* Every third time from a whole word on, and every other time to the end. */
    a->first = any / 4 % c->rows / (any % 3 == 0 ? 32 : 1) * (any % 3 == 0 ? 32 : 1);
    a->others = any % 2 ? c->rows - a->first : 1 + any / 1024 % (c->rows - a->first);
    return check(c, a, bits, a->others, call, want_sliced);
}

static void call_sign_slice(void *context)
{
    const point *a = context;
    a->kernel.sign_slice(a->x, a->channels, a->first, a->others, a->pixels, a->y);
}

static uint32_t one_sign_slice(const labc_check_case *c, void *context)
{
    return slice(c, context, 1, call_sign_slice);
}

uint32_t labc_check_sign_slice(const labc_check_row *row, labc_sign_slice_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sign_slice = kernel};
    return labc_check_pixel_cases(row, seed, 8, one_sign_slice, &a, cases);
}

static void call_byte_slice(void *context)
{
    const point *a = context;
    a->kernel.byte_slice(a->x, a->channels, a->first, a->others, a->pixels, a->y);
}

static uint32_t one_byte_slice(const labc_check_case *c, void *context)
{
    return slice(c, context, 8, call_byte_slice);
}

uint32_t labc_check_byte_slice(const labc_check_row *row, labc_byte_slice_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.byte_slice = kernel};
    return labc_check_pixel_cases(row, seed, 8, one_byte_slice, &a, cases);
}

/* ---- sign_pad: the border is what the case's window has before the image, and from 0 to 2 behind ---- */

static void call_sign_pad(void *context)
{
    const point *a = context;
    a->kernel.sign_pad(a->x, a->window, a->plus, a->y);
}

static int32_t want_padded(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    const int32_t at = labc_check_tap(c->window, pixel / c->window->out_width, pixel % c->window->out_width, 0, 0);
    return at < 0 ? (int32_t)a->plus : x_of(a, (uint32_t)at, channel);
}

static uint32_t one_sign_pad(const labc_check_case *c, void *context)
{
    point *a = context;
    const labc_window *v = c->window;
    const uint32_t any = labc_check_random(c->seed + c->number, STREAM_SIZES, 0);
    const labc_window whole = {
        v->height, v->width, v->channels, v->top + v->height + any % 3, v->left + v->width + any / 4 % 3, 1, 1, 1, 1, 1,
        1,         v->top,   v->left};
    labc_check_case padded = *c;
    padded.window = &whole;
    a->x_bits = 1;
    a->channels = v->channels;
    a->pixels = whole.out_height * whole.out_width;
    a->plus = any / 16 % 2;
    a->window = labc_check_window(&padded);
    a->x = labc_check_image(&padded, STREAM_X, 1, v->channels, v->height * v->width, 0, 1);
    return check(&padded, a, 1, v->channels, call_sign_pad, want_padded);
}

uint32_t labc_check_sign_pad(const labc_check_row *row, labc_sign_pad_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.sign_pad = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 1, 1, one_sign_pad, &a, cases);
}

/* ---- byte_interleave ---- */

static void call_byte_interleave(void *context)
{
    const point *a = context;
    a->kernel.byte_interleave(a->x, a->channels, a->pixels, a->y);
}

static int32_t want_interleaved(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const point *a = context;
    (void)c;
    return ((const uint8_t *)a->x)[channel * a->pixels + pixel];
}

static uint32_t one_byte_interleave(const labc_check_case *c, void *context)
{
    prepare(c, context, 8, 0, 255);
    return check(c, context, 8, c->rows, call_byte_interleave, want_interleaved);
}

uint32_t labc_check_byte_interleave(const labc_check_row *row, labc_byte_interleave_fn *kernel, uint32_t seed, uint32_t *cases)
{
    point a = {.kernel.byte_interleave = kernel};
    return labc_check_pixel_cases(row, seed, 8, one_byte_interleave, &a, cases);
}
