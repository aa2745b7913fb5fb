// Fills a table for the backend whose namespace is ZAZEN_ISA: every op by its own name, so a backend that lacks one does not
// link.
#pragma once

#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {

constexpr Kernels table_of(const char* name, WeightLayout weights, KvLayout kv) {
  return {
      .name = name,
      .weight_layout = weights,
      .kv_layout = kv,
      .linear_forward = linear_forward,
      .weight_transpose = weight_transpose,
      .linear_backward_weight = linear_backward_weight,
      .weight_round = weight_round,
      .bias_forward = bias_forward,
      .bias_backward = bias_backward,
      .kv_write = kv_write,
      .attention_forward = attention_forward,
      .attention_backward = attention_backward,
      .rmsnorm_forward = rmsnorm_forward,
      .rmsnorm_backward_input = rmsnorm_backward_input,
      .rmsnorm_backward_weight = rmsnorm_backward_weight,
      .rope = rope,
      .swiglu_forward = swiglu_forward,
      .swiglu_backward = swiglu_backward,
      .embedding_forward = embedding_forward,
      .embedding_backward = embedding_backward,
      .gather_rows = gather_rows,
      .scatter_rows = scatter_rows,
      .add = add,
      .scale = scale,
      .head_forward = head_forward,
      .head_backward = head_backward,
      .head_top = head_top,
      .sample = sample,
      .policy_loss = policy_loss,
      .dpo_loss = dpo_loss,
      .bradley_terry_loss = bradley_terry_loss,
      .value_loss = value_loss,
      .advantage_normalize = advantage_normalize,
      .adamw = adamw,
      .adamw_8bit = adamw_8bit,
      .nf4_quantize = nf4_quantize,
      .nf4_dequantize = nf4_dequantize,
      .sum_squares = sum_squares,
  };
}

}  // namespace zazen::ZAZEN_ISA
