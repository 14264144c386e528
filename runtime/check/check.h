/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel check: every row of kernels.def against its op's definition, exactly. No C library, so the same source runs
 * on a host, in an emulator and on a board.
 *
 *   check_kernels.c   walks the table; labc_check_all
 *   check_sign.c check_byte.c check_affine.c check_conv.c check_pool.c check_point.c
 *                     the ops: the definition element by element, the comparison
 *   support.c         random numbers, printing, guarded memory, the packer; cases of vectors
 *   images.c          cases of images and windows; filling and comparing images
 *   faults.c          kernels with planted faults; labc_check_faults says whether each was caught
 *   faults_images.c   those with faults in ops on images
 *   fence_mmap.c | fence_given.c | fence_none.c   memory that ends at an unreadable page (the system's; that of whoever runs the
 *   | pool.c                                      image), or does not; what little a small chip has
 *   host_main.c | memory_main.c | piece_main.c   the program: standard output, or a buffer for whoever runs the image; an image for one
 *                                                kernel or fault
 *
 * Also linked: ../cpu.c, and the file of every ISA that the compiler sees a row of.
 */
#ifndef LABC_CHECK_H
#define LABC_CHECK_H

#include "../cpu.h"
#include "../kernels.h"

/* ---- what the check offers ---- */

/* Check every kernel that this processor runs. Prints TAP; returns how many kernels failed. */
uint32_t labc_check_all(uint32_t seed);

/* Check that every planted fault is caught. Prints TAP; returns how many were not. */
uint32_t labc_check_faults(uint32_t seed);

/*
 * The same in pieces, for an image that ends where a kernel touches what it must not: `number` counts from 1, each call prints its
 * line of TAP, and returns 1 for a failure. labc_check_fault_stops: whether that fault ends an image without a handler.
 */
uint32_t labc_check_kernel_count(void);
uint32_t labc_check_kernel(uint32_t seed, uint32_t number);
uint32_t labc_check_fault_count(void);
uint32_t labc_check_fault(uint32_t seed, uint32_t number);
uint32_t labc_check_fault_stops(uint32_t number);

/*
 * A chip whose memory holds less than LABC_CHECK_LEAST_BYTES: LABC_CHECK_SMALL is defined, and there is an image per kernel and per fault,
 * for which LABC_CHECK_NUMBER is defined as its number: the compiler leaves out all others, and texts are short.
 */
#ifdef LABC_CHECK_NUMBER
#define LABC_CHECK_ONLY(number) ((void)(number), UINT32_C(LABC_CHECK_NUMBER))
#else
#define LABC_CHECK_ONLY(number) (number)
#endif

/* ---- what it needs from the place it runs in ---- */

void labc_check_put(const char *text);

/*
 * Memory blocks, one per argument of a kernel; labc_check_block_bytes each, at a multiple of LABC_CHECK_BLOCK_ALIGN, which divides
 * that. Cases that do not fit are left out; LABC_CHECK_LEAST_BYTES hold all but the large ones. A small chip has labc_check_block_bytes for
 * all arguments of a case: labc_check_take gives each `bytes`, a multiple of 8, from the end of the last on.
 */
#define LABC_CHECK_BLOCKS 8
#define LABC_CHECK_BLOCK_ALIGN 128
#define LABC_CHECK_LEAST_BYTES UINT32_C(16384)
extern uint32_t labc_check_block_bytes;
unsigned char *labc_check_block(uint32_t index);
unsigned char *labc_check_take(uint32_t index, uint32_t bytes);

/*
 * Whether touching the byte after a block is noticed. Then labc_check_call returns what `call` was stopped for, LABC_CHECK_STOPPED
 * or LABC_CHECK_UNKNOWN_INSTRUCTION, else 0; or the whole image is stopped.
 */
uint32_t labc_check_has_fence(void);
uint32_t labc_check_call(void (*call)(void *), void *context);

/* ---- findings: what is wrong with a kernel; 0 if nothing ---- */

enum {
    LABC_CHECK_NOTHING,
    LABC_CHECK_VALUE,
    LABC_CHECK_UNUSED_BITS,
    LABC_CHECK_WROTE_BEFORE,
    LABC_CHECK_WROTE_PAST,
    LABC_CHECK_CHANGED_INPUT,
    LABC_CHECK_STOPPED,
    LABC_CHECK_UNKNOWN_INSTRUCTION,
    LABC_CHECK_FINDINGS
};
extern const char *const labc_check_findings[LABC_CHECK_FINDINGS];

/* ---- one kernel, one case ---- */

typedef struct {
    uint32_t word_bits, lanes, groups;
} labc_check_layout;

typedef struct {
    const char *op, *isa;
    labc_check_layout layout;
    uint32_t alignment;
    uint32_t (*scratch)(uint32_t inputs, uint32_t rows, uint32_t channels, uint32_t taps);
    uint32_t quiet; /* 1: say nothing of failures (planted faults) */
} labc_check_row;

enum { LABC_CHECK_RANDOM, LABC_CHECK_AGREE, LABC_CHECK_DIFFER, LABC_CHECK_WALK, LABC_CHECK_LEAST, LABC_CHECK_MOST, LABC_CHECK_FILLS };

/* The weights of a case: rows of inputs; of taps, each filled up to whole words; of taps that are not; a row of all channels per tap; none. */
enum { LABC_CHECK_MATRIX, LABC_CHECK_FILLED_TAPS, LABC_CHECK_TAPS, LABC_CHECK_DEPTHWISE, LABC_CHECK_NO_WEIGHTS };

typedef struct {
    const labc_check_row *row;
    uint32_t inputs, rows, fill, seed, number;
    uint32_t place; /* number % inputs: where a walking bit is */
    uint32_t round; /* the same for all fills of the same sizes */
    uint32_t snug;  /* 1: inputs end where their block ends; 0: inputs lie at the promised alignment and no better */
    uint32_t weights;
    const labc_window *window; /* 0 for ops without */
    uint32_t pixels;           /* of an image without a window, whose channels are `rows` */
} labc_check_case;

/*
 * Elements 32 i to 32 i + 31 of row n of the weights, and of a vector of signs, of a case: bit k % 32 is element k, 1 for +1 and 0
 * for -1. Bits beyond `inputs` are anything. By the word because a slow core draws each for all rows, again and again.
 */
uint32_t labc_check_w(const labc_check_case *c, uint32_t n, uint32_t i);
uint32_t labc_check_x(const labc_check_case *c, uint32_t i);

/* The k-th pseudo-random number of stream `stream`; stateless, so that no data need be kept unpacked. */
uint32_t labc_check_random(uint32_t seed, uint32_t stream, uint32_t k);

/* Where element (n, k) of the weights lies, as a bit of the array of 32-bit words; and how many words that array has. */
uint32_t labc_check_position(const labc_check_layout *layout, uint32_t inputs, uint32_t rows, uint32_t n, uint32_t k);
uint32_t labc_check_weight_words(const labc_check_layout *layout, uint32_t inputs, uint32_t rows);

/* The column that element k of a row has where each `tap` elements are filled up to whole words. */
uint32_t labc_check_column(const labc_check_layout *layout, uint32_t tap, uint32_t k);

/*
 * One case, from the start: what `one` finds. Where it runs out of memory it is ended and left out. labc_check_tried and
 * labc_check_left_out count those that were run and those that were not, of which one takes labc_check_lacked bytes and none takes less.
 */
uint32_t labc_check_try(uint32_t (*one)(const labc_check_case *, void *), const labc_check_case *c, void *context);
extern uint32_t labc_check_tried, labc_check_left_out, labc_check_lacked;

/* ---- guarded arguments ---- */

/*
 * Take the next block for `count` elements of `size` bytes. An input ends at the end of the block or lies in poison; an output
 * lies in poison, and is poison until the kernel writes it. All blocks are free again when a case begins.
 */
void labc_check_begin(void);
void *labc_check_input(const labc_check_case *c, uint32_t count, uint32_t size);
void *labc_check_output(const labc_check_case *c, uint32_t count, uint32_t size);
void *labc_check_scratch(const labc_check_case *c);
uint32_t *labc_check_packed_w(const labc_check_case *c);
uint32_t *labc_check_packed_x(const labc_check_case *c);

/* The bytes of scratch of a row; whether an argument of `bytes` fits a block, between its guards and moved by its alignment. */
uint32_t labc_check_scratch_bytes(const labc_check_row *row, uint32_t inputs, uint32_t rows, const labc_window *window);
uint32_t labc_check_fits(const labc_check_row *row, uint32_t bytes);

/* Run `call` between a look at every block and another. What it touched that it should not is reported and returned. */
uint32_t labc_check_run(const labc_check_case *c, void (*call)(void *), void *context);

/* Compare one element: a difference is reported and returned. */
uint32_t labc_check_equal(const labc_check_case *c, uint32_t index, int32_t got, int32_t want);
uint32_t labc_check_equal_float(const labc_check_case *c, uint32_t index, float got, float want);

/* Whether bits of the last word of `count` signs that are not used are not 0: reported and returned. */
uint32_t labc_check_unused_bits(const labc_check_case *c, uint32_t word, uint32_t count);

/* Compare N signs with `want`, called for each, and see that the unused bits of the last word are 0. */
uint32_t labc_check_equal_signs(const labc_check_case *c, const uint32_t *got, const uint8_t *want);

/* ---- cases ---- */

/* Tables of sizes, which a small chip keeps in flash. */
#ifdef __AVR__
#include <avr/pgmspace.h>
#define LABC_CHECK_TABLE PROGMEM
#define labc_check_u8(at) pgm_read_byte(at)
#define labc_check_u16(at) pgm_read_word(at)
#define labc_check_u32(at) pgm_read_dword(at)
#else
#define LABC_CHECK_TABLE
#define labc_check_u8(at) (*(at))
#define labc_check_u16(at) (*(at))
#define labc_check_u32(at) (*(at))
#endif
void labc_check_copy(void *to, const void *table, uint32_t bytes);

/*
 * 1: of any two of a case's sizes, fill and placement every combination is run, in as few cases as that takes, and images have fewer
 * products; for slow machines on which the kernels are those of another. 0, as it begins: every case.
 */
extern uint32_t labc_check_pairs;

/*
 * Call `one` with case after case of sizes, fills and placements until it finds something. Returns that, and adds the number
 * of cases to *cases. `input_bits`: of one input, 1 or 8; 0 for ops that have no `inputs`.
 */
uint32_t labc_check_cases(const labc_check_row *row, uint32_t seed, uint32_t input_bits, uint32_t (*one)(const labc_check_case *, void *),
                          void *context, uint32_t *cases);

/* The most rows any case has, and the most inputs; UINT16_MAX inputs is where a 16-bit counter of them is full. */
#ifdef LABC_CHECK_SMALL
#define LABC_CHECK_MOST_ROWS 65
#else
#define LABC_CHECK_MOST_ROWS 261
#endif
#define LABC_CHECK_MOST_INPUTS 65793

/* ---- images: elements of 1 bit (a sign, 0 or 1), 8 (0..255), 16 or 32 (in two's complement) ---- */

/*
 * The same as labc_check_cases for windows over images, with elements of these bits, and for pixels of channels without a window,
 * where `bits` are those of the largest element. Of images without weights, `rows` are the channels; there every window has a tap inside.
 */
uint32_t labc_check_window_cases(const labc_check_row *row, uint32_t seed, uint32_t weights, uint32_t input_bits, uint32_t output_bits,
                                 uint32_t (*one)(const labc_check_case *, void *), void *context, uint32_t *cases);
uint32_t labc_check_pixel_cases(const labc_check_row *row, uint32_t seed, uint32_t bits, uint32_t (*one)(const labc_check_case *, void *),
                                void *context, uint32_t *cases);

/* The most inputs a window has in any case, as signs in words; and the most channels. */
#ifdef LABC_CHECK_SMALL
#define LABC_CHECK_WINDOW_WORDS 12
#else
#define LABC_CHECK_WINDOW_WORDS 128
#endif
#define LABC_CHECK_MOST_CHANNELS 256

/* The largest sum that a threshold is compared with: the difference of the two fits an int32. */
#define LABC_CHECK_MOST_SUM ((INT32_C(1) << 30) - 1)

/*
 * The e-th number of an input, of this channel, in low..high. random: any.   agree, differ: either end, and where there are weights
 * the one on the side of labc_check_x of the channel.   walk: one end at `place`, among zeros.   least, most: an end.
 */
int32_t labc_check_number(const labc_check_case *c, uint32_t stream, uint32_t e, uint32_t channel, uint32_t place, int32_t low,
                          int32_t high);

/* An input of such numbers, and an output; a number of one as kernels see it (bytes are 0..255), and how many elements of C hold one. */
void *labc_check_image(const labc_check_case *c, uint32_t stream, uint32_t bits, uint32_t channels, uint32_t pixels, int32_t low,
                       int32_t high);
void *labc_check_output_image(const labc_check_case *c, uint32_t bits, uint32_t channels, uint32_t pixels);
int32_t labc_check_element(const void *image, uint32_t bits, uint32_t channels, uint32_t pixel, uint32_t channel);
uint32_t labc_check_image_bytes(uint32_t bits, uint32_t channels, uint32_t pixels);

/* The case's window, as an input of its own. */
const labc_window *labc_check_window(const labc_check_case *c);

/* The pixel of x that tap (a, b) of output pixel (i, j) is, or -1 if it is outside. */
int32_t labc_check_tap(const labc_window *window, uint32_t i, uint32_t j, uint32_t a, uint32_t b);

/* Compare every element of y, channel by channel, with what `want` returns for it, as labc_check_element reads one; then unused bits. */
uint32_t labc_check_equal_image(const labc_check_case *c, const void *y, uint32_t bits, uint32_t channels, uint32_t pixels,
                                int32_t (*want)(const labc_check_case *, const void *context, uint32_t pixel, uint32_t channel),
                                const void *context);

/* Signs of w of a depthwise case, [taps][rows]. */
uint32_t *labc_check_packed_depthwise(const labc_check_case *c);

/* ---- constants ---- */

/* A threshold for a sum in -most..most: just below, at and just above it, the two ends (most + 1 is never), and anything. */
int32_t labc_check_threshold(const labc_check_case *c, uint32_t n, int32_t sum, int32_t most);

/*
 * m and b so that v = sum m + b lies at a place of interest: an edge times 2^shift or one below, the largest |v| allowed on either side,
 * and anything; with |m| < 2^31, and |any m| + |b| < 2^52 for every |any| <= most, of which sum is one.
 */
void labc_check_scaling(const labc_check_case *c, uint32_t n, uint32_t shift, int32_t sum, int64_t most, const int32_t *edges,
                        uint32_t edge_count, int32_t *m, int64_t *b);

/* A shift for a case, v / 2^shift rounded down and kept within low..high, and the edges of bytes. */
uint32_t labc_check_shift(const labc_check_case *c);
int32_t labc_check_scaled(int64_t v, uint32_t shift, int32_t low, int32_t high);
#define LABC_CHECK_BYTE_EDGES 6
extern const int32_t labc_check_byte_edges[LABC_CHECK_BYTE_EDGES];

/* ---- printing ---- */

void labc_check_put_number(int32_t value);
void labc_check_put_words(const char *const *words);

/* ---- one checker per op: labc_check_<op>(row, kernel, seed, &cases), the first finding or 0 ---- */

#define LABC_OP(op, family, parameters) \
    uint32_t labc_check_##op(const labc_check_row *row, labc_##op##_fn *kernel, uint32_t seed, uint32_t *cases);
#include "../kernels.def"

#endif
