// The emulator of CUDA: right kernels give right results, and every planted fault is caught and named.
#include <sys/wait.h>
#include <unistd.h>

#include "emulation/faults.h"
#include "emulation/memory.h"
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

constexpr int kThreads = faults::kThreads;

// What a launch fails with; empty when it does not.
template <class Launch>
std::string failure(const Launch& launch) {
  try {
    launch();
  } catch (const Error& error) {
    CHECK(error.code() == "EMULATION");
    return error.what();
  }
  return "";
}

// The message must have all of these parts.
void expect_parts(int line, const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (message.find(part) == std::string::npos)
      harness::fail(__FILE__, line, "expected \"" + part + "\" in \"" + message + "\"");
}
#define EXPECT_FAILURE(launch, ...) expect_parts(__LINE__, failure([&] { launch; }), {__VA_ARGS__})

struct Arrays {
  Floats values = random_floats(kThreads, 1);
  Device<float> x{values}, out{kThreads};
};

TEST(emulation_runs_threads_through_barriers) {
  Arrays a;
  faults::reverse(a.out.data(), a.x.data(), true);
  CHECK_BITS(a.out.values(), Floats(a.values.rbegin(), a.values.rend()));
}

TEST(emulation_shuffles) {
  Arrays a;
  faults::warp_sums(a.out.data(), a.x.data());
  const Floats got = a.out.values();
  for (int warp = 0; warp < 2; ++warp) {
    double want = 0;
    for (int lane = 0; lane < 32; ++lane) want += static_cast<double>(a.values[warp * 32 + lane]);
    for (int lane = 0; lane < 32; ++lane) CHECK_NEAR(static_cast<double>(got[warp * 32 + lane]), want, 1e-6);
  }
}

TEST(emulation_orders_by_warp_synchronisation) {
  Arrays a;
  faults::warp_tree(a.out.data(), a.x.data(), true);
  const Floats tree = a.out.values();
  faults::warp_sums(a.out.data(), a.x.data());
  CHECK_ALL_NEAR(tree, a.out.values(), 1e-6);
  EXPECT_FAILURE(faults::warp_tree(a.out.data(), a.x.data(), false), "warp_tree", "writes 4 bytes",
                 "of shared memory that thread", "no barrier between");
}

TEST(emulation_finds_a_missing_barrier) {
  Arrays a;
  EXPECT_FAILURE(faults::reverse(a.out.data(), a.x.data(), false), "reverse", "thread 0", "that nothing wrote");
  faults::reverse_twice(a.out.data(), a.x.data(), true);
  CHECK_BITS(a.out.values(), a.values);
  EXPECT_FAILURE(faults::reverse_twice(a.out.data(), a.x.data(), false), "thread 32", "faults.cu:28 reads 4 bytes",
                 "of shared memory that thread 31 wrote at faults.cu:30", "with no barrier between");
}

// A thread finds what another one was to write only behind a barrier: the lines of both.
TEST(emulation_names_both_lines_where_a_barrier_is_missing) {
  Arrays a;
  const auto reset = [&] { a.out.write(a.values.data(), a.values.size()); };
  reset();
  faults::through_device(a.out.data(), a.x.data(), true);
  CHECK(a.out.values()[0] == a.values[kThreads - 1] + a.values[0]);
  reset();
  EXPECT_FAILURE(faults::through_device(a.out.data(), a.x.data(), false), "through_device", "thread 32",
                 "faults.cu:37 reads 4 bytes", "of device block", "that thread 31 wrote at faults.cu:39",
                 "with no barrier between");
}

TEST(emulation_finds_divergent_barriers) {
  Arrays a;
  EXPECT_FAILURE(faults::divergent_barrier(a.out.data(), false), "divergent barrier", "thread 0", "thread 32", "has ended");
  EXPECT_FAILURE(faults::divergent_barrier(a.out.data(), true), "divergent barrier", "thread 0", "thread 32", "faults.cu:");
  EXPECT_FAILURE(faults::early_exit(a.out.data()), "divergent barrier", "thread 7", "has ended");
}

TEST(emulation_finds_wrong_lanes) {
  Arrays a;
  using enum faults::ShuffleFault;
  EXPECT_FAILURE(faults::shuffle(a.out.data(), beyond_segment), "lane 0", "faults.cu:", "reads lane 8", "out of range");
  EXPECT_FAILURE(faults::shuffle(a.out.data(), outside_mask), "reads lane 20", "not in its mask 0x0000ffff");
  EXPECT_FAILURE(faults::shuffle(a.out.data(), not_in_mask), "lane 20", "which lacks the lane itself");
  EXPECT_FAILURE(faults::shuffle(a.out.data(), missing_lane), "for lane 5", "(warp 0, lane 5) has ended");
}

TEST(emulation_finds_unaligned_vectors) {
  const Floats values = random_floats(4 * kThreads + 4, 2);
  Device<float> x{values}, out(kThreads);
  faults::vector_load(out.data(), x.data(), 4);
  CHECK(out.values()[1] == values[8] + values[11]);
  EXPECT_FAILURE(faults::vector_load(out.data(), x.data(), 1), "vector_load", "not a multiple of 16", "faults.cu:");
}

TEST(emulation_finds_accesses_outside) {
  Arrays a;
  EXPECT_FAILURE(faults::copy(a.out.data(), a.x.data(), 1), "copy of offset 1", "thread 63",
                 "called from faults.cu:", "outside");
  EXPECT_FAILURE(faults::copy(a.out.data(), a.x.data(), -1), "thread 0", "outside");
  const Floats host(kThreads);
  EXPECT_FAILURE(faults::copy(a.out.data(), host.data(), 0), "thread 0", "not of device memory");
  EXPECT_FAILURE(faults::too_much_shared(a.out.data()), "260 bytes of shared memory", "has 256");
}

TEST(emulation_finds_reads_of_what_nothing_wrote) {
  Arrays a;
  Device<float> unwritten(kThreads);
  EXPECT_FAILURE(faults::copy(a.out.data(), unwritten.data(), 0), "reads 4 bytes at offset 0", "that nothing wrote");
  EXPECT_FAILURE(faults::unwritten_shared(a.out.data()), "thread 54", "shared memory", "that nothing wrote");
  CHECK_THROWS_CODE(unwritten.values(), "EMULATION");
}

TEST(emulation_finds_blocks_that_write_the_same) {
  Arrays a;
  EXPECT_FAILURE(faults::two_blocks(a.out.data()), "block (1, 0, 0)", "thread 0 wrote", "in another block");
}

TEST(emulation_delivers_asynchronous_copies_at_their_wait) {
  const Bf16s values = rounded(random_floats(512, 3));
  Device<bf16> x(values), out(512);
  using enum faults::AsyncFault;
  faults::async_copy(out.data(), x.data(), none);
  CHECK_BITS(widened(out.values()), widened(values));
  EXPECT_FAILURE(faults::async_copy(out.data(), x.data(), no_wait), "that nothing wrote");
  EXPECT_FAILURE(faults::async_copy(out.data(), x.data(), early_wait), "offset 512 of shared memory", "that nothing wrote");
  EXPECT_FAILURE(faults::async_copy(out.data(), x.data(), no_barrier), "that nothing wrote");
  EXPECT_FAILURE(faults::async_copy(out.data(), x.data(), left_over), "2 asynchronous copies");
}

TEST(emulation_multiplies_in_the_documented_layout) {
  const Floats a = as_bf16(random_floats(16 * 16, 4)), b = as_bf16(random_floats(16 * 8, 5));
  Doubles want;
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n) {
      double sum = 0;
      for (int k = 0; k < 16; ++k) sum += static_cast<double>(a[m * 16 + k]) * static_cast<double>(b[k * 8 + n]);
      want.push_back(sum);
    }
  Floats columns(b.size());
  for (int k = 0; k < 16; ++k)
    for (int n = 0; n < 8; ++n) columns[n * 16 + k] = b[k * 8 + n];
  Device<bf16> left(rounded(a)), by_rows(rounded(b)), by_columns(rounded(columns));
  Device<float> d(16 * 8);
  faults::product(d.data(), left.data(), by_rows.data(), true);
  CHECK_ALL_NEAR(d.values(), want, 1e-7);
  faults::product(d.data(), left.data(), by_columns.data(), false);
  CHECK_ALL_NEAR(d.values(), want, 1e-7);
}

// The host has no business in device memory: it would be a segmentation fault on a GPU, and is one here.
TEST(emulation_keeps_the_host_out_of_device_memory) {
  Device<float> x(Floats{1.0f});
  const pid_t child = fork();
  if (child == 0) {
    close(STDERR_FILENO);
    const volatile float* here = x.data();
    _exit(*here == 1.0f ? 0 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

TEST(emulation_goes_on_after_a_fault) {
  const auto before = emulation::DeviceMemory::instance().blocks();  // workspaces of the tests before
  Arrays a;
  CHECK(failure([&] { faults::early_exit(a.out.data()); }) != "");
  faults::reverse(a.out.data(), a.x.data(), true);
  CHECK_BITS(a.out.values(), Floats(a.values.rbegin(), a.values.rend()));
  CHECK(emulation::DeviceMemory::instance().blocks() == before + 2);
}

}  // namespace
}  // namespace zazen::test
