/* SPDX-License-Identifier: Apache-2.0 */
/* The four functions a freestanding compiler may call (GCC manual, "Standards"), for images without a C library.
 * Byte by byte, as newlib-nano does; the empty asm keeps a compiler from turning a loop into a call of itself. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#define STAY_A_LOOP() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    for (size_t i = 0; i < n; i++) {
        t[i] = f[i];
        STAY_A_LOOP();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)to <= (uintptr_t)from) {
        for (size_t i = 0; i < n; i++) {
            t[i] = f[i];
            STAY_A_LOOP();
        }
        return to;
    }
    while (n > 0) {
        n--;
        t[n] = f[n];
        STAY_A_LOOP();
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    uint8_t *t = to;
    for (size_t i = 0; i < n; i++) {
        t[i] = (uint8_t)value;
        STAY_A_LOOP();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
        STAY_A_LOOP();
    }
    return 0;
}
