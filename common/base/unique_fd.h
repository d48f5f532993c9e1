#ifndef ROMULUS_COMMON_BASE_UNIQUE_FD_H_
#define ROMULUS_COMMON_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace romulus {

// Owns a file descriptor; closes it when it goes. Not thread safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_UNIQUE_FD_H_
