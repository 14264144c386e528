/* SPDX-License-Identifier: Apache-2.0 */
/* Which taps of a window lie inside the image. */
#ifndef LABC_WINDOW_H
#define LABC_WINDOW_H

#include "kernels.h"

/* The taps of a window that lie inside along one axis, [first, end); before and after them are those outside. */
typedef struct {
    uint32_t first, end;
} taps;

static inline taps taps_inside(uint32_t out, uint32_t stride, uint32_t dilation, uint32_t before, uint32_t kernel, uint32_t extent)
{
    const uint32_t from = out * stride; /* in an image with `before` more in front */
    taps inside = {0, kernel};
    while (inside.first < kernel && from + inside.first * dilation < before) {
        ++inside.first;
    }
    while (inside.end > inside.first && from + (inside.end - 1) * dilation >= before + extent) {
        --inside.end;
    }
    return inside;
}

/* What an output pixel sees: its taps inside, and where tap (0, 0) would be, counted in pixels from x; unsigned, so it may wrap. */
typedef struct {
    taps rows, columns;
    uint32_t row, column;
} sight;

static inline sight sight_of(const labc_window *v, uint32_t i, uint32_t j)
{
    const sight s = {taps_inside(i, v->stride_y, v->dilation_y, v->top, v->kernel_height, v->height),
                     taps_inside(j, v->stride_x, v->dilation_x, v->left, v->kernel_width, v->width), i * v->stride_y - v->top,
                     j * v->stride_x - v->left};
    return s;
}

/* The pixel of tap (a, b), which is inside. */
static inline uint32_t pixel_of(const labc_window *v, const sight *s, uint32_t a, uint32_t b)
{
    return (s->row + a * v->dilation_y) * v->width + s->column + b * v->dilation_x;
}

static inline uint32_t taps_of(const labc_window *v)
{
    return v->kernel_height * v->kernel_width;
}

static inline uint32_t inside(const sight *s)
{
    return (s->rows.end - s->rows.first) * (s->columns.end - s->columns.first);
}

#endif
