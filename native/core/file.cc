#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace zazen {
namespace {

constexpr int64_t kMaxTransfer = int64_t{1} << 30;  // bytes in one system call; Linux moves less than 2^31
constexpr int kTempAttempts = 100;                  // leftovers of killed runs with our process id

// errno as an error: "[path] expected to open the file, got: ...".
[[noreturn]] void fail(const std::string& path, const char* doing) {
  const int error = errno;
  const char* code = error == ENOENT ? "FILE_MISSING" : "FILE_IO";
  const char* advice = error == ENOENT ? "check the path" : "check the path, its permissions and the disk";
  throw Error(code, text("[", path, "] expected to ", doing, ", got: ", std::strerror(error), "; ", advice));
}

int open_retry(const char* path, int flags, mode_t mode = 0) {
  int fd;
  do fd = ::open(path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A rename is on the disk only when its folder is. Some file systems refuse to sync a folder; there is no more to do on them.
void sync_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  const int fd = open_retry(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) fail(folder, "open the folder");
  const bool failed = ::fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP;
  const int error = errno;
  ::close(fd);
  errno = error;
  if (failed) fail(folder, "sync the folder");
}

File create_temporary(const std::string& path) {
  static std::atomic<uint64_t> serial{0};
  for (int attempt = 0;; ++attempt) {
    const std::string name = text(path, ".tmp-", ::getpid(), "-", serial.fetch_add(1));
    struct stat info;
    if (attempt + 1 < kTempAttempts && ::lstat(name.c_str(), &info) == 0) continue;
    return File::create(name);
  }
}

}  // namespace

File File::open_read(const std::string& path) {
  // O_NONBLOCK: a pipe in the file's place must not hang the open.
  const int fd = open_retry(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (fd < 0) fail(path, "open the file");
  File file(fd, path);
  struct stat info;
  if (::fstat(fd, &info) != 0) fail(path, "read the file's size");
  ZAZEN_CHECK(S_ISREG(info.st_mode), "FILE_IO", "[", path,
              "] expected a regular file, got a folder, pipe or device; check the path");
  return file;
}

File File::create(const std::string& path) {
  const int fd = open_retry(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (fd < 0) fail(path, "create the file");
  return File(fd, path);
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

int64_t File::size() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) fail(path_, "read the file's size");
  return info.st_size;
}

void File::pread_exact(void* out, int64_t bytes, int64_t offset) const {
  auto* to = static_cast<char*>(out);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(fd_, to + done, static_cast<size_t>(std::min(bytes - done, kMaxTransfer)), offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, "read");
    ZAZEN_CHECK(got > 0, "FILE_TRUNCATED", "[", path_, "] expected ", bytes, " bytes at offset ", offset, ", got ", done,
                "; the file is shorter than it was or should be, copy or download it again");
    done += got;
  }
}

void File::pwrite_exact(const void* data, int64_t bytes, int64_t offset) {
  const auto* from = static_cast<const char*>(data);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t put = ::pwrite(fd_, from + done, static_cast<size_t>(std::min(bytes - done, kMaxTransfer)), offset + done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(path_, "write");
    done += put;
  }
}

void File::sync() {
  int result;
  do result = ::fsync(fd_);
  while (result != 0 && errno == EINTR);
  if (result != 0) fail(path_, "sync");
}

void File::close() {
  const int fd = std::exchange(fd_, -1);
  // On EINTR the descriptor is closed all the same (Linux).
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) fail(path_, "close");
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), file_(create_temporary(path)) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(file_.path().c_str());
}

void AtomicFile::commit() {
  file_.sync();
  file_.close();
  if (std::rename(file_.path().c_str(), path_.c_str()) != 0) fail(path_, "put the finished file in place");
  committed_ = true;
  sync_folder(path_);
}

}  // namespace zazen
