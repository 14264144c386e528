/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions in plain C: kernels.def says what each computes. `int` may have 16 bits here. */
#include "region.h"
#include "scalar.h"

/* Whether tap (a, b) is inside; before the first the differences wrap. */
static inline int is_inside(const sight *s, uint32_t a, uint32_t b)
{
    return a - s->rows.first < s->rows.end - s->rows.first && b - s->columns.first < s->columns.end - s->columns.first;
}

/*
 * The rows of the window that are inside, of what an output pixel sees, are copied behind one another, in the order of the weights, so
 * that every row of these compares one long run of words, whatever the channels. In columns outside the words are 0: there as many
 * bits differ as are 1 in the weights, the same for all pixels of a region, and counted once for each.
 */
static void gather(const uint32_t *restrict x, const labc_window *v, const sight *s, uint32_t *restrict patch)
{
    const uint32_t words = words_of(v->channels);
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        for (uint32_t b = 0; b < v->kernel_width; ++b) {
            if (is_inside(s, a, b) != 0) {
                const uint32_t *from = x + pixel_of(v, s, a, b) * words;
                for (uint32_t k = 0; k < words; ++k) {
                    *patch++ = from[k];
                }
            } else {
                for (uint32_t k = 0; k < words; ++k) {
                    *patch++ = 0;
                }
            }
        }
    }
}

/* How many bits of each row of weights are 1 in columns outside, of window rows inside. */
static void count_outside(const uint32_t *restrict w, const labc_window *v, const sight *s, uint32_t rows, uint32_t *restrict counts)
{
    static const uint32_t none[CHUNK_WORDS] = {0};
    const uint32_t words = words_of(v->channels);
    for (uint32_t n = 0; n < rows; ++n) {
        counts[n] = 0;
    }
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        for (uint32_t b = 0; b < v->kernel_width; ++b) {
            const uint32_t *tap = w + (a * v->kernel_width + b) * words;
            for (uint32_t n = 0; is_inside(s, a, b) == 0 && n < rows; ++n, tap += taps_of(v) * words) {
                uint32_t k = 0;
                for (; words - k >= CHUNK_WORDS; k += CHUNK_WORDS) {
                    counts[n] += popcount(difference(none, tap + k));
                }
                for (; k < words; ++k) {
                    counts[n] += popcount(labc_flash_u32(tap + k));
                }
            }
        }
    }
}

/* How many bits of `words` words differ between the patch and each of `rows` rows. Not inlined, or the comparison in it would not be. */
__attribute__((noinline)) static void compare_rows(const uint32_t *restrict patch, const uint32_t *restrict w, uint32_t row_words,
                                                   uint32_t words, uint32_t rows, uint32_t *restrict counts)
{
    for (uint32_t n = 0; n < rows; ++n, w += row_words) {
        counts[n] = disagreements(patch, w, words);
    }
}

void labc_sign_conv_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window, uint32_t rows,
                                int32_t *restrict y, void *restrict scratch)
{
    const uint32_t line = window->kernel_width * words_of(window->channels), row_words = window->kernel_height * line;
    uint32_t *outside = scratch, *patch = outside + rows;
    region r = region_at(window, 0, 0);
    do {
        const uint32_t most = inside(&r.sees) * window->channels, words = (r.sees.rows.end - r.sees.rows.first) * line;
        count_outside(w, window, &r.sees, rows, outside);
        for (uint32_t i = r.first_i; i < r.end_i; ++i) {
            for (uint32_t j = r.first_j; j < r.end_j; ++j) {
                const sight s = sight_of(window, i, j);
                const uint32_t *row = w + s.rows.first * line;
                int32_t *to = y + (i * window->out_width + j) * rows;
                gather(x, window, &s, patch);
                for (uint32_t n = 0; n < rows; n += 32, row += 32 * row_words) {
                    const uint32_t some = rows - n < 32 ? rows - n : 32;
                    uint32_t counts[32];
                    compare_rows(patch, row, row_words, words, some, counts);
                    for (uint32_t k = 0; k < some; ++k) {
                        to[n + k] = (int32_t)(most - 2 * (counts[k] - outside[n + k]));
                    }
                }
            }
        }
    } while (next_region(window, &r) != 0);
}

void labc_sign_conv_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                     const labc_window *restrict window, uint32_t rows, uint32_t *restrict y, void *restrict scratch)
{
    const uint32_t line = window->kernel_width * words_of(window->channels), row_words = window->kernel_height * line;
    uint32_t *outside = scratch, *patch = outside + rows;
    region r = region_at(window, 0, 0);
    do {
        const uint32_t missing = (taps_of(window) - inside(&r.sees)) * window->channels;
        const uint32_t words = (r.sees.rows.end - r.sees.rows.first) * line;
        count_outside(w, window, &r.sees, rows, outside);
        for (uint32_t i = r.first_i; i < r.end_i; ++i) {
            for (uint32_t j = r.first_j; j < r.end_j; ++j) {
                const sight s = sight_of(window, i, j);
                const uint32_t *row = w + s.rows.first * line;
                uint32_t *to = y + (i * window->out_width + j) * words_of(rows);
                gather(x, window, &s, patch);
                for (uint32_t n = 0; n < rows; n += 32, row += 32 * row_words) {
                    const uint32_t some = rows - n < 32 ? rows - n : 32;
                    uint32_t counts[32], signs = 0;
                    compare_rows(patch, row, row_words, words, some, counts);
                    for (uint32_t k = 0; k < some; ++k) {
                        const uint32_t twice = 2 * (counts[k] - outside[n + k]);
                        signs |= at_least(labc_flash_i32(limits + n + k), (int32_t)(twice + missing)) << k;
                    }
                    *to++ = signs;
                }
            }
        }
    } while (next_region(window, &r) != 0);
}

/*
 * Bytes: what an output pixel sees in the order of the weights, and 0, which is 0 in both readings, where it is outside; then its sums
 * as those of a vector, by tables of partial sums. The patch and, where sums are not what is wanted, they lie in scratch.
 */
static void patch_sums(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *v, const sight *s,
                       uint32_t rows, uint8_t *restrict patch, int32_t *restrict sums)
{
    uint8_t *to = patch;
    for (uint32_t a = 0; a < v->kernel_height; ++a) {
        for (uint32_t b = 0; b < v->kernel_width; ++b, to += v->channels) {
            if (is_inside(s, a, b) != 0) {
                const uint8_t *from = x + pixel_of(v, s, a, b) * v->channels;
                for (uint32_t c = 0; c < v->channels; ++c) {
                    to[c] = from[c];
                }
            } else {
                for (uint32_t c = 0; c < v->channels; ++c) {
                    to[c] = 0;
                }
            }
        }
    }
    byte_sums(patch, offset, w, taps_of(v) * v->channels, rows, sums);
}

void labc_byte_conv_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const labc_window *restrict window,
                                uint32_t rows, int32_t *restrict y, void *restrict scratch)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j, y += rows) {
            const sight s = sight_of(window, i, j);
            patch_sums(x, offset, w, window, &s, rows, scratch, y);
        }
    }
}

void labc_byte_conv_threshold_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const int32_t *restrict thresholds, const labc_window *restrict window, uint32_t rows,
                                     uint32_t *restrict y, void *restrict scratch)
{
    int32_t *sums = scratch;
    uint8_t *patch = (uint8_t *)scratch + 4 * rows;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            patch_sums(x, offset, w, window, &s, rows, patch, sums);
            for (uint32_t n = 0; n < rows; n += 32) {
                const uint32_t some = rows - n < 32 ? rows - n : 32;
                uint32_t signs = 0;
                for (uint32_t k = 0; k < some; ++k) {
                    signs |= at_least(sums[n + k], labc_flash_i32(thresholds + n + k)) << k;
                }
                *y++ = signs;
            }
        }
    }
}

void labc_byte_conv_requantize_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w, const int32_t *restrict m,
                                      const int64_t *restrict b, uint32_t shift, const labc_window *restrict window, uint32_t rows,
                                      uint8_t *restrict y, void *restrict scratch)
{
    int32_t *sums = scratch;
    uint8_t *patch = (uint8_t *)scratch + 4 * rows;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            patch_sums(x, offset, w, window, &s, rows, patch, sums);
            for (uint32_t n = 0; n < rows; ++n) {
                *y++ = requantize(product_of(sums[n], labc_flash_i32(m + n)) + labc_flash_i64(b + n), shift);
            }
        }
    }
}

/* The signs of a pixel's channels that output channels n to n + some - 1 read. */
static uint32_t signs_for(const uint32_t *x, uint32_t each, uint32_t n, uint32_t some)
{
    if (each == 1) {
        return x[n / 32];
    }
    uint32_t signs = 0, channel = n / each, left = each - n % each;
    for (uint32_t k = 0; k < some; ++k) {
        signs |= (x[channel / 32] >> channel % 32 & 1) << k;
        --left;
        channel += left == 0;
        left += left == 0 ? each : 0;
    }
    return signs;
}

enum { PLANES = 8, FULL = (1 << PLANES) - 1 };

/* Add four planes' counts, times 2^shift, to `counts`. */
static void empty(uint32_t *restrict planes, uint32_t shift, uint32_t some, int32_t *restrict counts)
{
    uint32_t a = planes[0], b = planes[1], c = planes[2], d = planes[3];
    planes[3] = 0;
    planes[2] = 0;
    planes[1] = 0;
    planes[0] = 0;
    for (uint32_t k = 0; k < some; ++k, a >>= 1, b >>= 1, c >>= 1, d >>= 1) {
        counts[k] += (int32_t)(((a & 1) | (b & 1) << 1 | (c & 1) << 2 | (d & 1) << 3) << shift);
    }
}

/*
 * How many of the taps inside differ, for output channels n to n + some - 1, 32 at once: bit k of plane p is bit p of channel k's count,
 * and a tap's differences are added to all of them as a carry that goes through the planes. They are emptied before a count is full.
 */
static void count_taps(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *v, const sight *s, uint32_t rows,
                       uint32_t n, uint32_t some, int32_t *restrict counts)
{
    const uint32_t words = words_of(v->channels), row_words = words_of(rows), each = rows / v->channels;
    uint32_t planes[PLANES] = {0}, left = inside(s), room = FULL, used = 1;
    while (used < PLANES && left >> used != 0) {
        ++used; /* so many bits hold the count */
    }
    for (uint32_t k = 0; k < some; ++k) {
        counts[k] = 0;
    }
    for (uint32_t a = s->rows.first; a < s->rows.end; ++a) {
        for (uint32_t b = s->columns.first; b < s->columns.end; ++b) {
            uint32_t carry = signs_for(x + pixel_of(v, s, a, b) * words, each, n, some) ^
                             labc_flash_u32(w + (a * v->kernel_width + b) * row_words + n / 32);
            for (uint32_t p = 0; p < used; ++p) {
                const uint32_t both = planes[p] & carry;
                planes[p] ^= carry;
                carry = both;
            }
            if (--left == 0 || --room == 0) {
                for (uint32_t p = 0; p < used; p += 4) {
                    empty(planes + p, p, some, counts);
                }
                room = FULL;
            }
        }
    }
}

void labc_sign_depthwise_sums_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const labc_window *restrict window,
                                     uint32_t rows, int32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; n += 32) {
                const uint32_t some = rows - n < 32 ? rows - n : 32;
                count_taps(x, w, window, &s, rows, n, some, y);
                for (uint32_t k = 0; k < some; ++k, ++y) {
                    *y = (int32_t)inside(&s) - 2 * *y;
                }
            }
        }
    }
}

void labc_sign_depthwise_threshold_scalar(const uint32_t *restrict x, const uint32_t *restrict w, const int32_t *restrict limits,
                                          const labc_window *restrict window, uint32_t rows, uint32_t *restrict y)
{
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j) {
            const sight s = sight_of(window, i, j);
            const int32_t missing = (int32_t)(taps_of(window) - inside(&s));
            for (uint32_t n = 0; n < rows; n += 32) {
                const uint32_t some = rows - n < 32 ? rows - n : 32;
                int32_t counts[32];
                uint32_t signs = 0;
                count_taps(x, w, window, &s, rows, n, some, counts);
                for (uint32_t k = 0; k < some; ++k) {
                    signs |= at_least(labc_flash_i32(limits + n + k), 2 * counts[k] + missing) << k;
                }
                *y++ = signs;
            }
        }
    }
}

/* Add a tap of bytes, of which `each` output channels after one another read the same, times their signs. */
static void add_tap(const uint8_t *restrict x, int32_t offset, const uint32_t *restrict signs, uint32_t each, uint32_t rows,
                    int32_t *restrict y)
{
    uint32_t c = 0, left = each;
    for (uint32_t n = 0; n < rows; n += 32) {
        const uint32_t some = rows - n < 32 ? rows - n : 32;
        uint32_t bits = labc_flash_u32(signs + n / 32);
        for (uint32_t k = 0; k < some; ++k, bits >>= 1) {
            const int32_t minus = (int32_t)(bits & 1) - 1; /* 0 or -1: the sign is applied without a branch */
            y[n + k] += (((int32_t)x[c] ^ offset) - offset + minus) ^ minus;
            --left;
            c += left == 0;
            left = left == 0 ? each : left;
        }
    }
}

void labc_byte_depthwise_sums_scalar(const uint8_t *restrict x, uint32_t offset, const uint32_t *restrict w,
                                     const labc_window *restrict window, uint32_t rows, int32_t *restrict y)
{
    const uint32_t row_words = words_of(rows), each = rows / window->channels;
    for (uint32_t i = 0; i < window->out_height; ++i) {
        for (uint32_t j = 0; j < window->out_width; ++j, y += rows) {
            const sight s = sight_of(window, i, j);
            for (uint32_t n = 0; n < rows; ++n) {
                y[n] = 0;
            }
            for (uint32_t a = s.rows.first; a < s.rows.end; ++a) {
                for (uint32_t b = s.columns.first; b < s.columns.end; ++b) {
                    add_tap(x + pixel_of(window, &s, a, b) * window->channels, (int32_t)offset,
                            w + (a * window->kernel_width + b) * row_words, each, rows, y);
                }
            }
        }
    }
}
