/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the table: one line of TAP per kernel. */
#include "check.h"

/* The scratch formula of each row, as a function. */
#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch) \
    static uint32_t scratch_of_##op##_##isa(uint32_t inputs, uint32_t rows) \
    {                                                                      \
        (void)inputs;                                                      \
        (void)rows;                                                        \
        return scratch;                                                    \
    }
#include "../kernels.def"

#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch) +1
enum {
    KERNELS = 0
#include "../kernels.def"
};

static uint32_t report(const labc_check_row *row, uint32_t number, uint32_t finding, uint32_t cases)
{
    labc_check_put(finding ? "not ok " : "ok ");
    labc_check_put_number((int32_t)number);
    labc_check_put_words((const char *const[]){" - ", row->op, " ", row->isa, ": ", 0});
    labc_check_put_number((int32_t)cases);
    labc_check_put(" cases\n");
    return finding != 0;
}

uint32_t labc_check_all(uint32_t seed)
{
    uint32_t number = 0, failures = 0;
    labc_check_put("TAP version 13\n1..");
    labc_check_put_number(KERNELS);
    labc_check_put("\n# seed ");
    labc_check_put_number((int32_t)seed);
    labc_check_put(labc_check_has_fence() ? "\n# inputs end at an unreadable page\n"
                                          : "\n# reads past an input: not run here, no unreadable page\n");
#define LABC_KERNEL(op, isa, word_bits, lanes, groups, alignment, scratch)                                                     \
    {                                                                                                                          \
        static const labc_check_row row = {#op, #isa, {word_bits, lanes, groups}, alignment, scratch_of_##op##_##isa, 0};      \
        uint32_t cases = 0;                                                                                                    \
        const uint32_t finding = labc_check_##op(&row, labc_##op##_##isa, seed, &cases);                                        \
        failures += report(&row, ++number, finding, cases);                                                                    \
    }
#include "../kernels.def"
    return failures;
}
