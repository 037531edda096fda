/* Weights that are entropy coded in flash: rANS with one state, as profile "fast" of .rdq files codes short streams. */
#ifndef RDQ_CODE_H
#define RDQ_CODE_H

#include "rdq.h"

typedef struct {
  const rdq_code *code;
  const uint16_t *next;
  uint32_t state;
} rdq_stream;

static inline rdq_stream rdq_begin(const rdq_code *code) {
  const rdq_stream stream = {code, code->words, code->state};
  return stream;
}

static inline int8_t rdq_take(rdq_stream *stream) {
  const rdq_code *code = stream->code;
  const uint32_t slot = stream->state & 0xFFFF;
  const uint8_t guess = code->bins[slot >> 10];
  const uint16_t *edge = code->edges + guess; /* the last slot before the symbol's interval; 65535 before the first */
  while (slot > edge[1]) edge++;
  const uint32_t first = (edge[0] + 1U) & 0xFFFF;
  uint32_t state = (edge[1] + 1U - first) * (stream->state >> 16) + slot - first;
  if (state < 65536 && stream->next != code->end) state = state << 16 | *stream->next++;
  stream->state = state;
  return (int8_t)(code->least + (int32_t)(edge - code->edges));
}

#endif
