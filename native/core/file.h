// Owners of POSIX file descriptors: exact positioned reads and writes, and a file that appears whole or not at all.
// Files are never mapped: a mapped file that shrinks kills the process, a short read is an error.
#pragma once

#include <cstdint>
#include <string>

namespace zazen {

class File {
 public:
  // A regular file. Throws FILE_MISSING, or FILE_IO when it is not a regular file or the system refuses it.
  static File open_read(const std::string& path);
  // A new file; the call fails with FILE_IO when the path exists or cannot be made.
  static File create(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  const std::string& path() const { return path_; }
  int64_t size() const;  // bytes

  // Reads exactly `bytes` at `offset`; FILE_TRUNCATED when the file ends before.
  void pread_exact(void* out, int64_t bytes, int64_t offset) const;
  void pwrite_exact(const void* data, int64_t bytes, int64_t offset);
  void sync();
  // Closes and reports what the system had kept back until then.
  void close();

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::string path_;
};

// Written beside its target under another name; commit() puts it in place in one step, on the disk before the old one is gone.
// Without commit() nothing remains.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  File& file() { return file_; }
  void commit();

 private:
  std::string path_;
  File file_;
  bool committed_ = false;
};

}  // namespace zazen
