/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions for RISC-V with Zbb. What two output pixels see is gathered once, chunk by chunk in turn, and compared with all rows of
 * weights, eight at a time: a chunk of either is loaded once for several of the other.
 */
#ifndef LABC_ZBB_CONV_H
#define LABC_ZBB_CONV_H

#include "region.h"
#include "zbb.h"

enum { GROUP = 8 };

/* How the pixels of a region see x, and where in the weights their taps inside are. */
typedef struct {
    path steps;      /* through x, in words */
    uint32_t pieces; /* of a kernel row, each of whole chunks, but for the end of a last one */
    size_t piece_words, piece_step;
    uint32_t lines;            /* runs of chunks that lie together in the patch and in a row of weights */
    size_t length, gap, first; /* chunks of a run, between two, and before the first */
    uint32_t inside, missing;  /* products */
} view;

NOT_INLINE void look(view *v, const labc_window *window, const region *r)
{
    const uint32_t words = words_of(window->channels), chunks = chunks_of(window->channels);
    const sight *const s = &r->sees;
    const uint32_t columns = s->columns.end - s->columns.first;
    const int together = words % CHUNK_WORDS == 0;
    v->steps = path_of(window, r, words);
    v->pieces = together ? v->steps.runs : columns;
    v->piece_words = together ? v->steps.length : words;
    v->piece_step = together ? v->steps.run_step : (size_t)window->dilation_x * words;
    v->lines = v->steps.lines;
    v->length = (size_t)columns * chunks;
    v->gap = (size_t)(window->kernel_width - columns) * chunks;
    v->first = v->lines > 0 ? (size_t)(s->rows.first * window->kernel_width + s->columns.first) * chunks : 0;
    if (v->gap == 0 && v->lines > 0) {
        v->length *= v->lines;
        v->lines = 1;
    }
    v->inside = inside(s) * window->channels;
    v->missing = (taps_of(window) - inside(s)) * window->channels;
}

/* What a pixel sees from x on, in every second chunk of the patch. */
NOT_INLINE void gather(const view *v, const uint32_t *x, chunk *patch)
{
    for (uint32_t a = 0; a < v->steps.lines; ++a, x += v->steps.line_step) {
        const uint32_t *piece = x;
        for (uint32_t b = 0; b < v->pieces; ++b, piece += v->piece_step) {
            const uint32_t *from = piece, *const end = piece + v->piece_words;
            do {
                *patch = take_any(&from, end);
                patch += 2;
            } while (from != end);
        }
    }
}

/* Of the next two pixels of the region, whose indices go to `to`, or of the last one twice. Returns how many are left. */
INLINE uint32_t gather_two(const view *v, const labc_window *window, const region *r, cursor *c, uint32_t left, const uint32_t *x,
                           chunk *patch, size_t to[2])
{
    gather(v, x + c->from, patch);
    to[0] = c->to;
    if (--left > 0) {
        advance(c, window, r, &v->steps);
        --left;
    }
    gather(v, x + c->from, patch + 1);
    to[1] = c->to;
    if (left > 0) {
        advance(c, window, r, &v->steps);
    }
    return left;
}

/* Macros that are whole statements, one per line; clang-format, which sees no semicolon, would join them. */
/* clang-format off */
/* a##r and b##r, less the bits in which row r and either pixel differ. The next chunk of a row is `step` on. */
#define SUBTRACT(rows)                                                     \
    const chunk *at = patch, *w = weights;                                 \
    for (uint32_t line = v->lines; line > 0; --line, w += v->gap * step) { \
        const chunk *const end = at + 2 * v->length;                       \
        do {                                                               \
            const chunk first = at[0], second = at[1];                     \
            LESS_##rows                                                    \
            at += 2;                                                       \
            w += step;                                                     \
        } while (at != end);                                               \
    }
#define LESS(r)                         \
    {                                   \
        const chunk row = w[r];         \
        a##r -= popcount(first ^ row);  \
        b##r -= popcount(second ^ row); \
    }
/* Compilers would load all rows before they count any, and then lack registers: for them, w is another pointer when two rows are done. */
#define TIE(r, s) __asm__("" : "+r"(w), "+r"(a##r), "+r"(b##r), "+r"(a##s), "+r"(b##s));
#define LESS_1 LESS(0)
#define LESS_8 LESS(0) LESS(1) TIE(0, 1) LESS(2) LESS(3) TIE(2, 3) LESS(4) LESS(5) TIE(4, 5) LESS(6) LESS(7)

/* 2 D + missing <= limit where (limit - missing) / 2, rounded down, less D does not become negative: a 1 at bit r. */
#define LIMIT(r) chunk a##r = (chunk)((limit[r] - missing) >> 1), b##r = a##r;
#define SIGN(r)                                         \
    negative_a |= a##r >> (8 * sizeof(chunk) - 1) << r; \
    negative_b |= b##r >> (8 * sizeof(chunk) - 1) << r;
#define THRESHOLD(rows)                                                                                                        \
    NOT_INLINE void threshold_##rows(const view *v, const chunk *patch, const chunk *weights, size_t step, size_t next,        \
                                     const int32_t *limits, uint32_t n, uint32_t end_n, uint32_t *first_y, uint32_t *second_y) \
    {                                                                                                                          \
        const uint32_t ones = UINT32_MAX >> (32 - (rows));                                                                     \
        uint32_t word_a = 0, word_b = 0;                                                                                       \
        if (n % 32 != 0) {                                                                                                     \
            word_a = first_y[n / 32];                                                                                          \
            word_b = second_y[n / 32];                                                                                         \
        }                                                                                                                      \
        for (; n < end_n; n += (rows), weights += next) {                                                                      \
            const int32_t missing = (int32_t)v->missing, *const limit = limits + n;                                            \
            chunk negative_a = 0, negative_b = 0;                                                                              \
            EACH_##rows(LIMIT)                                                                                                 \
            SUBTRACT(rows)                                                                                                     \
            EACH_##rows(SIGN)                                                                                                  \
            word_a = (n % 32 != 0 ? word_a : 0) | ((uint32_t)negative_a ^ ones) << n % 32;                                     \
            word_b = (n % 32 != 0 ? word_b : 0) | ((uint32_t)negative_b ^ ones) << n % 32;                                     \
            first_y[n / 32] = word_a;                                                                                          \
            second_y[n / 32] = word_b;                                                                                         \
        }                                                                                                                      \
    }
THRESHOLD(8)
THRESHOLD(1)

#define NOTHING(r) chunk a##r = 0, b##r = 0;
#define SUM(r)                                           \
    first_y[r] = (int32_t)(inside + 2 * (uint32_t)a##r); \
    second_y[r] = (int32_t)(inside + 2 * (uint32_t)b##r);
#define SUMS(rows)                                                                                                                 \
    NOT_INLINE void sums_##rows(const view *v, const chunk *patch, const chunk *weights, size_t step, size_t next, uint32_t count, \
                                int32_t *first_y, int32_t *second_y)                                                               \
    {                                                                                                                              \
        for (; count > 0; count -= (rows), weights += next, first_y += (rows), second_y += (rows)) {                               \
            const uint32_t inside = v->inside;                                                                                     \
            EACH_##rows(NOTHING)                                                                                                   \
            SUBTRACT(rows)                                                                                                         \
            EACH_##rows(SUM)                                                                                                       \
        }                                                                                                                          \
    }
SUMS(8)
SUMS(1)
/* clang-format on */

INLINE void conv_threshold(const uint32_t *restrict x, const uint32_t *restrict weights, const int32_t *restrict limits,
                           const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    chunk *const patch = whole_chunks(scratch);
    const size_t row_chunks = (size_t)taps_of(window) * chunks_of(window->channels);
    const uint32_t words = words_of(rows), count = rows / GROUP * GROUP;
    const chunk *const whole = chunks_at(weights), *const rest = whole + count * row_chunks;
    region r = region_at(window, 0, 0);
    do {
        view v;
        look(&v, window, &r);
        cursor c = cursor_at(window, &r, &v.steps);
        for (uint32_t left = pixels_of(&r); left > 0;) {
            size_t to[2];
            left = gather_two(&v, window, &r, &c, left, x, patch, to);
            uint32_t *const first = y + to[0] * words, *const second = y + to[1] * words;
            threshold_8(&v, patch, whole + GROUP * v.first, GROUP, GROUP * row_chunks, limits, 0, count, first, second);
            threshold_1(&v, patch, rest + (rows - count) * v.first, rows - count, 1, limits, count, rows, first, second);
        }
    } while (next_region(window, &r));
}

INLINE void conv_sums(const uint32_t *restrict x, const uint32_t *restrict weights, const labc_window *restrict window, uint32_t rows,
                      int32_t *restrict y, void *restrict scratch)
{
    chunk *const patch = whole_chunks(scratch);
    const size_t row_chunks = (size_t)taps_of(window) * chunks_of(window->channels);
    const uint32_t count = rows / GROUP * GROUP;
    const chunk *const whole = chunks_at(weights), *const rest = whole + count * row_chunks;
    region r = region_at(window, 0, 0);
    do {
        view v;
        look(&v, window, &r);
        cursor c = cursor_at(window, &r, &v.steps);
        for (uint32_t left = pixels_of(&r); left > 0;) {
            size_t to[2];
            left = gather_two(&v, window, &r, &c, left, x, patch, to);
            int32_t *const first = y + to[0] * rows, *const second = y + to[1] * rows;
            sums_8(&v, patch, whole + GROUP * v.first, GROUP, GROUP * row_chunks, count, first, second);
            sums_1(&v, patch, rest + (rows - count) * v.first, rows - count, 1, rows - count, first + count, second + count);
        }
    } while (next_region(window, &r));
}

#endif
