/* SPDX-License-Identifier: Apache-2.0 */
/* Rectangles of output pixels that have the same taps inside: what holds for one of them holds for all, with no cost per pixel. */
#ifndef LABC_REGION_H
#define LABC_REGION_H

#include <stddef.h>

#include "window.h"

/* The output pixels [first_i, end_i) x [first_j, end_j). */
typedef struct {
    uint32_t first_i, end_i, first_j, end_j;
    sight sees; /* of pixel (first_i, first_j) */
} region;

/* The region with pixel (i, j) in its top left corner. */
static inline region region_at(const labc_window *v, uint32_t i, uint32_t j)
{
    region r = {i, i + 1, j, j + 1, sight_of(v, i, j)};
    for (; r.end_i < v->out_height; ++r.end_i) {
        const taps t = taps_inside(r.end_i, v->stride_y, v->dilation_y, v->top, v->kernel_height, v->height);
        if (t.first != r.sees.rows.first || t.end != r.sees.rows.end) {
            break;
        }
    }
    for (; r.end_j < v->out_width; ++r.end_j) {
        const taps t = taps_inside(r.end_j, v->stride_x, v->dilation_x, v->left, v->kernel_width, v->width);
        if (t.first != r.sees.columns.first || t.end != r.sees.columns.end) {
            break;
        }
    }
    return r;
}

/* Goes on to the region right of this one, or to the first below; 0 if there is none. */
static inline int next_region(const labc_window *v, region *r)
{
    if (r->end_j < v->out_width) {
        *r = region_at(v, r->first_i, r->end_j);
        return 1;
    }
    if (r->end_i < v->out_height) {
        *r = region_at(v, r->end_i, 0);
        return 1;
    }
    return 0;
}

/* How to read what the pixels of a region see, in units of which an input pixel has `each`. */
typedef struct {
    size_t first;               /* where the first pixel's first tap inside is */
    size_t right, back;         /* from there to the next pixel's: to the right, or down and back to first_j; it may wrap */
    uint32_t lines, runs;       /* kernel rows, and in each the runs that lie together */
    size_t length;              /* of a run */
    size_t line_step, run_step; /* from one to the next */
    size_t before, between;     /* what is outside of the window's taps: before the first run, and after each kernel row's last */
} path;

static inline path path_of(const labc_window *v, const region *r, uint32_t each)
{
    const sight *s = &r->sees;
    const uint32_t columns = s->columns.end - s->columns.first;
    path p = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    if (inside(s) > 0) {
        const size_t unit = (size_t)each, width = (size_t)v->width * unit; /* size_t may have 16 bits */
        p.first = (size_t)pixel_of(v, s, s->rows.first, s->columns.first) * unit;
        p.right = (size_t)v->stride_x * unit;
        p.back = (size_t)v->stride_y * width - (size_t)(r->end_j - r->first_j - 1) * p.right;
        p.lines = s->rows.end - s->rows.first;
        p.runs = v->dilation_x == 1 ? 1 : columns;
        p.length = (size_t)(columns / p.runs) * unit;
        p.line_step = (size_t)v->dilation_y * width;
        p.run_step = (size_t)v->dilation_x * unit;
        p.before = (size_t)(s->rows.first * v->kernel_width + s->columns.first) * unit;
        p.between = (size_t)(v->kernel_width - columns) * unit;
    }
    return p;
}

/* The next pixel of a region: where what it sees begins, which pixel of y it is, how many columns of the region there are from it on. */
typedef struct {
    size_t from, to;
    uint32_t columns;
} cursor;

static inline cursor cursor_at(const labc_window *v, const region *r, const path *p)
{
    const cursor c = {p->first, (size_t)(r->first_i * v->out_width + r->first_j), r->end_j - r->first_j};
    return c;
}

static inline void advance(cursor *c, const labc_window *v, const region *r, const path *p)
{
    if (--c->columns > 0) {
        c->from += p->right;
        ++c->to;
    } else {
        c->columns = r->end_j - r->first_j;
        c->from += p->back;
        c->to += (size_t)(v->out_width - c->columns + 1);
    }
}

static inline uint32_t pixels_of(const region *r)
{
    return (r->end_i - r->first_i) * (r->end_j - r->first_j);
}

#endif
