/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What little memory a small chip has, shared by the arguments of a case, without an unreadable page. Whoever runs the image gives it,
 * labc_check_block_bytes at labc_check_pool, before the first call. labc_check_seen: which of the sizes 1, 31, 32, 33 a case was run with,
 * as bits; of inputs or a window's channels, and of rows.
 */
#include <setjmp.h>

#include "check.h"

unsigned char *labc_check_pool;
uint32_t labc_check_block_bytes;

static jmp_buf case_ends;
static uint32_t taken;
uint8_t labc_check_seen[2];

unsigned char *labc_check_take(uint32_t index, uint32_t bytes)
{
    unsigned char *const block = labc_check_pool + (index == 0 ? 0 : taken);
    taken = (index == 0 ? 0 : taken) + bytes;
    if (taken > labc_check_block_bytes) {
        longjmp(case_ends, 1);
    }
    return block;
}

static void see(uint8_t which, uint32_t size)
{
    static const uint8_t sizes[] = {1, 31, 32, 33};
    for (uint8_t i = 0; i < sizeof sizes; ++i) {
        labc_check_seen[which] = (uint8_t)(labc_check_seen[which] | (size == sizes[i]) << i);
    }
}

uint32_t labc_check_try(uint32_t (*one)(const labc_check_case *, void *), const labc_check_case *c, void *context)
{
    labc_check_begin();
    if (setjmp(case_ends) != 0) {
        labc_check_lacked = labc_check_left_out++ == 0 || taken < labc_check_lacked ? taken : labc_check_lacked;
        return 0;
    }
    const uint32_t finding = one(c, context);
    ++labc_check_tried;
    see(0, c->window == 0 ? c->inputs : c->window->channels);
    see(1, c->rows);
    return finding;
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
