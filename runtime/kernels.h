/* SPDX-License-Identifier: Apache-2.0 */
/* Declares every kernel of kernels.def, and how constants are read. C11, and C++17. */
#ifndef LABC_KERNELS_H
#define LABC_KERNELS_H

#include <float.h>
#include <stdint.h>

/* Raised whenever a kernel's signature or meaning changes; generated code asserts the number it was made for. */
#define LABC_RUNTIME 2

/* Scores are exact because each float operation rounds once, to float. These two settings would change results silently. */
#ifdef __FAST_MATH__
#error "labc computes exact scores: compile without -ffast-math and -Ofast"
#endif
#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "labc computes exact scores: floats must be evaluated as floats (32-bit x86: add -msse2 -mfpmath=sse)"
#endif

/*
 * Constants are declared LABC_FLASH and read through labc_flash_*. Where flash is in the address space - everywhere but on
 * AVR - that is a plain const object and a plain load. So it is with LABC_CONSTANTS_IN_RAM: the kernel check makes its constants as it goes.
 */
#if defined(__AVR__) && !defined(LABC_CONSTANTS_IN_RAM)
#include <avr/pgmspace.h>
#define LABC_FLASH PROGMEM
#else
#define LABC_FLASH
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__AVR__) && !defined(LABC_CONSTANTS_IN_RAM)
static inline uint8_t labc_flash_u8(const uint8_t *at)
{
    return pgm_read_byte(at);
}
static inline uint16_t labc_flash_u16(const uint16_t *at)
{
    return pgm_read_word(at);
}
static inline int16_t labc_flash_i16(const int16_t *at)
{
    return (int16_t)pgm_read_word(at);
}
static inline uint32_t labc_flash_u32(const uint32_t *at)
{
    return pgm_read_dword(at);
}
static inline int32_t labc_flash_i32(const int32_t *at)
{
    return (int32_t)pgm_read_dword(at);
}
static inline int64_t labc_flash_i64(const int64_t *at)
{
    /* AVR compilers are little-endian: the low half comes first. */
    const uint32_t low = pgm_read_dword(at);
    const uint32_t high = pgm_read_dword((const unsigned char *)at + 4);
    return (int64_t)((uint64_t)high << 32 | low);
}
static inline float labc_flash_f32(const float *at)
{
    const uint32_t bits = pgm_read_dword(at);
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
#else
static inline uint8_t labc_flash_u8(const uint8_t *at)
{
    return *at;
}
static inline uint16_t labc_flash_u16(const uint16_t *at)
{
    return *at;
}
static inline int16_t labc_flash_i16(const int16_t *at)
{
    return *at;
}
static inline uint32_t labc_flash_u32(const uint32_t *at)
{
    return *at;
}
static inline int32_t labc_flash_i32(const int32_t *at)
{
    return *at;
}
static inline int64_t labc_flash_i64(const int64_t *at)
{
    return *at;
}
static inline float labc_flash_f32(const float *at)
{
    return *at;
}
#endif

/*
 * How a window slides over an image: sizes in pixels, all at least 1 but `top` and `left`, the rows above and columns before the
 * image. kernels.def says which pixel is which tap.
 */
typedef struct {
    uint32_t height, width, channels; /* of x */
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width;
    uint32_t stride_y, stride_x;
    uint32_t dilation_y, dilation_x;
    uint32_t top, left;
} labc_window;

/* labc_<op>_fn, the type of an op's kernels; then every kernel through it, so a definition that disagrees does not compile. */
#define LABC_OP(op, family, parameters) typedef void labc_##op##_fn parameters;
#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch) labc_##op##_fn labc_##op##_##isa;
#include "kernels.def"

#ifdef __cplusplus
}
#endif

#endif
