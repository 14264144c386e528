/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by NEON, little-endian AArch64 and ARMv7-A: kernels.def says what each computes. */
#include "neon.h"
#include "region.h"

/* Inlined, so that what is constant is known and what is counted stays in registers. */
#define INLINED __attribute__((always_inline)) static inline

/* ---- signs times signs: where they are ---- */

/*
 * What the pixels of a region see, as `outer` times `inner` runs of words that follow each other in x as in w. A kernel row is a run where
 * its taps are neighbours in x and fill whole words of w, else each tap is.
 */
typedef struct {
    uint32_t outer, inner, words;       /* words of 64 bits that a run has in x, whole ones */
    uint32_t half;                      /* 1 where half a word follows: C % 64 is 1 to 32 */
    uint32_t x_outer, x_inner;          /* steps, in words of 32 bits */
    uint32_t w_first, w_outer, w_inner; /* where the first run is, and steps, in words of 64 bits of one row */
} walk;

/* Words of 64 bits of a tap of w. */
static inline uint32_t tap_words(const labc_window *v)
{
    return v->channels / 64 + (v->channels % 64 != 0);
}

static inline walk walk_of(const labc_window *v, const sight *s)
{
    const uint32_t words = v->channels / 32 + (v->channels % 32 != 0), filled = tap_words(v);
    const uint32_t down = s->rows.end - s->rows.first, across = s->columns.end - s->columns.first;
    const uint32_t x_row = v->dilation_y * v->width * words, w_row = v->kernel_width * filled;
    const uint32_t w_first = s->rows.first * w_row + s->columns.first * filled;
    if (v->dilation_x == 1 && words % 2 == 0) {
        const walk by_rows = {1, across == 0 ? 0 : down, across * filled, 0, 0, x_row, w_first, 0, w_row};
        return by_rows;
    }
    const walk by_taps = {down, across, words / 2, words % 2, x_row, v->dilation_x * words, w_first, w_row, filled};
    return by_taps;
}

/* ---- counting ---- */

/* A group of w: a word of each of eight rows, two in a vector. */
typedef struct {
    uint8x16_t a, b, c, d;
} group;

static inline group load_group(const uint8_t *at)
{
    const group w = {vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)};
    return w;
}

/* Half a word of x, twice; the other half is 0, as it is in w. */
static inline uint8x16_t load_half(const uint32_t *at)
{
    return vreinterpretq_u8_u64(vdupq_n_u64(*at));
}

#if defined(__aarch64__)

/* A word of x, twice. */
static inline uint8x16_t load_word(const uint32_t *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, sizeof word);
    return vreinterpretq_u8_u64(vdupq_n_u64(word));
}

/*
 * Counts of eight rows side by side: those of a word's differences become one vector by two rounds of adding neighbours, in which two
 * neighbouring bytes are a row's, in order of rows; a third is part of the addition.
 */
typedef uint16x8_t counter;

static inline counter nothing(void)
{
    return vdupq_n_u16(0);
}

INLINED counter add_differences(counter sums, group w, uint8x16_t x)
{
    const uint8x16_t a = vcntq_u8(veorq_u8(w.a, x)), b = vcntq_u8(veorq_u8(w.b, x));
    const uint8x16_t c = vcntq_u8(veorq_u8(w.c, x)), d = vcntq_u8(veorq_u8(w.d, x));
    return vpadalq_u8(sums, pairs(pairs(a, b), pairs(c, d)));
}

static inline uint16x8_t rows_of(counter sums)
{
    return sums;
}

#else

static inline uint8x16_t load_word(const uint32_t *at)
{
    const uint32x2_t word = vld1_u32(at);
    return vreinterpretq_u8_u32(vcombine_u32(word, word));
}

/* Four counts of each of eight rows, two rows in a vector: here adding neighbours takes two instructions, so it is done at the end. */
typedef struct {
    uint16x8_t a, b, c, d;
} counter;

static inline counter nothing(void)
{
    const uint16x8_t zeros = vdupq_n_u16(0);
    const counter sums = {zeros, zeros, zeros, zeros};
    return sums;
}

INLINED counter add_differences(counter sums, group w, uint8x16_t x)
{
    sums.a = vpadalq_u8(sums.a, vcntq_u8(veorq_u8(w.a, x)));
    sums.b = vpadalq_u8(sums.b, vcntq_u8(veorq_u8(w.b, x)));
    sums.c = vpadalq_u8(sums.c, vcntq_u8(veorq_u8(w.c, x)));
    sums.d = vpadalq_u8(sums.d, vcntq_u8(veorq_u8(w.d, x)));
    return sums;
}

static inline uint16x4_t pairs_of_rows(uint16x8_t v)
{
    return vpadd_u16(vget_low_u16(v), vget_high_u16(v));
}

static inline uint16x8_t rows_of(counter sums)
{
    return vcombine_u16(vpadd_u16(pairs_of_rows(sums.a), pairs_of_rows(sums.b)), vpadd_u16(pairs_of_rows(sums.c), pairs_of_rows(sums.d)));
}

#endif

/* The runs of a walk: x moves on by `from`, w by `to`. */
#define EACH_RUN(k, from, to)                                                                                                      \
    for (uint32_t r = 0; r < (k)->outer; ++r)                                                                                      \
        for (uint32_t s = 0, from = r * (k)->x_outer, to = (k)->w_first + r * (k)->w_outer; s < (k)->inner;                        \
             ++s, from += (k)->x_inner, to += (k)->w_inner)

/* The differences that one output pixel, of which x is the first tap inside, has in a block of one or two groups. */
INLINED void count_one(const uint32_t *x, const uint8_t *w, uint32_t groups, const walk *k, uint16x8_t sums[2])
{
    counter a = nothing(), b = nothing();
    EACH_RUN(k, from, to)
    {
        const uint32_t *at = x + from;
        const uint8_t *words = w + to * 64 * groups;
        ROLLED
        for (const uint32_t *const end = at + 2 * k->words; at != end; at += 2, words += 64 * groups) {
            const uint8x16_t word = load_word(at);
            a = add_differences(a, load_group(words), word);
            if (groups == 2) {
                b = add_differences(b, load_group(words + 64), word);
            }
        }
    }
    if (k->half) {
        EACH_RUN(k, from, to)
        {
            const uint8x16_t word = load_half(x + from + 2 * k->words);
            const uint8_t *const words = w + (to + k->words) * 64 * groups;
            a = add_differences(a, load_group(words), word);
            if (groups == 2) {
                b = add_differences(b, load_group(words + 64), word);
            }
        }
    }
    sums[0] = rows_of(a);
    sums[1] = rows_of(b);
}

enum { MANY = 4 };

#if defined(__aarch64__)

/* Work on x begins when a and b are there: kept apart, pixels need no more registers than there are. */
#define AFTER(x, a, b) __asm__("" : "+w"(x) : "w"(a), "w"(b))

/* The same for four pixels and two groups. */
INLINED void count_many(const uint32_t *const x[MANY], const uint8_t *w, const walk *k, uint16x8_t sums[2 * MANY])
{
    uint16x8_t a0 = vdupq_n_u16(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
#define DIFFER(load)                                                                                                               \
    do {                                                                                                                           \
        const group first = load_group(words), second = load_group(words + 64);                                                    \
        words += 128;                                                                                                              \
        uint8x16_t word = load(x0);                                                                                                \
        a0 = add_differences(a0, first, word);                                                                                     \
        b0 = add_differences(b0, second, word);                                                                                    \
        word = load(x1);                                                                                                           \
        AFTER(word, a0, b0);                                                                                                       \
        a1 = add_differences(a1, first, word);                                                                                     \
        b1 = add_differences(b1, second, word);                                                                                    \
        word = load(x2);                                                                                                           \
        AFTER(word, a1, b1);                                                                                                       \
        a2 = add_differences(a2, first, word);                                                                                     \
        b2 = add_differences(b2, second, word);                                                                                    \
        word = load(x3);                                                                                                           \
        AFTER(word, a2, b2);                                                                                                       \
        a3 = add_differences(a3, first, word);                                                                                     \
        b3 = add_differences(b3, second, word);                                                                                    \
    } while (0)
    EACH_RUN(k, from, to)
    {
        const uint32_t *x0 = x[0] + from, *x1 = x[1] + from, *x2 = x[2] + from, *x3 = x[3] + from;
        const uint8_t *words = w + to * 128;
        ROLLED
        for (const uint32_t *const end = x0 + 2 * k->words; x0 != end; x0 += 2, x1 += 2, x2 += 2, x3 += 2) {
            DIFFER(load_word);
        }
    }
    if (k->half) {
        const uint32_t *const y0 = x[0] + 2 * k->words, *const y1 = x[1] + 2 * k->words;
        const uint32_t *const y2 = x[2] + 2 * k->words, *const y3 = x[3] + 2 * k->words;
        EACH_RUN(k, from, to)
        {
            const uint32_t *const x0 = y0 + from, *const x1 = y1 + from, *const x2 = y2 + from, *const x3 = y3 + from;
            const uint8_t *words = w + (to + k->words) * 128;
            DIFFER(load_half);
        }
    }
#undef DIFFER
    sums[0] = a0;
    sums[1] = b0;
    sums[2] = a1;
    sums[3] = b1;
    sums[4] = a2;
    sums[5] = b2;
    sums[6] = a3;
    sums[7] = b3;
}

#else

INLINED void count_many(const uint32_t *const x[MANY], const uint8_t *w, const walk *k, uint16x8_t sums[2 * MANY])
{
    for (uint32_t i = 0; i < MANY; ++i) {
        count_one(x[i], w, 2, k, sums + 2 * i);
    }
}

#endif

/* The same where 16 bits may be too few: `counts` of 16 rows. */
static void count_wide(const uint32_t *x, const uint8_t *w, uint32_t groups, const walk *k, uint32_t counts[16])
{
    for (uint32_t i = 0; i < 16; ++i) {
        counts[i] = 0;
    }
    EACH_RUN(k, from, to)
    {
        for (uint32_t done = 0; done < k->words + k->half;) {
            const uint32_t some = k->words - done < 1023 ? k->words - done : 1023;
            const walk piece = {1, 1, some, done + some == k->words ? k->half : 0, 0, 0, to + done, 0, 0};
            uint16x8_t sums[2];
            count_one(x + from + 2 * done, w, groups, &piece, sums);
            for (uint32_t i = 0; i < 2; ++i) {
                uint32_t *const at = counts + 8 * i;
                vst1q_u32(at, vaddw_u16(vld1q_u32(at), vget_low_u16(sums[i])));
                vst1q_u32(at + 4, vaddw_u16(vld1q_u32(at + 4), vget_high_u16(sums[i])));
            }
            done += some + piece.half;
        }
    }
}

/* ---- signs times signs: what becomes of the counts ---- */

/* Counts of at most MOST differences are below 65535, which as a bound is always. */
enum { MOST = 65534 };

/* 16 rows or, of the last at most eight, one group of them. */
typedef struct {
    const uint8_t *w;
    const int32_t *limits; /* null: sums are asked for */
    uint8_t *y;            /* their part of the first pixel of y */
    uint32_t pixel_bytes;  /* of y */
    uint32_t rows;         /* those that there are */
} block;

/* What a region has in common: of the elements of a row, those inside and those outside. */
typedef struct {
    const labc_window *v;
    region r;
    path p;
    walk k;
    uint32_t covered, missing;
} place;

static inline place place_of(const labc_window *v, const region *r, const path *p)
{
    const uint32_t taps_inside_it = inside(&r->sees);
    const place at = {v, *r, *p, walk_of(v, &r->sees), taps_inside_it * v->channels, (taps_of(v) - taps_inside_it) * v->channels};
    return at;
}

/* 2 D + missing <= limit is D < floor((limit - missing) / 2) + 1, which is kept within 0 and 65535. */
static inline uint16x8_t bounds_of(const int32_t *limits, uint32_t some, uint32_t missing)
{
    int32_t eight[8];
    copy_some(eight, limits, some, -1);
    const int32x4_t more = vdupq_n_s32(2 - (int32_t)missing);
    return vcombine_u16(vqshrun_n_s32(vaddq_s32(vld1q_s32(eight), more), 1), vqshrun_n_s32(vaddq_s32(vld1q_s32(eight + 4), more), 1));
}

/* Of 16 rows, the bit of each in a byte, if its count is below its bound. */
static inline uint8x16_t bits_below(const uint16x8_t counts[2], const uint16x8_t bounds[2])
{
    const uint8x8_t low = vmovn_u16(vcltq_u16(counts[0], bounds[0])), high = vmovn_u16(vcltq_u16(counts[1], bounds[1]));
    return vandq_u8(vcombine_u8(low, high), vld1q_u8(bit_weights));
}

#define STORE_LANE(y, v, lane)                                                                                                     \
    do {                                                                                                                           \
        const uint16_t part = vgetq_lane_u16(vreinterpretq_u16_u8(v), lane);                                                       \
        __builtin_memcpy(y, &part, sizeof part);                                                                                   \
    } while (0)

static inline int32x4_t less_twice(int32x4_t most, uint16x4_t counts)
{
    return vreinterpretq_s32_u32(vmlsl_n_u16(vreinterpretq_u32_s32(most), counts, 2));
}

static inline void store_sums(int32_t *y, int32x4_t most, const uint16x8_t counts[2], uint32_t rows)
{
    int32_t some[16];
    int32_t *const to = rows < 16 ? some : y;
    vst1q_s32(to, less_twice(most, vget_low_u16(counts[0])));
    vst1q_s32(to + 4, less_twice(most, vget_high_u16(counts[0])));
    vst1q_s32(to + 8, less_twice(most, vget_low_u16(counts[1])));
    vst1q_s32(to + 12, less_twice(most, vget_high_u16(counts[1])));
    for (uint32_t i = 0; rows < 16 && i < rows; ++i) {
        y[i] = some[i];
    }
}

/* Of the next pixel, what it sees and its outputs. */
#define NEXT_PIXEL(i)                                                                                                              \
    from[i] = x + c.from;                                                                                                          \
    to[i] = b->y + c.to * b->pixel_bytes;                                                                                          \
    advance(&c, at->v, &at->r, &at->p)

/* The outputs of a region in the rows of a block. */
INLINED void cover(const uint32_t *x, const block *b, const place *at, int sums)
{
    const int32x4_t most = vdupq_n_s32((int32_t)at->covered);
    uint16x8_t bounds[2] = {vdupq_n_u16(0), vdupq_n_u16(0)};
    if (!sums) {
        const uint32_t first = b->rows < 8 ? b->rows : 8;
        bounds[0] = bounds_of(b->limits, first, at->missing);
        bounds[1] = bounds_of(b->limits + first, b->rows - first, at->missing);
    }
    cursor c = cursor_at(at->v, &at->r, &at->p);
    uint32_t left = pixels_of(&at->r);
    for (; b->rows > 8 && left >= MANY; left -= MANY) {
        uint16x8_t counts[2 * MANY];
        const uint32_t *from[MANY];
        uint8_t *to[MANY];
        NEXT_PIXEL(0);
        NEXT_PIXEL(1);
        NEXT_PIXEL(2);
        NEXT_PIXEL(3);
        count_many(from, b->w, &at->k, counts);
        if (sums) {
            store_sums((int32_t *)(void *)to[0], most, counts, b->rows);
            store_sums((int32_t *)(void *)to[1], most, counts + 2, b->rows);
            store_sums((int32_t *)(void *)to[2], most, counts + 4, b->rows);
            store_sums((int32_t *)(void *)to[3], most, counts + 6, b->rows);
        } else {
            const uint8x16_t first = pairs(bits_below(counts, bounds), bits_below(counts + 2, bounds));
            const uint8x16_t second = pairs(bits_below(counts + 4, bounds), bits_below(counts + 6, bounds));
            uint8x16_t signs = pairs(first, second);
            signs = pairs(signs, signs);
            STORE_LANE(to[0], signs, 0);
            STORE_LANE(to[1], signs, 1);
            STORE_LANE(to[2], signs, 2);
            STORE_LANE(to[3], signs, 3);
        }
    }
    for (; left != 0; --left) {
        uint16x8_t counts[2];
        const uint32_t *from[1];
        uint8_t *to[1];
        NEXT_PIXEL(0);
        if (b->rows > 8) {
            count_one(from[0], b->w, 2, &at->k, counts);
        } else {
            count_one(from[0], b->w, 1, &at->k, counts);
        }
        if (sums) {
            store_sums((int32_t *)(void *)to[0], most, counts, b->rows);
        } else {
            uint8x16_t signs = bits_below(counts, bounds);
            signs = pairs(signs, signs);
            signs = pairs(signs, signs);
            signs = pairs(signs, signs);
            STORE_LANE(to[0], signs, 0);
        }
    }
}

/* The same where counts need 32 bits. */
static void cover_wide(const uint32_t *x, const block *b, const place *at)
{
    cursor c = cursor_at(at->v, &at->r, &at->p);
    for (uint32_t left = pixels_of(&at->r); left != 0; --left) {
        uint32_t counts[16];
        const uint32_t *from[1];
        uint8_t *to[1];
        NEXT_PIXEL(0);
        count_wide(from[0], b->w, b->rows > 8 ? 2 : 1, &at->k, counts);
        uint16_t signs = 0;
        for (uint32_t i = 0; i < b->rows; ++i) {
            if (b->limits == 0) {
                ((int32_t *)(void *)to[0])[i] = (int32_t)(at->covered - 2 * counts[i]);
            } else {
                signs = (uint16_t)(signs | (uint32_t)((int32_t)(2 * counts[i] + at->missing) <= b->limits[i]) << i);
            }
        }
        if (b->limits != 0) {
            __builtin_memcpy(to[0], &signs, sizeof signs);
        }
    }
}

INLINED void convolve(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, uint8_t *y,
                      uint32_t pixel_bytes, int sums)
{
    region r = region_at(v, 0, 0);
    do {
        const path p = path_of(v, &r, v->channels / 32 + (v->channels % 32 != 0));
        const place at = place_of(v, &r, &p);
        for (uint32_t n = 0; n < rows; n += 16) {
            const block b = {(const uint8_t *)w + n * taps_of(v) * tap_words(v) * 8, sums ? 0 : limits + n, y + (sums ? 4 * n : n / 8),
                             pixel_bytes, rows - n < 16 ? rows - n : 16};
            if (at.covered <= MOST) {
                cover(x, &b, &at, sums);
            } else {
                cover_wide(x, &b, &at);
            }
        }
    } while (next_region(v, &r));
}

void labc_sign_conv_sums_neon(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                              int32_t *restrict y, void *restrict scratch)
{
    (void)scratch;
    convolve(x, w, 0, window, rows, (uint8_t *)y, 4 * rows, 1);
}

void labc_sign_conv_threshold_neon(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                   const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t words = rows / 32 + (rows % 32 != 0);
    (void)scratch;
    if (rows % 32 != 0) { /* blocks write 16 bits */
        for (uint32_t i = 0; i < window->out_height * window->out_width; ++i) {
            y[i * words + words - 1] = 0;
        }
    }
    convolve(x, w, limits, window, rows, (uint8_t *)y, 4 * words, 0);
}

/* ---- bytes times signs: for each output pixel, the matrix-vector product of what it sees ---- */

static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t i = 0;
    for (; count - i >= 8; i += 8) {
        vst1_u8(to + i, vld1_u8(from + i));
    }
    for (; i < count; ++i) {
        to[i] = from[i];
    }
}

/* The bytes inside, each where the columns of w have it. */
static inline void gather(const uint8_t *x, const path *p, uint8_t *to)
{
    for (uint32_t i = 0; i < p->lines; ++i, x += p->line_step, to += p->between) {
        const uint8_t *from = x;
        for (uint32_t j = 0; j < p->runs; ++j, from += p->run_step, to += p->length) {
            copy_bytes(to, from, p->length);
        }
    }
}

/*
 * For each output pixel `use`, which knows it as `pixel`, and its tables by `scratch` and `excess`. Behind the tables what it sees is gathered; outside
 * are zeros, which are 0 whatever the offset.
 */
#define EACH_PIXEL(use)                                                                                                            \
    do {                                                                                                                           \
        const uint32_t inputs = taps_of(window) * window->channels;                                                                \
        uint8_t *const seen = (uint8_t *)scratch + (inputs / 8 + (inputs % 8 != 0)) * 64;                                          \
        region r = region_at(window, 0, 0);                                                                                        \
        do {                                                                                                                       \
            const path p = path_of(window, &r, window->channels);                                                                  \
            cursor c = cursor_at(window, &r, &p);                                                                                  \
            for (uint32_t i = 0; i < inputs; ++i) {                                                                                \
                seen[i] = 0;                                                                                                       \
            }                                                                                                                      \
            for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, window, &r, &p)) {                                  \
                const size_t pixel = c.to;                                                                                         \
                gather(x + c.from, &p, seen + p.before);                                                                           \
                const uint32_t excess = make_tables(seen, offset, inputs, scratch);                                                \
                use;                                                                                                               \
            }                                                                                                                      \
        } while (next_region(window, &r));                                                                                         \
    } while (0)

void labc_byte_conv_sums_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                              uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    EACH_PIXEL(sum_rows(scratch, excess, w, inputs, rows, y + pixel * rows));
}

void labc_byte_conv_threshold_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                   const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                   uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t words = rows / 32 + (rows % 32 != 0);
    EACH_PIXEL(threshold_rows(scratch, excess, w, thresholds, inputs, rows, y + pixel * words));
}

void labc_byte_conv_requantize_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                    const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                    uint8_t *restrict y, void *restrict scratch)
{
    EACH_PIXEL(requantize_rows(scratch, excess, w, m, b, shift, inputs, rows, y + pixel * rows));
}
