/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers, printing, guarded memory, the packer, and cases of vectors of the kernel check. */
#include "check.h"

/* ---- random numbers ---- */

/*
 * Seed, stream and k are spread by odd factors and added; then multiply and xor-shift, a bijection on 32 bits in which every
 * bit of the sum reaches every bit of the result. More quality is not needed, and a Cortex-M0 calls this for every element.
 */
uint32_t labc_check_random(uint32_t seed, uint32_t stream, uint32_t k)
{
    uint32_t v = seed * UINT32_C(0x9e3779b1) + stream * UINT32_C(0x85ebca77) + k * UINT32_C(0xc2b2ae3d);
    v ^= v >> 16;
    v *= UINT32_C(0x7feb352d);
    v ^= v >> 15;
    v *= UINT32_C(0x846ca68b);
    return v ^ (v >> 16);
}

/* ---- printing ---- */

void labc_check_put_number(int32_t value)
{
    char text[12];
    uint32_t at = sizeof text - 1;
    uint32_t left = value < 0 ? 0 - (uint32_t)value : (uint32_t)value;
    text[at] = 0;
    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0) {
        text[--at] = '-';
    }
    labc_check_put(text + at);
}

static void put_hex(uint32_t value)
{
    char text[11] = "0x";
    for (uint32_t i = 0; i < 8; ++i) {
        text[2 + i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    }
    labc_check_put(text);
}

void labc_check_put_words(const char *const *words)
{
    for (; *words != 0; ++words) {
        labc_check_put(*words);
    }
}

#ifdef LABC_CHECK_SMALL
static void put_letter(char name, uint32_t value)
{
    const char text[] = {' ', name, 0};
    labc_check_put(text);
    labc_check_put_number((int32_t)value);
}
#endif

static void put_pair(const char *name, uint32_t a, uint32_t b)
{
    labc_check_put(name);
    labc_check_put_number((int32_t)a);
    labc_check_put("x");
    labc_check_put_number((int32_t)b);
}

#ifdef LABC_CHECK_SMALL

/* "# i33 r5 f3 s1 n12: ", of images "c4 p0 3x4 y3x4 k3x3" besides: inputs, rows, fill, snug, case; channels, pixels, x, y, kernel. */
static void put_case(const labc_check_case *c)
{
    labc_check_put("# i");
    labc_check_put_number((int32_t)c->inputs);
    put_letter('r', c->rows);
    if (c->window != 0) {
        put_letter('c', c->window->channels);
        put_pair(" ", c->window->height, c->window->width);
        put_pair(" y", c->window->out_height, c->window->out_width);
        put_pair(" k", c->window->kernel_height, c->window->kernel_width);
    }
    put_letter('p', c->pixels);
    put_letter('f', c->fill);
    put_letter('s', c->snug);
    put_letter('n', c->number);
    labc_check_put(": ");
}

const char *const labc_check_findings[LABC_CHECK_FINDINGS] = {"nothing",    "value",   "unused bits", "wrote before",
                                                              "wrote past", "changed", "stopped",     "unknown"};

#else

/* "# <op> <isa>: inputs 33 rows 5 fill walk snug case 12 seed 1: "; of images also their sizes, down before across. */
static void put_case(const labc_check_case *c)
{
    static const char *const fills[LABC_CHECK_FILLS] = {"random", "agree", "differ", "walk", "least", "most"};
    labc_check_put_words((const char *const[]){"# ", c->row->op, " ", c->row->isa, ": inputs ", 0});
    labc_check_put_number((int32_t)c->inputs);
    labc_check_put(" rows ");
    labc_check_put_number((int32_t)c->rows);
    if (c->window != 0) {
        const labc_window *v = c->window;
        labc_check_put(" channels ");
        labc_check_put_number((int32_t)v->channels);
        put_pair(" image ", v->height, v->width);
        put_pair(" kernel ", v->kernel_height, v->kernel_width);
        put_pair(" stride ", v->stride_y, v->stride_x);
        put_pair(" dilation ", v->dilation_y, v->dilation_x);
        put_pair(" before ", v->top, v->left);
        put_pair(" out ", v->out_height, v->out_width);
    }
    if (c->pixels > 0) {
        labc_check_put(" pixels ");
        labc_check_put_number((int32_t)c->pixels);
    }
    labc_check_put_words((const char *const[]){" fill ", fills[c->fill], c->snug ? " snug" : " shifted", " case ", 0});
    labc_check_put_number((int32_t)c->number);
    labc_check_put(" seed ");
    labc_check_put_number((int32_t)c->seed);
    labc_check_put(": ");
}

const char *const labc_check_findings[LABC_CHECK_FINDINGS] = {
    "nothing",
    "a wrong value",
    "unused bits of the last word are not 0",
    "wrote before the start of an argument",
    "wrote past the end of an argument",
    "changed an input",
    "touched memory past the end of an argument, or less aligned than an instruction wants",
    "used an instruction that this processor does not have",
};

#endif

static uint32_t found(const labc_check_case *c, uint32_t finding)
{
    if (!c->row->quiet) {
        put_case(c);
        labc_check_put_words((const char *const[]){labc_check_findings[finding], "\n", 0});
    }
    return finding;
}

uint32_t labc_check_equal(const labc_check_case *c, uint32_t index, int32_t got, int32_t want)
{
    if (got == want) {
        return 0;
    }
    if (!c->row->quiet) {
        put_case(c);
        labc_check_put("index ");
        labc_check_put_number((int32_t)index);
        labc_check_put(" got ");
        labc_check_put_number(got);
        labc_check_put(" want ");
        labc_check_put_number(want);
        labc_check_put("\n");
    }
    return LABC_CHECK_VALUE;
}

static uint32_t bits_of(float value)
{
    const union {
        float value;
        uint32_t bits;
    } pun = {value};
    return pun.bits;
}

uint32_t labc_check_equal_float(const labc_check_case *c, uint32_t index, float got, float want)
{
    if (bits_of(got) == bits_of(want)) {
        return 0;
    }
    if (!c->row->quiet) {
        put_case(c);
        labc_check_put("index ");
        labc_check_put_number((int32_t)index);
        labc_check_put(" got float ");
        put_hex(bits_of(got));
        labc_check_put(" want ");
        put_hex(bits_of(want));
        labc_check_put("\n");
    }
    return LABC_CHECK_VALUE;
}

uint32_t labc_check_unused_bits(const labc_check_case *c, uint32_t word, uint32_t count)
{
    return count % 32 != 0 && word >> count % 32 != 0 ? found(c, LABC_CHECK_UNUSED_BITS) : 0;
}

uint32_t labc_check_equal_signs(const labc_check_case *c, const uint32_t *got, const uint8_t *want)
{
    for (uint32_t n = 0; n < c->rows; ++n) {
        const uint32_t finding = labc_check_equal(c, n, (int32_t)(got[n / 32] >> n % 32 & 1), want[n]);
        if (finding) {
            return finding;
        }
    }
    return labc_check_unused_bits(c, got[(c->rows - 1) / 32], c->rows);
}

/* ---- elements ---- */

enum { STREAM_X = 1, STREAM_W = 2 };

/*
 * random: both are random.    agree, differ: every product is +1, or -1.
 * walk: only one x is +1, and per row only one w: in even rows at the same place, in odd rows at its mirror image.
 * least, most: for bytes, where x is an extreme: rows alternate between agreeing and differing.
 */
uint32_t labc_check_x(const labc_check_case *c, uint32_t i)
{
    if (c->fill == LABC_CHECK_WALK) {
        return c->place / 32 == i ? UINT32_C(1) << c->place % 32 : 0;
    }
    return labc_check_random(c->seed + c->number, STREAM_X, i);
}

/* Elements 32 i to 32 i + 31 of a row that agrees: the sign of each is that of the channel of x it is multiplied by. */
static uint32_t agreeing(const labc_check_case *c, uint32_t n, uint32_t i)
{
    uint32_t signs = 0;
    if (c->weights == LABC_CHECK_MATRIX) {
        return labc_check_x(c, i);
    }
    const uint32_t channels = c->window->channels;
    uint32_t channel = c->weights == LABC_CHECK_DEPTHWISE ? n / (c->rows / channels) : 32 * i % channels;
    for (uint32_t k = 0; k < 32; ++k) {
        signs |= (labc_check_x(c, channel / 32) >> channel % 32 & 1) << k;
        if (c->weights != LABC_CHECK_DEPTHWISE) {
            channel = channel + 1 < channels ? channel + 1 : 0;
        }
    }
    return signs;
}

uint32_t labc_check_w(const labc_check_case *c, uint32_t n, uint32_t i)
{
    const uint32_t walking = n % 2 ? c->inputs - 1 - c->place : c->place;
    switch (c->fill) {
    case LABC_CHECK_AGREE:
        return agreeing(c, n, i);
    case LABC_CHECK_DIFFER:
        return ~agreeing(c, n, i);
    case LABC_CHECK_WALK:
        return walking / 32 == i ? UINT32_C(1) << walking % 32 : 0;
    case LABC_CHECK_LEAST:
    case LABC_CHECK_MOST:
        return n % 2 ? 0 : UINT32_MAX;
    default:
        return labc_check_random(c->seed + c->number, STREAM_W + n, i);
    }
}

/* ---- guarded arguments ---- */

/* Poison kept and looked at on both sides of every argument; also more than the largest vector a kernel stores at once. */
#ifdef LABC_CHECK_SMALL
#define GUARD 8
#else
#define GUARD 128
#endif
#define POISON_INPUT 0xc3
/* An output's poison depends on the placement, so that no correct value can hide an element that was never written. */
#define POISON_OUTPUT(c) ((unsigned char)((c)->snug ? 0xa5 : 0x5a))

typedef struct {
    unsigned char *low, *first, *end, *high; /* the argument is [first, end); poison from low, and up to high */
    unsigned char poison;
    uint32_t writable;
    uint32_t digest;
} argument;

static argument arguments[LABC_CHECK_BLOCKS];
static uint32_t argument_count;

uint32_t labc_check_tried, labc_check_left_out, labc_check_lacked;

#ifndef LABC_CHECK_SMALL
uint32_t labc_check_try(uint32_t (*one)(const labc_check_case *, void *), const labc_check_case *c, void *context)
{
    labc_check_begin();
    ++labc_check_tried;
    return one(c, context);
}
#endif

void labc_check_begin(void)
{
    argument_count = 0;
}

static uint32_t digest_of(const argument *a)
{
    uint32_t digest = 0;
    for (const unsigned char *at = a->first; at < a->end; ++at) {
        digest = (digest ^ *at) * UINT32_C(0x01000193) + 1;
    }
    return digest;
}

/* `bytes` at the highest address before `limit` that is a multiple of `alignment`, and of no higher power of two if `shifted`. */
static void *place(unsigned char poison, uint32_t writable, uint32_t bytes, uint32_t alignment, uint32_t behind, uint32_t shifted)
{
    argument *a = &arguments[argument_count];
#ifdef LABC_CHECK_SMALL
    const uint32_t size = (bytes + 2 * GUARD + 2 * alignment + 7) / 8 * 8;
    unsigned char *block = labc_check_take(argument_count++, size);
#else
    const uint32_t size = labc_check_block_bytes;
    unsigned char *block = labc_check_block(argument_count++);
#endif
    uint32_t offset = (size - behind - bytes) / alignment * alignment;
    if (shifted && offset / alignment % 2 == 0) {
        offset -= alignment;
    }
    a->first = block + offset;
    a->end = a->first + bytes;
    a->low = a->first - GUARD;
    a->high = size - offset - bytes < GUARD ? block + size : a->end + GUARD;
    a->poison = poison;
    a->writable = writable;
    for (unsigned char *at = a->low; at < a->high; ++at) {
        *at = poison;
    }
    return a->first;
}

void *labc_check_input(const labc_check_case *c, uint32_t count, uint32_t size)
{
    return place(POISON_INPUT, 0, count * size, size, c->snug ? 0 : GUARD, !c->snug);
}

void *labc_check_output(const labc_check_case *c, uint32_t count, uint32_t size)
{
    return place(POISON_OUTPUT(c), 1, count * size, size, GUARD, 1);
}

uint32_t labc_check_scratch_bytes(const labc_check_row *row, uint32_t inputs, uint32_t rows, const labc_window *window)
{
    return window == 0 ? row->scratch(inputs, rows, inputs, 1)
                       : row->scratch(inputs, rows, window->channels, window->kernel_height * window->kernel_width);
}

void *labc_check_scratch(const labc_check_case *c)
{
    return place(POISON_OUTPUT(c), 1, labc_check_scratch_bytes(c->row, c->inputs, c->rows, c->window), 4, GUARD, 1);
}

/* 1 if a byte of [at, end) is not poison any more. */
static uint32_t spoiled(const unsigned char *at, const unsigned char *end, unsigned char poison)
{
    for (; at < end; ++at) {
        if (*at != poison) {
            return 1;
        }
    }
    return 0;
}

uint32_t labc_check_run(const labc_check_case *c, void (*call)(void *), void *context)
{
    for (uint32_t i = 0; i < argument_count; ++i) {
        arguments[i].digest = arguments[i].writable ? 0 : digest_of(&arguments[i]);
    }
    const uint32_t stopped = labc_check_call(call, context);
    if (stopped) {
        return found(c, stopped);
    }
    for (uint32_t i = 0; i < argument_count; ++i) {
        const argument *a = &arguments[i];
        if (spoiled(a->low, a->first, a->poison)) {
            return found(c, LABC_CHECK_WROTE_BEFORE);
        }
        if (spoiled(a->end, a->high, a->poison)) {
            return found(c, LABC_CHECK_WROTE_PAST);
        }
        if (!a->writable && digest_of(a) != a->digest) {
            return found(c, LABC_CHECK_CHANGED_INPUT);
        }
    }
    return 0;
}

/* ---- the packer ---- */

static uint32_t blocks_of(uint32_t count, uint32_t size)
{
    return count / size + (count % size != 0);
}

uint32_t labc_check_position(const labc_check_layout *layout, uint32_t inputs, uint32_t rows, uint32_t n, uint32_t k)
{
    const uint32_t bits = layout->word_bits, lanes = layout->lanes, together = lanes * layout->groups;
    const uint32_t first = n / together * together;
    const uint32_t groups = rows - first < together ? blocks_of(rows - first, lanes) : layout->groups;
    const uint32_t words = first * blocks_of(inputs, bits);
    return (words + (k / bits * groups + (n - first) / lanes) * lanes + n % lanes) * bits + k % bits;
}

uint32_t labc_check_weight_words(const labc_check_layout *layout, uint32_t inputs, uint32_t rows)
{
    const uint32_t bits = layout->word_bits, lanes = layout->lanes;
    return blocks_of(blocks_of(rows, lanes) * lanes * blocks_of(inputs, bits) * bits, 32);
}

uint32_t labc_check_column(const labc_check_layout *layout, uint32_t tap, uint32_t k)
{
    return k / tap * blocks_of(tap, layout->word_bits) * layout->word_bits + k % tap;
}

static uint32_t *packed(const labc_check_case *c, uint32_t count)
{
    const uint32_t alignment = c->row->alignment > 4 ? c->row->alignment : 4;
    uint32_t *words = place(POISON_INPUT, 0, 4 * count, alignment, c->snug ? 0 : GUARD, !c->snug);
    for (uint32_t i = 0; i < count; ++i) {
        words[i] = 0;
    }
    return words;
}

uint32_t *labc_check_packed_w(const labc_check_case *c)
{
    const labc_check_layout *layout = &c->row->layout;
    const uint32_t tap = c->weights == LABC_CHECK_FILLED_TAPS ? c->window->channels : c->inputs;
    const uint32_t columns = labc_check_column(layout, tap, c->inputs);
    uint32_t *words = packed(c, labc_check_weight_words(layout, columns, c->rows));
    for (uint32_t n = 0; n < c->rows; ++n) {
        uint32_t position = 0, signs = 0;
        for (uint32_t k = 0, in_tap = 0, bit = 0; k < c->inputs; ++k, ++in_tap, ++bit, signs >>= 1) {
            if (k % 32 == 0) {
                signs = labc_check_w(c, n, k / 32);
            }
            in_tap = in_tap == tap ? 0 : in_tap;
            /* Within a word of the layout positions follow each other, which saves most divisions. */
            if (in_tap == 0 || bit == layout->word_bits) {
                position = labc_check_position(layout, columns, c->rows, n, labc_check_column(layout, tap, k));
                bit = 0;
            }
            words[(position + bit) / 32] |= (signs & 1) << (position + bit) % 32;
        }
    }
    return words;
}

uint32_t *labc_check_packed_depthwise(const labc_check_case *c)
{
    const uint32_t row_words = blocks_of(c->rows, 32);
    uint32_t *words = packed(c, c->inputs * row_words);
    for (uint32_t n = 0; n < c->rows; ++n) {
        uint32_t signs = 0;
        for (uint32_t t = 0; t < c->inputs; ++t, signs >>= 1) {
            if (t % 32 == 0) {
                signs = labc_check_w(c, n, t / 32);
            }
            words[t * row_words + n / 32] |= (signs & 1) << n % 32;
        }
    }
    return words;
}

uint32_t *labc_check_packed_x(const labc_check_case *c)
{
    const uint32_t count = blocks_of(c->inputs, 32);
    uint32_t *words = labc_check_input(c, count, 4);
    for (uint32_t i = 0; i < count; ++i) {
        words[i] = labc_check_x(c, i);
    }
    if (c->inputs % 32 != 0) {
        words[count - 1] &= UINT32_MAX >> (32 - c->inputs % 32);
    }
    return words;
}

/* ---- cases ---- */

void labc_check_copy(void *to, const void *table, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; ++i) {
        ((unsigned char *)to)[i] = labc_check_u8((const unsigned char *)table + i);
    }
}

/* clang-format off */
/* 1, primes above every block, and each block size of the kernels -1, +0, +1. */
static const uint16_t input_sizes[] LABC_CHECK_TABLE = {1,  2,  3,  4,  5,   7,   8,   9,   15,  16,  17,  31,  32,  33,  63,
                                                        64, 65, 95, 127, 128, 129, 131, 255, 256, 257, 511, 512, 513, 521};
static const uint16_t row_sizes[] LABC_CHECK_TABLE = {1,  2,  3,  4,  5,  7,  8,  9,   15,  16,  17,  31,  32,  33,  47, 48,
                                                      49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 161, 255, 256, 257, LABC_CHECK_MOST_ROWS};
static const uint16_t few_inputs[] = {1, 37};
static const uint16_t few_rows[] = {1, 5, 33};

/*
 * Where accumulators of 8 and 16 bits are full, and loops over blocks of up to 1024 inputs begin and end: rows of one group of
 * lanes, and of several groups with another block behind.
 */
static const uint32_t large_sizes[][2] LABC_CHECK_TABLE = {{1023, 3}, {1024, 3}, {1025, 70}, {2048, 3}, {4095, 3}, {4097, 130}, {8192, 3},
                                                           {8209, 70}, {16416, 40}, {LABC_CHECK_MOST_INPUTS, 3},
                                                           {LABC_CHECK_MOST_INPUTS, 17}};
/* clang-format on */

typedef struct {
    const labc_check_row *row;
    uint32_t (*one)(const labc_check_case *, void *);
    void *context;
    uint32_t seed, input_bits, number;
} walk;

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

#ifdef LABC_CHECK_SMALL
uint32_t labc_check_fits(const labc_check_row *row, uint32_t bytes)
{
    (void)row;
    (void)bytes;
    return 1; /* labc_check_take ends a case that comes to the end of the memory */
}
#else
uint32_t labc_check_fits(const labc_check_row *row, uint32_t bytes)
{
    return bytes + 2 * GUARD + 2 * row->alignment <= labc_check_block_bytes;
}
#endif

static uint32_t fits(const labc_check_row *row, uint32_t input_bits, uint32_t inputs, uint32_t rows)
{
    const uint32_t weights = input_bits == 0 ? 0 : 4 * labc_check_weight_words(&row->layout, inputs, rows);
    const uint32_t scratch = labc_check_scratch_bytes(row, inputs, rows, 0);
    return labc_check_fits(row, larger(larger(weights, scratch), larger(4 * blocks_of(input_bits * inputs, 32), 8 * rows)));
}

uint32_t labc_check_pairs;

/*
 * Every fill and both placements of one pair of sizes, which is number `inner` of `inners` with its outer size, number `outer`. For all
 * pairs of these the 2 `inners` combinations of inner size and placement take turns, one for each outer size and fill.
 */
static uint32_t sizes(walk *w, uint32_t inputs, uint32_t rows, uint32_t outer, uint32_t inner, uint32_t inners)
{
    if (rows > LABC_CHECK_MOST_ROWS || !fits(w->row, w->input_bits, inputs, rows)) {
        return 0;
    }
    for (uint32_t fill = 0; fill < LABC_CHECK_FILLS; ++fill) {
        const uint32_t number = w->number++;
        for (uint32_t snug = 0; snug < 2; ++snug) {
            if (labc_check_pairs && (outer + fill) % (2 * inners) != 2 * inner + snug) {
                continue;
            }
            const labc_check_case c = {.row = w->row,
                                       .inputs = inputs,
                                       .rows = rows,
                                       .fill = fill,
                                       .seed = w->seed,
                                       .number = number,
                                       .place = number % inputs,
                                       .round = number / LABC_CHECK_FILLS,
                                       .snug = snug};
            const uint32_t finding = labc_check_try(w->one, &c, w->context);
            if (finding) {
                return finding;
            }
        }
    }
    return 0;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

uint32_t labc_check_cases(const labc_check_row *row, uint32_t seed, uint32_t input_bits, uint32_t (*one)(const labc_check_case *, void *),
                          void *context, uint32_t *cases)
{
    walk w = {row, one, context, seed, input_bits, 0};
    uint32_t finding = 0;
    labc_check_tried = 0;
    for (uint32_t i = 0; !finding && i < COUNT(row_sizes); ++i) {
        const uint32_t inners = input_bits == 0 ? 1 : COUNT(few_inputs);
        for (uint32_t j = 0; !finding && j < inners; ++j) {
            finding = sizes(&w, few_inputs[j], labc_check_u16(&row_sizes[i]), i, j, inners);
        }
    }
    for (uint32_t i = 0; !finding && input_bits > 0 && i < COUNT(input_sizes); ++i) {
        /* The most rows only with fewer inputs: it is the product that takes time. */
        const uint32_t inputs = labc_check_u16(&input_sizes[i]);
        const uint32_t inners = COUNT(few_rows) - (inputs > 200);
        for (uint32_t j = 0; !finding && j < inners; ++j) {
            finding = sizes(&w, inputs, few_rows[j], i, j, inners);
        }
    }
    for (uint32_t i = 0; !finding && input_bits > 0 && i < COUNT(large_sizes); ++i) {
        finding = sizes(&w, labc_check_u32(&large_sizes[i][0]), labc_check_u32(&large_sizes[i][1]), i, 0, 1);
    }
    *cases += labc_check_tried;
    return finding;
}
