/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions with AVX-512 without a population count (F and BW): of signs by carry-save adders, of bytes by tables of partial sums.
 * What a pixel sees is gathered into a patch first, so that the inner loops run over one stretch of memory. A lane is a row of w.
 */
#include "avx512bw.h"
#include "region.h"

#define EACH_PIXEL(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

enum {
    PIXELS = 8,
    STORE = 64 /* patches are written 64 bytes at a time */
};

/* The first `count` of 64 lanes, all from 64 on. */
static inline __mmask64 first_bytes(size_t count)
{
    return count < 64 ? (UINT64_C(1) << count) - 1 : ~UINT64_C(0);
}

/*
 * Copies what a pixel sees, whose first tap inside is at `x`, to its places in a patch, each byte XOR `flip`; all in bytes. Up to 63 bytes
 * after each run become `flip`: those of later runs are written later, those of taps outside are to be that, and a patch is as much longer.
 */
INLINE void gather(const unsigned char *x, const path *along, __m512i flip, unsigned char *patch)
{
    patch += along->before;
    for (uint32_t line = 0; line < along->lines; ++line, patch += along->between) {
        for (uint32_t run = 0; run < along->runs; ++run, patch += along->length) {
            const unsigned char *const from = x + line * along->line_step + run * along->run_step;
            for (size_t at = 0; at < along->length; at += STORE) {
                const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes(along->length - at), from + at);
                _mm512_storeu_si512(patch + at, _mm512_xor_si512(bytes, flip));
            }
        }
    }
}

/* ---- signs times signs: 64 rows at a time, 16 in a vector ---- */

typedef struct {
    size_t words;      /* of a tap */
    size_t row_words;  /* of a row of w, so of a patch */
    size_t patch_step; /* from one patch to the next, in words */
    uint32_t *patches; /* PIXELS of them, zero where a tap is outside */
    int32_t *bounds;   /* per row, filled up to blocks: depends on the region */
} sign_work;

static inline sign_work sign_work_in(void *scratch, const labc_window *v, uint32_t rows)
{
    sign_work k;
    k.words = words_of(v->channels);
    k.row_words = taps_of(v) * k.words;
    k.patch_step = k.row_words + STORE / 4;
    k.bounds = scratch;
    k.patches = (uint32_t *)scratch + ((size_t)rows / SIGN_ROWS + 1) * SIGN_ROWS;
    return k;
}

/* How many groups the block that begins at row n has. */
static inline uint32_t groups_at(uint32_t n, uint32_t rows)
{
    return rows - n >= SIGN_ROWS ? GROUPS : (rows - n + SIGN_LANES - 1) / SIGN_LANES;
}

/* popcount(x ^ w) of a block of rows, with one to four groups. */
static void count_rows(const uint32_t *x, const uint32_t *w, size_t words, uint32_t groups, __m512i counts[GROUPS])
{
    if (groups == 4) {
        count_block(x, w, (uint32_t)words, 4, counts);
    } else if (groups == 3) {
        count_block(x, w, (uint32_t)words, 3, counts);
    } else if (groups == 2) {
        count_block(x, w, (uint32_t)words, 2, counts);
    } else {
        count_block(x, w, (uint32_t)words, 1, counts);
    }
}

/*
 * Clears the patches, and writes to bounds[n], per row, how many 1 bits its weights have at taps outside: that is what a patch, with
 * 0 bits there, counts too many.
 */
static void count_outside(const uint32_t *w, const labc_window *v, const region *r, uint32_t rows, const sign_work *k)
{
    memset(k->patches, 0, PIXELS * k->patch_step * 4);
    for (uint32_t n = 0; n < rows; n += SIGN_ROWS) {
        const uint32_t groups = groups_at(n, rows);
        for (uint32_t g = 0; g < groups; ++g) {
            _mm512_storeu_si512(k->bounds + n + SIGN_LANES * g, _mm512_setzero_si512());
        }
        for (uint32_t a = 0; a < v->kernel_height; ++a) {
            for (uint32_t b = 0; b < v->kernel_width; ++b) {
                if (a >= r->sees.rows.first && a < r->sees.rows.end && b >= r->sees.columns.first && b < r->sees.columns.end) {
                    continue;
                }
                __m512i counts[GROUPS];
                count_rows(k->patches, w + n * k->row_words + (a * v->kernel_width + b) * k->words * SIGN_LANES * groups, k->words, groups,
                           counts);
                for (uint32_t g = 0; g < groups; ++g) {
                    int32_t *const at = k->bounds + n + SIGN_LANES * g;
                    _mm512_storeu_si512(at, _mm512_add_epi32(counts[g], _mm512_loadu_si512(at)));
                }
            }
        }
    }
}

/* Gathers the next pixels of a region, at most PIXELS; to[p]: which pixel of y each is. Returns how many. */
static uint32_t gather_signs(const uint32_t *x, const labc_window *v, const region *r, const path *along, uint32_t left, cursor *next,
                             const sign_work *k, size_t to[PIXELS])
{
    const uint32_t pixels = left < PIXELS ? left : PIXELS;
    for (uint32_t p = 0; p < pixels; ++p) {
        gather((const unsigned char *)x + next->from, along, _mm512_setzero_si512(), (unsigned char *)(k->patches + p * k->patch_step));
        to[p] = next->to;
        advance(next, v, r, along);
    }
    return pixels;
}

void labc_sign_conv_sums_avx512bw(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                  int32_t *restrict y, void *restrict scratch)
{
    const sign_work k = sign_work_in(scratch, window, rows);
    region r = region_at(window, 0, 0);
    do {
        const path along = path_of(window, &r, (uint32_t)k.words * 4);
        cursor next = cursor_at(window, &r, &along);
        const __m512i most = _mm512_set1_epi32((int32_t)(inside(&r.sees) * window->channels));
        count_outside(w, window, &r, rows, &k);
        size_t to[PIXELS];
        for (uint32_t left = pixels_of(&r), pixels; left > 0; left -= pixels) {
            pixels = gather_signs(x, window, &r, &along, left, &next, &k, to);
            for (uint32_t n = 0; n < rows; n += SIGN_ROWS) {
                for (uint32_t p = 0; p < pixels; ++p) {
                    __m512i counts[GROUPS];
                    count_rows(k.patches + p * k.patch_step, w + n * k.row_words, k.row_words, groups_at(n, rows), counts);
                    for (uint32_t g = 0; g < groups_at(n, rows); ++g) {
                        const uint32_t at = n + SIGN_LANES * g;
                        const __m512i inside = _mm512_sub_epi32(counts[g], _mm512_loadu_si512(k.bounds + at));
                        _mm512_mask_storeu_epi32(y + to[p] * rows + at, first_lanes(rows - at),
                                                 _mm512_sub_epi32(most, _mm512_slli_epi32(inside, 1)));
                    }
                }
            }
        }
    } while (next_region(window, &r));
}

void labc_sign_conv_threshold_avx512bw(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                       const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const sign_work k = sign_work_in(scratch, window, rows);
    region r = region_at(window, 0, 0);
    do {
        const path along = path_of(window, &r, (uint32_t)k.words * 4);
        cursor next = cursor_at(window, &r, &along);
        const __m512i missing = _mm512_set1_epi32((int32_t)((taps_of(window) - inside(&r.sees)) * window->channels));
        count_outside(w, window, &r, rows, &k);
        for (uint32_t n = 0; n < rows; n += SIGN_LANES) {
            /* From here on bounds are those of what a patch counts; lanes that are no rows stay below 0, as their weights are 0 bits. */
            const __m512i most = most_differences(limits + n, missing, first_lanes(rows - n));
            _mm512_storeu_si512(k.bounds + n, _mm512_add_epi32(most, _mm512_loadu_si512(k.bounds + n)));
        }
        size_t to[PIXELS];
        for (uint32_t left = pixels_of(&r), pixels; left > 0; left -= pixels) {
            pixels = gather_signs(x, window, &r, &along, left, &next, &k, to);
            for (uint32_t n = 0; n < rows; n += SIGN_ROWS) {
                for (uint32_t p = 0; p < pixels; ++p) {
                    __m512i counts[GROUPS];
                    uint32_t signs[2] = {0, 0};
                    count_rows(k.patches + p * k.patch_step, w + n * k.row_words, k.row_words, groups_at(n, rows), counts);
                    for (uint32_t g = 0; g < groups_at(n, rows); ++g) {
                        const __m512i bounds = _mm512_loadu_si512(k.bounds + n + SIGN_LANES * g);
                        signs[g / 2] |= (uint32_t)_mm512_cmple_epi32_mask(counts[g], bounds) << 16 * (g % 2);
                    }
                    uint32_t *const at = y + to[p] * words_of(rows) + n / 32;
                    at[0] = signs[0];
                    if (rows - n > 32) {
                        at[1] = signs[1];
                    }
                }
            }
        }
    } while (next_region(window, &r));
}

/* ---- bytes times signs: 64 rows at a time, 32 in a vector ---- */

enum {
    BYTE_GROUPS = 2,
    BYTE_BLOCK = BYTE_LANES * BYTE_GROUPS,
    TABLE_INPUTS = 5,        /* a table has 32 sums */
    TABLES_IN_16_BITS = 25,  /* 25 x 5 x 255 = 31875 still fits an int16 */
    INPUTS_IN_16_BITS = 128, /* 128 x 255 = 32640 too */
    MOST_PREPARED = 40,      /* tables of a window for which indices are prepared, 13 bits per weight: of more they outgrow the caches */
    LEAST_COLUMNS = 4        /* of y, for which strips of eight are worth it */
};

/* Where sums go, and as what: one of the three pointers is not 0. */
typedef struct {
    uint32_t rows;
    int32_t *sums;
    uint32_t *signs;
    const int32_t *thresholds;
    uint8_t *bytes;
    const int32_t *m;
    const int64_t *b;
    uint32_t shift;
} output;

/* The block of rows that begins at row n, with `groups` groups, of one pixel. */
static void put(const output *to, size_t pixel, uint32_t n, uint32_t groups, const __m512i *sums)
{
    const uint32_t rows = to->rows - n < BYTE_BLOCK ? to->rows - n : BYTE_BLOCK;
    if (to->sums != 0) {
        store_sums(sums, rows, groups, to->sums + pixel * to->rows + n);
    } else if (to->signs != 0) {
        store_signs(sums, to->thresholds + n, rows, groups, to->signs + pixel * words_of(to->rows) + n / 32);
    } else {
        store_bytes(sums, to->m + n, to->b + n, to->shift, rows, to->bytes + pixel * to->rows + n);
    }
}

/* For a narrow y: a patch at a time, which then is what byte_matvec_* is given. */
static void convolve_patches(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *v, const output *to, void *scratch)
{
    const uint32_t inputs = taps_of(v) * v->channels;
    const size_t row_words = (inputs / STEP_INPUTS + (inputs % STEP_INPUTS != 0)) * (BYTE_LANES / 2);
    int16_t *const tables = aligned_in(scratch);
    unsigned char *const patch = (unsigned char *)(tables + row_words / (BYTE_LANES / 2) * STEP_TABLES);
    region r = region_at(v, 0, 0);
    do {
        const path along = path_of(v, &r, v->channels);
        cursor next = cursor_at(v, &r, &along);
        memset(patch, 0, inputs);
        for (uint32_t left = pixels_of(&r); left > 0; --left) {
            gather(x + next.from, &along, _mm512_setzero_si512(), patch);
            make_tables(patch, offset, inputs, tables);
            for (uint32_t n = 0; n < to->rows; n += BYTE_BLOCK) {
                __m512i sums[2 * GROUPS];
                if (to->rows - n > BYTE_LANES) {
                    byte_sums(tables, w + n / BYTE_LANES * row_words, inputs, 2, sums);
                    put(to, next.to, n, 2, sums);
                } else {
                    byte_sums(tables, w + n / BYTE_LANES * row_words, inputs, 1, sums);
                    put(to, next.to, n, 1, sums);
                }
            }
            advance(&next, v, &r, &along);
        }
    } while (next_region(v, &r));
}

/*
 * For a wider one: tables of the inputs of a kernel row, five by five, so that all output rows which see a row of x share them, in
 * strips of eight columns of y from top to bottom. A vector of indices, 32 rows' weights for five inputs, meets eight tables, a table two.
 */
typedef struct {
    uint32_t run;         /* inputs of a kernel row */
    uint32_t each, count; /* tables of a kernel row, and of a window */
    uint32_t steps;       /* words of a row of w */
    const uint32_t *w;
    int16_t *tables;      /* [row of x, modulo kernel rows][each][PIXELS][32] */
    int16_t *indices;     /* [group of rows][count][32], where there are at most MOST_PREPARED */
    int16_t *limits;      /* thresholds[], filled up to groups; for sums that fit 16 bits */
    unsigned char *bytes; /* [PIXELS][run + TABLE_INPUTS + STORE]: a kernel row of each pixel */
} strips;

/* Five weights of 32 rows from column `first` on, in the lowest bits of each lane; what the others hold does not matter to VPERMW. */
static inline __m512i five_weights(const uint32_t *w, uint32_t steps, uint32_t groups, uint32_t first)
{
    const uint32_t step = first / STEP_INPUTS, bit = first % STEP_INPUTS;
    const uint32_t *const at = w + (size_t)step * groups * (BYTE_LANES / 2);
    __m512i v = _mm512_srl_epi16(_mm512_load_si512(at), _mm_cvtsi32_si128((int32_t)bit));
    if (bit + TABLE_INPUTS > STEP_INPUTS && step + 1 < steps) {
        const __m512i upper = _mm512_load_si512(at + (size_t)groups * (BYTE_LANES / 2));
        v = _mm512_or_si512(v, _mm512_sll_epi16(upper, _mm_cvtsi32_si128((int32_t)(STEP_INPUTS - bit))));
    }
    return v;
}

/* How many groups the block that begins at row n has, and where it is. */
static inline uint32_t byte_groups(uint32_t n, uint32_t rows)
{
    return rows - n > BYTE_LANES ? 2 : 1;
}

static inline const uint32_t *byte_block(const strips *k, uint32_t n)
{
    return k->w + (size_t)n / BYTE_LANES * k->steps * (BYTE_LANES / 2);
}

static strips strips_in(void *scratch, const uint32_t *w, const labc_window *v, const output *to)
{
    const uint32_t inputs = taps_of(v) * v->channels, groups = words_of(to->rows);
    strips k;
    k.run = v->kernel_width * v->channels;
    k.each = (k.run + TABLE_INPUTS - 1) / TABLE_INPUTS;
    k.count = v->kernel_height * k.each;
    k.steps = inputs / STEP_INPUTS + (inputs % STEP_INPUTS != 0);
    k.w = w;
    k.tables = aligned_in(scratch);
    k.indices = k.tables + (size_t)k.count * PIXELS * 32;
    k.limits = k.indices + (size_t)groups * MOST_PREPARED * 32;
    k.bytes = (unsigned char *)(k.limits + (size_t)groups * 32);
    if (k.count <= MOST_PREPARED) {
        int16_t *at = k.indices;
        for (uint32_t g = 0; g < groups; ++g) {
            const uint32_t n = g / BYTE_GROUPS * BYTE_BLOCK;
            const uint32_t *const from = byte_block(&k, n) + g % BYTE_GROUPS * (BYTE_LANES / 2);
            for (uint32_t a = 0; a < v->kernel_height; ++a) {
                for (uint32_t e = 0; e < k.each; ++e, at += 32) {
                    const uint32_t first = a * k.run + e * TABLE_INPUTS;
                    _mm512_store_si512(at, five_weights(from, k.steps, byte_groups(n, to->rows), first));
                }
            }
        }
    }
    if (to->signs != 0) {
        const __m512i never = _mm512_set1_epi32(INT16_MAX); /* no sum is that large */
        for (uint32_t n = 0; n < groups * BYTE_LANES; n += 16) {
            const uint32_t first = n < to->rows ? n : to->rows;
            const __m512i limits = _mm512_mask_loadu_epi32(never, first_lanes(to->rows - first), to->thresholds + first);
            _mm256_store_si256((__m256i *)(void *)(k.limits + n), _mm512_cvtsepi32_epi16(limits));
        }
    }
    return k;
}

/* The tables of one row of x for `pixels` columns of y from j on. */
static void make_row_tables(const uint8_t *x, uint32_t offset, const labc_window *v, const strips *k, uint32_t row, uint32_t j,
                            uint32_t pixels, int16_t *tables)
{
    const __m512i signs01 = pair_of_signs(0xaaaaaaaau, 0xccccccccu), signs23 = pair_of_signs(0xf0f0f0f0u, 0xff00ff00u);
    const __m512i only4 = _mm512_and_si512(pair_of_signs(0xffff0000u, 0), _mm512_set1_epi16(0xff));
    /* Bytes are multiplied as unsigned ones. What a table is too high by then is taken off; zeros, and what is no input, are `offset`. */
    const __m512i offsets = _mm512_set1_epi8((char)offset);
    const __m512i excess01 = _mm512_maddubs_epi16(offsets, signs01), excess23 = _mm512_maddubs_epi16(offsets, signs23);
    const __m512i excess = _mm512_add_epi16(_mm512_add_epi16(excess01, excess23), _mm512_maddubs_epi16(offsets, only4));
    const __m512i start = _mm512_sub_epi16(_mm512_setzero_si512(), excess);
    const size_t most = k->run + TABLE_INPUTS, step = most + STORE;
    for (uint32_t p = 0; p < pixels; ++p) {
        const taps t = taps_inside(j + p, v->stride_x, v->dilation_x, v->left, v->kernel_width, v->width);
        const uint32_t columns = t.end - t.first, runs = v->dilation_x == 1 ? 1 : columns;
        unsigned char *const bytes = k->bytes + p * step;
        for (size_t at = columns == v->kernel_width ? k->run : 0; at < most; at += STORE) {
            _mm512_storeu_si512(bytes + at, offsets);
        }
        if (columns > 0) {
            const uint32_t column = (j + p) * v->stride_x + t.first * v->dilation_x - v->left;
            const path along = {.lines = 1,
                                .runs = runs,
                                .length = (size_t)(columns / runs) * v->channels,
                                .run_step = (size_t)v->dilation_x * v->channels,
                                .before = (size_t)t.first * v->channels};
            gather(x + ((size_t)row * v->width + column) * v->channels, &along, offsets, bytes);
        }
    }
    for (uint32_t e = 0; e < k->each; ++e) {
        const unsigned char *bytes = k->bytes + (size_t)e * TABLE_INPUTS;
        for (uint32_t p = 0; p < pixels; ++p, bytes += step, tables += 32) {
            _mm512_store_si512(tables, sums_of_pairs(start, bytes, signs01, signs23, only4));
        }
        tables += (size_t)(PIXELS - pixels) * 32;
    }
}

/* Where the tables of kernel row a are, of an output row whose first kernel row's are at first_slot. */
static inline uint32_t slot_of(const labc_window *v, uint32_t first_slot, uint32_t a)
{
    return first_slot + a < v->kernel_height ? first_slot + a : first_slot + a - v->kernel_height;
}

/*
 * Adds what the tables [e, end) of kernel row a say of the block that begins at row n, for eight pixels: to part[p] for its first 32 rows,
 * to part[PIXELS + p] for the others.
 */
INLINE void add_tables(const strips *k, const int16_t *tables, uint32_t a, uint32_t e, uint32_t end, uint32_t n, uint32_t groups,
                       int prepared, __m512i part[2 * PIXELS])
{
    const uint32_t *const w = byte_block(k, n);
    const int16_t *at = k->indices + ((size_t)n / BYTE_LANES * k->count + (size_t)a * k->each + e) * 32;
    uint32_t first = a * k->run + e * TABLE_INPUTS;
    tables += (size_t)e * PIXELS * 32;
    for (; e < end; ++e, tables += PIXELS * 32, at += prepared ? 32 : 0, first += TABLE_INPUTS) {
        const __m512i low = prepared ? _mm512_load_si512(at) : five_weights(w, k->steps, groups, first);
        const __m512i high = groups < 2 ? low
                             : prepared ? _mm512_load_si512(at + (size_t)k->count * 32)
                                        : five_weights(w + BYTE_LANES / 2, k->steps, 2, first);
#define STEP(p)                                                                                           \
    {                                                                                                     \
        const __m512i table = _mm512_load_si512(tables + p * 32);                                         \
        part[p] = _mm512_add_epi16(part[p], _mm512_permutexvar_epi16(low, table));                        \
        if (groups > 1) {                                                                                 \
            part[PIXELS + p] = _mm512_add_epi16(part[PIXELS + p], _mm512_permutexvar_epi16(high, table)); \
        }                                                                                                 \
    }
        EACH_PIXEL(STEP)
#undef STEP
    }
}

#define BEGIN(p) part[p] = part[PIXELS + p] = _mm512_setzero_si512();

/* Signs of `pixels` pixels from `pixel` on, whose sums fit 16 bits. */
INLINE void put_signs(const strips *k, const labc_window *v, const output *to, uint32_t first_slot, taps seen, size_t pixel,
                      uint32_t pixels, uint32_t n, uint32_t groups)
{
    const __m512i low = _mm512_load_si512(k->limits + n), high = _mm512_load_si512(k->limits + n + (groups > 1 ? 32 : 0));
    const size_t row_words = words_of(to->rows);
    uint32_t *const at = to->signs + pixel * row_words + n / 32;
    __m512i part[2 * PIXELS];
    EACH_PIXEL(BEGIN)
    for (uint32_t a = seen.first; a < seen.end; ++a) {
        const int16_t *const tables = k->tables + (size_t)slot_of(v, first_slot, a) * k->each * PIXELS * 32;
        add_tables(k, tables, a, 0, k->each, n, groups, 1, part);
    }
#define PUT(p)                                                                       \
    if (p < pixels) {                                                                \
        at[p * row_words] = _mm512_cmpge_epi16_mask(part[p], low);                   \
        if (groups > 1) {                                                            \
            at[p * row_words + 1] = _mm512_cmpge_epi16_mask(part[PIXELS + p], high); \
        }                                                                            \
    }
    EACH_PIXEL(PUT)
#undef PUT
}

/* The same with sums of 32 bits, into which those of 16 bits are emptied in time. */
INLINE void put_strip(const strips *k, const labc_window *v, const output *to, uint32_t first_slot, taps seen, size_t pixel,
                      uint32_t pixels, uint32_t n, uint32_t groups, int prepared)
{
    __m512i sums[PIXELS][2 * BYTE_GROUPS], part[2 * PIXELS];
    for (uint32_t p = 0; p < PIXELS; ++p) {
        sums[p][0] = sums[p][1] = sums[p][2] = sums[p][3] = _mm512_setzero_si512();
    }
    uint32_t room = TABLES_IN_16_BITS;
    EACH_PIXEL(BEGIN)
    for (uint32_t a = seen.first; a < seen.end; ++a) {
        const int16_t *const tables = k->tables + (size_t)slot_of(v, first_slot, a) * k->each * PIXELS * 32;
        for (uint32_t e = 0, end; e < k->each; e = end) {
            end = k->each - e < room ? k->each : e + room;
            add_tables(k, tables, a, e, end, n, groups, prepared, part);
            room -= end - e;
            if (room > 0 && (a + 1 < seen.end || end < k->each)) {
                continue;
            }
            room = TABLES_IN_16_BITS;
#define WIDEN_GROUP(p, g)                                                                                                   \
    sums[p][2 * g] = _mm512_add_epi32(sums[p][2 * g], _mm512_cvtepi16_epi32(_mm512_castsi512_si256(part[PIXELS * g + p]))); \
    sums[p][2 * g + 1] = _mm512_add_epi32(sums[p][2 * g + 1], _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(part[PIXELS * g + p], 1)));
#define WIDEN(p)          \
    WIDEN_GROUP(p, 0)     \
    if (groups > 1) {     \
        WIDEN_GROUP(p, 1) \
    }
            EACH_PIXEL(WIDEN)
            EACH_PIXEL(BEGIN)
#undef WIDEN
#undef WIDEN_GROUP
        }
    }
    for (uint32_t p = 0; p < pixels; ++p) {
        put(to, pixel + p, n, groups, sums[p]);
    }
}

#undef BEGIN

static void convolve_strips(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *v, const output *to, void *scratch)
{
    const strips k = strips_in(scratch, w, v, to);
    const int prepared = k.count <= MOST_PREPARED;
    const int small = prepared && to->signs != 0 && k.run * v->kernel_height <= INPUTS_IN_16_BITS;
    for (uint32_t j = 0; j < v->out_width; j += PIXELS) {
        const uint32_t pixels = v->out_width - j < PIXELS ? v->out_width - j : PIXELS;
        uint32_t made = 0; /* tables of rows of x, in an image with `top` more in front, are made before this one */
        for (uint32_t i = 0; i < v->out_height; ++i) {
            const taps seen = taps_inside(i, v->stride_y, v->dilation_y, v->top, v->kernel_height, v->height);
            const uint32_t first_slot = v->dilation_y == 1 ? i * v->stride_y % v->kernel_height : 0;
            const size_t pixel = (size_t)i * v->out_width + j;
            for (uint32_t a = seen.first; a < seen.end; ++a) {
                const uint32_t row = i * v->stride_y + a * v->dilation_y;
                if (v->dilation_y > 1 || row >= made) {
                    int16_t *const tables = k.tables + (size_t)slot_of(v, first_slot, a) * k.each * PIXELS * 32;
                    make_row_tables(x, offset, v, &k, row - v->top, j, pixels, tables);
                    made = row + 1;
                }
            }
#define BLOCK(groups)                                                        \
    if (small) {                                                             \
        put_signs(&k, v, to, first_slot, seen, pixel, pixels, n, groups);    \
    } else if (prepared) {                                                   \
        put_strip(&k, v, to, first_slot, seen, pixel, pixels, n, groups, 1); \
    } else {                                                                 \
        put_strip(&k, v, to, first_slot, seen, pixel, pixels, n, groups, 0); \
    }
            for (uint32_t n = 0; n < to->rows; n += BYTE_BLOCK) {
                if (byte_groups(n, to->rows) == 2) {
                    BLOCK(2)
                } else {
                    BLOCK(1)
                }
            }
#undef BLOCK
        }
    }
}

static void convolve(const uint8_t *x, uint32_t offset, const uint32_t *w, const labc_window *v, const output *to, void *scratch)
{
    if (v->out_width < LEAST_COLUMNS) {
        convolve_patches(x, offset, w, v, to, scratch);
    } else {
        convolve_strips(x, offset, w, v, to, scratch);
    }
}

void labc_byte_conv_sums_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                  const labc_window *restrict window, uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    const output to = {.rows = rows, .sums = y};
    convolve(x, offset, w, window, &to, scratch);
}

void labc_byte_conv_threshold_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                       const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                       uint32_t *restrict y, void *restrict scratch)
{
    const output to = {.rows = rows, .signs = y, .thresholds = thresholds};
    convolve(x, offset, w, window, &to, scratch);
}

void labc_byte_conv_requantize_avx512bw(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                        const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                        uint8_t *restrict y, void *restrict scratch)
{
    const output to = {.rows = rows, .bytes = y, .m = m, .b = b, .shift = shift};
    convolve(x, offset, w, window, &to, scratch);
}
