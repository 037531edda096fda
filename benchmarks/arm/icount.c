// Plugin of QEMU's user emulation: executed AArch64 instructions by class. The guest's getppid() is a mark: the counts
// since the mark before are written as one line to the file that ICOUNT_OUT names. Needs no header of QEMU.
//
//   gcc -O2 -shared -fPIC icount.c -o icount.so
//   ICOUNT_OUT=counts qemu-aarch64 -cpu cortex-a76 -plugin ./icount.so PROGRAM
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t u64;
int qemu_plugin_version = 1;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *ptr, u64 imm);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, u64, u64, u64, u64,
                                                                     u64, u64, u64, u64));

enum { TOTAL, DOT, SIMD, LOADS, STORES, OTHER, CLASSES };
static const char *const names[CLASSES] = {"total", "dot", "simd", "loads", "stores", "other"};
static u64 counts[CLASSES], last[CLASSES];
static FILE *out;
enum { GETPPID = 173 };

static bool any(uint32_t w, uint32_t mask, uint32_t value) { return (w & mask) == value; }

// Loads and stores of pairs and of up to four registers count as one.
static int class_of(uint32_t w) {
  if (any(w, 0x9FE0FC00u, 0x0E809400u & 0x9FE0FC00u) || any(w, 0x9FC0F400u, 0x0F80E000u)) return DOT;
  const uint32_t op0 = (w >> 25) & 15;
  if ((op0 & 5) == 4) {
    const bool vector = (w >> 26) & 1;
    bool load = ((w >> 22) & 3) != 0;
    if (vector) load = (w >> 22) & 1;
    if (any(w, 0x3B000000u, 0x18000000u)) {
      load = true;
    } else if (any(w, 0x3A000000u, 0x28000000u) || any(w, 0x3F000000u, 0x08000000u)) {
      load = (w >> 22) & 1;
    } else if (any(w, 0xFFC00000u, 0xF9800000u) || any(w, 0xFFC00000u, 0xF8800000u)) {
      return OTHER;  // prefetches
    }
    return load ? LOADS : STORES;
  }
  return (op0 & 7) == 7 ? SIMD : OTHER;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  u64 found[CLASSES] = {0};
  const size_t n = qemu_plugin_tb_n_insns(tb);
  for (size_t i = 0; i < n; ++i) {
    uint32_t w;
    memcpy(&w, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof w);
    ++found[class_of(w)];
    ++found[TOTAL];
  }
  for (int k = 0; k < CLASSES; ++k)
    if (found[k]) qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &counts[k], found[k]);
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g,
                       u64 h) {
  (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != GETPPID) return;
  for (int k = 0; k < CLASSES; ++k) {
    fprintf(out, "%s%" PRIu64, k ? " " : "", counts[k] - last[k]);
    last[k] = counts[k];
  }
  fputc('\n', out);
  fflush(out);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  const char *const path = getenv("ICOUNT_OUT");
  out = path ? fopen(path, "w") : stderr;
  if (!out) return 1;
  for (int k = 0; k < CLASSES; ++k) fprintf(out, "%s%s", k ? " " : "", names[k]);
  fputc('\n', out);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  return 0;
}
