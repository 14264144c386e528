/* SPDX-License-Identifier: Apache-2.0 */
/* What a compiler is tried with before labc takes it: the arithmetic for which a core without it needs a support library. */
#include <stdint.h>
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define SOME(a) wasm_i32x4_extract_lane(wasm_i32x4_extend_low_i16x8(wasm_i8x16_popcnt(wasm_i32x4_splat(a))), 0)
#else
#define SOME(a) (a)
#endif

int32_t labc_trial(int32_t a, int32_t b);

int32_t labc_trial(int32_t a, int32_t b)
{
    const float sum = (float)a * (float)b + (float)(uint32_t)b;
    const double more = (double)sum * (double)b + (double)a;
    const int64_t wide = (int64_t)a * b / (SOME(a) | 1) >> (a & 31);
    return sum >= 1.0F && more > 2.0 ? (int32_t)wide : 0;
}
