// Sampling on the emulated device: the CPU's draws, log-probs with the bits of the device's own head, and no row that depends
// on another.
#include <algorithm>

#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Rows of a call with what they point to, on the host and on the device.
class Batch {
 public:
  void add(const SamplingArgs& args, float u, int64_t seen_count = 0, bool masked = false, int64_t V = 0) {
    const auto seed = static_cast<uint64_t>(rows_.size());
    args_.push_back(args);
    seen_.emplace_back();
    for (int64_t i = 0; i < seen_count; ++i) seen_.back().push_back(static_cast<int32_t>(i * V / seen_count));
    counts_.push_back(random_ints(seen_count, 21 + seed, 4));
    masks_.emplace_back();
    if (masked)
      for (const int32_t word : random_ints(2 * ceil_div(V, 64), 22 + seed, INT32_MAX))
        masks_.back().push_back(static_cast<uint64_t>(word) << 33 | static_cast<uint64_t>(word) | 3);
    scratch_.emplace_back(static_cast<size_t>(seen_count));
    SamplingRow row{nullptr, u};
    row.seen_count = seen_count;
    rows_.push_back(row);
  }
  std::vector<SamplingRow> on_host() {
    std::vector<SamplingRow> rows = rows_;
    for (size_t r = 0; r < rows.size(); ++r) {
      rows[r].args = &args_[r];
      rows[r].seen = seen_[r].data();
      rows[r].counts = counts_[r].data();
      rows[r].scratch = scratch_[r].data();
      rows[r].allowed = masks_[r].empty() ? nullptr : masks_[r].data();
    }
    return rows;
  }
  std::vector<SamplingRow> on_device() {
    std::vector<SamplingRow> rows = rows_;
    for (size_t r = 0; r < rows.size(); ++r) {
      SamplingArgs args = args_[r];
      if (args.banned_count > 0) args.banned = kept(ints_, Ints(args.banned, args.banned + args.banned_count));
      rows[r].args = kept(device_args_, std::vector<SamplingArgs>{args});
      rows[r].seen = kept(ints_, seen_[r]);
      rows[r].counts = kept(ints_, counts_[r]);
      rows[r].scratch = kept(floats_, scratch_[r]);
      rows[r].allowed = masks_[r].empty() ? nullptr : kept(words_, masks_[r]);
    }
    return rows;
  }
  const SamplingArgs& args(size_t r) const { return args_[r]; }
  size_t size() const { return rows_.size(); }

 private:
  template <class T>
  static T* kept(std::vector<Device<T>>& owners, const std::vector<T>& values) {
    return owners.emplace_back(values).data();
  }
  std::vector<SamplingRow> rows_;
  std::vector<SamplingArgs> args_;
  std::vector<Ints> seen_, counts_;
  std::vector<std::vector<uint64_t>> masks_;
  std::vector<Floats> scratch_;
  std::vector<Device<SamplingArgs>> device_args_;
  std::vector<Device<int32_t>> ints_;
  std::vector<Device<float>> floats_;
  std::vector<Device<uint64_t>> words_;
};

struct Draws {
  Ints tokens;
  Floats logp, sampler_logp;
};
Draws draw(const Floats& logits, int64_t ld, const std::vector<SamplingRow>& rows, int64_t V, int64_t offset = 0) {
  const Shifted<float> z(logits, offset);
  const Device<SamplingRow> d_rows(rows);
  const Device<int32_t> tokens(rows.size());
  const Device<float> logp(rows.size()), sampler_logp(rows.size());
  cuda::sample(no_threads(), tokens.data(), logp.data(), sampler_logp.data(), z.data(), ld, d_rows.data(),
               static_cast<int64_t>(rows.size()), V);
  return {tokens.values(), logp.values(), sampler_logp.values()};
}
Draws draw_on_cpu(Floats logits, int64_t ld, const std::vector<SamplingRow>& rows, int64_t V) {
  Draws d{Ints(rows.size()), Floats(rows.size()), Floats(rows.size())};
  best().sample(no_threads(), d.tokens.data(), d.logp.data(), d.sampler_logp.data(), logits.data(), ld, rows.data(),
                static_cast<int64_t>(rows.size()), V);
  return d;
}
// The same, without what a batch keeps.
Draws draw_plain(const Floats& logits, int64_t V, const Floats& u, const SamplingArgs& args) {
  Batch batch;
  for (const float x : u) batch.add(args, x);
  return draw(logits, V, batch.on_device(), V);
}

const int32_t kBanned[] = {0, 4, 0};
constexpr SamplingArgs kPlain{1.0f, 0, 1.0f, nullptr, 0};
SamplingArgs with_penalties(SamplingArgs args) {
  args.min_p = 0.01f;
  args.repetition_penalty = 1.3f;
  args.presence_penalty = 0.4f;
  args.frequency_penalty = 0.25f;
  return args;
}
Batch every_kind(int64_t V) {
  Batch batch;
  const int64_t bans = V > 4 ? 3 : 0, seen = V < 9 ? V : 9;
  batch.add(kPlain, 0.43f);
  batch.add({0.7f, 0, 1.0f, nullptr, 0}, 0.999f);
  batch.add({0.0f, 0, 1.0f, kBanned, bans}, 0.5f, seen, true, V);
  batch.add({1.3f, 5, 1.0f, nullptr, 0}, 0.61f);
  batch.add({1.0f, 0, 0.8f, nullptr, 0}, 0.37f);
  batch.add(with_penalties({0.9f, 40, 0.95f, kBanned, bans}), 0.72f, seen, true, V);
  batch.add({1.0f, 0, 1.0f, nullptr, 0}, 0.15f, 0, true, V);
  batch.add(with_penalties({1.0f, 0, 1.0f, nullptr, 0}), 0.05f, seen, false, V);
  return batch;
}

TEST(cuda_sample_draws_what_the_cpu_draws) {
  for (const int64_t V : {1, 5, 33, 300, 2049, 4103, 10001}) {
    Batch batch = every_kind(V);
    const int64_t R = static_cast<int64_t>(batch.size()), ld = ceil_div(V, kPanel) * kPanel;
    const Floats logits = random_floats(R * ld, 1, -6, 6);
    const Draws got = draw(logits, ld, batch.on_device(), V), want = draw_on_cpu(logits, ld, batch.on_host(), V);
    CHECK_BITS(got.tokens, want.tokens);
    CHECK_ALL_NEAR(got.logp, doubles(want.logp), 1e-6);
    CHECK_ALL_NEAR(got.sampler_logp, doubles(want.sampler_logp), 1e-6);
  }
}

TEST(cuda_sample_records_the_bits_of_the_head) {
  for (const int64_t V : {33, 4103}) {
    Batch batch = every_kind(V);
    const Floats logits = random_floats(static_cast<int64_t>(batch.size()) * V, 2, -6, 6);
    const Draws d = draw(logits, V, batch.on_device(), V);
    for (size_t r = 0; r < batch.size(); ++r) {
      const float temperature = batch.args(r).temperature;
      const Device<float> row(slice(logits, static_cast<int64_t>(r) * V, V)), logp(1), lse(1);
      const Device<int32_t> target(Ints{d.tokens[r]});
      cuda::head_forward(no_threads(), row.data(), V, target.data(), temperature == 0.0f ? 1.0f : temperature, logp.data(),
                         lse.data(), nullptr, 1, V);
      CHECK_BITS(logp.values(), Floats{d.logp[r]});
      if (r < 2) CHECK_BITS(Floats{d.sampler_logp[r]}, Floats{d.logp[r]});
    }
  }
}

TEST(cuda_sample_of_a_row_does_not_depend_on_others_or_alignment) {
  const int64_t V = 6301, ld = 6304;
  Batch batch = every_kind(V);
  const Floats logits = random_floats(static_cast<int64_t>(batch.size()) * ld, 3, -4, 4);
  const std::vector<SamplingRow> rows = batch.on_device();
  const Draws all = draw(logits, ld, rows, V);
  for (size_t r = 0; r < rows.size(); ++r) {
    const Draws alone = draw(slice(logits, static_cast<int64_t>(r) * ld, V), V, {rows[r]}, V, 1);
    CHECK_BITS(alone.tokens, Ints{all.tokens[r]});
    CHECK_BITS(alone.logp, Floats{all.logp[r]});
    CHECK_BITS(alone.sampler_logp, Floats{all.sampler_logp[r]});
  }
}

TEST(cuda_sample_inverts_the_cumulative_distribution) {
  for (const int64_t V : {2, 32, 257, 9000}) {
    const Floats row = random_floats(V, 4, -4, 4);
    Floats u = random_floats(20, 5, 0, 1), logits;
    u.front() = 0.0f;
    u.back() = 1.0f - 0x1p-24f;
    for (size_t i = 0; i < u.size(); ++i) append(logits, row);
    double total = 0, running = 0;
    for (const float z : row) total += std::exp(static_cast<double>(z));
    Doubles upper{0};
    for (const float z : row) upper.push_back((running += std::exp(static_cast<double>(z))) / total);
    const Draws d = draw_plain(logits, V, u, kPlain);
    for (size_t i = 0; i < u.size(); ++i) CHECK(u[i] > upper[d.tokens[i]] - 1e-6 && u[i] < upper[d.tokens[i] + 1] + 1e-6);
    CHECK(d.tokens.front() == 0 && d.tokens.back() == V - 1);
  }
  // Intervals are half-open, and what has no probability is not drawn.
  CHECK((draw_plain(Floats(4 * 4, 0.0f), 4, {0.0f, 0.25f, 0.5f - 0x1p-24f, 0.75f}, kPlain).tokens == Ints{0, 1, 1, 3}));
  Floats rare(300, -500.0f);
  rare[150] = 1.0f;
  for (const float u : {0.0f, 0.5f, 1.0f - 0x1p-24f}) CHECK(draw_plain(rare, 300, {u}, kPlain).tokens == Ints{150});
}

// Of equal logits at a filter's edge the lower ids stay, wherever they lie.
TEST(cuda_sample_cuts_ties_by_id) {
  const int64_t V = 700;
  Floats row(V, -3.0f);
  for (const int32_t v : {3, 90, 91, 333, 600, 699}) row[v] = 1.0f;
  row[500] = 2.0f;
  const Floats u = {0.0f, 1.0f - 0x1p-24f};
  Floats logits = row;
  append(logits, row);
  CHECK((draw_plain(logits, V, u, {1.0f, 4, 1.0f, nullptr, 0}).tokens == Ints{3, 500}));
  CHECK((draw_plain(logits, V, u, {1.0f, 1, 1.0f, nullptr, 0}).tokens == Ints{500, 500}));
  // Masses are e^2, 6 e and 693 e^-3: 0.3 of the whole is the favourite and three others.
  const double whole = std::exp(2) + 6 * std::exp(1) + 693 * std::exp(-3);
  const auto p = static_cast<float>((std::exp(2) + 2.5 * std::exp(1)) / whole);
  const Draws d = draw_plain(logits, V, u, {1.0f, 0, p, nullptr, 0});
  CHECK((d.tokens == Ints{3, 500}));
  CHECK_NEAR(d.sampler_logp[1], 2 - std::log(std::exp(2) + 3 * std::exp(1)), 1e-6);
  CHECK((draw_plain({0.0f, -0.0f, 0.0f, -1.0f}, 4, {0.9f}, {1.0f, 2, 1.0f, nullptr, 0}).tokens == Ints{1}));
  CHECK((draw_plain({1.0f, 3.0f, -2.0f, 3.0f}, 4, {0.9f}, {0.0f, 0, 1.0f, nullptr, 0}).tokens == Ints{1}));
}

TEST(cuda_sample_survives_logits_that_are_not_numbers) {
  for (const SamplingArgs& args : {kPlain, SamplingArgs{1.0f, 2, 0.5f, nullptr, 0}, SamplingArgs{0.0f, 0, 1.0f, nullptr, 0}}) {
    const Draws d = draw_plain(Floats(50, kNan), 50, {0.5f}, args);
    CHECK(d.tokens[0] >= 0 && d.tokens[0] < 50);
    CHECK(std::isnan(d.logp[0]));
  }
}

}  // namespace
}  // namespace zazen::test
