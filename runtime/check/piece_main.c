/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For an image of one kernel or one fault, LABC_CHECK_NUMBER: call labc_check_piece_kernel or labc_check_piece_fault with labc_check_seed
 * set, then read labc_check_output_used bytes at labc_check_output_text. Text that does not fit is left out.
 */
#include "check.h"

char labc_check_output_text[112];
uint32_t labc_check_output_used;
uint32_t labc_check_seed;

int labc_check_piece_kernel(void);
int labc_check_piece_fault(void);
int labc_check_piece_faults(void);

void labc_check_put(const char *text)
{
    for (; *text != 0 && labc_check_output_used < sizeof labc_check_output_text; ++text) {
        labc_check_output_text[labc_check_output_used++] = *text;
    }
}

int labc_check_piece_kernel(void)
{
    return (int)labc_check_kernel(labc_check_seed, 0);
}

int labc_check_piece_fault(void)
{
    return (int)labc_check_fault(labc_check_seed, 0);
}

/* How many there are. */
int labc_check_piece_faults(void)
{
    return (int)labc_check_fault_count();
}
