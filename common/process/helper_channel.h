#ifndef ROMULUS_COMMON_PROCESS_HELPER_CHANNEL_H_
#define ROMULUS_COMMON_PROCESS_HELPER_CHANNEL_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"
#include "proto/helper/v1/helper.pb.h"

// The two ends of proto/helper/v1 over a packet socket. Neither is thread safe for one direction; sending and receiving
// may be on different threads. Status codes are packet_socket.h's; INVALID_ARGUMENT is also a message that does not
// parse, has no body this build knows, or carries descriptors where it must not.
namespace romulus {

// Agent and helper come from one build; see Hello.
inline constexpr uint32_t kHelperProtocolVersion = 1;
// The descriptor that a helper program finds its end at.
inline constexpr int kHelperDescriptor = 3;

// The agent's end. Never blocks.
class AgentEnd {
 public:
  explicit AgentEnd(UniqueFd socket) : socket_(std::move(socket)) {}

  // DEADLINE_EXCEEDED: the helper has not read for hundreds of messages.
  absl::Status Send(const helper::v1::AgentToHelper& message, absl::Span<const int> descriptors = {});
  // DEADLINE_EXCEEDED: there is none now.
  absl::StatusOr<helper::v1::HelperToAgent> Receive();

  // Readable when a message or the end of file is there.
  int descriptor() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

// The helper's end.
class HelperEnd {
 public:
  struct Received {
    helper::v1::AgentToHelper message;
    std::vector<UniqueFd> descriptors;
  };

  explicit HelperEnd(UniqueFd socket) : socket_(std::move(socket)) {}

  // Takes kHelperDescriptor as it came from HelperProcess and sends Hello. FAILED_PRECONDITION: the program was started
  // by somebody else. To be called once per process.
  static absl::StatusOr<HelperEnd> TakeFromAgent(const char* program);

  // Waits at most `timeout` for an agent that does not read.
  absl::Status Send(const helper::v1::HelperToAgent& message, absl::Duration timeout = absl::Seconds(5));
  absl::StatusOr<Received> Receive(absl::Duration timeout);

  // Readable when a message or the end of file (the agent has gone) is there.
  int descriptor() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_HELPER_CHANNEL_H_
