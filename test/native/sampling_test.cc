// Sampling: the recorded log-prob has the bits of the training head, draws follow the distribution, and filters keep exactly
// the ids that a sort would keep.
#include <algorithm>
#include <cmath>

#include "support.h"

namespace zazen::test {
namespace {

constexpr SamplingArgs kPlain{1.0f, 0, 1.0f, nullptr, 0};

struct Draws {
  Ints tokens;
  Floats logp, sampler_logp;
};
Draws draw(const Kernels& k, ThreadPool& pool, Floats logits, int64_t V, const Floats& u, const SamplingArgs& args) {
  const int64_t R = static_cast<int64_t>(u.size()), ld = static_cast<int64_t>(logits.size()) / R;
  Draws d{Ints(u.size()), Floats(u.size()), Floats(u.size())};
  std::vector<SamplingRow> rows;
  for (const float x : u) rows.push_back({&args, x});
  k.sample(pool, d.tokens.data(), d.logp.data(), d.sampler_logp.data(), logits.data(), ld, rows.data(), R, V);
  return d;
}
Floats repeat(const Floats& row, size_t times) {
  Floats all;
  for (size_t i = 0; i < times; ++i) append(all, row);
  return all;
}
Floats grid(int64_t n) {  // n numbers in [0, 1), both ends among them
  Floats u;
  for (int64_t i = 0; i < n; ++i) u.push_back(static_cast<float>(i) / static_cast<float>(n));
  u.back() = 1.0f - 0x1p-24f;
  return u;
}

TEST(sample_records_the_bits_of_the_training_head) {
  ThreadPool pool(2);
  for (const int64_t V : {1, 5, 121, 1000, 8193})
    for (const float temperature : {1.0f, 0.7f, 1.3f}) {
      const int64_t R = 33, ld = ceil_div(V, kPanel) * kPanel;
      const Floats logits = random_floats(R * ld, 1, -6, 6), u = random_floats(R, 2, 0, 1);
      const int32_t banned[] = {0};
      for (const SamplingArgs& args :
           {SamplingArgs{temperature, 0, 1.0f, nullptr, 0}, SamplingArgs{temperature, 3, 0.9f, nullptr, 0},
            SamplingArgs{temperature, 0, 1.0f, banned, V > 1 ? 1 : 0}}) {
        const Draws d = draw(best(), pool, logits, V, u, args);
        Floats scaled = logits, logp(R), lse(R);
        best().head_forward(pool, scaled.data(), ld, d.tokens.data(), temperature, logp.data(), lse.data(), nullptr, R, V);
        CHECK_BITS(d.logp, logp);
        if (args.top_k == 0 && args.banned_count == 0) CHECK_BITS(d.sampler_logp, logp);
      }
    }
}

TEST(sample_inverts_the_cumulative_distribution) {
  ThreadPool pool(2);
  for (const int64_t V : {2, 17, 121, 3000, 20000}) {
    const Floats row = random_floats(V, 3, -4, 4), u = random_floats(200, 4, 0, 1);
    double total = 0;
    for (const float z : row) total += std::exp(static_cast<double>(z));
    Doubles upper;
    double running = 0;
    for (const float z : row) upper.push_back((running += std::exp(static_cast<double>(z))) / total);
    const Draws d = draw(best(), pool, repeat(row, u.size()), V, u, kPlain);
    for (size_t i = 0; i < u.size(); ++i) {
      const double low = d.tokens[i] > 0 ? upper[d.tokens[i] - 1] : 0.0;
      CHECK(u[i] > low - 1e-6 && u[i] < upper[d.tokens[i]] + 1e-6);
    }
  }
}

TEST(sample_frequencies_follow_the_policy) {
  ThreadPool pool(2);
  const Floats row = {0.3f, -1.0f, 1.2f, 0.0f, -2.0f};
  constexpr float kTemperature = 0.7f;
  const size_t n = 100000;
  const Draws d = draw(best(), pool, repeat(row, n), 5, random_floats(static_cast<int64_t>(n), 5, 0, 1),
                       {kTemperature, 0, 1.0f, nullptr, 0});
  double total = 0;
  for (const float z : row) total += std::exp(static_cast<double>(z / kTemperature));
  for (int32_t v = 0; v < 5; ++v) {
    const double p = std::exp(static_cast<double>(row[v] / kTemperature)) / total;
    const double share = static_cast<double>(std::count(d.tokens.begin(), d.tokens.end(), v)) / static_cast<double>(n);
    CHECK(std::fabs(share - p) < 4 * std::sqrt(p * (1 - p) / static_cast<double>(n)));
  }
}

TEST(sample_never_takes_the_impossible) {
  ThreadPool pool(1);
  for (const int64_t V : {3, 40, 200, 9000}) {
    Floats row(V, -500.0f);  // exp underflows: probability 0
    row[V / 2] = 1.0f;
    if (V > 3) row[V / 2 + 1] = 0.5f;
    const Floats u = grid(64);
    const Draws d = draw(best(), pool, repeat(row, u.size()), V, u, kPlain);
    for (const int32_t token : d.tokens) CHECK(token == V / 2 || (V > 3 && token == V / 2 + 1));
    CHECK(d.tokens.front() == V / 2);
  }
}

TEST(sample_grows_with_u_and_reaches_both_ends) {
  ThreadPool pool(1);
  for (const int64_t V : {7, 64, 65, 1000, 16385}) {
    const Floats u = grid(257);
    const Draws d = draw(best(), pool, repeat(random_floats(V, 6, -0.1f, 0.1f), u.size()), V, u, kPlain);
    CHECK(std::is_sorted(d.tokens.begin(), d.tokens.end()));
    CHECK(d.tokens.front() == 0);
    CHECK(d.tokens.back() == V - 1);
  }
}

// Intervals are half-open: u on a boundary belongs to the next id.
TEST(sample_takes_the_next_id_on_a_boundary) {
  ThreadPool pool(1);
  const Draws d = draw(best(), pool, Floats(4 * 4, 0.0f), 4, {0.0f, 0.25f, 0.5f - 0x1p-24f, 0.75f}, kPlain);
  CHECK((d.tokens == Ints{0, 1, 1, 3}));
}

TEST(sample_greedy_takes_the_lowest_best_id) {
  ThreadPool pool(1);
  const Floats row = {1.0f, 3.0f, -2.0f, 3.0f, 2.5f};
  const int32_t banned[] = {1, 3};
  Draws d = draw(best(), pool, row, 5, {0.99f}, {0.0f, 0, 1.0f, nullptr, 0});
  CHECK(d.tokens[0] == 1 && d.sampler_logp[0] == 0.0f);
  double total = 0;
  for (const float z : row) total += std::exp(static_cast<double>(z));
  CHECK_NEAR(d.logp[0], 3.0 - std::log(total), 1e-6);
  d = draw(best(), pool, row, 5, {0.99f}, {0.0f, 0, 1.0f, banned, 2});
  CHECK(d.tokens[0] == 4);
  CHECK_NEAR(d.logp[0], 2.5 - std::log(total), 1e-6);
}

// The ids that a stable sort keeps: not banned, then the k best, then the shortest head with mass >= p.
Ints kept_by_sort(const Floats& z, const SamplingArgs& args) {
  Ints order;
  for (size_t v = 0; v < z.size(); ++v)
    if (std::find(args.banned, args.banned + args.banned_count, static_cast<int32_t>(v)) == args.banned + args.banned_count)
      order.push_back(static_cast<int32_t>(v));
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return z[a] > z[b]; });
  if (args.top_k > 0 && args.top_k < static_cast<int64_t>(order.size())) order.resize(args.top_k);
  double total = 0, mass = 0;
  for (const int32_t v : order) total += std::exp(static_cast<double>(z[v]));
  size_t count = 0;
  while (count < order.size() && (count == 0 || mass < static_cast<double>(args.top_p) * total))
    mass += std::exp(static_cast<double>(z[order[count++]]));
  if (args.top_p < 1.0f) order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

void check_filter(const Floats& row, const SamplingArgs& args) {
  ThreadPool pool(1);
  const Ints kept = kept_by_sort(row, args);
  double all = 0, total = 0;
  for (const float z : row) all += std::exp(static_cast<double>(z));
  for (const int32_t v : kept) total += std::exp(static_cast<double>(row[v]));
  const Floats u = grid(4001);
  const Draws d = draw(best(), pool, repeat(row, u.size()), static_cast<int64_t>(row.size()), u, args);
  Ints seen = d.tokens;
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  CHECK(seen == kept);
  for (size_t i = 0; i < u.size(); i += 97) {
    CHECK_NEAR(d.logp[i], static_cast<double>(row[d.tokens[i]]) - std::log(all), 1e-6);
    CHECK_NEAR(d.sampler_logp[i], static_cast<double>(row[d.tokens[i]]) - std::log(total), 1e-6);
  }
}

TEST(sample_filters_keep_what_a_sort_keeps) {
  Floats smooth = random_floats(60, 7, -2, 2), ties = random_floats(60, 8, -2, 2);
  for (float& z : ties) z = std::round(z);
  const int32_t banned[] = {0, 17, 59};
  for (const Floats& row : {smooth, ties})
    for (const int64_t k : {0, 1, 2, 7, 59, 60, 100})
      for (const float p : {1.0f, 0.03f, 0.5f, 0.93f})
        for (const int64_t bans : {0, 3}) check_filter(row, {1.0f, k, p, banned, bans});
}

TEST(sample_filters_handle_signs_and_zeros) {
  check_filter({-3.0f, -1.0f, -2.0f}, {1.0f, 2, 1.0f, nullptr, 0});
  check_filter({0.0f, -0.0f, 0.0f, -1.0f}, {1.0f, 2, 1.0f, nullptr, 0});
  check_filter({1.0f, -0.0f, 0.0f, 2.0f}, {1.0f, 3, 0.99f, nullptr, 0});
}

TEST(sample_bans_the_favourite) {
  ThreadPool pool(1);
  const int32_t banned[] = {2};
  const Draws d = draw(best(), pool, {0.0f, 0.0f, 300.0f}, 3, {0.7f}, {1.0f, 0, 1.0f, banned, 1});
  CHECK(d.tokens[0] == 1);
  CHECK_NEAR(d.sampler_logp[0], -std::log(2.0), 1e-6);
  CHECK_NEAR(d.logp[0], -300.0, 1e-6);
}

TEST(sample_has_the_same_bits_everywhere_and_in_any_batch) {
  for (const int64_t V : {121, 5000}) {
    const int64_t R = 19, ld = ceil_div(V, kPanel) * kPanel;
    const Floats logits = random_floats(R * ld, 9, -5, 5), u = random_floats(R, 10, 0, 1);
    const int32_t banned[] = {3};
    for (const SamplingArgs& args : {kPlain, SamplingArgs{0.7f, 9, 0.8f, banned, 1}, SamplingArgs{0.0f, 0, 1.0f, nullptr, 0}}) {
      const auto flat = [](const Draws& d) {
        Floats all(d.tokens.begin(), d.tokens.end());
        append(all, d.logp);
        append(all, d.sampler_logp);
        return all;
      };
      const Floats all =
          SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return flat(draw(k, pool, logits, V, u, args)); });
      ThreadPool pool(1);
      for (int64_t r = 0; r < R; ++r)
        CHECK_BITS(flat(draw(best(), pool, slice(logits, r * ld, ld), V, {u[r]}, args)),
                   (Floats{all[r], all[R + r], all[2 * R + r]}));
    }
  }
}

// Penalties, bans, mask, then the filters, in that order, against the definition; the policy's log-prob stays that of the row.
TEST(sample_processors_follow_their_definition) {
  constexpr int64_t V = 90;
  ThreadPool pool(2);
  const Ints seen = {3, 7, 20, 64, 89};
  const Ints counts = {0, 1, 4, 0, 2};
  const int32_t banned[] = {7, 11};
  uint64_t mask[2] = {0x0F0F'00FF'1234'FFFFull, 0x3FF'FF0Full};
  for (const bool masked : {false, true})
    for (const float repetition : {1.0f, 1.7f, 0.5f})
      for (const float min_p : {0.0f, 0.02f, 0.3f}) {
        SamplingArgs args{0.8f, 25, 0.95f, banned, 2};
        args.min_p = min_p;
        args.repetition_penalty = repetition;
        args.presence_penalty = 0.4f;
        args.frequency_penalty = 0.25f;
        const Floats logits = random_floats(V, 12, -4, 4);
        Doubles z(V);
        for (int64_t v = 0; v < V; ++v) z[v] = static_cast<double>(logits[v]);
        for (size_t i = 0; i < seen.size(); ++i) {
          double& x = z[seen[i]];
          x = x > 0 ? x / static_cast<double>(repetition) : x * static_cast<double>(repetition);
          if (counts[i] > 0) x -= 0.4 + 0.25 * counts[i];
        }
        Floats scaled(V);
        for (int64_t v = 0; v < V; ++v) {
          const bool open = v != 7 && v != 11 && (!masked || (mask[v / 64] >> (v % 64) & 1));
          scaled[v] = open ? static_cast<float>(z[v] / 0.8) : -1e30f;
        }
        Ints kept = kept_by_sort(scaled, {1.0f, 25, 0.95f, nullptr, 0});
        const float top = *std::max_element(scaled.begin(), scaled.end());
        std::erase_if(kept, [&](int32_t v) {
          return scaled[v] < -1e29f || std::exp(static_cast<double>(scaled[v] - top)) < static_cast<double>(min_p);
        });
        double total = 0, all = 0;
        for (const int32_t v : kept) total += std::exp(static_cast<double>(scaled[v]));
        for (const float x : logits) all += std::exp(static_cast<double>(x) / 0.8);
        const Floats u = grid(2001);
        Floats rows = repeat(logits, u.size()), scratch(seen.size() * u.size()), logp(u.size()), sampler_logp(u.size());
        Ints tokens(u.size());
        std::vector<SamplingRow> each;
        for (size_t r = 0; r < u.size(); ++r) {
          SamplingRow row{&args, u[r]};
          row.seen = seen.data();
          row.counts = counts.data();
          row.scratch = scratch.data() + r * seen.size();
          row.seen_count = static_cast<int64_t>(seen.size());
          row.allowed = masked ? mask : nullptr;
          each.push_back(row);
        }
        best().sample(pool, tokens.data(), logp.data(), sampler_logp.data(), rows.data(), V, each.data(),
                      static_cast<int64_t>(u.size()), V);
        for (size_t r = 0; r < u.size(); ++r) {
          CHECK_NEAR(sampler_logp[r], static_cast<double>(scaled[tokens[r]]) - std::log(total), 1e-5);
          CHECK_NEAR(logp[r], static_cast<double>(logits[tokens[r]]) / 0.8 - std::log(all), 1e-5);
        }
        std::sort(tokens.begin(), tokens.end());
        tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
        CHECK(tokens == kept);
      }
}

// Broken weights must show up as NaN in the log-prob, not as an id out of range.
TEST(sample_survives_logits_that_are_not_numbers) {
  ThreadPool pool(1);
  for (const SamplingArgs& args : {kPlain, SamplingArgs{1.0f, 2, 0.5f, nullptr, 0}, SamplingArgs{0.0f, 0, 1.0f, nullptr, 0}}) {
    const Draws d = draw(best(), pool, Floats(50, kNan), 50, {0.5f}, args);
    CHECK(d.tokens[0] >= 0 && d.tokens[0] < 50);
    CHECK(std::isnan(d.logp[0]));
  }
}

}  // namespace
}  // namespace zazen::test
