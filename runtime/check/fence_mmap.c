/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that end at an unreadable page, on POSIX systems. */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS */
#define _DARWIN_C_SOURCE 1

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

/* The largest case of any kernel fits, also where `labc_check_block_bytes` is not lowered. */
uint32_t labc_check_block_bytes = UINT32_C(2) << 20;

static unsigned char *blocks[LABC_CHECK_BLOCKS];

unsigned char *labc_check_block(uint32_t index)
{
    if (blocks[index] == 0) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        const size_t pages = (labc_check_block_bytes + page - 1) / page;
        unsigned char *start = mmap(0, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start + pages * page, page, PROT_NONE) != 0) {
            abort();
        }
        blocks[index] = start + pages * page - labc_check_block_bytes;
    }
    return blocks[index];
}

uint32_t labc_check_has_fence(void)
{
    return 1;
}

static sigjmp_buf back;

static void stopped_by(int number)
{
    siglongjmp(back, number);
}

/* An address gives SIGSEGV, on macOS SIGBUS, which misalignment may give anywhere; an instruction SIGILL, __builtin_trap also SIGTRAP. */
static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

uint32_t labc_check_call(void (*call)(void *), void *context)
{
    struct sigaction noticed = {0}, before[SIGNALS];
    noticed.sa_handler = stopped_by;
    sigemptyset(&noticed.sa_mask);
    for (int i = 0; i < SIGNALS; ++i) {
        sigaction(signals[i], &noticed, &before[i]);
    }
    const int stopped = sigsetjmp(back, 1);
    if (stopped == 0) {
        call(context);
    }
    for (int i = 0; i < SIGNALS; ++i) {
        sigaction(signals[i], &before[i], 0);
    }
    return stopped == 0                              ? LABC_CHECK_NOTHING
           : stopped == SIGSEGV || stopped == SIGBUS ? LABC_CHECK_STOPPED
                                                     : LABC_CHECK_UNKNOWN_INSTRUCTION;
}
