/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For images that an emulator or debugger runs: call labc_check_all(seed) or labc_check_faults(seed), read the number they
 * return, then labc_check_output_used bytes of text at labc_check_output_text. Text that does not fit is left out.
 */
#include "check.h"

char labc_check_output_text[8192];
uint32_t labc_check_output_used;

void labc_check_put(const char *text)
{
    for (; *text != 0 && labc_check_output_used < sizeof labc_check_output_text; ++text) {
        labc_check_output_text[labc_check_output_used++] = *text;
    }
}
