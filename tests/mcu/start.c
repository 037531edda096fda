/* Start-up of a core under QEMU: paints the stack, runs main, and leaves with 0, 1 (main's answer) or 2 (a fault). Writes how
 * much of the stack was used. */
#include <stdint.h>

extern uint32_t __stack, __bss_start__, __bss_end__, __data_start__, __data_end__, __data_load__;
extern int main(void);

static uint32_t call(uint32_t what, const void *with) {
  register uint32_t r0 __asm("r0") = what;
  register const void *r1 __asm("r1") = with;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static void leave(uint32_t code) {
  const uint32_t block[2] = {0x20026, code}; /* ADP_Stopped_ApplicationExit */
  for (;;) call(0x20, block);                /* SYS_EXIT_EXTENDED */
}

static void say(uint32_t number) {
  char text[12];
  char *next = text + 11;
  *next = 0;
  *--next = '\n';
  do {
    *--next = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  call(4, next); /* SYS_WRITE0 */
}

#define PAINT 0xA5A5A5A5u
#define DEPTH 1024 /* words below the start-up code's own */

void Reset(void) {
  for (uint32_t *to = &__data_start__, *from = &__data_load__; to < &__data_end__;) *to++ = *from++;
  for (uint32_t *p = &__bss_start__; p < &__bss_end__; p++) *p = 0;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  *(volatile uint32_t *)0xE000ED88 |= 0xF << 20; /* the FPU */
  __asm volatile("dsb\nisb");
#endif
  volatile uint32_t *top;
  __asm volatile("mov %0, sp" : "=r"(top));
  for (uint32_t i = 1; i <= DEPTH; i++) top[-(int32_t)i] = PAINT;
  const int wrong = main();
  uint32_t used = DEPTH;
  while (used > 0 && top[-(int32_t)used] == PAINT) used--;
  say(4 * used);
  leave((uint32_t)wrong);
}

void Fault(void) { leave(2); }

__attribute__((section(".vectors"), used)) const void *const vectors[16] = {&__stack, (const void *)Reset, (const void *)Fault,
                                                                            (const void *)Fault, (const void *)Fault,
                                                                            (const void *)Fault, (const void *)Fault};
