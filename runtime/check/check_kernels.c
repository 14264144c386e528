/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the table: one line of TAP per kernel. */
#include "check.h"

/* The scratch formula of each row, as a function. */
#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch)                                    \
    static uint32_t scratch_of_##op##_##isa(uint32_t inputs, uint32_t rows, uint32_t channels, uint32_t taps) \
    {                                                                                                         \
        (void)inputs;                                                                                         \
        (void)rows;                                                                                           \
        (void)channels;                                                                                       \
        (void)taps;                                                                                           \
        return scratch;                                                                                       \
    }
#include "../kernels.def"

#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch) +1
enum {
    KERNELS = 0
#include "../kernels.def"
};

/* What a processor must have for each ISA: as bits, and as the row spells them. */
#define LABC_ISA(isa, machine, flags, needs) enum { needs_of_##isa = needs };
#include "../kernels.def"
#define LABC_ISA(isa, machine, flags, needs) static const char needs_text_##isa[] = #needs;
#include "../kernels.def"

/* "LABC_CPU_AVX512 + LABC_CPU_VPOPCNTDQ" as "AVX512 or VPOPCNTDQ" */
static void put_needs(const char *needs)
{
    enum { PREFIX = sizeof "LABC_CPU_" - 1 };
    char letter[2] = {0, 0};
    for (uint32_t i = PREFIX; needs[i] != 0; ++i) {
        if (needs[i] == ' ') {
            labc_check_put(" or ");
            i += 2 + PREFIX;
            continue;
        }
        letter[0] = needs[i];
        labc_check_put(letter);
    }
}

static void put_row(const labc_check_row *row, uint32_t number, uint32_t finding)
{
    labc_check_put(finding ? "not ok " : "ok ");
    labc_check_put_number((int32_t)number);
    labc_check_put_words((const char *const[]){" - ", row->op, " ", row->isa, 0});
}

static uint32_t report(const labc_check_row *row, uint32_t number, uint32_t finding, uint32_t cases)
{
    put_row(row, number, finding);
    labc_check_put(": ");
    labc_check_put_number((int32_t)cases);
    labc_check_put(" cases\n");
    return finding != 0;
}

static uint32_t not_run_here(const labc_check_row *row, uint32_t number, const char *needs)
{
    put_row(row, number, 0);
    labc_check_put(" # SKIP not run here: this processor lacks ");
    put_needs(needs);
    labc_check_put("\n");
    return 0;
}

uint32_t labc_check_kernel_count(void)
{
    return KERNELS;
}

uint32_t labc_check_kernel(uint32_t seed, uint32_t number)
{
    const uint32_t wanted = LABC_CHECK_ONLY(number);
    uint32_t at = 0;
#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch)                                                \
    if (++at == wanted) {                                                                                                 \
        static const labc_check_row row = {#op, #isa, {word_bits, lanes, groups}, alignment, scratch_of_##op##_##isa, 0}; \
        uint32_t cases = 0;                                                                                               \
        if ((labc_cpu_features() & needs_of_##isa) != needs_of_##isa) {                                                   \
            return not_run_here(&row, number, needs_text_##isa);                                                          \
        }                                                                                                                 \
        const uint32_t finding = labc_check_##op(&row, labc_##op##_##isa, seed, &cases);                                  \
        return report(&row, number, finding, cases);                                                                      \
    }
#include "../kernels.def"
    return 1;
}

#ifndef LABC_CHECK_NUMBER
uint32_t labc_check_all(uint32_t seed)
{
    uint32_t failures = 0;
    labc_check_put("TAP version 13\n1..");
    labc_check_put_number(KERNELS);
    labc_check_put("\n# seed ");
    labc_check_put_number((int32_t)seed);
    labc_check_put("\n# cases that fit blocks of ");
    labc_check_put_number((int32_t)labc_check_block_bytes);
    labc_check_put(labc_check_has_fence() ? " bytes\n# inputs end at an unreadable page\n"
                                          : " bytes\n# reads past an input: not run here, no unreadable page\n");
    for (uint32_t number = 1; number <= KERNELS; ++number) {
        failures += labc_check_kernel(seed, number);
    }
    return failures;
}
#endif
