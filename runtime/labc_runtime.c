/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks of two labc versions whose kernels differ are not linked together, as one would get the other's: each asks for the symbol of
 * its version (NAME.c), so that two of these files are taken, and both define the symbol of the error. Symbols only, not a byte of code.
 */
#include "kernels.h"

#ifdef __ELF__
#define TEXT(number) #number
#define TEXT_OF(macro) TEXT(macro)
/* clang-format off */
__asm__(".global labc_runtime_" TEXT_OF(LABC_RUNTIME) "\n\t.set labc_runtime_" TEXT_OF(LABC_RUNTIME) ", 0\n\t"
        ".global labc_error_two_versions_of_labc_in_one_program\n\t"
        ".set labc_error_two_versions_of_labc_in_one_program, " TEXT_OF(LABC_RUNTIME));
/* clang-format on */
#endif
