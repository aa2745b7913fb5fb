// Declares every CPU kernel in the namespace of one instruction set (ZAZEN_ISA). No include guard: declarations may repeat,
// and a file may include this once for each instruction set. What each kernel does is said in kernels.h.
#include "kernels/kernels.h"

#ifndef ZAZEN_ISA
#error "compile kernel files with -DZAZEN_ISA=<namespace>"
#endif

namespace zazen::ZAZEN_ISA {

// matmul.cc
void linear_forward(ThreadPool& pool, TensorRef y, int64_t ldy, TensorView x, int64_t ldx, TensorView w, int64_t M, int64_t N,
                    int64_t K, bool accumulate);
void weight_transpose(ThreadPool& pool, TensorRef out, TensorView w, int64_t first, int64_t count, int64_t K);
void linear_backward_weight(ThreadPool& pool, float* dw, TensorView dy, int64_t lddy, TensorView x, int64_t ldx, int64_t M,
                            int64_t N, int64_t K);
void weight_round(ThreadPool& pool, TensorRef out, const float* master, int64_t n, bool panels);

// bias.cc
void bias_forward(ThreadPool& pool, TensorRef y, TensorView b, int64_t T, int64_t N);
void bias_backward(ThreadPool& pool, float* db, const float* dy, int64_t T, int64_t N);

// attention.cc
void kv_write(ThreadPool& pool, TensorRef blocks, TensorView k, TensorView v, const AttentionArgs& args);
void attention_forward(ThreadPool& pool, TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs& args);
void attention_backward(ThreadPool& pool, float* dq, float* dk, float* dv, const float* dout, TensorView out, const float* lse,
                        TensorView q, TensorView blocks, const AttentionArgs& args);

// rmsnorm.cc
void rmsnorm_forward(ThreadPool& pool, TensorRef y, float* rstd, TensorView x, TensorView w, int64_t T, int64_t H, float eps);
void rmsnorm_backward_input(ThreadPool& pool, float* dx, const float* residual, const float* dy, TensorView x, TensorView w,
                            const float* rstd, int64_t T, int64_t H);
void rmsnorm_backward_weight(ThreadPool& pool, float* dw, const float* dy, TensorView x, const float* rstd, int64_t T,
                             int64_t H);

// rope.cc
void rope(ThreadPool& pool, TensorRef x, const int32_t* positions, const float* cos, const float* sin, int64_t T, int64_t heads,
          int64_t D, float sign);

// swiglu.cc
void swiglu_forward(ThreadPool& pool, TensorRef y, TensorView gate, TensorView up, int64_t T, int64_t I);
void swiglu_backward(ThreadPool& pool, TensorRef gate, TensorRef up, const float* dy, int64_t T, int64_t I);

// embedding.cc
void embedding_forward(ThreadPool& pool, float* x, const EmbeddingTable& table, const int32_t* ids, int64_t T);
void embedding_backward(ThreadPool& pool, float* dtable, const float* dx, const int32_t* ids, int64_t T, int64_t H);
void gather_rows(ThreadPool& pool, TensorRef out, TensorView x, const int32_t* rows, int64_t R, int64_t H);
void scatter_rows(ThreadPool& pool, float* dx, const float* dout, const int32_t* rows, int64_t R, int64_t H);
void add(ThreadPool& pool, float* x, const float* y, int64_t n);
void scale(ThreadPool& pool, TensorRef y, const float* x, float factor, int64_t n);

// head.cc
void head_forward(ThreadPool& pool, float* logits, int64_t ld, const int32_t* targets, float temperature, float* logp,
                  float* lse, float* entropy, int64_t R, int64_t V);
void head_backward(ThreadPool& pool, float* logits, int64_t ld, const int32_t* targets, const float* lse, const float* entropy,
                   const float* dlogp, const float* dentropy, float temperature, int64_t R, int64_t V);
void head_top(ThreadPool& pool, int32_t* ids, float* logprobs, const float* logits, int64_t ld, const float* lse, int64_t k,
              int64_t R, int64_t V);

// sampling.cc
void sample(ThreadPool& pool, int32_t* tokens, float* logp, float* sampler_logp, float* logits, int64_t ld,
            const SamplingRow* rows, int64_t R, int64_t V);

// policy_loss.cc
void policy_loss(PolicyLossSums& sums, float* dlogp, float* dentropy, const PolicyLossInputs& in, const PolicyLossArgs& args,
                 int64_t T);

// dpo_loss.cc
void dpo_loss(PairSums& sums, float* dlogp, const DpoLossInputs& in, const DpoLossArgs& args);

// bradley_terry_loss.cc
void bradley_terry_loss(PairSums& sums, float* dscores, const BradleyTerryInputs& in, float center_coef);

// value_loss.cc
void value_loss(ValueSums& sums, float* dvalues, const ValueLossInputs& in, float clip, int64_t T);

// advantage.cc
void advantage_normalize(float* advantages, const float* rewards, const int32_t* cu_groups, int64_t groups, bool scale_by_std,
                         float eps);

// adamw.cc
void adamw(ThreadPool& pool, TensorRef w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs& args);
void adamw_8bit(ThreadPool& pool, TensorRef w, float* g, const BlockMoments& moments, int64_t n, const AdamwArgs& args);

// nf4.cc
void nf4_quantize(ThreadPool& pool, uint8_t* codes, float* largest, TensorView x, int64_t n);
void nf4_dequantize(ThreadPool& pool, TensorRef out, const uint8_t* codes, const float* largest, int64_t n);

// grad_norm.cc
double sum_squares(ThreadPool& pool, const float* x, int64_t n, double* scratch);

}  // namespace zazen::ZAZEN_ISA
