/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that whoever runs the image gives it, each with an unreadable page behind: an emulator, which stops the image where the
 * page is touched. It sets both of these before the first call.
 */
#include "check.h"

unsigned char *labc_check_blocks[LABC_CHECK_BLOCKS];
uint32_t labc_check_block_bytes;

unsigned char *labc_check_block(uint32_t index)
{
    return labc_check_blocks[index];
}

uint32_t labc_check_has_fence(void)
{
    return 1;
}

uint32_t labc_check_call(void (*call)(void *), void *context)
{
    call(context);
    return 0;
}
