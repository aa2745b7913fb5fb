// What the fuzz tests of the native readers share: numbers that a seed decides, damage to safetensors files, and a run over
// many inputs that counts what became of them. A failure names the input, which the same seed makes again:
//   ZAZEN_FUZZ=full            the whole number of inputs instead of a small one
//   ZAZEN_FUZZ_SEED=7          other inputs
//   ZAZEN_FUZZ_INPUT=123       this input alone
#pragma once

#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "safetensors_files.h"

namespace zazen::test {

// The random numbers of one input: a stream of Philox words, the same on every machine.
class Stream {
 public:
  Stream(uint64_t seed, uint32_t input) : seed_(seed), input_(input) {}
  uint32_t next() { return philox(seed_, {count_++, input_, 0, 0})[0]; }
  size_t below(size_t limit) { return next() % limit; }
  template <class T>
  const T& pick(const std::vector<T>& items) {
    return items[below(items.size())];
  }

 private:
  uint64_t seed_;
  uint32_t input_, count_ = 0;
};

// One tensor of a header: its name and its fields as they are spelled.
struct HeaderEntry {
  std::string name, dtype, shape, offsets;
};
struct Header {
  std::string metadata;  // the whole member, or nothing
  std::vector<HeaderEntry> entries;
};
// The header of a file that write_safetensors made.
Header header_of(const SafetensorsFile& file);

// A file with another header or other bytes, from one that write_safetensors made; `data` are its bytes behind the header.
std::string mutate_file(const Header& header, const std::string& data, Stream& random);
// One damage to bytes: some changed, cut, doubled or moved, a token of the format put in another place.
void damage_bytes(std::string& bytes, Stream& random);

// Runs `outcome` on inputs 0, 1, ...: it returns the code that refused its input, "" where that was accepted, and throws
// anything but a zazen::Error for what must not be. Prints the counts, and returns them.
std::map<std::string, int> run_fuzz(const char* name, int quick, int full,
                                    const std::function<std::string(Stream& random)>& outcome);

// Folders whose files need not survive a crash: in memory where there is such a place, since a save waits for the disk.
const char* scratch();

}  // namespace zazen::test
