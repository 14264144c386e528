/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up for a RISC-V image on QEMU's machine "virt" (hw/riscv/virt.c), which loads .data and .bss itself: stack, traps, FPU, main.
 *
 * It ends by the machine's test device: with main's result, or, where a trap came, with 240 + its number (2: illegal instruction).
 * CSR instructions are spelled as numbers, as not every -march has their names. */
#include <stdint.h>

int main(void);
void labc_image_start(void);
void labc_image_exit(uint32_t code);

#define IMAGE_CODE __attribute__((section(".image.code"), noinline))

/* An image whose functions are called from outside needs no main. */
__attribute__((weak)) IMAGE_CODE int main(void)
{
    return 0;
}

IMAGE_CODE void labc_image_exit(uint32_t code)
{
    volatile uint32_t *const test = (volatile uint32_t *)0x100000u;
    for (;;) {
        *test = code << 16 | 0x3333u;
    }
}

/* RISC-V Privileged ISA: mtvec is CSR 0x305, mcause 0x342, mstatus 0x300, whose bit 13 switches the FPU on. */
__attribute__((section(".image.start"), naked)) void labc_image_start(void)
{
    __asm__ volatile("la sp, labc_image_stack_top\n\t"
                     "la t0, 1f\n\t"
                     ".insn i 0x73, 1, zero, t0, 0x305\n\t"
                     "li t0, 1 << 13\n\t"
                     ".insn i 0x73, 2, zero, t0, 0x300\n\t"
                     "call main\n\t"
                     "j 2f\n\t"
                     ".balign 4\n"
                     "1:\n\t"
                     ".insn i 0x73, 2, a0, zero, 0x342\n\t"
                     "andi a0, a0, 15\n\t"
                     "addi a0, a0, 240\n"
                     "2:\n\t"
                     "la sp, labc_image_stack_top\n\t"
                     "call labc_image_exit");
}
