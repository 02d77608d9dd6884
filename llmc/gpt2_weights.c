// A GPT-2's weights as files bring them, behind one interface: llm.c's .bin, or a folder of Hugging Face's.
#include "gpt2_weights.h"

#include <stdio.h>

#include "../zero/memory.h"
#include "files.h"
#include "gpt2_bin.h"
#include "gpt2_hf.h"

// One of the two.
struct GPT2Weights {
  GPT2Bin *bin;
  GPT2HF *hf;
};

GPT2Weights *gpt2_weights_open(const char *model, GPT2Config *config, ZeroErrors *errors) {
  GPT2Weights found = {NULL, NULL};
  if (file_is_folder(model)) {
    found.hf = gpt2_hf_open(model, config, errors);
  } else if (gpt2_is_bin(model)) {
    found.bin = gpt2_bin_open(model, config, errors);
  } else {
    gpt2_config_parse(model, config, errors);
  }
  if (found.bin == NULL && found.hf == NULL) return NULL;
  GPT2Weights *weights = zero_malloc(sizeof *weights, ZERO_MEM_OTHER);
  *weights = found;
  return weights;
}

void gpt2_weights_read(GPT2Weights *weights, GPT2Tensor tensor, size_t layer, size_t first, size_t count,
                       float *out) {
  if (weights->bin != NULL) {
    gpt2_bin_read(weights->bin, tensor, layer, first, count, out);
  } else {
    gpt2_hf_read(weights->hf, tensor, layer, first, count, out);
  }
}

// Does the file have a rate that this run does not?
static int is_unused(double file, double used) {
  return file > 0.0 && file != used;
}

const char *gpt2_weights_note(const GPT2Weights *weights, const GPT2DropoutRates *used, char note[GPT2_NOTE_BYTES]) {
  note[0] = '\0';
  if (weights->hf == NULL) return note;
  const GPT2DropoutRates *file = gpt2_hf_dropout(weights->hf);
  if (is_unused(file->embeddings, used->embeddings) || is_unused(file->attention, used->attention) ||
      is_unused(file->residual, used->residual)) {
    snprintf(note, GPT2_NOTE_BYTES,
             "its %s has embd_pdrop %g, resid_pdrop %g, attn_pdrop %g for training, none of which is taken over: "
             "--dropout "
             "is %g, --attention-dropout %g",
             HF_CONFIG, file->embeddings, file->residual, file->attention, used->residual, used->attention);
  }
  return note;
}

void gpt2_weights_close(GPT2Weights *weights) {
  if (weights == NULL) return;
  gpt2_bin_close(weights->bin);
  gpt2_hf_close(weights->hf);
  zero_free(weights);
}
