/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up for a Cortex-M image without a C library: vector table, FPU, .data, .bss, main.
 *
 * It ends by semihosting (Arm "Semihosting for AArch32 and AArch64", SYS_EXIT_EXTENDED), which emulators and debuggers
 * know: with main's result, or, where a fault or an unexpected exception came, with 240 + its number (3: HardFault).
 * Without a debugger that breakpoint locks the core up, which is where a faulty image belongs. */
#include <stdint.h>

extern uint32_t labc_image_data[], labc_image_data_end[], labc_image_bss[], labc_image_bss_end[];
extern uint32_t labc_image_stack_top[];
extern const uint32_t labc_image_data_load[];

int main(void);
void Reset_Handler(void);

#define IMAGE_CODE __attribute__((section(".image.code"), noinline))

/* An image whose functions are called from outside needs no main. */
__attribute__((weak)) IMAGE_CODE int main(void)
{
    return 0;
}

static IMAGE_CODE void image_exit(uint32_t code)
{
    const uint32_t block[2] = {0x20026u, code}; /* ADP_Stopped_ApplicationExit, exit code */
    register uint32_t operation __asm__("r0") = 0x20u;
    register const uint32_t *argument __asm__("r1") = block;
    for (;;) {
        __asm__ volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    }
}

static IMAGE_CODE void image_fault(void)
{
    uint32_t exception;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    image_exit(240u + exception);
}

#if defined(__ARM_FP)
static inline void fpu_on(void)
{
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u; /* ARMv7-M ARM, B3.2.20 */
    *cpacr |= 0xFu << 20;                                              /* full access to CP10 and CP11 */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}
#else
static inline void fpu_on(void)
{
}
#endif

IMAGE_CODE void Reset_Handler(void)
{
    const uint32_t *from = labc_image_data_load;
    fpu_on();
    for (uint32_t *to = labc_image_data; to != labc_image_data_end; to++) {
        *to = *from++;
        __asm__ volatile("" ::: "memory"); /* keeps the loop a loop: memcpy may not be called yet */
    }
    for (uint32_t *to = labc_image_bss; to != labc_image_bss_end; to++) {
        *to = 0;
        __asm__ volatile("" ::: "memory");
    }
    image_exit((uint32_t)main());
}

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".image.vectors"), used)) static const vector vectors[16] = {
    {.stack = labc_image_stack_top},
    {.handler = Reset_Handler},
    {.handler = image_fault}, /* NMI */
    {.handler = image_fault}, /* HardFault */
    {.handler = image_fault}, /* MemManage */
    {.handler = image_fault}, /* BusFault */
    {.handler = image_fault}, /* UsageFault */
    {.handler = image_fault}, /* SecureFault, or reserved */
    {0},
    {0},
    {0},
    {.handler = image_fault}, /* SVCall */
    {.handler = image_fault}, /* DebugMonitor */
    {0},
    {.handler = image_fault}, /* PendSV */
    {.handler = image_fault}, /* SysTick */
};
