/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a line per feature of features.def that CPUID shows to this program: its name and the lowest tier that may see it. x86-64 only. */
#include <cpuid.h>
#include <stdio.h>

enum { A, B, C, D };

static int has(unsigned leaf, unsigned subleaf, int reg, int bit)
{
    unsigned r[4] = {0, 0, 0, 0}, top[4] = {0, 0, 0, 0};
    if (leaf == 7 && (!__get_cpuid_count(7, 0, &top[A], &top[B], &top[C], &top[D]) || top[A] < subleaf)) {
        return 0;
    }
    if (!__get_cpuid_count(leaf, subleaf, &r[A], &r[B], &r[C], &r[D])) {
        return 0;
    }
    return (int)(r[reg] >> bit & 1u);
}

int main(void)
{
#define FEATURE(name, leaf, subleaf, reg, bit, tier)                                                                                       \
    if (has(leaf, subleaf, reg, bit)) {                                                                                                    \
        (void)printf("%s %s\n", name, #tier);                                                                                              \
    }
#include "features.def"
#undef FEATURE
    return 0;
}
