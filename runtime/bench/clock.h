/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of the benchmarks. Hosted systems only. */
#ifndef LABC_CLOCK_H
#define LABC_CLOCK_H

#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

/* Nanoseconds since some moment; never goes back. */
static inline uint64_t labc_now(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
}

#endif
