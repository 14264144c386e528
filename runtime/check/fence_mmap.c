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

static unsigned char *blocks[LABC_CHECK_BLOCKS];

unsigned char *labc_check_block(uint32_t index)
{
    if (blocks[index] == 0) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        const size_t pages = (LABC_CHECK_BLOCK_BYTES + page - 1) / page;
        unsigned char *start = mmap(0, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start + pages * page, page, PROT_NONE) != 0) {
            abort();
        }
        blocks[index] = start + pages * page - LABC_CHECK_BLOCK_BYTES;
    }
    return blocks[index];
}

uint32_t labc_check_has_fence(void)
{
    return 1;
}

static sigjmp_buf back;

static void touched(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

uint32_t labc_check_call(void (*call)(void *), void *context)
{
    /* SIGSEGV; SIGBUS on macOS */
    struct sigaction noticed = {0}, segv, bus;
    noticed.sa_handler = touched;
    sigemptyset(&noticed.sa_mask);
    sigaction(SIGSEGV, &noticed, &segv);
    sigaction(SIGBUS, &noticed, &bus);
    const int stopped = sigsetjmp(back, 1);
    if (stopped == 0) {
        call(context);
    }
    sigaction(SIGSEGV, &segv, 0);
    sigaction(SIGBUS, &bus, 0);
    return stopped != 0;
}
