/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels for RISC-V with Zbb share, whose cpop counts the bits of a register. Of 32-bit and of 64-bit processors only the width
 * of a chunk differs, and with it the layout of weights: hence two rows of kernels.def, zbb32 and zbb64.
 */
#ifndef LABC_ZBB_H
#define LABC_ZBB_H

#include <stddef.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define NOT_INLINE static __attribute__((noinline))

enum { CHUNK_WORDS = __riscv_xlen / 32 };

/* How many 32-bit words hold `count` signs; written so that no count overflows. */
INLINE uint32_t words_of(uint32_t count)
{
    return count / 32 + (count % 32 != 0);
}

#if __riscv_xlen == 64

/* A register of signs; it may be read where words were written. */
typedef uint64_t __attribute__((may_alias)) chunk;

INLINE chunk popcount(chunk v)
{
    return (chunk)__builtin_popcountll(v);
}

/* The next chunk of a vector that ends at `end`. Of a last one that is but a word the rest is 0, as it is in weights. */
INLINE chunk take_any(const uint32_t **x, const uint32_t *end)
{
    chunk v = *(*x)++;
    if (*x != end) {
        v |= (chunk)*(*x)++ << 32;
    }
    return v;
}

/* Whether take_whole does, too: vectors are aligned to words, and not each processor loads a chunk from everywhere. */
INLINE int is_whole(const uint32_t *x, const uint32_t *end)
{
    return ((uintptr_t)x | (uintptr_t)end) % sizeof(chunk) == 0;
}

#else

typedef uint32_t __attribute__((may_alias)) chunk;

INLINE chunk popcount(chunk v)
{
    return (chunk)__builtin_popcountl(v);
}

INLINE chunk take_any(const uint32_t **x, const uint32_t *end)
{
    (void)end;
    return *(*x)++;
}

#endif

/* The next chunk of a vector that is aligned to chunks and made of whole ones. */
INLINE chunk take_whole(const uint32_t **x, const uint32_t *end)
{
    const void *const at = *x;
    (void)end;
    *x += CHUNK_WORDS;
    return *(const chunk *)at;
}

INLINE uint32_t chunks_of(uint32_t count)
{
    return (words_of(count) + CHUNK_WORDS - 1) / CHUNK_WORDS;
}

/* Weights, which are aligned to a chunk. */
INLINE const chunk *chunks_at(const void *w)
{
    return w;
}

/* The first whole chunk in scratch, which is aligned to words. */
INLINE chunk *whole_chunks(void *scratch)
{
    return (void *)((unsigned char *)scratch + (uintptr_t)scratch % sizeof(chunk));
}

/* For each row of a block: what is written once for it, with a variable of its own. */
#define EACH_1(DO) DO(0)
#define EACH_4(DO) DO(0) DO(1) DO(2) DO(3)
#define EACH_8(DO) EACH_4(DO) DO(4) DO(5) DO(6) DO(7)
#define EACH_16(DO) EACH_8(DO) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

#endif
