/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks without an unreadable page behind them, for everywhere else. Under AddressSanitizer each still ends at a red zone. */
#include "check.h"

/* 2 MiB hold the largest case of any kernel; a board's memory is small. */
#if __STDC_HOSTED__ || defined(__wasm__)
#define BLOCK_BYTES (UINT32_C(2) << 20)
#else
#define BLOCK_BYTES LABC_CHECK_LEAST_BYTES
#endif

uint32_t labc_check_block_bytes = BLOCK_BYTES;

#define BLOCK(number) static _Alignas(LABC_CHECK_BLOCK_ALIGN) unsigned char block_##number[BLOCK_BYTES];
BLOCK(0)
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)
BLOCK(5)
BLOCK(6)
BLOCK(7)

unsigned char *labc_check_block(uint32_t index)
{
    static unsigned char *const blocks[LABC_CHECK_BLOCKS] = {block_0, block_1, block_2, block_3, block_4, block_5, block_6, block_7};
    return blocks[index];
}

uint32_t labc_check_has_fence(void)
{
    return 0;
}

uint32_t labc_check_call(void (*call)(void *), void *context)
{
    call(context);
    return 0;
}
