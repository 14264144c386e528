/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instruction set could do at most on this machine, for `labc bench`. Per ISA:
 *
 *     labc_ceiling_sign_<isa>, labc_ceiling_byte_<isa>   the inner step of its kernels, operands in registers, `steps` times
 *     labc_stream_<isa>                                  read `bytes` bytes (from a multiple of 64), do nothing else
 *
 * An ISA without a stream has its next one's: 256-bit loads already read as fast as the second cache answers. Each returns how
 * much it did: products, or bytes. timer.c takes the time.
 */
#ifndef LABC_CEILINGS_H
#define LABC_CEILINGS_H

#include <stddef.h>
#include <stdint.h>

/* The compiler must take the value for used, and for new: nothing is folded, nothing dropped, nothing moved out of a loop. */
#define LABC_HIDE_VECTOR(v) __asm__ volatile("" : "+" LABC_VECTOR_REGISTER(v))
#define LABC_HIDE(v) __asm__ volatile("" : "+r"(v))

#if defined(__x86_64__)
#define LABC_VECTOR_REGISTER(v) "v"(v)
#else
#define LABC_VECTOR_REGISTER(v) "w"(v)
#endif

typedef uint64_t labc_ceiling_fn(uint32_t steps);
typedef uint64_t labc_stream_fn(const void *from, size_t bytes);

labc_ceiling_fn labc_ceiling_sign_scalar, labc_ceiling_byte_scalar;
labc_stream_fn labc_stream_scalar;
#if defined(__x86_64__)
labc_ceiling_fn labc_ceiling_sign_avx512, labc_ceiling_plain_avx512, labc_ceiling_sign_avx512bw, labc_ceiling_byte_avx512bw;
labc_ceiling_fn labc_ceiling_sign_avx2, labc_ceiling_byte_avx2;
labc_stream_fn labc_stream_avx2;
#endif
#if defined(__aarch64__)
labc_ceiling_fn labc_ceiling_sign_neon;
labc_stream_fn labc_stream_neon;
#endif

#endif
