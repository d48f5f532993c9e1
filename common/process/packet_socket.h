#ifndef ROMULUS_COMMON_PROCESS_PACKET_SOCKET_H_
#define ROMULUS_COMMON_PROCESS_PACKET_SOCKET_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"

// Packets with file descriptors beside them over a SOCK_SEQPACKET socketpair: a packet arrives whole or not at all, and
// a descriptor arrives with the packet that it was sent with.
//
// Timeouts: zero never blocks, absl::InfiniteDuration() waits for ever; a signal does not end a wait.
namespace romulus {

inline constexpr size_t kMaxPacketBytes = 64 * 1024;
inline constexpr size_t kMaxPacketDescriptors = 8;

struct Packet {
  std::string bytes;
  std::vector<UniqueFd> descriptors;  // Close-on-exec.
};

// Both ends are close-on-exec and blocking.
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> NewPacketSocketPair();

// Sends one packet; `descriptors` stay the caller's. Never raises SIGPIPE.
// UNAVAILABLE: the other end is closed. DEADLINE_EXCEEDED: it does not read. INVALID_ARGUMENT: empty or over the
// limits.
absl::Status SendPacket(int socket, absl::string_view bytes, absl::Span<const int> descriptors, absl::Duration timeout);

// UNAVAILABLE: the other end is closed and everything it sent has been received. DEADLINE_EXCEEDED: nothing came.
// INVALID_ARGUMENT: a packet over the limits; it is dropped and its descriptors are closed.
absl::StatusOr<Packet> ReceivePacket(int socket, absl::Duration timeout);

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_PACKET_SOCKET_H_
