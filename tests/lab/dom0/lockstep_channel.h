#ifndef ROMULUS_TESTS_LAB_DOM0_LOCKSTEP_CHANNEL_H_
#define ROMULUS_TESTS_LAB_DOM0_LOCKSTEP_CHANNEL_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"

namespace romulus::lab {

// The connection between lockstep_primary and lockstep_standby: one TCP connection, frames of
// {u32 kind, u32 length, u64 epoch} and `length` bytes.
class LockstepChannel {
 public:
  enum Kind : uint32_t {
    // To the standby.
    kDescription = 1,  // DomainDescription
    kData,             // Bytes of checkpoint `epoch`.
    kHashes,           // {gfn, hash}*: the primary's memory at checkpoint `epoch`.
    kPages,            // {gfn, 4096 bytes}*: the answer to kAskPages.
    kEnd,              // Checkpoint `epoch` is whole; the guest is to run.
    kSuspend,          // For checkpoint `epoch`.
    // To the primary.
    kPrepared,
    kRunning,
    kRefused,   // Why.
    kList,      // PageRun*
    kAskPages,  // gfn*: what the primary had there at checkpoint `epoch`.
  };
  struct Frame {
    Kind kind;
    uint64_t epoch;
    std::string body;
  };

  // Ends the process where it can't.
  static UniqueFd Connect(const std::string& address, int port);
  static UniqueFd Accept(int port);

  // `on_frame` runs on a thread of the channel's own; `on_end` last.
  LockstepChannel(UniqueFd socket, std::function<void(Frame)> on_frame, std::function<void()> on_end);

  // Any thread. Lost if the connection is.
  void Send(Kind kind, uint64_t epoch, const void* body, size_t length);
  void Send(Kind kind, uint64_t epoch, const std::string& body = "") { Send(kind, epoch, body.data(), body.size()); }
  template <typename T>
  void Send(Kind kind, uint64_t epoch, const std::vector<T>& body) {
    Send(kind, epoch, body.data(), body.size() * sizeof(T));
  }

 private:
  void Read(const std::function<void(Frame)>& on_frame);

  const UniqueFd socket_;
  std::mutex sending_;
};

template <typename T>
std::vector<T> VectorOf(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) bytes.copy(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
  return values;
}

}  // namespace romulus::lab

#endif  // ROMULUS_TESTS_LAB_DOM0_LOCKSTEP_CHANNEL_H_
