/* SPDX-License-Identifier: Apache-2.0 */
/* A preload library for Linux on x86-64: the program sees a lesser CPU, whatever it links and however it asks.
 *
 *     cc -O2 -shared -fPIC -o libhide.so hide.c
 *     HIDE_ABOVE=avx2 LD_PRELOAD=./libhide.so program      (or avx512: AMX and AVX10 are hidden)
 *
 * The kernel is asked to let the CPUID instruction fault (arch_prctl, ARCH_SET_CPUID). Each fault is answered here with the CPU's own
 * words less the bits that features.def puts above the tier. Threads and forks inherit the setting; a new program sets it again, for the
 * environment goes with it. Leaf 0xd stays whole: who sizes a buffer for XSAVE by it must count what the CPU really saves. What the C
 * library chose for memcpy before this code ran, stays chosen.
 * Exit status 3: the CPU or the kernel cannot do it. 2: HIDE_ABOVE is missing or not a tier. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { SET_CPUID = 0x1012 };
enum tier { AVX2, AVX512, NATIVE };
enum { A, B, C, D };

static enum tier seen;

static int allow_cpuid(int on)
{
    return (int)syscall(SYS_arch_prctl, SET_CPUID, (long)on);
}

static void hide(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
#define FEATURE(name, at, sub, reg, bit, tier)                                                                                             \
    if (leaf == (at) && subleaf == (sub) && (tier) > seen) {                                                                               \
        registers[reg] &= ~(UINT32_C(1) << (bit));                                                                                         \
    }
#include "features.def"
#undef FEATURE
}

static void answer(int signal_number, siginfo_t *info, void *context)
{
    greg_t *const g = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *const code = (const uint8_t *)(uintptr_t)g[REG_RIP];
    const int kept = errno;
    (void)info;
    if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: a fault of the program's own, which is taken again without us */
        (void)signal(signal_number, SIG_DFL);
        return;
    }
    const uint32_t leaf = (uint32_t)g[REG_RAX], subleaf = (uint32_t)g[REG_RCX];
    uint32_t r[4] = {leaf, 0, subleaf, 0};
    (void)allow_cpuid(1);
    __asm__ volatile("cpuid" : "+a"(r[A]), "=b"(r[B]), "+c"(r[C]), "=d"(r[D]));
    (void)allow_cpuid(0);
    hide(leaf, subleaf, r);
    g[REG_RAX] = r[A];
    g[REG_RBX] = r[B];
    g[REG_RCX] = r[C];
    g[REG_RDX] = r[D];
    g[REG_RIP] += 2;
    errno = kept;
}

__attribute__((constructor)) static void begin(void)
{
    const char *const above = getenv("HIDE_ABOVE");
    if (above == NULL || (strcmp(above, "avx2") != 0 && strcmp(above, "avx512") != 0)) {
        (void)fprintf(stderr, "libhide: HIDE_ABOVE is %s; set it to avx2 or avx512\n", above != NULL ? above : "not set");
        _exit(2);
    }
    seen = strcmp(above, "avx2") == 0 ? AVX2 : AVX512;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGSEGV, &action, NULL) != 0 || allow_cpuid(0) != 0) {
        (void)fprintf(stderr, "libhide: this CPU or kernel has no CPUID faulting (%s)\n", strerror(errno));
        _exit(3);
    }
}
