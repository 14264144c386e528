/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of images and windows; filling and comparing images. */
#include "check.h"

/* ---- images ---- */

enum { STREAM_PLACE = 3000, STREAM_WINDOWS = 3001 };

static uint32_t words_of(uint32_t count)
{
    return (count + 31) / 32;
}

uint32_t labc_check_image_bytes(uint32_t bits, uint32_t channels, uint32_t pixels)
{
    return bits == 1 ? 4 * words_of(channels) * pixels : bits / 8 * channels * pixels;
}

/* An image of `bits` has arrays of elements of this many bytes. */
static uint32_t size_of(uint32_t bits)
{
    return bits == 1 ? 4 : bits / 8;
}

/* In low..high; a division is slow on a small core. */
static int32_t any_number(uint32_t any, int32_t low, int32_t high)
{
    const uint32_t count = (uint32_t)high - (uint32_t)low + 1;
    return (int32_t)((uint32_t)low + (count <= 65536 ? (any >> 16) * count >> 16 : any % count));
}

int32_t labc_check_number(const labc_check_case *c, uint32_t stream, uint32_t e, uint32_t channel, uint32_t place, int32_t low,
                          int32_t high)
{
    const uint32_t by_channel = c->weights != LABC_CHECK_NO_WEIGHTS;
    switch (c->fill) {
    case LABC_CHECK_RANDOM:
        return any_number(labc_check_random(c->seed + c->number, stream, e), low, high);
    case LABC_CHECK_WALK:
        return e != place ? 0 : low < 0 && c->round % 2 ? low : high;
    case LABC_CHECK_LEAST:
        return low;
    case LABC_CHECK_MOST:
        return high;
    default: {
        const uint32_t any = by_channel ? labc_check_x(c, channel / 32) >> channel % 32 : labc_check_random(c->seed + c->number, stream, e);
        return any & 1 ? high : low;
    }
    }
}

/* Element (p, k) of an image, without its sign. */
static void put_element(void *image, uint32_t bits, uint32_t channels, uint32_t p, uint32_t k, uint32_t value)
{
    uint32_t *word = image;
    switch (bits) {
    case 1:
        word += p * words_of(channels) + k / 32;
        *word = (k % 32 ? *word : 0) | value << k % 32;
        return;
    case 8:
        ((uint8_t *)image)[p * channels + k] = (uint8_t)value;
        return;
    case 16:
        ((uint16_t *)image)[p * channels + k] = (uint16_t)value;
        return;
    default:
        word[p * channels + k] = value;
    }
}

int32_t labc_check_element(const void *image, uint32_t bits, uint32_t channels, uint32_t pixel, uint32_t channel)
{
    const uint32_t *words = image;
    switch (bits) {
    case 1:
        return (int32_t)(words[pixel * words_of(channels) + channel / 32] >> channel % 32 & 1);
    case 8:
        return ((const uint8_t *)image)[pixel * channels + channel];
    case 16:
        return ((const int16_t *)image)[pixel * channels + channel];
    default:
        return ((const int32_t *)image)[pixel * channels + channel];
    }
}

void *labc_check_image(const labc_check_case *c, uint32_t stream, uint32_t bits, uint32_t channels, uint32_t pixels, int32_t low,
                       int32_t high)
{
    void *image = labc_check_input(c, labc_check_image_bytes(bits, channels, pixels) / size_of(bits), size_of(bits));
    const uint32_t place = labc_check_random(c->seed + c->number, STREAM_PLACE, stream) % (channels * pixels);
    uint32_t e = 0;
    for (uint32_t p = 0; p < pixels; ++p) {
        for (uint32_t k = 0; k < channels; ++k, ++e) {
            put_element(image, bits, channels, p, k, (uint32_t)labc_check_number(c, stream, e, k, place, low, high));
        }
    }
    return image;
}

void *labc_check_output_image(const labc_check_case *c, uint32_t bits, uint32_t channels, uint32_t pixels)
{
    return labc_check_output(c, labc_check_image_bytes(bits, channels, pixels) / size_of(bits), size_of(bits));
}

/* In which every step is a bijection of the digest so far: one element that differs is never missed. */
static uint32_t digest_of(const void *y, uint32_t bits, uint32_t channels, uint32_t pixels)
{
    const unsigned char *at = y;
    uint32_t digest = 0;
    for (uint32_t i = 0; i < labc_check_image_bytes(bits, channels, pixels); ++i) {
        digest = (digest ^ at[i]) * UINT32_C(0x01000193) + 1;
    }
    return digest;
}

uint32_t labc_check_equal_image(const labc_check_case *c, const void *y, uint32_t bits, uint32_t channels, uint32_t pixels,
                                int32_t (*want)(const labc_check_case *, const void *context, uint32_t pixel, uint32_t channel),
                                const void *context)
{
    /* What was right for the first placement is right for the second: the definition, which is slow, is asked once. */
    static uint32_t right;
    const uint32_t digest = digest_of(y, bits, channels, pixels);
    uint32_t finding = 0;
    for (uint32_t n = 0; !finding && n < channels && !(c->snug && digest == right); ++n) {
        for (uint32_t p = 0; !finding && p < pixels; ++p) {
            finding = labc_check_equal(c, p * channels + n, labc_check_element(y, bits, channels, p, n), want(c, context, p, n));
        }
    }
    right = digest;
    for (uint32_t p = 0; !finding && bits == 1 && p < pixels; ++p) {
        finding = labc_check_unused_bits(c, ((const uint32_t *)y)[(p + 1) * words_of(channels) - 1], channels);
    }
    return finding;
}

/* ---- windows ---- */

int32_t labc_check_tap(const labc_window *window, uint32_t i, uint32_t j, uint32_t a, uint32_t b)
{
    const int32_t row = (int32_t)(i * window->stride_y + a * window->dilation_y) - (int32_t)window->top;
    const int32_t column = (int32_t)(j * window->stride_x + b * window->dilation_x) - (int32_t)window->left;
    const int32_t height = (int32_t)window->height, width = (int32_t)window->width;
    return row >= 0 && row < height && column >= 0 && column < width ? row * width + column : -1;
}

const labc_window *labc_check_window(const labc_check_case *c)
{
    labc_window *window = labc_check_input(c, sizeof *window / 4, 4);
    *window = *c->window;
    return window;
}

/* Whether every window has a tap inside. */
static uint32_t covered(const labc_window *v)
{
    for (uint32_t i = 0; i < v->out_height; ++i) {
        for (uint32_t j = 0; j < v->out_width; ++j) {
            uint32_t any = 0;
            for (uint32_t a = 0; !any && a < v->kernel_height; ++a) {
                for (uint32_t b = 0; !any && b < v->kernel_width; ++b) {
                    any = labc_check_tap(v, i, j, a, b) >= 0;
                }
            }
            if (!any) {
                return 0;
            }
        }
    }
    return 1;
}

/* Down before across, as labc_window has them; `after` is the padding below and to the right. */
typedef struct {
    uint8_t size[2], kernel[2], stride[2], dilation[2], before[2], after[2];
} shape;

/* How many windows fit along an axis; the padding after it becomes more where none would. */
static uint32_t windows_along(const shape *s, uint32_t axis)
{
    const uint32_t extent = (uint32_t)(s->kernel[axis] - 1) * s->dilation[axis] + 1;
    const uint32_t padded = (uint32_t)s->before[axis] + s->size[axis] + s->after[axis];
    return padded < extent ? 1 : (padded - extent) / s->stride[axis] + 1;
}

static labc_window window_of(const shape *s, uint32_t channels)
{
    const labc_window v = {s->size[0],   s->size[1],   channels,       windows_along(s, 0), windows_along(s, 1), s->kernel[0], s->kernel[1],
                           s->stride[0], s->stride[1], s->dilation[0], s->dilation[1],      s->before[0],        s->before[1]};
    return v;
}

/* What has surprised: borders on all sides, images smaller than the kernel, padding of more than the image, gaps between windows. */
static const shape shapes[] LABC_CHECK_TABLE = {
    {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, {{3, 5}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {{4, 5}, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {{2, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {{3, 3}, {3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, {{4, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {{1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, {{2, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {{5, 6}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, {{6, 6}, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}},
    {{5, 5}, {3, 3}, {1, 1}, {2, 2}, {2, 2}, {2, 2}}, {{4, 4}, {3, 3}, {1, 1}, {3, 3}, {3, 3}, {3, 3}},
    {{5, 4}, {3, 3}, {1, 1}, {1, 2}, {1, 2}, {1, 2}}, {{4, 5}, {3, 3}, {1, 1}, {2, 1}, {2, 1}, {2, 1}},
    {{7, 6}, {3, 3}, {3, 3}, {1, 1}, {0, 1}, {1, 0}}, {{2, 2}, {3, 3}, {1, 1}, {1, 1}, {5, 5}, {5, 5}},
    {{3, 4}, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}}, {{2, 2}, {5, 5}, {1, 1}, {1, 1}, {4, 4}, {4, 4}},
    {{8, 8}, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}}, {{1, 2}, {7, 7}, {1, 1}, {1, 1}, {6, 6}, {6, 6}},
    {{4, 6}, {2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {{5, 5}, {2, 2}, {2, 2}, {1, 1}, {0, 0}, {1, 1}},
    {{3, 4}, {2, 2}, {1, 1}, {1, 1}, {0, 1}, {1, 0}}, {{2, 9}, {1, 7}, {1, 1}, {1, 1}, {0, 3}, {0, 3}},
    {{9, 2}, {7, 1}, {1, 1}, {1, 1}, {3, 0}, {3, 0}}, {{2, 9}, {1, 3}, {1, 2}, {1, 3}, {0, 1}, {0, 2}},
    {{8, 4}, {4, 4}, {4, 4}, {1, 1}, {0, 0}, {0, 0}}, {{9, 7}, {6, 6}, {5, 1}, {1, 1}, {1, 0}, {1, 0}},
    {{3, 8}, {1, 2}, {2, 3}, {1, 1}, {0, 0}, {0, 0}}, {{7, 4}, {3, 2}, {2, 1}, {2, 3}, {0, 3}, {1, 3}},
    {{2, 7}, {1, 4}, {1, 1}, {1, 1}, {0, 1}, {0, 2}}, {{2, 6}, {1, 5}, {1, 1}, {1, 1}, {0, 2}, {0, 2}},
    {{6, 3}, {6, 1}, {1, 1}, {1, 1}, {0, 0}, {2, 0}}, {{4, 4}, {4, 3}, {1, 1}, {1, 1}, {1, 1}, {2, 1}},
};
static const shape point_shape = {{2, 3}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
static const shape same_shape = {{3, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
static const shape wide_shape = {{1, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
static const shape half_shape = {{4, 4}, {2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}};

static const uint16_t channel_sizes[] LABC_CHECK_TABLE = {1,  3,   31, 32,  33,  4,   64, 65,  2,
                                                          96, 127, 16, 128, 129, 130, 20, 160, LABC_CHECK_MOST_CHANNELS};
static const uint16_t few_channels[] = {1, 33, 3, 64, 32, 8, 65, 16};
static const uint16_t row_sizes[] LABC_CHECK_TABLE = {1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17,  24,  31,  32,
                                                      33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 130};
static const uint16_t few_rows[] = {5, 17, 1, 33, 8, 3, 12};
/* channels, rows, and the side of an image: where loops over blocks of either begin and end */
static const uint16_t large_sizes[][3] = {{64, 64, 5}, {128, 130, 2}, {256, 33, 2}};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define DRAWN 24
#define MOST_PIXELS 40
/* Products of one case, which take the time. */
#define MANY 24000
#define ANY UINT32_MAX

typedef struct {
    const labc_check_row *row;
    uint32_t (*one)(const labc_check_case *, void *);
    void *context;
    uint32_t seed, weights, input_bits, output_bits, number, round;
} walk;

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Whether every argument fits a block. */
static uint32_t fits(const walk *w, const labc_window *v, uint32_t inputs, uint32_t rows)
{
    const uint32_t x = labc_check_image_bytes(w->input_bits, v->channels, v->height * v->width);
    const uint32_t y = labc_check_image_bytes(w->output_bits, rows, v->out_height * v->out_width);
    const uint32_t scratch = labc_check_scratch_bytes(w->row, inputs, rows, v);
    uint32_t weights = 0;
    if (w->weights == LABC_CHECK_DEPTHWISE) {
        weights = 4 * inputs * words_of(rows);
    } else if (w->weights != LABC_CHECK_NO_WEIGHTS) {
        const uint32_t tap = w->weights == LABC_CHECK_FILLED_TAPS ? v->channels : inputs;
        weights = 4 * labc_check_weight_words(&w->row->layout, labc_check_column(&w->row->layout, tap, inputs), rows);
    }
    return labc_check_fits(w->row, larger(larger(larger(x, y), larger(weights, scratch)), 8 * rows));
}

/* Two fills - random, and the others in turn - and both placements of one window; of pairs, one of these in turn, without a window two. */
static uint32_t fills(walk *w, uint32_t inputs, uint32_t rows, const labc_window *v, uint32_t pixels)
{
    const uint32_t round = w->round++;
    const uint32_t some[2] = {LABC_CHECK_RANDOM, 1 + round % (LABC_CHECK_FILLS - 1)};
    for (uint32_t i = 0; i < 2; ++i) {
        const uint32_t number = w->number++;
        for (uint32_t snug = 0; snug < 2; ++snug) {
            if (labc_check_pairs && (v == 0 ? (round + i) % 2 != snug : i != round % 2 || snug != (round + round / 2) % 2)) {
                continue;
            }
            const labc_check_case c = {.row = w->row,
                                       .inputs = inputs,
                                       .rows = rows,
                                       .fill = some[i],
                                       .seed = w->seed,
                                       .number = number,
                                       .place = labc_check_random(w->seed, STREAM_PLACE, number) % inputs,
                                       .round = round,
                                       .snug = snug,
                                       .weights = w->weights,
                                       .window = v,
                                       .pixels = pixels};
            const uint32_t finding = labc_check_try(w->one, &c, w->context);
            if (finding) {
                return finding;
            }
        }
    }
    return 0;
}

/*
 * One window and one number of rows: fewer where there would be more than `most` products; depthwise and without weights they follow
 * from the channels.
 */
static uint32_t window(walk *w, const shape *s, uint32_t channels, uint32_t rows, uint32_t most)
{
    const labc_window v = window_of(s, channels);
    const uint32_t taps = v.kernel_height * v.kernel_width;
    uint32_t inputs = taps;
    if (w->weights == LABC_CHECK_NO_WEIGHTS) {
        rows = channels;
    } else if (w->weights == LABC_CHECK_DEPTHWISE) {
        rows = channels * (channels < 128 && w->round % 4 > 1 ? w->round % 4 : 1);
    } else {
        inputs *= channels;
        while (rows > 1 && rows * inputs * v.out_height * v.out_width > (labc_check_pairs && most == MANY ? MANY / 4 : most)) {
            rows = (rows + 1) / 2;
        }
    }
    if (inputs > 32 * LABC_CHECK_WINDOW_WORDS || !fits(w, &v, inputs, rows) || (w->weights == LABC_CHECK_NO_WEIGHTS && !covered(&v))) {
        return 0;
    }
    return fills(w, inputs, rows, &v, 0);
}

/* Kernels to 5 x 5, strides and dilations to 3, mostly little padding; rows so that there are not too many products. */
static uint32_t drawn(walk *w, uint32_t i)
{
    shape s;
    for (uint32_t axis = 0; axis < 2; ++axis) {
        const uint32_t any = labc_check_random(w->seed, STREAM_WINDOWS, 2 * i + axis);
        s.kernel[axis] = (uint8_t)(1 + any % 5);
        s.stride[axis] = (uint8_t)(1 + any / 8 % 4 % 3);
        s.dilation[axis] = (uint8_t)(1 + any / 32 % 4 % 3);
        s.before[axis] = (uint8_t)(any / 128 % 3 + (any / 512 % 8 == 0 ? s.kernel[axis] : 0));
        s.after[axis] = (uint8_t)(any / 4096 % 3);
        s.size[axis] = (uint8_t)(1 + any / 16384 % (axis ? 11 : 4));
    }
    const uint32_t any = labc_check_random(w->seed, STREAM_WINDOWS + 1, i);
    const uint32_t channels = any % 2 ? few_channels[any / 2 % COUNT(few_channels)] : 1 + any / 16 % 100;
    while (s.size[1] > 1 && windows_along(&s, 0) * windows_along(&s, 1) > MOST_PIXELS) {
        --s.size[1];
    }
    return window(w, &s, channels, labc_check_u16(&row_sizes[any / 4096 % COUNT(row_sizes)]), MANY);
}

uint32_t labc_check_window_cases(const labc_check_row *row, uint32_t seed, uint32_t weights, uint32_t input_bits, uint32_t output_bits,
                                 uint32_t (*one)(const labc_check_case *, void *), void *context, uint32_t *cases)
{
    walk w = {row, one, context, seed, weights, input_bits, output_bits, 0, 0};
    labc_check_tried = 0;
    const uint32_t has_rows = weights == LABC_CHECK_FILLED_TAPS || weights == LABC_CHECK_TAPS;
    uint32_t finding = 0;
    for (uint32_t i = 0; !finding && i < COUNT(shapes); ++i) {
        shape s;
        labc_check_copy(&s, &shapes[i], sizeof s);
        /* Once on a small core, which is slow. */
        const uint32_t times = labc_check_block_bytes > 4 * LABC_CHECK_LEAST_BYTES && !labc_check_pairs ? 2 : 1;
        for (uint32_t j = 0; !finding && j < times; ++j) {
            finding = window(&w, &s, few_channels[(i + 3 * j) % COUNT(few_channels)], few_rows[(i + j) % COUNT(few_rows)], MANY);
        }
    }
    for (uint32_t i = 0; !finding && i < COUNT(channel_sizes); ++i) {
        const uint32_t channels = labc_check_u16(&channel_sizes[i]);
        finding = window(&w, &point_shape, channels, 5, ANY);
        finding = finding ? finding : window(&w, &same_shape, channels, 3, ANY);
        finding = finding ? finding : window(&w, &half_shape, channels, 9, ANY);
    }
    for (uint32_t i = 0; !finding && has_rows && i < COUNT(row_sizes); ++i) {
        const uint32_t rows = labc_check_u16(&row_sizes[i]);
        finding = window(&w, &wide_shape, few_channels[i % 3], rows, ANY);
        finding = finding ? finding : window(&w, &point_shape, 64, rows, ANY);
    }
    /* Rows of pixels of every length, with a border and without. */
    for (uint32_t i = 1; !finding && i <= 20; ++i) {
        const shape s = {{2, (uint8_t)(i < 20 ? i : 33)}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
        finding = window(&w, &s, i % 3 ? 32 : 40, few_rows[i % COUNT(few_rows)], MANY);
        const shape p = {{1, (uint8_t)(i < 20 ? i : 33)}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
        finding = finding ? finding : window(&w, &p, i % 3 ? 65 : 24, few_rows[i % COUNT(few_rows)], MANY);
    }
    for (uint32_t i = 0; !finding && i < DRAWN; ++i) {
        finding = drawn(&w, i);
    }
    for (uint32_t i = 0; !finding && i < COUNT(large_sizes) && labc_check_block_bytes > 4 * LABC_CHECK_LEAST_BYTES; ++i) {
        const uint8_t side = (uint8_t)large_sizes[i][2];
        const shape s = {{side, side}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
        finding = window(&w, &s, large_sizes[i][0], large_sizes[i][1], ANY);
    }
    /* Around a word, where memory holds no more than a pixel. */
    for (uint32_t i = 31; !finding && i <= 33; ++i) {
        shape s;
        labc_check_copy(&s, &shapes[0], sizeof s);
        finding = window(&w, &s, i, 1, ANY);
        finding = finding ? finding : window(&w, &s, 1, i, ANY);
    }
    *cases += labc_check_tried;
    return finding;
}

/* ---- pixels ---- */

static const uint16_t pixel_counts[] LABC_CHECK_TABLE = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129};

static uint32_t pixels(walk *w, uint32_t channels, uint32_t count)
{
    if (!labc_check_fits(w->row, larger(labc_check_image_bytes(w->input_bits, channels, count), 8 * channels))) {
        return 0;
    }
    return fills(w, channels, channels, 0, count);
}

uint32_t labc_check_pixel_cases(const labc_check_row *row, uint32_t seed, uint32_t bits, uint32_t (*one)(const labc_check_case *, void *),
                                void *context, uint32_t *cases)
{
    walk w = {row, one, context, seed, LABC_CHECK_NO_WEIGHTS, bits, bits, 0, 0};
    uint32_t finding = 0;
    labc_check_tried = 0;
    for (uint32_t i = 0; !finding && i < COUNT(channel_sizes); ++i) {
        for (uint32_t j = 1; !finding && j <= 7; j += 3) {
            finding = pixels(&w, labc_check_u16(&channel_sizes[i]), j);
        }
    }
    for (uint32_t i = 0; !finding && i < COUNT(pixel_counts); ++i) {
        for (uint32_t j = 0; !finding && j < 4; ++j) {
            finding = pixels(&w, few_channels[j], labc_check_u16(&pixel_counts[i]));
        }
    }
    *cases += labc_check_tried;
    return finding;
}
