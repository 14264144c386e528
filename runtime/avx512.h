/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of AVX-512 with and without its population count share. A lane is a row of w. */
#ifndef LABC_AVX512_H
#define LABC_AVX512_H

#include <immintrin.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline)) /* so that `groups` is a constant inside */

static inline uint32_t words_of(uint32_t count)
{
    return count / 32 + (count % 32 != 0);
}

/* The first `count` of 16 lanes, all from 16 on. */
static inline __mmask16 first_lanes(uint32_t count)
{
    return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xffffu);
}

/*
 * For 16 rows of a threshold at a window's border, the most differences of those taps that are inside: 2 D + missing <= limit is
 * D <= (limit - missing) >> 1, rounding down. Lanes that are no rows get -1, so no sign.
 */
static inline __m512i most_differences(const int32_t *limits, __m512i missing, __mmask16 lanes)
{
    const __m512i twice = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(lanes, limits), missing);
    return _mm512_mask_srai_epi32(_mm512_set1_epi32(-1), lanes, twice, 1);
}

#endif
