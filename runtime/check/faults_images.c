/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels with one planted fault each, in ops on images: each is right but for the line marked so. */
#include "faults.h"

static uint32_t words_of(uint32_t count)
{
    return (count + 31) / 32;
}

static uint32_t bit_of(const uint32_t *signs, uint32_t k)
{
    return signs[k / 32] >> k % 32 & 1;
}

/* ---- convolutions ---- */

/* What a faulty convolution does otherwise. */
typedef struct {
    uint32_t border_counts, stride_is_dilation, whole_words, dense_taps, swapped;
} conv_fault;

static int32_t conv_sum(const uint32_t *x, const uint32_t *w, const labc_window *v, uint32_t pixel, uint32_t n, conv_fault f)
{
    const uint32_t words = words_of(v->channels), taps = v->kernel_height * v->kernel_width;
    const uint32_t channels = f.whole_words ? v->channels / 32 * 32 : v->channels;
    int32_t sum = 0;
    for (uint32_t t = 0; t < taps; ++t) {
        const uint32_t a = f.swapped ? t % v->kernel_height : t / v->kernel_width,
                       b = f.swapped ? t / v->kernel_height : t % v->kernel_width;
        const uint32_t row = pixel / v->out_width * v->stride_y + a * (f.stride_is_dilation ? v->stride_y : v->dilation_y) - v->top;
        const uint32_t column = pixel % v->out_width * v->stride_x + b * v->dilation_x - v->left;
        const uint32_t inside = row < v->height && column < v->width;
        for (uint32_t c = 0; c < channels; ++c) {
            const uint32_t sign =
                f.dense_taps ? bit_of(w + n * words_of(taps * v->channels), t * v->channels + c) : bit_of(w + (n * taps + t) * words, c);
            if (inside) {
                sum += bit_of(x + (row * v->width + column) * words, c) == sign ? 1 : -1;
            } else if (f.border_counts) {
                sum += sign ? -1 : 1;
            }
        }
        sum += inside ? (int32_t)(v->channels - channels) : 0;
    }
    return sum;
}

static void conv_with(const uint32_t *x, const uint32_t *w, const labc_window *v, uint32_t rows, int32_t *y, conv_fault f)
{
    for (uint32_t p = 0; p < v->out_height * v->out_width; ++p) {
        for (uint32_t n = 0; n < rows; ++n) {
            *y++ = conv_sum(x, w, v, p, n, f);
        }
    }
}

void conv(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){0});
}

void conv_border_counted(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){.border_counts = 1}); /* the fault: a tap outside is -1 */
}

void conv_stride_as_dilation(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){.stride_is_dilation = 1}); /* the fault */
}

void conv_wrong_tail(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){.whole_words = 1}); /* the fault: a last word that is not full is taken to agree */
}

void conv_dense_taps(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){.dense_taps = 1}); /* the fault: taps are not filled up to whole words */
}

void conv_swapped_axes(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    conv_with(x, w, window, rows, y, (conv_fault){.swapped = 1}); /* the fault: taps column by column */
}

void conv_read_past_x(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    const volatile uint32_t *ahead = x + window->height * window->width * words_of(window->channels);
    conv(x, w, window, rows, y, scratch);
    (void)*ahead; /* the fault: the tap right of the last pixel is loaded, though not used */
}

void conv_write_past_end(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    const uint32_t pixels = window->out_height * window->out_width;
    conv(x, w, window, rows, y, scratch);
    y[(pixels + 3) / 4 * 4 * rows - 1] = y[pixels * rows - 1]; /* the fault: pixels rounded up to a block of four */
}

void conv_changed_window(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    const union {
        const labc_window *given;
        labc_window *taken;
    } input = {window};
    conv(x, w, window, rows, y, scratch);
    input.taken->top += 1; /* the fault */
}

void conv_threshold_no_border(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *window, uint32_t rows,
                              uint32_t *y, void *scratch)
{
    const labc_window *v = window;
    (void)scratch;
    for (uint32_t p = 0; p < v->out_height * v->out_width; ++p, y += words_of(rows)) {
        uint32_t inside = 0;
        for (uint32_t t = 0; t < v->kernel_height * v->kernel_width; ++t) {
            inside += labc_check_tap(v, p / v->out_width, p % v->out_width, t / v->kernel_width, t % v->kernel_width) >= 0;
        }
        for (uint32_t n = 0; n < rows; ++n) {
            const int32_t twice = (int32_t)(inside * v->channels) - conv_sum(x, w, v, p, n, (conv_fault){0});
            const uint32_t sign = twice <= limits[n]; /* the fault: taps outside are not added */
            y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
        }
    }
}

void conv_threshold_dirty_tail(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *window, uint32_t rows,
                               uint32_t *y, void *scratch)
{
    const int32_t inputs = (int32_t)(window->kernel_height * window->kernel_width * window->channels);
    (void)scratch;
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p, y += words_of(rows)) {
        for (uint32_t n = 0; n < words_of(rows) * 32; ++n) {
            const uint32_t m = n < rows ? n : rows - 1; /* the fault: the last row fills the word up */
            const uint32_t sign = inputs - conv_sum(x, w, window, p, m, (conv_fault){0}) <= limits[m];
            y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
        }
    }
}

static int32_t byte_conv_sum(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *v, uint32_t pixel, uint32_t n,
                             uint32_t tap, int32_t border)
{
    const uint32_t taps = v->kernel_height * v->kernel_width;
    int32_t sum = 0;
    for (uint32_t t = 0; t < taps; ++t) {
        const int32_t at = labc_check_tap(v, pixel / v->out_width, pixel % v->out_width, t / v->kernel_width, t % v->kernel_width);
        for (uint32_t c = 0; c < v->channels; ++c) {
            const int32_t number = at < 0 ? border : (int32_t)(x[(uint32_t)at * v->channels + c] ^ offset) - (int32_t)offset;
            sum += bit_of(w + n * words_of(taps * v->channels), (t * tap + c) % (taps * v->channels)) ? number : -number;
        }
    }
    return sum;
}

static void byte_conv_with(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *v, uint32_t rows, int32_t *y,
                           uint32_t tap, int32_t border)
{
    for (uint32_t p = 0; p < v->out_height * v->out_width; ++p) {
        for (uint32_t n = 0; n < rows; ++n) {
            *y++ = byte_conv_sum(x, offset, w, v, p, n, tap, border);
        }
    }
}

void byte_conv(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y, void *scratch)
{
    (void)scratch;
    byte_conv_with(x, offset, w, window, rows, y, window->channels, 0);
}

void byte_conv_border_is_offset(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y,
                                void *scratch)
{
    (void)scratch;
    byte_conv_with(x, offset, w, window, rows, y, window->channels, -(int32_t)offset / 128); /* the fault: a byte that is not quite 0 */
}

void byte_conv_filled_taps(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y,
                           void *scratch)
{
    (void)scratch;
    byte_conv_with(x, offset, w, window, rows, y, words_of(window->channels) * 32, 0); /* the fault: taps are filled up to words */
}

void byte_conv_16_bit(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y,
                      void *scratch)
{
    byte_conv(x, offset, w, window, rows, y, scratch);
    for (uint32_t i = 0; i < window->out_height * window->out_width * rows; ++i) {
        y[i] = (int32_t)(((uint32_t)y[i] & 0xffff) ^ 0x8000) - 0x8000; /* the fault: sums wrap like an int16 */
    }
}

void byte_conv_unclamped(const uint8_t *x, uint32_t offset, const uint32_t *w, const int32_t *m, const int64_t *b, uint32_t shift,
                         const labc_window *window, uint32_t rows, uint8_t *y, void *scratch)
{
    (void)scratch;
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        for (uint32_t n = 0; n < rows; ++n) {
            const int64_t v = (int64_t)byte_conv_sum(x, offset, w, window, p, n, window->channels, 0) * m[n] + b[n];
            *y++ = (uint8_t)labc_check_scaled(v, shift, 0, 256); /* the fault: 256 becomes 0 */
        }
    }
}

static int32_t depthwise_sum(const uint32_t *x, const uint32_t *w, const labc_window *v, uint32_t pixel, uint32_t rows, uint32_t n,
                             uint32_t channel)
{
    int32_t sum = 0;
    for (uint32_t t = 0; t < v->kernel_height * v->kernel_width; ++t) {
        const int32_t at = labc_check_tap(v, pixel / v->out_width, pixel % v->out_width, t / v->kernel_width, t % v->kernel_width);
        if (at >= 0) {
            sum += bit_of(x + (uint32_t)at * words_of(v->channels), channel) == bit_of(w + t * words_of(rows), n) ? 1 : -1;
        }
    }
    return sum;
}

void depthwise_modulo(const uint32_t *x, const uint32_t *w, const labc_window *window, uint32_t rows, int32_t *y)
{
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        for (uint32_t n = 0; n < rows; ++n) {
            *y++ = depthwise_sum(x, w, window, p, rows, n, n % window->channels); /* the fault: for n / (N / C) */
        }
    }
}

void depthwise_3_bit(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *window, uint32_t rows, uint32_t *y)
{
    const int32_t taps = (int32_t)(window->kernel_height * window->kernel_width);
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p, y += words_of(rows)) {
        for (uint32_t n = 0; n < rows; ++n) {
            const int32_t twice = taps - depthwise_sum(x, w, window, p, rows, n, n / (rows / window->channels));
            const uint32_t sign = (twice & 15) <= limits[n]; /* the fault: a counter of 3 bits, twice */
            y[n / 32] = (n % 32 ? y[n / 32] : 0) | sign << n % 32;
        }
    }
}

/* ---- pools ---- */

static int32_t pooled(const void *x, uint32_t bits, const labc_window *v, uint32_t pixel, uint32_t channel, uint32_t flip, int32_t least,
                      uint32_t sums)
{
    int32_t result = least;
    for (uint32_t t = 0; t < v->kernel_height * v->kernel_width; ++t) {
        const int32_t at = labc_check_tap(v, pixel / v->out_width, pixel % v->out_width, t / v->kernel_width, t % v->kernel_width);
        if (at >= 0) {
            const int32_t number = labc_check_element(x, bits, v->channels, (uint32_t)at, channel) ^ (int32_t)flip;
            result = sums ? result + number : number > result ? number : result;
        }
    }
    return result;
}

static void sign_pool(const uint32_t *x, const uint32_t *flips, const labc_window *v, uint32_t *y, uint32_t with_flips, uint32_t border)
{
    for (uint32_t p = 0; p < v->out_height * v->out_width; ++p, y += words_of(v->channels)) {
        uint32_t outside = 0;
        for (uint32_t t = 0; border && t < v->kernel_height * v->kernel_width; ++t) {
            outside |= labc_check_tap(v, p / v->out_width, p % v->out_width, t / v->kernel_width, t % v->kernel_width) < 0;
        }
        for (uint32_t c = 0; c < v->channels; ++c) {
            const uint32_t flip = with_flips & bit_of(flips, c);
            const uint32_t sign = ((uint32_t)pooled(x, 1, v, p, c, flip, 0, 0) | (outside & flip)) ^ flip;
            y[c / 32] = (c % 32 ? y[c / 32] : 0) | sign << c % 32;
        }
    }
}

void pool_without_flips(const uint32_t *x, const uint32_t *flips, const labc_window *window, uint32_t *y)
{
    sign_pool(x, flips, window, y, 0, 0); /* the fault: always the largest */
}

void pool_border_is_minus(const uint32_t *x, const uint32_t *flips, const labc_window *window, uint32_t *y)
{
    sign_pool(x, flips, window, y, 1, 1); /* the fault: a tap outside is -1, which is the smallest */
}

void byte_pool_unsigned(const uint8_t *x, const uint8_t *flips, const labc_window *window, uint8_t *y)
{
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        for (uint32_t c = 0; c < window->channels; ++c) {
            const uint32_t flip = flips[c] & 1 ? 255 : 0; /* the fault: bytes are always 0..255 */
            *y++ = (uint8_t)((uint32_t)pooled(x, 8, window, p, c, flip, 0, 0) ^ flip);
        }
    }
}

void word_pool_from_zero(const int16_t *x, const labc_window *window, int16_t *y)
{
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        for (uint32_t c = 0; c < window->channels; ++c) {
            *y++ = (int16_t)pooled(x, 16, window, p, c, 0, 0, 0); /* the fault: the largest of the taps and 0 */
        }
    }
}

void add_pool_16_bit(const int32_t *x, const labc_window *window, int32_t *y)
{
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        for (uint32_t c = 0; c < window->channels; ++c) {
            *y++ = (int16_t)(uint16_t)pooled(x, 32, window, p, c, 0, 0, 1); /* the fault: sums of 16 bits */
        }
    }
}

/* ---- element by element ---- */

void threshold_flip_all(const int32_t *x, const int32_t *thresholds, const uint32_t *flips, uint32_t channels, uint32_t pixels, uint32_t *y)
{
    for (uint32_t p = 0; p < pixels; ++p, y += words_of(channels), x += channels) {
        for (uint32_t c = 0; c < channels; ++c) {
            const uint32_t flip = bit_of(flips, c);
            const uint32_t sign = flip ? x[c] <= thresholds[c] : x[c] >= thresholds[c]; /* the fault: <= for <, where flipped */
            y[c / 32] = (c % 32 ? y[c / 32] : 0) | sign << c % 32;
        }
    }
}

void threshold_ones_behind(const int32_t *x, const int32_t *thresholds, const uint32_t *flips, uint32_t channels, uint32_t pixels,
                           uint32_t *y)
{
    for (uint32_t p = 0; p < pixels; ++p, x += channels) {
        for (uint32_t c = 0; c < words_of(channels) * 32; ++c) {
            const uint32_t sign = c < channels ? (uint32_t)(x[c] >= thresholds[c]) ^ bit_of(flips, c) : 1; /* the fault: padding is 1 */
            y[p * words_of(channels) + c / 32] = (c % 32 ? y[p * words_of(channels) + c / 32] : 0) | sign << c % 32;
        }
    }
}

void word_toward_zero(const int32_t *x, const int32_t *m, const int64_t *b, uint32_t shift, uint32_t channels, uint32_t pixels, int16_t *y)
{
    for (uint32_t i = 0; i < pixels * channels; ++i) {
        const int64_t v = (x[i] * (int64_t)m[i % channels] + b[i % channels]) / ((int64_t)1 << shift); /* the fault: toward zero */
        y[i] = (int16_t)(v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v);
    }
}

static int16_t saturated(int32_t v)
{
    return (int16_t)(v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v);
}

void add_unsaturated(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = (int16_t)(uint16_t)(a[i] + b[i]); /* the fault: it wraps */
    }
}

void add_in_fours(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = saturated(a[i] + b[i]);
    }
    for (uint32_t i = count; i % 4 != 0; ++i) {
        y[i] = 0; /* the fault: a vector of four is stored */
    }
}

void add_aligned_pairs(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    const int16_t *down = a - (uintptr_t)a / 2 % 2; /* the fault: loads that round an address down to a multiple of 4 */
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = saturated(down[i] + b[i]);
    }
}

void add_not_in_place(const int16_t *a, const int16_t *b, uint32_t count, int16_t *y)
{
    y[count - 1] = saturated(a[count - 1] + b[count - 1]);
    for (uint32_t i = 0; i < count; ++i) {
        y[i] = saturated(a[i] + b[i]); /* the fault: the last element, which may be an input's, is written twice */
    }
}

void prelu_toward_zero(const int16_t *x, const int16_t *slopes, uint32_t channels, uint32_t pixels, int16_t *y)
{
    for (uint32_t i = 0; i < pixels * channels; ++i) {
        y[i] = x[i] >= 0 ? x[i] : saturated((x[i] * (int32_t)slopes[i % channels] + 128) / 256); /* the fault: not down */
    }
}

void prelu_most(const int16_t *x, const int16_t *slopes, uint32_t channels, uint32_t pixels, int16_t *y)
{
    for (uint32_t i = 0; i < pixels * channels; ++i) {
        const int64_t v = (int64_t)x[i] * slopes[i % channels] + 128;
        const int32_t scaled = labc_check_scaled(v, 8, INT16_MIN, 65535);
        y[i] = x[i] >= 0 ? x[i] : (int16_t)(uint16_t)scaled; /* the fault: 32768 is possible, and wraps */
    }
}

void join_by_words(const uint32_t *a, uint32_t a_channels, const uint32_t *b, uint32_t b_channels, uint32_t pixels, uint32_t *y)
{
    for (uint32_t p = 0; p < pixels; ++p, y += words_of(a_channels + b_channels)) {
        for (uint32_t c = 0; c < a_channels + b_channels; ++c) {
            const uint32_t sign = c < a_channels ? bit_of(a + p * words_of(a_channels), c)
                                                 : bit_of(b + p * words_of(b_channels), (c - a_channels) % b_channels / 32 * 32 + c % 32);
            y[c / 32] = (c % 32 ? y[c / 32] : 0) | sign << c % 32; /* the fault, above: b is not shifted within its words */
        }
    }
}

static void slice(const uint32_t *x, uint32_t channels, uint32_t first, uint32_t count, uint32_t pixels, uint32_t *y)
{
    for (uint32_t p = 0; p < pixels; ++p, y += words_of(count), x += words_of(channels)) {
        for (uint32_t c = 0; c < count; ++c) {
            y[c / 32] = (c % 32 ? y[c / 32] : 0) | bit_of(x, first + c) << c % 32;
        }
    }
}

void slice_reads_ahead(const uint32_t *x, uint32_t channels, uint32_t first, uint32_t count, uint32_t pixels, uint32_t *y)
{
    const volatile uint32_t *ahead = x + (pixels - 1) * words_of(channels) + (first + count - 1) / 32 + 1;
    slice(x, channels, first, count, pixels, y);
    (void)*ahead; /* the fault: the word behind the last one wanted, to shift bits in from */
}

void slice_all_of_a_pixel(const void *x, uint32_t channel_bytes, uint32_t first_bytes, uint32_t count_bytes, uint32_t pixels, void *y)
{
    const uint8_t *from = x;
    uint8_t *to = y;
    for (uint32_t p = 0; p < pixels; ++p) {
        /* the fault: of the last pixel, all from the first on, which the next would overwrite */
        for (uint32_t i = 0; i < (p + 1 == pixels ? channel_bytes - first_bytes : count_bytes); ++i) {
            to[p * count_bytes + i] = from[p * channel_bytes + first_bytes + i];
        }
    }
}

void pad_dirty_tail(const uint32_t *x, const labc_window *window, uint32_t plus, uint32_t *y)
{
    const uint32_t words = words_of(window->channels);
    for (uint32_t p = 0; p < window->out_height * window->out_width; ++p) {
        const int32_t at = labc_check_tap(window, p / window->out_width, p % window->out_width, 0, 0);
        for (uint32_t k = 0; k < words; ++k) {
            *y++ = at < 0 ? 0 - plus : x[(uint32_t)at * words + k]; /* the fault: all bits of a border's words are 1 */
        }
    }
}
