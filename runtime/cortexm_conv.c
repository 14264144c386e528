/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions for Arm Cortex-M: kernels.def says what each computes. */
#include "cortexm.h"
#include "window.h"

/* ---- signs times signs ---- */

/*
 * What an output pixel sees is gathered once, and compared with every row of weights. In a row, the weights of its taps are one run of
 * words if no column is missing, else one per kernel row, `gap` words apart.
 */
typedef struct {
    const uint32_t *patch, *end;
    uint32_t one, two, fours; /* words of a run: its length's bit 0, bit 1, and the others */
    uint32_t gap;
    uint32_t first;  /* where in a row of weights the first run begins */
    uint32_t inside; /* products */
} view;

NOT_INLINE void look(view *v, const uint32_t *x, const labc_window *window, uint32_t i, uint32_t j, uint32_t *patch)
{
    const sight s = sight_of(window, i, j);
    const uint32_t words = words_of(window->channels);
    const uint32_t columns = s.columns.end - s.columns.first, kernel_rows = s.rows.end - s.rows.first;
    v->patch = patch;
    for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
        for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
            const uint32_t *from = x + pixel_of(window, &s, a, b) * words;
            for (uint32_t left = words; left > 0; --left) {
                *patch++ = *from++;
            }
        }
    }
    v->end = patch;
    v->inside = kernel_rows * columns * window->channels;
    v->gap = (window->kernel_width - columns) * words;
    v->first = (s.rows.first * window->kernel_width + s.columns.first) * words;
    if (v->inside == 0) {
        v->first = 0;
    }
    const uint32_t run = v->inside == 0 ? 0 : columns * words * (v->gap == 0 ? kernel_rows : 1);
    v->one = run & 1;
    v->two = run & 2;
    v->fours = run & ~UINT32_C(3);
}

/*
 * Columns of bits count as in differences, but four words at a time, with the digits ones and twos kept and each carry into the fours
 * counted: windows are short, at a border they are shorter, and a run may begin at any state of the digits. x moves on to `end`.
 */
typedef struct {
    const uint32_t *x, *w;
    uint32_t ones, twos, fours;
} counter;

/* Four words at p. */
typedef struct {
    uint32_t a, b, c, d;
} four;

#if defined(__thumb2__)

/* One load for two words, where compilers would make two. */
INLINE four load(const uint32_t *p)
{
    typedef const uint32_t words[4];
    four v;
    __asm__("ldrd %0, %1, [%2]" : "=&r"(v.a), "=&r"(v.b) : "r"(p), "m"(*(words *)p));
    __asm__("ldrd %0, %1, [%2, #8]" : "=&r"(v.c), "=&r"(v.d) : "r"(p), "m"(*(words *)p));
    return v;
}

#elif defined(__OPTIMIZE_SIZE__)

INLINE four load(const uint32_t *p)
{
    const four v = {p[0], p[1], p[2], p[3]};
    return v;
}

#endif

#if defined(__thumb2__) || defined(__OPTIMIZE_SIZE__) /* with -Os gcc leaves Thumb-1 none of the upper registers */

INLINE void count_fours(counter *c, const uint32_t *end)
{
    do {
        const four x = load(c->x), w = load(c->w);
        const uint32_t twos_a = full_add(&c->ones, x.a ^ w.a, x.b ^ w.b);
        const uint32_t twos_b = full_add(&c->ones, x.c ^ w.c, x.d ^ w.d);
        c->fours = plus_bytes(c->fours, count_bytes(full_add(&c->twos, twos_a, twos_b)));
        c->x += 4;
        c->w += 4;
        OPAQUE(c->x);
        OPAQUE(c->w);
    } while (c->x != end);
}

#else

/* ldmia loads and moves the pointer on. */
INLINE void count_fours(counter *c, const uint32_t *end)
{
    uint32_t carries;
    __asm__(".syntax unified\n"
            "1:\n\t"
            "ldmia %[x]!, {r4, r5}\n\t"
            "ldmia %[w]!, {r6}\n\t"
            "eors r4, r6\n\t"
            "ldmia %[w]!, {r6}\n\t"
            "eors r5, r6\n\t"
            "eors r4, %[ones]\n\t" /* full_add(ones, r4, r5): the carries to r5 */
            "eors r5, %[ones]\n\t"
            "eors r4, r5\n\t"
            "bics r5, r4\n\t"
            "eors r5, %[ones]\n\t"
            "eors %[ones], r4\n\t"
            "mov %[carries], r5\n\t"
            "ldmia %[x]!, {r4, r5}\n\t"
            "ldmia %[w]!, {r6}\n\t"
            "eors r4, r6\n\t"
            "ldmia %[w]!, {r6}\n\t"
            "eors r5, r6\n\t"
            "eors r4, %[ones]\n\t" /* the same */
            "eors r5, %[ones]\n\t"
            "eors r4, r5\n\t"
            "bics r5, r4\n\t"
            "eors r5, %[ones]\n\t"
            "eors %[ones], r4\n\t"
            "mov r6, %[carries]\n\t"
            "eors r5, %[twos]\n\t" /* full_add(twos, r5, r6): the carries to r6 */
            "eors r6, %[twos]\n\t"
            "eors r5, r6\n\t"
            "bics r6, r5\n\t"
            "eors r6, %[twos]\n\t"
            "eors %[twos], r5\n\t"
            "ldr r4, =0x55555555\n\t" /* plus_bytes(fours, count_bytes(r6)) */
            "lsrs r5, r6, #1\n\t"
            "ands r5, r4\n\t"
            "subs r6, r5\n\t"
            "ldr r4, =0x33333333\n\t"
            "lsrs r5, r6, #2\n\t"
            "ands r6, r4\n\t"
            "ands r5, r4\n\t"
            "adds r6, r5\n\t"
            "ldr r4, =0x0f0f0f0f\n\t"
            "lsrs r5, r6, #4\n\t"
            "adds r6, r5\n\t"
            "ands r6, r4\n\t"
            "ldr r4, =0x01010101\n\t"
            "muls r6, r4\n\t"
            "lsrs r6, r6, #24\n\t"
            "add %[fours], r6\n\t"
            "cmp %[x], %[end]\n\t"
            "bne 1b\n\t"
            "b 2f\n\t"
            ".balign 4\n\t"
            ".ltorg\n"
            "2:"
            : [x] "+l"(c->x), [w] "+l"(c->w), [ones] "+l"(c->ones), [twos] "+l"(c->twos), [fours] "+h"(c->fours), [carries] "=&h"(carries)
            : [end] "h"(end)
            : "r4", "r5", "r6", "cc", "memory");
}

#endif

/*
 * How many bits of the patch differ from the row of weights whose first run is at w. What a run has over fours comes first: of the
 * first run there is little to add to.
 */
INLINE uint32_t differing(const view *v, const uint32_t *w)
{
    counter c = {v->patch, w, 0, 0, 0};
#define DIFFERENCE() (*c.x++ ^ *c.w++)
    if (v->one != 0) {
        c.ones = DIFFERENCE();
    }
    if (v->two != 0) {
        const uint32_t d = DIFFERENCE();
        c.twos = full_add(&c.ones, d, DIFFERENCE());
    }
    for (;;) {
        if (v->fours != 0) {
            count_fours(&c, c.x + v->fours);
        }
        if (c.x == v->end) {
            break;
        }
        c.w += v->gap;
        if ((v->one | v->two) != 0) {
            uint32_t twos_a = 0, twos_b = 0;
            if (v->one != 0) {
                twos_a = half_add(&c.ones, DIFFERENCE());
            }
            if (v->two != 0) {
                const uint32_t d = DIFFERENCE();
                twos_b = full_add(&c.ones, d, DIFFERENCE());
            }
            c.fours = plus_bytes(c.fours, count_bytes(full_add(&c.twos, twos_a, twos_b)));
        }
    }
#undef DIFFERENCE
    /* A nibble of ones + 2 twos is at most 12. */
    return plus_bytes(4 * c.fours, add_nibbles(count_nibbles(c.ones) + 2 * count_nibbles(c.twos)));
}

void labc_sign_conv_sums_cortexm(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                 int32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = taps_of(window) * words_of(window->channels);
    view v;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            look(&v, x, window, i, j, scratch);
            const uint32_t *row = w + v.first;
            for (uint32_t left = rows; left > 0; --left) {
                *y++ = (int32_t)(v.inside - 2 * differing(&v, row));
                row += row_words;
            }
        }
    }
}

void labc_sign_conv_threshold_cortexm(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                      const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t row_words = taps_of(window) * words_of(window->channels);
    view v;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            look(&v, x, window, i, j, scratch);
            const uint32_t outside = taps_of(window) * window->channels - v.inside;
            const uint32_t *row = w + v.first;
            const int32_t *limit = limits;
            for (uint32_t n = 0; n < rows; n += 32) {
                const uint32_t some = rows - n < 32 ? rows - n : 32;
                uint32_t signs = 0;
                for (uint32_t left = some; left > 0; --left) {
                    /* 2 D + outside - limit - 1, whose sign bit is 2 D + outside <= limit; -limit - 1 is ~limit */
                    uint32_t below = 2 * differing(&v, row) + outside + ~(uint32_t)*limit++;
                    OPAQUE(below);
                    signs = signs >> 1 | (below & UINT32_C(0x80000000));
                    row += row_words;
                }
                *y++ = signs >> (32 - some);
            }
        }
    }
}

/* ---- bytes times signs ---- */

/*
 * Two output pixels side by side are computed as one, as the number A + 2^16 B: sums of up to 32 bytes and their differences fit 16
 * bits, with a borrow from B where A is negative. Of each word of weights, the five inputs of a field of bits have 32 possible sums
 * with signs, which are tabulated once for all rows: seven look-ups in place of 64 additions. The index is a weight, so
 * neither branch nor address depends on x.
 */
enum { FIELD = 5, ENTRIES = 1 << FIELD, TABLES = 7, LAST_ENTRIES = 4, PAIR_ROWS = 64 };
#define BOTH UINT32_C(0x10001) /* times a number: it is both */
#define HALVES UINT32_C(0x80008000)

typedef struct {
    uint32_t inputs[32 + FIELD - 1];
    uint32_t table[(TABLES - 1) * ENTRIES + LAST_ENTRIES];
    int32_t sums[2][PAIR_ROWS]; /* of the ops that have no other place for them */
} pair_scratch;

/*
 * Where the bytes of a pair of windows are taken from, in the order of weights: a kernel row at a time, or a tap, where columns are missing
 * or do not lie together.
 */
typedef struct {
    const uint8_t *x;
    const labc_window *window;
    uint32_t offsets;     /* of both */
    uint32_t apart;       /* bytes from the first to the second, 0 if there is no second */
    uint32_t whole;       /* 1 if runs are kernel rows */
    uint32_t runs;        /* of a kernel row */
    uint32_t length;      /* bytes of a run */
    uint32_t row, column; /* of the first one's tap (0, 0), then of the row that is being taken; unsigned, so they may wrap */
    uint32_t run, done;   /* of that row, and bytes of that run, that were taken */
} source;

/* Output pixels (i, j) and (i, j + 1), if there is one. */
NOT_INLINE void begin(source *s, uint32_t i, uint32_t j)
{
    const labc_window *const v = s->window;
    const uint32_t apart = j + 1 < v->out_width ? v->stride_x : 0;
    s->apart = apart * v->channels;
    s->row = i * v->stride_y - v->top;
    s->column = j * v->stride_x - v->left;
    s->whole = v->dilation_x == 1 && s->column < v->width && s->column + apart + v->kernel_width <= v->width;
    s->runs = s->whole ? 1 : v->kernel_width;
    s->length = s->whole ? v->channels * v->kernel_width : v->channels;
    s->done = 0;
    s->run = 0;
}

/* Pairs of bytes `second` apart as numbers; `inside`: all bits of a half are 1 if its tap is, else it is 0. */
INLINE uint32_t *take(uint32_t *to, uint32_t count, const uint8_t *from, uint32_t second, uint32_t inside, uint32_t offsets)
{
    const uint32_t *const end = to + count;
    offsets &= inside;
    while (to != end) {
        const uint32_t bytes = from[0] | (uint32_t)from[second] << 16;
        ++from;
        OPAQUE(from);
        *to++ = ((bytes & inside) ^ offsets) - offsets;
        OPAQUE(to);
    }
    return to;
}

/* The next `count` pairs of inputs, from any place to any other. Where no tap is inside, something is read that is. */
NOT_INLINE uint32_t *gather(source *s, uint32_t count, uint32_t *to)
{
    const labc_window *const v = s->window;
    const uint32_t *const end = to + count;
    for (;;) {
        const uint32_t width = s->row < v->height ? v->width : 0; /* no column is inside where the row is not */
        for (; s->run < s->runs; ++s->run) {
            const uint32_t column = s->column + s->run * v->dilation_x;
            const uint32_t left = s->length - s->done, room = (uint32_t)(end - to), some = left < room ? left : room;
            uint32_t at = (s->row * v->width + column) * v->channels, second = 0, inside = 0;
            if (column < width) {
                inside = 0xffff;
            }
            if (s->apart != 0 && column + v->stride_x < width) {
                if (inside != 0) {
                    second = s->apart;
                } else {
                    at += s->apart;
                }
                inside |= UINT32_C(0xffff0000);
            }
            to = take(to, some, s->x + s->done + (inside != 0 ? at : 0), second, inside, s->offsets);
            s->done += some;
            if (s->done < s->length) {
                return to;
            }
            s->done = 0;
        }
        if (to == end) {
            return to;
        }
        s->run = 0;
        s->row += v->dilation_y;
    }
}

/* All pairs of inputs, where kernel rows are runs. */
NOT_INLINE uint32_t *gather_rows(const source *s, uint32_t *to)
{
    const labc_window *const v = s->window;
    const uint32_t step = v->width * v->channels, halves = s->apart != 0 ? UINT32_C(0xffffffff) : 0xffff;
    uint32_t row = s->row;
    for (uint32_t left = v->kernel_height; left > 0; --left) {
        const uint32_t inside = row < v->height ? halves : 0, from = inside ? row * step + s->column * v->channels : 0;
        to = take(to, s->length, s->x + from, inside ? s->apart : 0, inside, s->offsets);
        row += v->dilation_y;
    }
    return to;
}

/*
 * The sums of five inputs with signs: in entry m, plus is where a bit of m is set. Four of them are in registers and stored at once;
 * from an index to the next of the upper three bits, input 2 is added, or 3 for 2, or 4 for both, twice each.
 */
NOT_INLINE uint32_t *make_pair_table(const uint32_t *restrict x, uint32_t *restrict to)
{
    const uint32_t c = 2 * x[2], d = 2 * x[3] - c, e = 2 * x[4] - d - 2 * c;
    register uint32_t none __asm__("r3") = 0 - x[0] - x[1] - x[2] - x[3] - x[4];
    register uint32_t first __asm__("r4") = none + 2 * x[0];
    register uint32_t second __asm__("r5") = none + 2 * x[1];
    register uint32_t both __asm__("r6") = first + 2 * x[1];
#define STORE "stmia %[to]!, {r3, r4, r5, r6}\n\t"
#define ADD(more) "add r3, %[" more "]\n\tadd r4, %[" more "]\n\tadd r5, %[" more "]\n\tadd r6, %[" more "]\n\t" STORE
    __asm__(".syntax unified\n\t" STORE ADD("c") ADD("d") ADD("c") ADD("e") ADD("c") ADD("d") ADD("c")
            : [to] "+l"(to), "+r"(none), "+r"(first), "+r"(second), "+r"(both)
            : [c] "l"(c), [d] "l"(d), [e] "h"(e)
            : "cc", "memory");
#undef STORE
#undef ADD
    return to;
}

/* All tables of the next `count` inputs. Those without inputs are looked up with no bit set. */
NOT_INLINE void make_tables(source *s, uint32_t count, pair_scratch *t)
{
    const labc_window *const v = s->window;
    const uint32_t *x = t->inputs, *const end = x + count;
    uint32_t *to = t->table, *const last = to + (TABLES - 1) * ENTRIES;
    uint32_t *const padding = s->whole && s->length * v->kernel_height == count ? gather_rows(s, t->inputs) : gather(s, count, t->inputs);
    padding[3] = 0;
    padding[2] = 0;
    padding[1] = 0;
    padding[0] = 0;
    for (; x < end && to != last; x += FIELD) {
        to = make_pair_table(x, to);
    }
    for (; to != last; to += ENTRIES) {
        *to = 0;
    }
    if (x < end) {
        to[0] = 0 - x[0] - x[1];
        to[1] = x[0] - x[1];
        to[2] = x[1] - x[0];
        to[3] = x[0] + x[1];
    } else {
        to[0] = 0;
    }
}

#if defined(__thumb2__)

/* The entry that a field of a word names. */
INLINE uint32_t entry_of(const uint32_t *table, uint32_t bits, uint32_t field)
{
    return table[bits >> (FIELD * field) & (ENTRIES - 1)];
}

#else

/* The same; the index is cut out where it is already four times itself, as there is no load that multiplies it. */
INLINE uint32_t entry_of(const uint32_t *table, uint32_t bits, uint32_t field)
{
    const uint32_t at = (field > 0 ? bits >> (FIELD * field - 2) : bits << 2) & (4 * (ENTRIES - 1));
    const void *entry = (const unsigned char *)table + at;
    return *(const uint32_t *)entry;
}

#endif

/* The tables of a loop over rows, each in a register if there are enough. */
typedef struct {
    const uint32_t *a, *b, *c, *d, *e, *f, *g;
} tables;

INLINE tables tables_of(const pair_scratch *s)
{
#define TABLE(i) (s->table + (i) * ENTRIES)
    tables t = {TABLE(0), TABLE(1), TABLE(2), TABLE(3), TABLE(4), TABLE(5), TABLE(6)};
#undef TABLE
    OPAQUE(t.b);
    OPAQUE(t.c);
    OPAQUE(t.d);
    OPAQUE(t.e);
    OPAQUE(t.f);
    OPAQUE(t.g);
    return t;
}

/* The sum of the first `count` entries that a word of weights names. */
INLINE uint32_t sum_of(const tables *t, uint32_t bits, uint32_t count)
{
    uint32_t sum = entry_of(t->a, bits, 0) + entry_of(t->b, bits, 1);
    if (count > 2) {
        sum += entry_of(t->c, bits, 2);
        sum += entry_of(t->d, bits, 3);
        sum += entry_of(t->e, bits, 4);
        sum += entry_of(t->f, bits, 5);
    }
    if (count > 6) {
        sum += entry_of(t->g, bits, 6);
    }
    return sum;
}

/* y[n] += the sums of the pair; where there is no second pixel, b may be a. */
NOT_INLINE void add_sums(const pair_scratch *s, const uint32_t *restrict w, uint32_t words, uint32_t rows, int32_t *a, int32_t *b)
{
    const tables t = tables_of(s);
    for (; rows > 0; --rows, w += words) {
        const uint32_t sum = sum_of(&t, *w, TABLES);
        const int32_t first = (int16_t)sum;
        *a++ += first;
        *b++ += (int16_t)((sum - (uint32_t)first) >> 16);
    }
}

/* a[n] and b[n] = the sums of a pair of pixels, for `rows` rows. */
NOT_INLINE void pair_sums(source *s, uint32_t i, uint32_t j, const uint32_t *w, uint32_t rows, int32_t *a, int32_t *b, pair_scratch *t)
{
    const uint32_t inputs = taps_of(s->window) * s->window->channels, words = words_of(inputs);
    begin(s, i, j);
    for (uint32_t n = 0; n < rows; ++n) {
        b[n] = 0;
        a[n] = 0;
    }
    for (uint32_t left = inputs; left > 0; ++w) {
        const uint32_t some = left < 32 ? left : 32;
        make_tables(s, some, t);
        add_sums(t, w, words, rows, a, b);
        left -= some;
    }
}

/*
 * The signs of a pair of pixels with few inputs: `count` tables of them. With HALVES added to a pair of sums less thresholds, nothing is borrowed,
 * and the top bit of each half is 1 where sum >= threshold.
 */
INLINE void pair_signs(const pair_scratch *s, const uint32_t *restrict w, const int32_t *restrict thresholds, uint32_t rows, uint32_t *a,
                       uint32_t *b, uint32_t count)
{
    const tables t = tables_of(s);
    uint32_t first = 0, second = 0;
    for (uint32_t n = 0; n < rows; n += 16) {
        const uint32_t some = rows - n < 16 ? rows - n : 16;
        uint32_t signs = 0;
        for (uint32_t left = some; left > 0; --left) {
            const uint32_t above = sum_of(&t, *w++, count) + HALVES - BOTH * (uint32_t)*thresholds++;
            signs = signs >> 1 | (above & HALVES);
        }
        signs >>= 16 - some;
        first |= (signs & 0xffff) << n % 32;
        second |= (signs >> 16) << n % 32;
        if (n % 32 != 0 || n + 16 >= rows) {
            *b++ = second; /* not after a, which b may be */
            *a++ = first;
            first = second = 0;
        }
    }
}

NOT_INLINE void signs_of_10(const pair_scratch *s, const uint32_t *w, const int32_t *thresholds, uint32_t rows, uint32_t *a, uint32_t *b)
{
    pair_signs(s, w, thresholds, rows, a, b, 2);
}

NOT_INLINE void signs_of_30(const pair_scratch *s, const uint32_t *w, const int32_t *thresholds, uint32_t rows, uint32_t *a, uint32_t *b)
{
    pair_signs(s, w, thresholds, rows, a, b, 6);
}

void labc_byte_conv_sums_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                                 uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    source s = {.x = x, .window = window, .offsets = offset * BOTH};
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; j += 2) {
            const uint32_t pair = j + 1 < window->out_width ? 1 : 0;
            pair_sums(&s, i, j, w, rows, y, y + pair * rows, scratch);
            y += rows + pair * rows;
        }
    }
}

void labc_byte_conv_threshold_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                      const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                      uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t inputs = taps_of(window) * window->channels, words = words_of(inputs), out_words = words_of(rows);
    source s = {.x = x, .window = window, .offsets = offset * BOTH};
    pair_scratch *const t = scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; j += 2) {
            const uint32_t pair = j + 1 < window->out_width ? 1 : 0;
            uint32_t *const first = y, *const second = y + pair * out_words;
            y = second + out_words;
            if (inputs <= 30) {
                begin(&s, i, j);
                make_tables(&s, inputs, t);
                (inputs <= 10 ? signs_of_10 : signs_of_30)(t, w, thresholds, rows, first, second);
                continue;
            }
            for (uint32_t n = 0; n < rows; n += PAIR_ROWS) {
                const uint32_t some = rows - n < PAIR_ROWS ? rows - n : PAIR_ROWS;
                pair_sums(&s, i, j, w + n * words, some, t->sums[0], t->sums[1], t);
                for (uint32_t k = 0; k <= pair; ++k) {
                    sign_sums(t->sums[k], thresholds + n, some, (k ? second : first) + n / 32);
                }
            }
        }
    }
}

void labc_byte_conv_requantize_cortexm(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                       const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                       uint8_t *restrict y, void *restrict scratch)
{
    const uint32_t words = words_of(taps_of(window) * window->channels);
    source s = {.x = x, .window = window, .offsets = offset * BOTH};
    pair_scratch *const t = scratch;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; j += 2) {
            const uint32_t pair = j + 1 < window->out_width ? 1 : 0;
            for (uint32_t n = 0; n < rows; n += PAIR_ROWS) {
                const uint32_t some = rows - n < PAIR_ROWS ? rows - n : PAIR_ROWS;
                pair_sums(&s, i, j, w + n * words, some, t->sums[0], t->sums[1], t);
                for (uint32_t k = 0; k <= pair; ++k) {
                    for (uint32_t r = 0; r < some; ++r) {
                        y[k * rows + n + r] = requantize(product_of(t->sums[k][r], m[n + r]) + b[n + r], shift);
                    }
                }
            }
            y += rows + pair * rows;
        }
    }
}
