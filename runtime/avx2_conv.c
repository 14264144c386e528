/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions with AVX2: what an output pixel sees is gathered into a vector once, and then meets all rows of w. */
#include "avx2.h"
#include "window.h"

/* memcpy of a few bytes, as a call of it would cost more than they do. Returns the end of what it wrote. */
INLINE uint8_t *copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    for (; bytes >= 32; bytes -= 32, to += 32, from += 32) {
        _mm256_storeu_si256((__m256i *)(void *)to, _mm256_loadu_si256((const __m256i *)(const void *)from));
    }
    for (; bytes >= 8; bytes -= 8, to += 8, from += 8) {
        memcpy(to, from, 8);
    }
    if (bytes >= 4) {
        memcpy(to, from, 4);
        bytes -= 4;
        to += 4;
        from += 4;
    }
    for (; bytes > 0; --bytes) {
        *to++ = *from++;
    }
    return to;
}

/* The taps of row a that an output pixel sees, one after the other; a pixel of the image has `bytes` bytes. */
INLINE uint8_t *gather(uint8_t *to, const uint8_t *x, uint32_t bytes, const labc_window *v, const sight *s, uint32_t a)
{
    if (v->dilation_x == 1) {
        return copy(to, x + pixel_of(v, s, a, s->columns.first) * bytes, (s->columns.end - s->columns.first) * bytes);
    }
    for (uint32_t b = s->columns.first; b < s->columns.end; ++b) {
        to = copy(to, x + pixel_of(v, s, a, b) * bytes, bytes);
    }
    return to;
}

/* From any output pixel of a row to its output pixel j. */
INLINE void look_on(sight *s, const labc_window *v, uint32_t j)
{
    s->columns = taps_inside(j, v->stride_x, v->dilation_x, v->left, v->kernel_width, v->width);
    s->column = j * v->stride_x - v->left;
}

/* ---- signs times signs ---- */

/*
 * Output pixels that meet eight rows of w before the next eight: those come from a far cache once for all of them. Scratch in
 * kernels.def: per word of a window eight of weights and one of each pixel. 8 or 32 pixels were no faster.
 */
enum { SIGN_PIXELS = 16 };

/* Output pixels first to end - 1 along one axis that see the same taps. */
typedef struct {
    uint32_t first, end;
    taps inside;
} band;

static band band_from(uint32_t first, uint32_t outs, uint32_t stride, uint32_t dilation, uint32_t before, uint32_t kernel, uint32_t extent)
{
    band same = {first, first + 1, taps_inside(first, stride, dilation, before, kernel, extent)};
    for (; same.end < outs; ++same.end) {
        const taps next = taps_inside(same.end, stride, dilation, before, kernel, extent);
        if (next.first != same.inside.first || next.end != same.inside.end) {
            break;
        }
    }
    return same;
}

/* Up to SIGN_PIXELS output pixels that see the same taps: which, and behind one another the words of those taps that each sees. */
typedef struct {
    uint32_t count, words;
    uint32_t pixels[SIGN_PIXELS];
    uint32_t *seen;
} sight_block;

/* Sums, or with `limits` signs, of one block. `own`: room for eight rows of w, of those taps alone. */
static void sign_block(const sight_block *block, const uint32_t *w, uint32_t *own, const int32_t *limits, const labc_window *v,
                       const taps *in_rows, const taps *in_columns, uint32_t rows, void *y)
{
    const uint32_t words = words_of(v->channels), across = in_columns->end - in_columns->first;
    const uint32_t taps_seen = (in_rows->end - in_rows->first) * across;
    const __m256i most = _mm256_set1_epi32((int32_t)(taps_seen * v->channels));
    const __m256i missing = _mm256_set1_epi32((int32_t)((taps_of(v) - taps_seen) * v->channels));
    for (uint32_t n = 0; n < rows; n += SIGN_LANES, w += (size_t)taps_of(v) * words * SIGN_LANES) {
        const uint32_t *weights = w + (size_t)in_rows->first * v->kernel_width * words * SIGN_LANES;
        if (across < v->kernel_width) {
            uint8_t *to = (uint8_t *)own;
            for (uint32_t a = in_rows->first; a < in_rows->end; ++a) {
                const uint32_t *from = w + (size_t)(a * v->kernel_width + in_columns->first) * words * SIGN_LANES;
                to = copy(to, (const uint8_t *)from, across * words * SIGN_LANES * 4);
            }
            weights = own;
        }
        if (limits == NULL) {
            for (uint32_t p = 0; p < block->count; ++p) {
                const __m256i count = count_differing(block->seen + (size_t)p * block->words, weights, block->words);
                int32_t *const at = (int32_t *)y + (size_t)block->pixels[p] * rows + n;
                store_first(at, _mm256_sub_epi32(most, _mm256_slli_epi32(count, 1)), rows - n);
            }
        } else {
            /* 2 D + C (taps outside) > limit where D > half of the difference, rounded down */
            const __m256i limit = _mm256_sub_epi32(_mm256_maskload_epi32(limits + n, first_lanes(rows - n)), missing);
            const __m256i half = _mm256_srai_epi32(limit, 1);
            const int32_t some = rows - n < SIGN_LANES ? (1 << (rows - n)) - 1 : 255;
            for (uint32_t p = 0; p < block->count; ++p) {
                const __m256i count = count_differing(block->seen + (size_t)p * block->words, weights, block->words);
                /* The sign bits of eight lanes are eight signs; the others of the last word are 0 already. */
                const int32_t above = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, half)));
                ((uint8_t *)y)[(size_t)block->pixels[p] * words_of(rows) * 4 + n / 8] = (uint8_t)(~above & some);
            }
        }
    }
}

/*
 * The image in rectangles whose pixels see the same taps, those in blocks. A block's pixels meet the same weights, of the taps inside
 * alone, so a border costs as much less as it sees less. Where a rectangle sees all columns of the window its weights lie together
 * in w; elsewhere they are brought together, once for all pixels of a block.
 */
static void sign_conv(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, void *y,
                      void *scratch)
{
    const uint32_t words = words_of(v->channels);
    uint32_t *const own = (uint32_t *)(void *)aligned(scratch);
    sight_block block;
    block.seen = own + (size_t)taps_of(v) * words * SIGN_LANES;
    band i, j;
    for (uint32_t top = 0; top < v->out_height; top = i.end) {
        i = band_from(top, v->out_height, v->stride_y, v->dilation_y, v->top, v->kernel_height, v->height);
        for (uint32_t left = 0; left < v->out_width; left = j.end) {
            j = band_from(left, v->out_width, v->stride_x, v->dilation_x, v->left, v->kernel_width, v->width);
            const uint32_t all = (i.end - i.first) * (j.end - j.first);
            uint32_t row = i.first, column = j.first;
            block.words = (i.inside.end - i.inside.first) * (j.inside.end - j.inside.first) * words;
            for (uint32_t done = 0; done < all; done += block.count) {
                uint8_t *to = (uint8_t *)block.seen;
                block.count = all - done < SIGN_PIXELS ? all - done : SIGN_PIXELS;
                for (uint32_t p = 0; p < block.count; ++p) {
                    const sight s = {i.inside, j.inside, row * v->stride_y - v->top, column * v->stride_x - v->left};
                    block.pixels[p] = row * v->out_width + column;
                    for (uint32_t a = s.rows.first; a < s.rows.end && block.words > 0; ++a) {
                        to = gather(to, (const uint8_t *)x, words * 4, v, &s, a);
                    }
                    if (limits != NULL) {
                        ((uint32_t *)y)[(size_t)(block.pixels[p] + 1) * words_of(rows) - 1] = 0;
                    }
                    if (++column == j.end) {
                        column = j.first;
                        ++row;
                    }
                }
                sign_block(&block, w, own, limits, v, &i.inside, &j.inside, rows, y);
            }
        }
    }
}

void labc_sign_conv_sums_avx2(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                              int32_t *restrict y, void *restrict scratch)
{
    sign_conv(x, w, NULL, window, rows, y, scratch);
}

void labc_sign_conv_threshold_avx2(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                   const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    sign_conv(x, w, limits, window, rows, y, scratch);
}

/* ---- bytes times signs ---- */

enum {
    BYTE_LANES = 16,  /* rows of w that are unpacked together */
    BYTE_PIXELS = 32, /* output pixels that they then meet */
    TILE_PIXELS = 4,  /* of those, in registers at a time */
    PART_INPUTS = 256 /* 64 pairs of 2 x 255 still fit an int16 */
};

/* Inputs in whole steps of four. */
static inline uint32_t padded(uint32_t inputs)
{
    return (inputs + 3) / 4 * 4;
}

/*
 * Weights of 16 rows and up to PART_INPUTS inputs as bytes +1 and -1: of four inputs first rows 0 to 7, then rows 8 to 15, a row its
 * four bytes. Adds to shift[2] `offset` times the sums of those.
 */
static void unpack(const uint8_t *w, uint32_t inputs, uint32_t offset, int8_t *weights, __m256i shift[2])
{
    /* Each byte of eight rows four times; then the bit that each of the four stands for. */
    const __m256i spread0 =
        _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    const __m256i spread1 = _mm256_add_epi8(spread0, _mm256_set1_epi8(8)), zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1);
    const __m256i offsets = _mm256_set1_epi8((char)offset), ones = _mm256_set1_epi16(1);
    /* The low four bits of a byte, then the high ones, and back. */
    const __m256i other = _mm256_set1_epi32((int32_t)0x88442211);
    __m256i bits = _mm256_set1_epi32(0x08040201), low = zero, high = zero;
    for (uint32_t k = 0; k < inputs; k += 4, weights += 64) {
        const __m256i all = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)(w + k / 8 * BYTE_LANES)));
        const __m256i down0 = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(all, spread0), bits), zero);
        const __m256i down1 = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(all, spread1), bits), zero);
        const __m256i signs0 = _mm256_or_si256(down0, one), signs1 = _mm256_or_si256(down1, one);
        _mm256_store_si256((__m256i *)(void *)weights, signs0);
        _mm256_store_si256((__m256i *)(void *)(weights + 32), signs1);
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(offsets, signs0));
        high = _mm256_add_epi16(high, _mm256_maddubs_epi16(offsets, signs1));
        bits = _mm256_xor_si256(bits, other);
    }
    shift[0] = _mm256_add_epi32(shift[0], _mm256_madd_epi16(low, ones));
    shift[1] = _mm256_add_epi32(shift[1], _mm256_madd_epi16(high, ones));
}

/*
 * Sums of 16 rows for TILE_PIXELS pixels whose bytes are `stride` apart, over `steps` steps of four inputs, added to those there or in
 * their place: four bytes of a pixel meet eight rows at once, in pairs (VPMADDUBSW), then the two pairs of a row are added. The
 * vectors of pairs have names, so that they stay in registers.
 */
INLINE void byte_tile(const uint8_t *seen, size_t stride, const int8_t *weights, uint32_t steps, int add, int32_t *sums)
{
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    __m256i low0 = zero, low1 = zero, low2 = zero, low3 = zero, high0 = zero, high1 = zero, high2 = zero, high3 = zero;
#define PIXEL(p)                                                                \
    do {                                                                        \
        int32_t four;                                                           \
        memcpy(&four, seen + (p) * stride, sizeof four);                        \
        const __m256i bytes = _mm256_set1_epi32(four);                          \
        low##p = _mm256_add_epi16(low##p, _mm256_maddubs_epi16(bytes, low));    \
        high##p = _mm256_add_epi16(high##p, _mm256_maddubs_epi16(bytes, high)); \
    } while (0)
    for (; steps > 0; --steps, seen += 4, weights += 64) {
        const __m256i low = _mm256_load_si256((const __m256i *)(const void *)weights);
        const __m256i high = _mm256_load_si256((const __m256i *)(const void *)(weights + 32));
        PIXEL(0);
        PIXEL(1);
        PIXEL(2);
        PIXEL(3);
    }
#undef PIXEL
#define ADD(at, pairs) _mm256_store_si256(at, _mm256_add_epi32(add ? _mm256_load_si256(at) : zero, _mm256_madd_epi16(pairs, ones)))
    __m256i *const to = (__m256i *)(void *)sums;
    ADD(to, low0);
    ADD(to + 1, high0);
    ADD(to + 2, low1);
    ADD(to + 3, high1);
    ADD(to + 4, low2);
    ADD(to + 5, high2);
    ADD(to + 6, low3);
    ADD(to + 7, high3);
#undef ADD
}

/*
 * What BYTE_PIXELS output pixels see, the sums of 16 rows for each, and those rows' weights for a part of the inputs: scratch in
 * kernels.def.
 */
typedef struct {
    int8_t *weights;
    int32_t *sums;
    uint8_t *seen;
} byte_room;

static byte_room room_in(void *scratch)
{
    uint8_t *const at = aligned(scratch);
    const byte_room room = {(int8_t *)at, (int32_t *)(void *)(at + BYTE_LANES * PART_INPUTS),
                            at + BYTE_LANES * PART_INPUTS + BYTE_PIXELS * BYTE_LANES * 4};
    return room;
}

/*
 * The inputs of `count` output pixels from number `first` on, as unsigned bytes, those signed with 128 added; outside the image, and
 * beyond the last input, is the byte that stands for 0.
 */
static void see(const uint8_t *x, uint32_t offset, const labc_window *v, uint32_t first, uint32_t count, uint8_t *to)
{
    const uint32_t inputs = taps_of(v) * v->channels, across = v->kernel_width * v->channels;
    uint32_t i = first / v->out_width, j = first % v->out_width;
    sight s = sight_of(v, i, j);
    for (uint32_t p = 0; p < count; ++p) {
        uint8_t *const begin = to, *const end = begin + padded(inputs);
        if (inside(&s) < taps_of(v)) {
            memset(begin, 0, inputs);
        }
        for (uint32_t a = s.rows.first; a < s.rows.end && s.columns.first < s.columns.end; ++a) {
            (void)gather(begin + a * across + s.columns.first * v->channels, x, v->channels, v, &s, a);
        }
        for (to = begin + inputs; to < end; ++to) {
            *to = 0;
        }
        if (offset != 0) {
            for (uint8_t *at = begin; at < end; at += 4) {
                uint32_t four;
                memcpy(&four, at, sizeof four);
                four ^= UINT32_C(0x01010101) * offset;
                memcpy(at, &four, sizeof four);
            }
        }
        if (++j < v->out_width) {
            look_on(&s, v, j);
        } else {
            j = 0;
            s = sight_of(v, ++i, j);
        }
    }
}

/*
 * Sums of 16 rows for up to BYTE_PIXELS pixels whose inputs are there, into room->sums; what is added to them for signed bytes is
 * `shift`, and has to be taken off again.
 */
static void byte_rows(const byte_room *room, const uint32_t *w, uint32_t offset, uint32_t inputs, uint32_t count, __m256i shift[2])
{
    const size_t stride = padded(inputs);
    shift[0] = shift[1] = _mm256_setzero_si256();
    for (uint32_t k = 0; k < inputs; k += PART_INPUTS) {
        const uint32_t part = inputs - k < PART_INPUTS ? inputs - k : PART_INPUTS;
        unpack((const uint8_t *)w + (size_t)k / 8 * BYTE_LANES, part, offset, room->weights, shift);
        for (uint32_t p = 0; p < count; p += TILE_PIXELS) {
            byte_tile(room->seen + p * stride + k, stride, room->weights, padded(part) / 4, k > 0, room->sums + p * BYTE_LANES);
        }
    }
}

/* The sums of rows 8 half to 8 half + 7 of 16 for pixel p. */
static inline __m256i sums_of(const byte_room *room, uint32_t p, uint32_t half, const __m256i shift[2])
{
    return _mm256_sub_epi32(_mm256_load_si256((const __m256i *)(const void *)(room->sums + p * BYTE_LANES + 8 * half)), shift[half]);
}

/* How many 32-bit words of w 16 rows have. */
static inline size_t block_words(uint32_t inputs)
{
    return (size_t)(inputs / 8 + (inputs % 8 != 0)) * (BYTE_LANES / 4);
}

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void labc_byte_conv_sums_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                              uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    const byte_room room = room_in(scratch);
    const uint32_t inputs = taps_of(window) * window->channels, pixels = window->out_height * window->out_width;
    for (uint32_t first = 0; first < pixels; first += BYTE_PIXELS) {
        const uint32_t count = least(pixels - first, BYTE_PIXELS);
        see(x, offset, window, first, count, room.seen);
        for (uint32_t n = 0; n < rows; n += BYTE_LANES) {
            __m256i shift[2];
            byte_rows(&room, w + n / BYTE_LANES * block_words(inputs), offset, inputs, count, shift);
            for (uint32_t p = 0; p < count; ++p) {
                store_first(y + (size_t)(first + p) * rows + n, sums_of(&room, p, 0, shift), rows - n);
                if (rows - n > 8) {
                    store_first(y + (size_t)(first + p) * rows + n + 8, sums_of(&room, p, 1, shift), rows - n - 8);
                }
            }
        }
    }
}

void labc_byte_conv_threshold_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                   const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                   uint32_t *restrict y, void *restrict scratch)
{
    const byte_room room = room_in(scratch);
    const uint32_t inputs = taps_of(window) * window->channels, pixels = window->out_height * window->out_width;
    for (uint32_t first = 0; first < pixels; first += BYTE_PIXELS) {
        const uint32_t count = least(pixels - first, BYTE_PIXELS);
        see(x, offset, window, first, count, room.seen);
        for (uint32_t n = 0; n < rows; n += BYTE_LANES) {
            __m256i shift[2];
            byte_rows(&room, w + n / BYTE_LANES * block_words(inputs), offset, inputs, count, shift);
            const __m256i some0 = first_lanes(rows - n), some1 = first_lanes(rows - n > 8 ? rows - n - 8 : 0);
            /* sum - shift >= threshold; the second mask is all zeros, and nothing is read, where there are no second eight rows. */
            const __m256i least0 = _mm256_add_epi32(_mm256_maskload_epi32(thresholds + n, some0), shift[0]);
            const __m256i least1 = _mm256_add_epi32(_mm256_maskload_epi32(thresholds + n + (rows - n > 8 ? 8 : 0), some1), shift[1]);
            const int32_t *sums = room.sums;
            uint8_t *at = (uint8_t *)y + (size_t)first * words_of(rows) * 4 + n / 8;
            for (uint32_t p = 0; p < count; ++p, sums += BYTE_LANES) {
                const __m256i below0 = _mm256_cmpgt_epi32(least0, _mm256_load_si256((const __m256i *)(const void *)sums));
                const __m256i below1 = _mm256_cmpgt_epi32(least1, _mm256_load_si256((const __m256i *)(const void *)(sums + 8)));
                const uint32_t up0 = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(below0, some0)));
                const uint32_t up1 = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(below1, some1)));
                const uint32_t signs = up1 << 8 | up0;
                /* The last 16 rows may be half a word: then its other half is 0. */
                memcpy(at + (size_t)p * words_of(rows) * 4, &signs, n % 32 == 0 ? 4 : 2);
            }
        }
    }
}

void labc_byte_conv_requantize_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                    const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                    uint8_t *restrict y, void *restrict scratch)
{
    const byte_room room = room_in(scratch);
    const __m128i right = _mm_cvtsi32_si128((int32_t)shift);
    const uint32_t inputs = taps_of(window) * window->channels, pixels = window->out_height * window->out_width;
    for (uint32_t first = 0; first < pixels; first += BYTE_PIXELS) {
        const uint32_t count = least(pixels - first, BYTE_PIXELS);
        see(x, offset, window, first, count, room.seen);
        for (uint32_t n = 0; n < rows; n += BYTE_LANES) {
            __m256i added[2];
            byte_rows(&room, w + n / BYTE_LANES * block_words(inputs), offset, inputs, count, added);
            for (uint32_t p = 0; p < count; ++p) {
                int32_t sums[BYTE_LANES];
                _mm256_storeu_si256((__m256i *)(void *)sums, sums_of(&room, p, 0, added));
                _mm256_storeu_si256((__m256i *)(void *)(sums + 8), sums_of(&room, p, 1, added));
                requantize_all(sums, m + n, b + n, right, least(rows - n, BYTE_LANES), y + (size_t)(first + p) * rows + n);
            }
        }
    }
}

/* ---- depthwise: a lane of bytes is an output channel, 32 at a time ---- */

enum { DEPTH_LANES = 32 };

/*
 * Where the inputs of output channels n to n + 31 are: input channels `first` to `last` of a pixel, and of lane l number
 * from[l] of those. More than one output channel per input channel means at most 17 of them, else 32 that begin with a word.
 */
typedef struct {
    uint32_t first, last, count;
    uint8_t from[DEPTH_LANES];
} depth_lanes;

static depth_lanes lanes_of(uint32_t n, uint32_t rows, uint32_t channels)
{
    const uint32_t each = rows / channels, count = least(rows - n, DEPTH_LANES);
    depth_lanes lanes = {n / each, (n + count - 1) / each, count, {0}};
    for (uint32_t l = 0; l < count; ++l) {
        lanes.from[l] = (uint8_t)((n + l) / each - lanes.first);
    }
    return lanes;
}

/* All ones in the bytes whose bit of `word` is 1: byte l is of byte index[l] of the word, whichever bits of it are in bits[l]. */
INLINE __m256i bytes_of_bits(uint32_t word, __m256i index, __m256i bits)
{
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)word), index), bits), bits);
}

/* The index and bits that make byte l of bit l. */
INLINE __m256i index_in_order(void)
{
    return _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
}

INLINE __m256i bits_in_order(void)
{
    return _mm256_set1_epi64x((int64_t)UINT64_C(0x8040201008040201));
}

/* Adds 32 unsigned bytes to 32 int32 in their order. */
INLINE void add_bytes(__m256i sums[4], __m256i bytes)
{
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    sums[0] = _mm256_add_epi32(sums[0], _mm256_cvtepu8_epi32(low));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_cvtepu8_epi32(_mm_srli_si128(low, 8)));
    sums[2] = _mm256_add_epi32(sums[2], _mm256_cvtepu8_epi32(high));
    sums[3] = _mm256_add_epi32(sums[3], _mm256_cvtepu8_epi32(_mm_srli_si128(high, 8)));
}

/* Adds 32 int16 to them. */
INLINE void add_words(__m256i sums[4], __m256i low, __m256i high)
{
    sums[0] = _mm256_add_epi32(sums[0], _mm256_cvtepi16_epi32(_mm256_castsi256_si128(low)));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_cvtepi16_epi32(_mm256_extracti128_si256(low, 1)));
    sums[2] = _mm256_add_epi32(sums[2], _mm256_cvtepi16_epi32(_mm256_castsi256_si128(high)));
    sums[3] = _mm256_add_epi32(sums[3], _mm256_cvtepi16_epi32(_mm256_extracti128_si256(high, 1)));
}

/* Sums, or with `limits` signs. A tap that differs adds 1 to its byte; those are emptied every 255 taps. */
static void sign_depthwise(const uint32_t *x, const uint32_t *w, const int32_t *limits, const labc_window *v, uint32_t rows, void *y)
{
    const uint32_t words = words_of(v->channels), row_words = words_of(rows);
    const __m256i in_order = index_in_order(), each_bit = bits_in_order();
    for (uint32_t n = 0; n < rows; n += DEPTH_LANES) {
        const depth_lanes lanes = lanes_of(n, rows, v->channels);
        const uint32_t first = lanes.first / 32, last = lanes.last / 32, shift = lanes.first % 32;
        const __m256i from = _mm256_loadu_si256((const __m256i *)(const void *)lanes.from);
        const __m256i index = _mm256_and_si256(_mm256_srli_epi16(from, 3), _mm256_set1_epi8(3));
        const __m256i bits = _mm256_shuffle_epi8(each_bit, _mm256_and_si256(from, _mm256_set1_epi8(7)));
        for (uint32_t pixel = 0, i = 0; i < v->out_height; ++i) {
            sight s = sight_of(v, i, 0);
            for (uint32_t j = 0; j < v->out_width; ++j, ++pixel) {
                look_on(&s, v, j);
                const __m256i zero = _mm256_setzero_si256();
                __m256i some = zero, differing[4] = {zero, zero, zero, zero};
                uint32_t room = 255;
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        const uint32_t *const at = x + (size_t)pixel_of(v, &s, a, b) * words;
                        const uint32_t inputs = (uint32_t)((at[first] | (uint64_t)at[last] << 32) >> shift);
                        const uint32_t weights = w[(size_t)(a * v->kernel_width + b) * row_words + n / 32];
                        const __m256i d = _mm256_xor_si256(bytes_of_bits(inputs, index, bits), bytes_of_bits(weights, in_order, each_bit));
                        some = _mm256_sub_epi8(some, d);
                        if (--room == 0) {
                            add_bytes(differing, some);
                            some = zero;
                            room = 255;
                        }
                    }
                }
                add_bytes(differing, some);
                if (limits == NULL) {
                    const __m256i most = _mm256_set1_epi32((int32_t)inside(&s));
                    for (uint32_t q = 0; q < 4 && 8 * q < lanes.count; ++q) {
                        store_first((int32_t *)y + (size_t)pixel * rows + n + 8 * q,
                                    _mm256_sub_epi32(most, _mm256_slli_epi32(differing[q], 1)), lanes.count - 8 * q);
                    }
                    continue;
                }
                const __m256i missing = _mm256_set1_epi32((int32_t)(taps_of(v) - inside(&s)));
                uint32_t signs = 0;
                for (uint32_t q = 0; q < 4 && 8 * q < lanes.count; ++q) {
                    const __m256i lane = first_lanes(lanes.count - 8 * q), limit = _mm256_maskload_epi32(limits + n + 8 * q, lane);
                    const __m256i above = _mm256_cmpgt_epi32(_mm256_add_epi32(_mm256_slli_epi32(differing[q], 1), missing), limit);
                    signs |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(above, lane))) << 8 * q;
                }
                ((uint32_t *)y)[(size_t)pixel * row_words + n / 32] = signs;
            }
        }
    }
}

void labc_sign_depthwise_sums_avx2(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window,
                                   uint32_t rows, int32_t *restrict y)
{
    sign_depthwise(x, w, NULL, window, rows, y);
}

void labc_sign_depthwise_threshold_avx2(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                        const labc_window *restrict window, uint32_t rows, uint32_t *restrict y)
{
    sign_depthwise(x, w, limits, window, rows, y);
}

/* 16 unsigned bytes, xored with `offset` already, as what they stand for, negated where `minus` is all ones. */
INLINE __m256i values_of(__m128i bytes, __m128i minus, __m256i offset)
{
    const __m256i negate = _mm256_cvtepi8_epi16(minus), value = _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), offset);
    return _mm256_xor_si256(_mm256_add_epi16(value, negate), negate);
}

void labc_byte_depthwise_sums_avx2(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                   const labc_window *restrict window, uint32_t rows, int32_t *restrict y)
{
    const uint32_t channels = window->channels, row_words = words_of(rows);
    const __m256i in_order = index_in_order(), each_bit = bits_in_order();
    const __m256i flip = _mm256_set1_epi8((char)offset), offsets = _mm256_set1_epi16((int16_t)offset);
    for (uint32_t n = 0; n < rows; n += DEPTH_LANES) {
        const depth_lanes lanes = lanes_of(n, rows, channels);
        const int direct = rows == channels && lanes.count == DEPTH_LANES;
        for (uint32_t pixel = 0, i = 0; i < window->out_height; ++i) {
            sight s = sight_of(window, i, 0);
            for (uint32_t j = 0; j < window->out_width; ++j, ++pixel) {
                look_on(&s, window, j);
                const __m256i zero = _mm256_setzero_si256();
                __m256i low = zero, high = zero, sums[4] = {zero, zero, zero, zero};
                uint32_t room = 128; /* of magnitude 255 each fit an int16 */
                for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                    for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                        const uint8_t *at = x + (size_t)pixel_of(window, &s, a, b) * channels + lanes.first;
                        const uint32_t weights = w[(size_t)(a * window->kernel_width + b) * row_words + n / 32];
                        uint8_t bytes[DEPTH_LANES] = {0};
                        if (!direct) {
                            for (uint32_t l = 0; l < lanes.count; ++l) {
                                bytes[l] = at[lanes.from[l]];
                            }
                            at = bytes;
                        }
                        const __m256i all = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)at), flip);
                        const __m256i minus = bytes_of_bits(~weights, in_order, each_bit);
                        low = _mm256_add_epi16(low, values_of(_mm256_castsi256_si128(all), _mm256_castsi256_si128(minus), offsets));
                        high = _mm256_add_epi16(high,
                                                values_of(_mm256_extracti128_si256(all, 1), _mm256_extracti128_si256(minus, 1), offsets));
                        if (--room == 0) {
                            add_words(sums, low, high);
                            low = high = zero;
                            room = 128;
                        }
                    }
                }
                add_words(sums, low, high);
                for (uint32_t q = 0; q < 4 && 8 * q < lanes.count; ++q) {
                    store_first(y + (size_t)pixel * rows + n + 8 * q, sums[q], lanes.count - 8 * q);
                }
            }
        }
    }
}
