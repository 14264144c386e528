/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check [--faults] [--small] [--pairs] [SEED]: TAP on standard output; 0 if all is well, 1 if not, 2 for a wrong command line.
 * --small leaves out the large cases, --pairs runs only as many as have every pair of values: for valgrind and other slow machines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void labc_check_put(const char *text)
{
    fputs(text, stdout);
    fflush(stdout); /* so that a crash loses nothing */
}

int main(int count, char **words)
{
    uint32_t faults = 0, seed = 1;
    for (int i = 1; i < count; ++i) {
        char *end = words[i];
        if (strcmp(words[i], "--faults") == 0) {
            faults = 1;
            continue;
        }
        if (strcmp(words[i], "--pairs") == 0) {
            labc_check_pairs = 1;
            continue;
        }
        if (strcmp(words[i], "--small") == 0) {
            labc_check_block_bytes = LABC_CHECK_LEAST_BYTES;
            continue;
        }
        seed = (uint32_t)(strtoul(words[i], &end, 0) & 0x7fffffff);
        if (end == words[i] || *end != 0) {
            fprintf(stderr, "usage: %s [--faults] [--small] [--pairs] [SEED]   SEED: a number below 2^31, 1 unless given\n", words[0]);
            return 2;
        }
    }
    return (faults ? labc_check_faults(seed) : labc_check_all(seed)) != 0;
}
