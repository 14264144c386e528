/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin for QEMU (TCG plugins, API version 1, declared here as not every system has its header): which blocks of instructions were executed.
 * When QEMU ends it writes to the file that the option out= names a line for each: its address, the address of its last instruction, how many
 * it has, how often it was executed, and how often what followed started 2 and 4 bytes behind that last one. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { CB_NO_REGS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t id, struct qemu_plugin_tb *block));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t i);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*executed)(unsigned cpu, void *data), int flags,
                                                 void *data);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*ended)(uint64_t id, void *context), void *context);

extern int qemu_plugin_version;
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int count, char **words);

struct block {
    struct block *next;
    uint64_t address, last, instructions, executed, near, far;
};

int qemu_plugin_version = 1;
static struct block *blocks, *before;
static char path[4096];

static void executed(unsigned cpu, void *data)
{
    (void)cpu;
    struct block *const block = data;
    block->executed++;
    if (before != NULL) {
        before->near += block->address == before->last + 2;
        before->far += block->address == before->last + 4;
    }
    before = block;
}

static void translated(uint64_t id, struct qemu_plugin_tb *translation)
{
    (void)id;
    const size_t n = qemu_plugin_tb_n_insns(translation);
    const uint64_t address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(translation, 0));
    struct block *block = blocks;
    while (block != NULL && (block->address != address || block->instructions != n)) {
        block = block->next;
    }
    if (block == NULL) {
        block = calloc(1, sizeof *block);
        if (block == NULL) {
            abort();
        }
        *block = (struct block){.next = blocks, .address = address, .instructions = n};
        block->last = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(translation, n - 1));
        blocks = block;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(translation, executed, CB_NO_REGS, block);
}

static void ended(uint64_t id, void *context)
{
    (void)id;
    (void)context;
    FILE *const file = fopen(path, "w");
    if (file != NULL) {
        for (const struct block *b = blocks; b != NULL; b = b->next) {
            fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", b->address, b->last, b->instructions,
                    b->executed, b->near, b->far);
        }
        fclose(file);
    }
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int count, char **words)
{
    (void)info;
    if (count != 1 || strncmp(words[0], "out=", 4) != 0 || strlen(words[0] + 4) >= sizeof path) {
        return 1;
    }
    strcpy(path, words[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
