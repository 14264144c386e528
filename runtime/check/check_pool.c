/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the pools, element by element from the definition. */
#include "check.h"

enum { STREAM_X = 5000, STREAM_FLIPS = 5001 };

/* A call of any of these ops, on elements of `bits`. */
typedef struct {
    union {
        labc_sign_max_pool_fn *sign_max;
        labc_byte_max_pool_fn *byte_max;
        labc_word_max_pool_fn *word_max;
        labc_sum_max_pool_fn *sum_max;
        labc_word_add_pool_fn *word_add;
        labc_sum_add_pool_fn *sum_add;
    } kernel;
    uint32_t bits;
    const void *x, *flips;
    const labc_window *window;
    void *y;
} pool;

static const uint8_t byte_flips[] = {0, 255, 128, 127};

static uint32_t any_flip(const labc_check_case *c, uint32_t channel)
{
    return labc_check_random(c->seed + c->number, STREAM_FLIPS, channel);
}

/* ---- what an output element must be ---- */

/* Of a channel: the least and the largest of the taps inside, and their sum. Bytes count as -128..127 where `offset` is 128. */
typedef struct {
    int32_t least, most, sum;
} seen;

static seen see(const labc_check_case *c, const pool *a, uint32_t pixel, uint32_t channel, uint32_t offset)
{
    const labc_window *v = c->window;
    const uint32_t i = pixel / v->out_width, j = pixel % v->out_width;
    seen s = {INT32_MAX, INT32_MIN, 0};
    for (uint32_t down = 0; down < v->kernel_height; ++down) {
        for (uint32_t across = 0; across < v->kernel_width; ++across) {
            const int32_t at = labc_check_tap(v, i, j, down, across);
            if (at >= 0) {
                int32_t number = labc_check_element(a->x, a->bits, v->channels, (uint32_t)at, channel);
                number -= offset && number > 127 ? 256 : 0;
                s.least = number < s.least ? number : s.least;
                s.most = number > s.most ? number : s.most;
                s.sum = (int32_t)((uint32_t)s.sum + (uint32_t)number); /* of a maximum's numbers it may not fit, nor is it asked for */
            }
        }
    }
    return s;
}

static int32_t want_sign(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const seen s = see(c, context, pixel, channel, 0);
    return any_flip(c, channel) & 1 ? s.least : s.most;
}

static int32_t want_byte(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    const uint32_t flip = byte_flips[any_flip(c, channel) % 4];
    const seen s = see(c, context, pixel, channel, flip == 127 || flip == 128);
    return (flip == 255 || flip == 127 ? s.least : s.most) & 255;
}

static int32_t want_most(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    return see(c, context, pixel, channel, 0).most;
}

static int32_t want_sum(const labc_check_case *c, const void *context, uint32_t pixel, uint32_t channel)
{
    return see(c, context, pixel, channel, 0).sum;
}

/* ---- arguments ---- */

static uint32_t check(const labc_check_case *c, pool *a, uint32_t bits, int32_t low, int32_t high, uint32_t y_bits, void (*call)(void *),
                      int32_t (*want)(const labc_check_case *, const void *, uint32_t, uint32_t))
{
    const labc_window *v = c->window;
    a->bits = bits;
    a->window = labc_check_window(c);
    a->x = labc_check_image(c, STREAM_X, bits, v->channels, v->height * v->width, low, high);
    a->y = labc_check_output_image(c, y_bits, v->channels, v->out_height * v->out_width);
    const uint32_t finding = labc_check_run(c, call, a);
    return finding ? finding : labc_check_equal_image(c, a->y, y_bits, v->channels, v->out_height * v->out_width, want, a);
}

/* ---- sign_max_pool ---- */

static void call_sign_max(void *context)
{
    const pool *a = context;
    a->kernel.sign_max(a->x, a->flips, a->window, a->y);
}

static uint32_t one_sign_max(const labc_check_case *c, void *context)
{
    pool *a = context;
    const uint32_t channels = c->window->channels;
    uint32_t *flips = labc_check_input(c, (channels + 31) / 32, sizeof *flips);
    for (uint32_t k = 0; k < channels; ++k) {
        flips[k / 32] = (k % 32 ? flips[k / 32] : 0) | (any_flip(c, k) & 1) << k % 32;
    }
    a->flips = flips;
    return check(c, a, 1, 0, 1, 1, call_sign_max, want_sign);
}

uint32_t labc_check_sign_max_pool(const labc_check_row *row, labc_sign_max_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.sign_max = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 1, 1, one_sign_max, &a, cases);
}

/* ---- byte_max_pool ---- */

static void call_byte_max(void *context)
{
    const pool *a = context;
    a->kernel.byte_max(a->x, a->flips, a->window, a->y);
}

static uint32_t one_byte_max(const labc_check_case *c, void *context)
{
    pool *a = context;
    uint8_t *flips = labc_check_input(c, c->window->channels, 1);
    for (uint32_t k = 0; k < c->window->channels; ++k) {
        flips[k] = byte_flips[any_flip(c, k) % 4];
    }
    a->flips = flips;
    return check(c, a, 8, 0, 255, 8, call_byte_max, want_byte);
}

uint32_t labc_check_byte_max_pool(const labc_check_row *row, labc_byte_max_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.byte_max = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 8, 8, one_byte_max, &a, cases);
}

/* ---- word_max_pool ---- */

static void call_word_max(void *context)
{
    const pool *a = context;
    a->kernel.word_max(a->x, a->window, a->y);
}

static uint32_t one_word_max(const labc_check_case *c, void *context)
{
    return check(c, context, 16, INT16_MIN, INT16_MAX, 16, call_word_max, want_most);
}

uint32_t labc_check_word_max_pool(const labc_check_row *row, labc_word_max_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.word_max = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 16, 16, one_word_max, &a, cases);
}

/* ---- sum_max_pool ---- */

static void call_sum_max(void *context)
{
    const pool *a = context;
    a->kernel.sum_max(a->x, a->window, a->y);
}

static uint32_t one_sum_max(const labc_check_case *c, void *context)
{
    return check(c, context, 32, -LABC_CHECK_MOST_SUM, LABC_CHECK_MOST_SUM, 32, call_sum_max, want_most);
}

uint32_t labc_check_sum_max_pool(const labc_check_row *row, labc_sum_max_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.sum_max = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 32, 32, one_sum_max, &a, cases);
}

/* ---- word_add_pool ---- */

static void call_word_add(void *context)
{
    const pool *a = context;
    a->kernel.word_add(a->x, a->window, a->y);
}

static uint32_t one_word_add(const labc_check_case *c, void *context)
{
    return check(c, context, 16, INT16_MIN, INT16_MAX, 32, call_word_add, want_sum);
}

uint32_t labc_check_word_add_pool(const labc_check_row *row, labc_word_add_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.word_add = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 16, 32, one_word_add, &a, cases);
}

/* ---- sum_add_pool ---- */

static void call_sum_add(void *context)
{
    const pool *a = context;
    a->kernel.sum_add(a->x, a->window, a->y);
}

static uint32_t one_sum_add(const labc_check_case *c, void *context)
{
    const int32_t most = INT32_MAX / (int32_t)c->inputs; /* so that the sum of all taps fits */
    return check(c, context, 32, -most, most, 32, call_sum_add, want_sum);
}

uint32_t labc_check_sum_add_pool(const labc_check_row *row, labc_sum_add_pool_fn *kernel, uint32_t seed, uint32_t *cases)
{
    pool a = {.kernel.sum_add = kernel};
    return labc_check_window_cases(row, seed, LABC_CHECK_NO_WEIGHTS, 32, 32, one_sum_add, &a, cases);
}
