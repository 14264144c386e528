/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin for QEMU (TCG plugins, API version 1, declared here as not every system has its header): how many instructions were executed, written
 * as a number to the file that the option out= names when QEMU ends. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { INLINE_ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t id, struct qemu_plugin_tb *block));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t i);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction, int what, void *at, uint64_t amount);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*ended)(uint64_t id, void *context), void *context);

extern int qemu_plugin_version;
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int count, char **words);

int qemu_plugin_version = 1;
static uint64_t executed;
static char path[4096];

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    const size_t n = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < n; i++) {
        qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_tb_get_insn(block, i), INLINE_ADD_U64, &executed, 1);
    }
}

static void ended(uint64_t id, void *context)
{
    (void)id;
    (void)context;
    FILE *const file = fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%" PRIu64 "\n", executed);
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
