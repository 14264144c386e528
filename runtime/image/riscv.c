/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up for a RISC-V image on QEMU's machine "virt" (hw/riscv/virt.c), which loads .data and .bss itself: stack, traps, FPU, main.
 *
 * It ends by the machine's test device: with main's result, or, where a trap came, with 240 + its number (2: illegal instruction).
 * CSR instructions are spelled as numbers, as not every -march has their names. */
#include <stdint.h>

int main(void);
void labc_image_start(void);
void labc_image_exit(uint32_t code);
void labc_image_fences(void);

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

#define CSR_WRITE(number, value) __asm__ volatile(".insn i 0x73, 1, zero, %0, " #number : : "r"(value))

/* Of eight pages above the image's memory, 128 KiB apart, every access is a fault: locked entries of the memory protection, RISC-V
 * Privileged ISA, "Physical Memory Protection": pmpaddr is 0x3b0 on, pmpcfg 0x3a0 on; 0x98 is L and NAPOT, whose 9 ones are 4 KiB. */
IMAGE_CODE void labc_image_fences(void)
{
#define FENCE(i) ((0x80500000u + ((i) << 17)) >> 2 | 0x1ffu)
    CSR_WRITE(0x3b0, FENCE(1u));
    CSR_WRITE(0x3b1, FENCE(2u));
    CSR_WRITE(0x3b2, FENCE(3u));
    CSR_WRITE(0x3b3, FENCE(4u));
    CSR_WRITE(0x3b4, FENCE(5u));
    CSR_WRITE(0x3b5, FENCE(6u));
    CSR_WRITE(0x3b6, FENCE(7u));
    CSR_WRITE(0x3b7, FENCE(8u));
#undef FENCE
    CSR_WRITE(0x3a0, ~(uintptr_t)0 / 0xff * 0x98);
#if __riscv_xlen == 32
    CSR_WRITE(0x3a1, ~(uintptr_t)0 / 0xff * 0x98);
#endif
}

/* RISC-V Privileged ISA: mtvec is CSR 0x305, mcause 0x342, mstatus 0x300, whose bit 13 switches the FPU on. */
__attribute__((section(".image.start"), naked)) void labc_image_start(void)
{
    __asm__ volatile("la sp, labc_image_stack_top\n\t"
                     "la t0, 1f\n\t"
                     ".insn i 0x73, 1, zero, t0, 0x305\n\t"
                     "li t0, 1 << 13\n\t"
                     ".insn i 0x73, 2, zero, t0, 0x300\n\t"
                     "call labc_image_fences\n\t"
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
