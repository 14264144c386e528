/* SPDX-License-Identifier: Apache-2.0 */
/* Times a network's run function from C, so that no call through Python is in the number. Hosted systems only. */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

typedef int run_u8(const uint8_t *input, float *output, void *arena);
typedef int run_i8(const int8_t *input, float *output, void *arena);

uint64_t labc_time_u8(run_u8 *run, const uint8_t *input, float *output, void *arena, uint32_t repeats);
uint64_t labc_time_i8(run_i8 *run, const int8_t *input, float *output, void *arena, uint32_t repeats);

static uint64_t now(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
}

/* Nanoseconds for `repeats` inferences, one after the other. */
uint64_t labc_time_u8(run_u8 *run, const uint8_t *input, float *output, void *arena, uint32_t repeats)
{
    const uint64_t start = now();
    for (uint32_t i = 0; i < repeats; i++) {
        (void)run(input, output, arena);
    }
    return now() - start;
}

uint64_t labc_time_i8(run_i8 *run, const int8_t *input, float *output, void *arena, uint32_t repeats)
{
    const uint64_t start = now();
    for (uint32_t i = 0; i < repeats; i++) {
        (void)run(input, output, arena);
    }
    return now() - start;
}
