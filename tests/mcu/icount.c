/* A plugin of QEMU that counts executed instructions by the block of code that they are in: address, instructions, executions a
 * line, into the file that ICOUNT_OUT names. Declares what it uses of QEMU's plugin API (version 1): Debian has no header of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
int qemu_plugin_version = 1;
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t add);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

#define MOST 131072
static struct {
  uint64_t address, instructions, runs;
} blocks[MOST];
static int count;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  (void)id;
  if (count == MOST) abort();
  blocks[count].address = qemu_plugin_tb_vaddr(block);
  blocks[count].instructions = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &blocks[count++].runs, 1);
}

static void finished(qemu_plugin_id_t id, void *unused) {
  (void)id;
  (void)unused;
  const char *name = getenv("ICOUNT_OUT");
  FILE *file = name != NULL ? fopen(name, "w") : NULL;
  if (file == NULL) abort();
  for (int i = 0; i < count; i++)
    fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", blocks[i].address, blocks[i].instructions, blocks[i].runs);
  fclose(file);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info;
  (void)argc;
  (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, NULL);
  return 0;
}
