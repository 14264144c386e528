/* SPDX-License-Identifier: Apache-2.0 */
/* Times a network's run function, and the loops of ceilings.h, from C, so that no call through Python is in the number. */
#include "clock.h"

#include "ceilings.h"

typedef int run_u8(const uint8_t *input, float *output, void *arena);
typedef int run_i8(const int8_t *input, float *output, void *arena);

uint64_t labc_time_u8(run_u8 *run, const uint8_t *input, float *output, void *arena, uint32_t repeats);
uint64_t labc_time_i8(run_i8 *run, const int8_t *input, float *output, void *arena, uint32_t repeats);
uint64_t labc_time_ceiling(labc_ceiling_fn *loop, uint32_t steps, uint64_t *products);
uint64_t labc_time_stream(labc_stream_fn *stream, const void *from, size_t bytes, uint32_t repeats, uint64_t *read);

/* Nanoseconds for `repeats` inferences, one after the other. */
uint64_t labc_time_u8(run_u8 *run, const uint8_t *input, float *output, void *arena, uint32_t repeats)
{
    const uint64_t start = labc_now();
    for (uint32_t i = 0; i < repeats; i++) {
        (void)run(input, output, arena);
    }
    return labc_now() - start;
}

uint64_t labc_time_i8(run_i8 *run, const int8_t *input, float *output, void *arena, uint32_t repeats)
{
    const uint64_t start = labc_now();
    for (uint32_t i = 0; i < repeats; i++) {
        (void)run(input, output, arena);
    }
    return labc_now() - start;
}

/* Nanoseconds for a register loop; *products is how many products that was. */
uint64_t labc_time_ceiling(labc_ceiling_fn *loop, uint32_t steps, uint64_t *products)
{
    const uint64_t start = labc_now();
    *products = loop(steps);
    return labc_now() - start;
}

/* Nanoseconds for reading the same bytes `repeats` times; *read is how many bytes that was. */
uint64_t labc_time_stream(labc_stream_fn *stream, const void *from, size_t bytes, uint32_t repeats, uint64_t *read)
{
    const uint64_t start = labc_now();
    *read = 0;
    for (uint32_t i = 0; i < repeats; i++) {
        *read += stream(from, bytes);
    }
    return labc_now() - start;
}
