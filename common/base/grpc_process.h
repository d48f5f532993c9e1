#ifndef ROMULUS_COMMON_BASE_GRPC_PROCESS_H_
#define ROMULUS_COMMON_BASE_GRPC_PROCESS_H_

#include <stdlib.h>

#include "absl/synchronization/mutex.h"

namespace romulus {

// Makes gRPC cost less in this process. First thing in main(): gRPC looks at it once, at its first use.
inline void PrepareGrpc() {
  // Debian builds Abseil without NDEBUG: each lock of an absl::Mutex is noted in a graph that is searched for cycles,
  // by all threads under one lock. gRPC takes dozens of them per message. Tests leave it on.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // With the engine that gRPC takes by itself ("epoll1") all threads of the process that wait for gRPC take turns
  // waiting for all of its descriptors, and wake each other for what they find. With this one each completion queue
  // waits for its own few. What the environment says comes first.
  setenv("GRPC_POLL_STRATEGY", "poll", /*overwrite=*/0);
  // A frame's bytes are read, and waited for, as a whole (SO_RCVLOWAT), instead of whenever some of them have come: of
  // a large message's processor time a tenth. Both are in gRPC 1.51 as experiments, off by themselves.
  setenv("GRPC_EXPERIMENTS", "tcp_frame_size_tuning,tcp_rcv_lowat", /*overwrite=*/0);
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_GRPC_PROCESS_H_
