/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by NEON, little-endian AArch64 and ARMv7-A: kernels.def says what each computes. */
#include "neon.h"
#include "region.h"

/* Where arguments must be constants, and counts stay in registers. */
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
#define EACH_RUN(k, from, to)                                                                               \
    for (uint32_t r = 0; r < (k)->outer; ++r)                                                               \
        for (uint32_t s = 0, from = r * (k)->x_outer, to = (k)->w_first + r * (k)->w_outer; s < (k)->inner; \
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

/* Work on x begins when a and b are there: kept apart, pixels need no more registers than there are; gcc would mix them, and spill. */
#define AFTER(x, a, b) __asm__("" : "+w"(x) : "w"(a), "w"(b))

/*
 * The same for four pixels and two groups, which is where the time goes: 107 instructions for a word, of which eor, cnt and one addition
 * per 16 bytes are 96. Executed instructions per product, 3 x 3, with threshold, packing and the border's zeros counted as products, -O2,
 * emulated: 64 to 64 channels at 16 x 16 pixels 0.030, 128 to 128 0.027, 256 to 256 at 8 x 8 0.025, with gcc 12 and clang 22.
 */
INLINED void count_many(const uint32_t *const x[MANY], const uint8_t *w, const walk *k, uint16x8_t sums[2 * MANY])
{
    uint16x8_t a0 = vdupq_n_u16(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
#define DIFFER(load)                                                            \
    do {                                                                        \
        const group first = load_group(words), second = load_group(words + 64); \
        words += 128;                                                           \
        uint8x16_t word = load(x0);                                             \
        a0 = add_differences(a0, first, word);                                  \
        b0 = add_differences(b0, second, word);                                 \
        word = load(x1);                                                        \
        AFTER(word, a0, b0);                                                    \
        a1 = add_differences(a1, first, word);                                  \
        b1 = add_differences(b1, second, word);                                 \
        word = load(x2);                                                        \
        AFTER(word, a1, b1);                                                    \
        a2 = add_differences(a2, first, word);                                  \
        b2 = add_differences(b2, second, word);                                 \
        word = load(x3);                                                        \
        AFTER(word, a2, b2);                                                    \
        a3 = add_differences(a3, first, word);                                  \
        b3 = add_differences(b3, second, word);                                 \
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

/* With 16 vector registers pixels cannot share what is loaded. */
INLINED void count_many(const uint32_t *const x[MANY], const uint8_t *w, const walk *k, uint16x8_t sums[2 * MANY])
{
    for (uint32_t i = 0; i < MANY; ++i) {
        count_one(x[i], w, 2, k, sums + 2 * i);
    }
}

#endif

/* The differences of one pixel where 16 bits may be too few, of 16 rows: a run at a time, at most 1023 words and a half, so 65504. */
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

/* A region, how to read it, and how many elements of a row of w are inside and outside. */
typedef struct {
    const labc_window *v;
    region r;
    path p;
    walk k;
    uint32_t covered, missing;
} place;

static inline place place_of(const labc_window *v, const region *r, const path *p)
{
    const uint32_t seen = inside(&r->sees);
    const place at = {v, *r, *p, walk_of(v, &r->sees), seen * v->channels, (taps_of(v) - seen) * v->channels};
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

#define STORE_LANE(y, v, lane)                                               \
    do {                                                                     \
        const uint16_t part = vgetq_lane_u16(vreinterpretq_u16_u8(v), lane); \
        __builtin_memcpy(y, &part, sizeof part);                             \
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
#define NEXT_PIXEL(i)                     \
    from[i] = x + c.from;                 \
    to[i] = b->y + c.to * b->pixel_bytes; \
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

/* The bytes inside, each where the columns of w have it; x and `to` are where the first is and where it goes. */
static inline void gather(const uint8_t *x, const path *p, uint8_t *to)
{
    size_t done = 0;
    for (size_t i = 0; i < p->lines; ++i, done += p->between) {
        for (size_t j = 0; j < p->runs; ++j, done += p->length) {
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
        uint8_t *const seen = (uint8_t *)scratch + (inputs / 8 + (inputs % 8 != 0)) * 64;         \
        region r = region_at(window, 0, 0);                                                       \
        do {                                                                                      \
            const path p = path_of(window, &r, window->channels);                                 \
            cursor c = cursor_at(window, &r, &p);                                                 \
            for (uint32_t i = 0; i < inputs; ++i) {                                               \
                seen[i] = 0;                                                                      \
            }                                                                                     \
            for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, window, &r, &p)) { \
                const size_t pixel = c.to;                                                        \
                gather(x + c.from, &p, seen + p.before);                                          \
                const uint32_t excess = make_tables(seen, offset, inputs, scratch);               \
                use;                                                                              \
            }                                                                                     \
        } while (next_region(window, &r));                                                        \
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

/* ---- depthwise: a lane of bytes is an output channel ---- */

/* Steps between the taps inside, of x in elements (words, or bytes) and of w in words, and how many there are. */
typedef struct {
    uint32_t down, across;
    size_t x_row, x_tap;
    size_t w_first, w_row, w_tap;
} grid;

static inline grid grid_of(const labc_window *v, const sight *s, uint32_t each, uint32_t rows)
{
    const size_t w_tap = rows / 32 + (rows % 32 != 0), w_row = w_tap * v->kernel_width;
    const grid g = {s->rows.end - s->rows.first,
                    s->columns.end - s->columns.first,
                    (size_t)v->dilation_y * v->width * each,
                    (size_t)v->dilation_x * each,
                    s->rows.first * w_row + s->columns.first * w_tap,
                    w_row,
                    w_tap};
    return g;
}

/*
 * Where output channels n to n + count - 1, at most 32 and n a multiple of 16, have their inputs: from channel `first` of x on, and that of
 * channel n + i is number from[i] of those.
 */
typedef struct {
    uint32_t first, last;
    uint8_t from[32];
} inputs_of_lanes;

static inline inputs_of_lanes inputs_of(uint32_t n, uint32_t count, uint32_t rows, uint32_t channels)
{
    const uint32_t each = rows / channels;
    inputs_of_lanes lanes = {n / each, (n + count - 1) / each, {0}};
    for (uint32_t i = 0; i < count; ++i) {
        lanes.from[i] = (uint8_t)((n + i) / each - lanes.first);
    }
    return lanes;
}

/* All ones in the bytes whose bit of a word is 1: which byte of the word each looks at, and which of its bits. */
typedef struct {
    uint8x16_t bytes, bits;
} looking;

static inline looking looking_at(const uint8_t from[16])
{
    const uint8x16_t at = vld1q_u8(from);
    const looking l = {vshrq_n_u8(at, 3), vshlq_u8(vdupq_n_u8(1), vreinterpretq_s8_u8(vandq_u8(at, vdupq_n_u8(7))))};
    return l;
}

static inline uint8x16_t spread(uint32_t word, looking l)
{
    return vtstq_u8(look_up(vreinterpretq_u8_u32(vdupq_n_u32(word)), l.bytes), l.bits);
}

static const uint8_t in_order[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                     16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

/* 32 output channels of signs: how to look at their weights and, where there are more of them than inputs, at those. */
typedef struct {
    looking w[2], x[2];
    uint32_t first, last, shift; /* words of a pixel of x, and where in the two of them the inputs begin */
    int same;                    /* as many outputs as inputs */
} sign_lanes;

static inline sign_lanes sign_lanes_of(uint32_t n, uint32_t rows, uint32_t channels)
{
    const inputs_of_lanes from = inputs_of(n, rows - n < 32 ? rows - n : 32, rows, channels);
    const sign_lanes lanes = {{looking_at(in_order), looking_at(in_order + 16)},
                              {looking_at(from.from), looking_at(from.from + 16)},
                              from.first / 32,
                              from.last / 32,
                              from.first % 32,
                              rows == channels};
    return lanes;
}

/* Adds the differences of at most 255 taps beside each other. */
INLINED void add_taps(const uint32_t *x, size_t x_tap, const uint32_t *w, size_t w_tap, uint32_t count, const sign_lanes *l, int same,
                      uint8x16_t sums[2])
{
    for (size_t i = 0; i < count; ++i) {
        const uint32_t *const at = x + i * x_tap;
        const uint32_t weights = w[i * w_tap];
        if (same) {
            const uint32_t differ = at[l->first] ^ weights;
            sums[0] = vsubq_u8(sums[0], spread(differ, l->w[0]));
            sums[1] = vsubq_u8(sums[1], spread(differ, l->w[1]));
        } else {
            const uint32_t bits = (uint32_t)((at[l->first] | (uint64_t)at[l->last] << 32) >> l->shift);
            sums[0] = vsubq_u8(sums[0], veorq_u8(spread(bits, l->x[0]), spread(weights, l->w[0])));
            sums[1] = vsubq_u8(sums[1], veorq_u8(spread(bits, l->x[1]), spread(weights, l->w[1])));
        }
    }
}

INLINED void add_grid(const uint32_t *x, const uint32_t *w, const grid *g, const sign_lanes *l, int same, uint8x16_t sums[2])
{
    uint8x16_t both[2] = {vdupq_n_u8(0), vdupq_n_u8(0)};
    for (size_t a = 0; a < g->down; ++a) {
        add_taps(x + a * g->x_row, g->x_tap, w + a * g->w_row, g->w_tap, g->across, l, same, both);
    }
    sums[0] = both[0];
    sums[1] = both[1];
}

/* Adds 16 bytes to numbers in their order. */
static inline void add_16(uint32_t *to, uint8x16_t bytes)
{
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    vst1q_u32(to, vaddw_u16(vld1q_u32(to), vget_low_u16(low)));
    vst1q_u32(to + 4, vaddw_u16(vld1q_u32(to + 4), vget_high_u16(low)));
    vst1q_u32(to + 8, vaddw_u16(vld1q_u32(to + 8), vget_low_u16(high)));
    vst1q_u32(to + 12, vaddw_u16(vld1q_u32(to + 12), vget_high_u16(high)));
}

/* The differences of any number of taps. */
static void count_taps(const uint32_t *x, const uint32_t *w, const grid *g, const sign_lanes *l, uint32_t counts[32])
{
    for (uint32_t i = 0; i < 32; ++i) {
        counts[i] = 0;
    }
    for (size_t a = 0; a < g->down; ++a) {
        for (size_t b = 0; b < g->across; b += 255) {
            const size_t some = g->across - b < 255 ? g->across - b : 255;
            uint8x16_t sums[2] = {vdupq_n_u8(0), vdupq_n_u8(0)};
            add_taps(x + a * g->x_row + b * g->x_tap, g->x_tap, w + a * g->w_row + b * g->w_tap, g->w_tap, (uint32_t)some, l, l->same,
                     sums);
            add_16(counts, sums[0]);
            add_16(counts + 16, sums[1]);
        }
    }
}

/* As bounds_of, of 16 rows and kept within 0 and 255. */
static inline uint8x16_t byte_bounds_of(const int32_t *limits, uint32_t some, uint32_t missing)
{
    const uint32_t first = some < 8 ? some : 8;
    const uint16x8_t low = bounds_of(limits, first, missing), high = bounds_of(limits + first, some - first, missing);
    return vcombine_u8(vqmovn_u16(low), vqmovn_u16(high));
}

static inline void store_32(int32_t *y, const int32_t sums[32], uint32_t some)
{
    for (uint32_t i = 0; i < some; ++i) {
        y[i] = sums[i];
    }
}

/* The sums of 32 rows: most - 2 counts, which fit 16 bits. */
static inline void less_twice_bytes(int32_t *y, uint32_t most, const uint8x16_t counts[2])
{
    const int16x8_t all = vdupq_n_s16((int16_t)most);
    for (uint32_t i = 0; i < 2; ++i, y += 16) {
        const int16x8_t low = vsubq_s16(all, vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(counts[i]), 1)));
        const int16x8_t high = vsubq_s16(all, vreinterpretq_s16_u16(vshll_n_u8(vget_high_u8(counts[i]), 1)));
        vst1q_s32(y, vmovl_s16(vget_low_s16(low)));
        vst1q_s32(y + 4, vmovl_s16(vget_high_s16(low)));
        vst1q_s32(y + 8, vmovl_s16(vget_low_s16(high)));
        vst1q_s32(y + 12, vmovl_s16(vget_high_s16(high)));
    }
}

/*
 * The 32 rows from n on of the pixels of a region; limits is null where sums are asked for. Counts of up to 254 taps are bytes below 255,
 * which as a bound is always.
 */
INLINED void depthwise(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, const region *r, const path *p,
                       uint32_t n, uint32_t rows, const sign_lanes *l, int same, void *y)
{
    const uint32_t words = rows / 32 + (rows % 32 != 0), some = rows - n < 32 ? rows - n : 32, seen = inside(&r->sees);
    const grid g = grid_of(v, &r->sees, v->channels / 32 + (v->channels % 32 != 0), rows);
    const uint8x16_t weights = vld1q_u8(bit_weights);
    uint8x16_t bounds[2] = {weights, weights};
    if (limits != 0) {
        const uint32_t first = some < 16 ? some : 16;
        bounds[0] = byte_bounds_of(limits + n, first, taps_of(v) - seen);
        bounds[1] = byte_bounds_of(limits + n + first, some - first, taps_of(v) - seen);
    }
    cursor c = cursor_at(v, r, p);
    for (uint32_t left = pixels_of(r); left != 0; --left, advance(&c, v, r, p)) {
        uint8x16_t counts[2];
        add_grid(x + c.from, w + g.w_first + n / 32, &g, l, same, counts);
        if (limits != 0) {
            const uint8x16_t low = vandq_u8(vcltq_u8(counts[0], bounds[0]), weights);
            uint8x16_t bits = pairs(low, vandq_u8(vcltq_u8(counts[1], bounds[1]), weights));
            bits = pairs(bits, bits);
            ((uint32_t *)y)[c.to * words + n / 32] = vgetq_lane_u32(vreinterpretq_u32_u8(pairs(bits, bits)), 0);
        } else {
            int32_t sums[32];
            int32_t *const to = (int32_t *)y + c.to * rows + n;
            less_twice_bytes(some < 32 ? sums : to, seen, counts);
            store_32(to, sums, some < 32 ? some : 0);
        }
    }
}

static void depthwise_wide(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, const region *r,
                           const path *p, uint32_t n, uint32_t rows, const sign_lanes *l, void *y)
{
    const uint32_t words = rows / 32 + (rows % 32 != 0), some = rows - n < 32 ? rows - n : 32, seen = inside(&r->sees);
    const grid g = grid_of(v, &r->sees, v->channels / 32 + (v->channels % 32 != 0), rows);
    cursor c = cursor_at(v, r, p);
    for (uint32_t left = pixels_of(r); left != 0; --left, advance(&c, v, r, p)) {
        uint32_t counts[32], signs = 0;
        count_taps(x + c.from, w + g.w_first + n / 32, &g, l, counts);
        for (uint32_t i = 0; i < some; ++i) {
            if (limits == 0) {
                ((int32_t *)y)[c.to * rows + n + i] = (int32_t)(seen - 2 * counts[i]);
            } else {
                signs |= (uint32_t)((int32_t)(2 * counts[i] + taps_of(v) - seen) <= limits[n + i]) << i;
            }
        }
        if (limits != 0) {
            ((uint32_t *)y)[c.to * words + n / 32] = signs;
        }
    }
}

INLINED void sign_depthwise(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, void *y)
{
    region r = region_at(v, 0, 0);
    do {
        const path p = path_of(v, &r, v->channels / 32 + (v->channels % 32 != 0));
        for (uint32_t n = 0; n < rows; n += 32) {
            const sign_lanes l = sign_lanes_of(n, rows, v->channels);
            if (inside(&r.sees) > 254) {
                depthwise_wide(x, w, limits, v, &r, &p, n, rows, &l, y);
            } else if (l.same) {
                depthwise(x, w, limits, v, &r, &p, n, rows, &l, 1, y);
            } else {
                depthwise(x, w, limits, v, &r, &p, n, rows, &l, 0, y);
            }
        }
    } while (next_region(v, &r));
}

void labc_sign_depthwise_sums_neon(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window,
                                   uint32_t rows, int32_t *restrict y)
{
    sign_depthwise(x, w, 0, window, rows, y);
}

void labc_sign_depthwise_threshold_neon(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                        const labc_window *restrict window, uint32_t rows, uint32_t *restrict y)
{
    sign_depthwise(x, w, limits, window, rows, y);
}

/*
 * 16 output channels of bytes u = x ^ offset, which stand for u - offset. With z weights of -1, for which 255 - u is added, s taps add
 * up to sum w u + 255 z; what is asked for is sum w (u - offset), which has offset (s - 2 z) less than sum w u.
 */
typedef struct {
    looking w;
    uint32_t shift;         /* where in a word the weights are */
    uint32_t first, needed; /* channels of x: the first, and how many */
    uint8x16_t from;        /* which of those each lane takes; of no use where all are in order */
    uint32_t direct;        /* 16 channels in order */
    uint8x16_t offset;
} byte_lanes;

/* Adds at most 257 taps beside each other, in 16 bits, and counts weights of -1. */
INLINED void add_byte_taps(const uint8_t *x, size_t x_tap, const uint32_t *w, size_t w_tap, uint32_t count, const byte_lanes *l, int direct,
                           uint16x8_t sums[2])
{
    for (size_t i = 0; i < count; ++i) {
        const uint8_t *at = x + i * x_tap + l->first;
        uint8x16_t bytes;
        if (direct) {
            bytes = vld1q_u8(at);
        } else {
            uint8_t some[16] = {0};
            for (uint32_t k = 0; k < l->needed; ++k) {
                some[k] = at[k];
            }
            bytes = look_up(vld1q_u8(some), l->from);
        }
        const uint8x16_t signed_bytes = veorq_u8(bytes, veorq_u8(spread(~w[i * w_tap] >> l->shift, l->w), l->offset));
        sums[0] = vaddw_u8(sums[0], vget_low_u8(signed_bytes));
        sums[1] = vaddw_u8(sums[1], vget_high_u8(signed_bytes));
    }
}

/* to = from + sums, of 16 rows. */
static inline void plus_16(uint32_t *to, const uint32_t *from, const uint16x8_t sums[2])
{
    vst1q_u32(to, vaddw_u16(vld1q_u32(from), vget_low_u16(sums[0])));
    vst1q_u32(to + 4, vaddw_u16(vld1q_u32(from + 4), vget_high_u16(sums[0])));
    vst1q_u32(to + 8, vaddw_u16(vld1q_u32(from + 8), vget_low_u16(sums[1])));
    vst1q_u32(to + 12, vaddw_u16(vld1q_u32(from + 12), vget_high_u16(sums[1])));
}

/* to = start + the taps of a pixel, of 16 rows. */
INLINED void sum_byte_grid(const uint8_t *x, const uint32_t *w, const grid *g, const byte_lanes *l, int direct, const uint32_t *start,
                           uint32_t *to)
{
    uint16x8_t sums[2] = {vdupq_n_u16(0), vdupq_n_u16(0)};
    if ((uint64_t)g->down * g->across <= 257) {
        for (size_t a = 0; a < g->down; ++a) {
            add_byte_taps(x + a * g->x_row, g->x_tap, w + a * g->w_row, g->w_tap, g->across, l, direct, sums);
        }
        plus_16(to, start, sums);
        return;
    }
    for (size_t a = 0; a < g->down; ++a) {
        for (size_t b = 0; b < g->across; b += 257) {
            const size_t some = g->across - b < 257 ? g->across - b : 257;
            sums[0] = sums[1] = vdupq_n_u16(0);
            add_byte_taps(x + a * g->x_row + b * g->x_tap, g->x_tap, w + a * g->w_row + b * g->w_tap, g->w_tap, (uint32_t)some, l, direct,
                          sums);
            plus_16(to, start, sums);
            start = to;
        }
    }
}

/* What the sums of 16 rows are too much, taken off 0: offset (s - 2 z) + 255 z. */
static inline void start_of(const uint32_t *w, const grid *g, const byte_lanes *l, uint32_t offset, uint32_t start[16])
{
    uint32_t minus[16] = {0};
    for (size_t a = 0; a < g->down; ++a) {
        for (size_t b = 0; b < g->across; ++b) {
            add_16(minus, vshrq_n_u8(spread(~w[a * g->w_row + b * g->w_tap] >> l->shift, l->w), 7));
        }
    }
    for (uint32_t i = 0; i < 16; ++i) {
        start[i] = 0 - offset * (g->down * g->across) - (255 - 2 * offset) * minus[i];
    }
}

void labc_byte_depthwise_sums_neon(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                   const labc_window *restrict window, uint32_t rows, int32_t *restrict y)
{
    region r = region_at(window, 0, 0);
    do {
        const path p = path_of(window, &r, window->channels);
        const grid g = grid_of(window, &r.sees, window->channels, rows);
        for (uint32_t n = 0; n < rows; n += 16) {
            const uint32_t some = rows - n < 16 ? rows - n : 16;
            const inputs_of_lanes from = inputs_of(n, some, rows, window->channels);
            const byte_lanes l = {looking_at(in_order),
                                  n % 32,
                                  from.first,
                                  from.last - from.first + 1,
                                  vld1q_u8(from.from),
                                  rows == window->channels && some == 16,
                                  vdupq_n_u8((uint8_t)offset)};
            const uint32_t *const weights = w + g.w_first + n / 32;
            uint32_t start[16], sums[16];
            start_of(weights, &g, &l, offset, start);
            cursor c = cursor_at(window, &r, &p);
            for (uint32_t left = pixels_of(&r); left != 0; --left, advance(&c, window, &r, &p)) {
                int32_t *const to = y + c.to * rows + n;
                if (l.direct) {
                    sum_byte_grid(x + c.from, weights, &g, &l, 1, start, (uint32_t *)to);
                    continue;
                }
                sum_byte_grid(x + c.from, weights, &g, &l, 0, start, sums);
                for (uint32_t i = 0; i < some; ++i) {
                    to[i] = (int32_t)sums[i];
                }
            }
        }
    } while (next_region(window, &r));
}
