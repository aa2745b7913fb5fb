// Both backends by their tables: one body of a test runs on each, with weights laid out as the table says.
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Arrays where a backend's kernels read and write them.
class Backend {
 public:
  Backend(const Kernels& kernels, bool on_device) : k(kernels), on_device_(on_device) {}

  const Kernels& k;
  template <class T>
  T* put(std::vector<T>& values) {
    if (!on_device_) return values.data();
    auto* block = blocks_.emplace_back(values.size() * sizeof(T)).data();
    cuda::upload(block, values.data(), values.size() * sizeof(T));
    return reinterpret_cast<T*>(block);
  }
  // Back to where it came from.
  template <class T>
  void take(std::vector<T>& values, T* at) {
    if (on_device_) cuda::download(values.data(), at, values.size() * sizeof(T));
  }

 private:
  bool on_device_;
  std::vector<Device<std::byte>> blocks_;
};

template <class T>
std::vector<T> laid_out(const Backend& b, const Floats& w, int64_t N, int64_t K) {
  std::vector<T> out(static_cast<size_t>(weight_elements(b.k.weight_layout, N, K, kTypeOf<T>)));
  const std::vector<T> elements = typed<T>(w);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) out[weight_index(b.k.weight_layout, n, k, K, kTypeOf<T>)] = elements[n * K + k];
  return out;
}

// y = x W^T, then dW += dy^T x, then the input's gradient through the transposed weight, and one step of bf16 weights.
template <class T>
void layer_steps(Backend b) {
  const int64_t M = 3, N = 40, K = 9;
  const WeightLayout layout = b.k.weight_layout;
  const Floats x = random_floats(M * K, 1), weight = random_floats(N * K, 2);
  std::vector<T> inputs = typed<T>(x), w = laid_out<T>(b, weight, N, K),
                 turned(static_cast<size_t>(weight_elements(layout, K, N, kTypeOf<T>)));
  Floats y(M * N), dx(M * K), dw(w.size()), dy = as_bf16(random_floats(M * N, 3)), m(w.size()), v(w.size());
  T *d_inputs = b.put(inputs), *d_w = b.put(w), *d_turned = b.put(turned);
  float *d_y = b.put(y), *d_dx = b.put(dx), *d_dw = b.put(dw), *d_dy = b.put(dy), *d_m = b.put(m), *d_v = b.put(v);
  b.k.linear_forward(no_threads(), d_y, N, d_inputs, K, d_w, M, N, K, false);
  b.k.linear_backward_weight(no_threads(), d_dw, d_dy, N, d_inputs, K, M, N, K);
  b.k.weight_transpose(no_threads(), d_turned, d_w, 0, N, K);
  b.k.linear_forward(no_threads(), d_dx, K, d_dy, N, d_turned, M, K, N, false);
  b.take(y, d_y), b.take(dx, d_dx), b.take(dw, d_dw);

  const Floats a = plain(typed<T>(x)), c = plain(typed<T>(weight));
  for (int64_t i = 0; i < M; ++i)
    for (int64_t n = 0; n < N; ++n) {
      double want = 0;
      for (int64_t k = 0; k < K; ++k) want += static_cast<double>(a[i * K + k]) * static_cast<double>(c[n * K + k]);
      CHECK_NEAR(y[i * N + n], want, 1e-5);
    }
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t i = 0; i < M; ++i) {
      double want = 0;
      for (int64_t n = 0; n < N; ++n) want += static_cast<double>(dy[i * N + n]) * static_cast<double>(c[n * K + k]);
      CHECK_NEAR(dx[i * K + k], want, 1e-5);
    }
    for (int64_t n = 0; n < N; ++n) {
      double want = 0;
      for (int64_t i = 0; i < M; ++i) want += static_cast<double>(dy[i * N + n]) * static_cast<double>(a[i * K + k]);
      CHECK_NEAR(dw[gradient_index(layout, n, k, K, kTypeOf<T>)], want, 1e-5);
    }
  }

  // The first step of Adam is by lr, in the direction of the gradient.
  AdamwArgs args{0.25, 0.9, 0.999, 1e-8, 0, 1 - 0.9, 1 - 0.999, 1, 1, 0, layout == WeightLayout::panels};
  b.k.adamw(no_threads(), d_w, d_dw, d_m, d_v, static_cast<int64_t>(w.size()), args);
  b.take(w, d_w);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) {
      const float slope = dw[gradient_index(layout, n, k, K, kTypeOf<T>)];
      const double want = static_cast<double>(c[n * K + k]) - (slope > 0 ? 0.25 : -0.25);
      const T got = w[weight_index(layout, n, k, K, kTypeOf<T>)];
      if (std::fabs(slope) > 1e-3f) CHECK_NEAR(plain(std::vector<T>{got})[0], want, 1.0 / 128);
    }
}

TEST(tables_lay_out_weights_of_their_own) {
  CHECK(best().weight_layout == WeightLayout::panels && cuda_kernels().weight_layout == WeightLayout::rows);
  layer_steps<float>({best(), false});
  layer_steps<bf16>({best(), false});
  layer_steps<float>({cuda_kernels(), true});
  layer_steps<bf16>({cuda_kernels(), true});
}

}  // namespace
}  // namespace zazen::test
