/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by WebAssembly's simd128: kernels.def says what each computes. What is not here is in scalar_conv.c. */
#include "region.h"
#include "simd128.h"

/* Copies `size` bytes, a multiple of 2. */
static inline void copy_pairs(uint8_t *to, const uint8_t *from, size_t size)
{
    for (; size >= 16; size -= 16, to += 16, from += 16) {
        wasm_v128_store(to, wasm_v128_load(from));
    }
    if (size >= 8) {
        __builtin_memcpy(to, from, 8);
        to += 8;
        from += 8;
        size -= 8;
    }
    for (; size != 0; size -= 2, to += 2, from += 2) {
        __builtin_memcpy(to, from, 2);
    }
}

/* ---- signs times signs ---- */

/*
 * What the pixels of a region see, as runs of columns that follow each other in a row of w: one, if whole kernel rows are inside, else one
 * for each. It is copied before it is counted, so that all of it lies together.
 */
typedef struct {
    const labc_window *v;
    region r;
    path p;                         /* in bytes of x */
    uint32_t taps_together, pieces; /* taps that are copied at once, and how often */
    size_t tap_bytes;               /* of what is copied */
    uint32_t runs, columns;         /* of w, and columns of a run */
    uint32_t first, step, all;      /* columns of w: before the first run, from one to the next, and of a row */
    uint32_t covered, missing;      /* elements of a row of w inside and outside */
} place;

static inline place place_of(const labc_window *v, const region *r)
{
    const uint32_t pixel_bytes = 4 * (v->channels / 32 + (v->channels % 32 != 0)), tap = v->channels / 16 + (v->channels % 16 != 0);
    const uint32_t down = r->sees.rows.end - r->sees.rows.first, across = r->sees.columns.end - r->sees.columns.first;
    const uint32_t seen = inside(&r->sees), whole = across == v->kernel_width, dense = v->dilation_x == 1 && 2 * tap == pixel_bytes;
    const place at = {v,
                      *r,
                      path_of(v, r, pixel_bytes),
                      dense ? across : 1,
                      dense ? 1 : across,
                      2 * tap,
                      seen == 0 ? 0
                      : whole   ? 1
                                : down,
                      (whole ? down : 1) * across * tap,
                      tap * (r->sees.rows.first * v->kernel_width + r->sees.columns.first),
                      tap * v->kernel_width,
                      tap * taps_of(v),
                      seen * v->channels,
                      (taps_of(v) - seen) * v->channels};
    return at;
}

/* What a pixel sees, from the first tap inside on, to `to`. */
static inline void gather(const uint8_t *x, const place *at, uint8_t *to)
{
    const size_t size = at->taps_together * at->tap_bytes;
    for (uint32_t i = 0; i < at->p.lines; ++i) {
        for (uint32_t j = 0; j < at->pieces; ++j, to += size) {
            copy_pairs(to, x + i * at->p.line_step + j * at->p.run_step, size);
        }
    }
}

/* A block of rows: its part of w, of limits (null: sums are asked for) and of y's first pixel. */
typedef struct {
    const uint8_t *w;
    const int32_t *limits;
    uint8_t *y;
    uint32_t pixel_bytes; /* of y */
    uint32_t rows;
} block;

/* 2 D + missing <= limit is D <= floor((limit - missing) / 2), narrowed to 16 bits, which changes none that counts. */
static inline v128_t bound_of(const int32_t *limits, v128_t missing)
{
    return wasm_i16x8_narrow_i32x4(wasm_i32x4_shr(wasm_i32x4_sub(wasm_v128_load(limits), missing), 1),
                                   wasm_i32x4_shr(wasm_i32x4_sub(wasm_v128_load(limits + 4), missing), 1));
}

/* The outputs of a region in the rows of a block. */
static void cover(const uint8_t *x, const block *b, const place *at, uint8_t *seen)
{
    const uint32_t groups = groups_of(b->rows);
    const v128_t most = wasm_i32x4_splat((int32_t)at->covered), missing = wasm_i32x4_splat((int32_t)at->missing);
    v128_t bounds[GROUPS];
    for (uint32_t i = 0; b->limits != 0 && i < b->rows; i += 32) {
        int32_t limits[32];
        copy_some(limits, b->limits + i, least(b->rows - i, 32), -1);
        for (uint32_t j = 0; j < 4; ++j) {
            bounds[i / 8 + j] = bound_of(limits + 8 * j, missing);
        }
    }
    cursor c = cursor_at(at->v, &at->r, &at->p);
    for (uint32_t left = pixels_of(&at->r); left != 0; --left, advance(&c, at->v, &at->r, &at->p)) {
        uint8_t *const y = b->y + c.to * b->pixel_bytes;
        const uint8_t *from = seen;
        v128_t counts[GROUPS];
        clear(counts);
        gather(x + c.from, at, seen);
        for (uint32_t i = 0; i < at->runs; ++i, from += 2 * at->columns) {
            add_differences(from, b->w + 16 * groups * (at->first + i * at->step), at->columns, counts, groups);
        }
        if (b->limits == 0) {
            for (uint32_t i = 0; i < b->rows; i += 8) {
                store_sums((int32_t *)(void *)y + i, most, counts[i / 8], b->rows - i);
            }
            continue;
        }
        const v128_t *count = counts, *bound = bounds;
        for (uint32_t i = 0; i < b->rows; i += 32, count += 4, bound += 4) {
            const uint32_t signs = bits_of(wasm_i16x8_le(count[0], bound[0]), wasm_i16x8_le(count[1], bound[1]),
                                           wasm_i16x8_le(count[2], bound[2]), wasm_i16x8_le(count[3], bound[3]));
            __builtin_memcpy(y + i / 8, &signs, sizeof signs);
        }
    }
}

/* The same where counts need 32 bits. */
static void cover_wide(const uint8_t *x, const block *b, const place *at, uint8_t *seen)
{
    const uint32_t groups = groups_of(b->rows);
    cursor c = cursor_at(at->v, &at->r, &at->p);
    for (uint32_t left = pixels_of(&at->r); left != 0; --left, advance(&c, at->v, &at->r, &at->p)) {
        uint32_t *const y = (uint32_t *)(void *)(b->y + c.to * b->pixel_bytes);
        uint32_t totals[BLOCK];
        for (uint32_t i = 0; i < BLOCK; ++i) {
            totals[i] = 0;
        }
        gather(x + c.from, at, seen);
        for (uint32_t i = 0; i < at->runs; ++i) {
            const uint8_t *const w = b->w + 16 * groups * (at->first + i * at->step);
            add_many(seen + i * 2 * at->columns, w, at->columns, totals, groups);
        }
        for (uint32_t i = 0; i < b->rows; ++i) {
            if (b->limits == 0) {
                y[i] = at->covered - 2 * totals[i];
            } else {
                const uint32_t sign = (int32_t)(2 * totals[i] + at->missing) <= b->limits[i];
                y[i / 32] = (i % 32 ? y[i / 32] : 0) | sign << i % 32;
            }
        }
    }
}

static void convolve(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, void *y, void *seen)
{
    const uint32_t pixel_bytes = limits == 0 ? 4 * rows : 4 * (rows / 32 + (rows % 32 != 0));
    region r = region_at(v, 0, 0);
    do {
        const place at = place_of(v, &r);
        for (uint32_t n = 0; n < rows; n += BLOCK) {
            const block b = {(const uint8_t *)w + (size_t)(2 * n) * at.all, limits == 0 ? 0 : limits + n,
                             (uint8_t *)y + (limits == 0 ? 4 * n : n / 8), pixel_bytes, least(rows - n, BLOCK)};
            if (at.covered <= MOST) {
                cover((const uint8_t *)x, &b, &at, seen);
            } else {
                cover_wide((const uint8_t *)x, &b, &at, seen);
            }
        }
    } while (next_region(v, &r));
}

void labc_sign_conv_sums_simd128(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                 int32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, 0, window, rows, y, scratch);
}

void labc_sign_conv_threshold_simd128(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                      const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    convolve(x, w, limits, window, rows, y, scratch);
}

/* ---- bytes times signs: for each output pixel, the matrix-vector product of what it sees ---- */

static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t size)
{
    const size_t pairs = size & ~(size_t)1;
    copy_pairs(to, from, pairs);
    if (pairs != size) {
        to[pairs] = from[pairs];
    }
}

/* The bytes inside, each where the columns of w have it; x and `to` are where the first is and where it goes. */
static inline void gather_bytes(const uint8_t *x, const path *p, uint8_t *to)
{
    size_t done = 0;
    for (uint32_t i = 0; i < p->lines; ++i, done += p->between) {
        for (uint32_t j = 0; j < p->runs; ++j, done += p->length) {
            copy_bytes(to + done, x + i * p->line_step + j * p->run_step, p->length);
        }
    }
}

/*
 * Does `use` for each output pixel: it knows it as `pixel`, and its tables are in scratch and have `excess`. Behind them is what the pixel
 * sees; outside are zeros, which are 0 whatever the offset.
 */
#define EACH_PIXEL(use)                                                                           \
    do {                                                                                          \
        const uint32_t inputs = taps_of(window) * window->channels;                               \
        uint8_t *const seen = (uint8_t *)scratch + byte_columns(inputs) * TABLES;                 \
        region r = region_at(window, 0, 0);                                                       \
        do {                                                                                      \
            const path p = path_of(window, &r, window->channels);                                 \
            cursor c = cursor_at(window, &r, &p);                                                 \
            for (uint32_t i = 0; i < inputs; ++i) {                                               \
                seen[i] = 0;                                                                      \
            }                                                                                     \
            for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, window, &r, &p)) { \
                const size_t pixel = c.to;                                                        \
                gather_bytes(x + c.from, &p, seen + p.before);                                    \
                const uint32_t excess = make_tables(seen, offset, inputs, scratch);               \
                use;                                                                              \
            }                                                                                     \
        } while (next_region(window, &r));                                                        \
    } while (0)

void labc_byte_conv_sums_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                                 uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    EACH_PIXEL(sum_rows(scratch, excess, w, inputs, rows, y + pixel * rows));
}

void labc_byte_conv_threshold_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                      const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                      uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t words = rows / 32 + (rows % 32 != 0);
    EACH_PIXEL(threshold_rows(scratch, excess, w, thresholds, inputs, rows, y + pixel * words));
}

void labc_byte_conv_requantize_simd128(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                       const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                       uint8_t *restrict y, void *restrict scratch)
{
    EACH_PIXEL(requantize_rows(scratch, excess, w, m, b, shift, inputs, rows, y + pixel * rows));
}
