// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "core/io.h"

namespace bellhop::io {
namespace {

std::atomic<int> log_descriptor{STDERR_FILENO};

uint64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_nsec);
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Status write_all(int fd, Bytes content) {
  while (!content.empty()) {
    ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(os_error(errno));
    content = content.subspan(static_cast<size_t>(written));
  }
  return {};
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Instant now() { return Instant(Duration(read_clock(CLOCK_MONOTONIC))); }
WallTime wall_now() { return WallTime(std::chrono::milliseconds(read_clock(CLOCK_REALTIME) / 1'000'000)); }
uint64_t thread_cpu_ns() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

void random(MutableBytes out) {
  while (!out.empty()) {
    ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    BH_CHECK(got > 0);
    out = out.subspan(static_cast<size_t>(got));
  }
}

uint64_t random_u64() {
  uint64_t value;
  random({reinterpret_cast<uint8_t*>(&value), sizeof value});
  return value;
}

Result<std::string> read_file(const std::string& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return fail(os_error(errno));
  struct stat info;
  if (fstat(file.fd, &info) != 0) return fail(os_error(errno));
  if (S_ISDIR(info.st_mode)) return fail(os_error(EISDIR));
  constexpr size_t kSizeMax = 16 * 1024 * 1024;
  std::string content;
  for (;;) {
    size_t before = content.size();
    if (before >= kSizeMax) return fail(os_error(EFBIG));
    content.resize(before + 64 * 1024);
    ssize_t got = read(file.fd, content.data() + before, 64 * 1024);
    content.resize(before + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got < 0 && errno != EINTR) return fail(os_error(errno));
    if (got == 0) return content;
  }
}

Status write_file(const std::string& path, Bytes content, unsigned mode) {
  std::string beside = path + ".new";
  {
    Descriptor file{open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)};
    if (file.fd < 0) return fail(os_error(errno));
    if (fchmod(file.fd, mode) != 0) return fail(os_error(errno));
    BH_CHECKED(write_all(file.fd, content));
    if (fsync(file.fd) != 0) return fail(os_error(errno));
  }
  if (rename(beside.c_str(), path.c_str()) != 0) return fail(os_error(errno));
  Descriptor folder{open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd < 0 || fsync(folder.fd) != 0) return fail(os_error(errno));
  return {};
}

Status make_folder(const std::string& path, unsigned mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return fail(os_error(errno));
    if (slash == std::string::npos) return {};
  }
}

Result<FileInfo> file_info(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return fail(os_error(errno));
  int64_t changed_ns = int64_t{info.st_ctim.tv_sec} * 1'000'000'000 + info.st_ctim.tv_nsec;
  return FileInfo{static_cast<uint64_t>(info.st_size), info.st_mode & 07777u, info.st_uid == geteuid(), info.st_ino,
                  changed_ns};
}

void write_log(std::string_view lines) {
  // A log that cannot be written must not stop the server; the next line tries again.
  (void)write_all(log_descriptor.load(std::memory_order_relaxed), as_bytes(lines));
}

Status set_log_file(const std::string& path) {
  int fd = path == "stdout" ? STDOUT_FILENO : open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return fail(os_error(errno));
  int before = log_descriptor.exchange(fd);
  if (before > STDERR_FILENO) ::close(before);
  return {};
}

}  // namespace bellhop::io
