#include "common/process/helper_channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/process/packet_socket.h"

namespace romulus {
namespace {

template <typename Message>
absl::Status SendMessage(int socket, const Message& message, absl::Span<const int> descriptors,
                         absl::Duration timeout) {
  // A message without a body serializes to nothing, which reads as the end of file.
  ROMULUS_CHECK(message.body_case() != Message::BODY_NOT_SET);
  std::string bytes;
  ROMULUS_CHECK(message.SerializeToString(&bytes));
  return SendPacket(socket, bytes, descriptors, timeout);
}

template <typename Message>
absl::StatusOr<Message> Parse(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) return absl::InvalidArgumentError("a message on a helper's socket is malformed");
  if (message.body_case() == Message::BODY_NOT_SET) {
    return absl::InvalidArgumentError("a message on a helper's socket is of a kind this build does not know");
  }
  return message;
}

}  // namespace

absl::Status AgentEnd::Send(const helper::v1::AgentToHelper& message, absl::Span<const int> descriptors) {
  return SendMessage(socket_.get(), message, descriptors, absl::ZeroDuration());
}

absl::StatusOr<helper::v1::HelperToAgent> AgentEnd::Receive() {
  absl::StatusOr<Packet> packet = ReceivePacket(socket_.get(), absl::ZeroDuration());
  if (!packet.ok()) return packet.status();
  if (!packet->descriptors.empty()) return absl::InvalidArgumentError("a helper sent file descriptors");
  return Parse<helper::v1::HelperToAgent>(packet->bytes);
}

absl::StatusOr<HelperEnd> HelperEnd::TakeFromAgent(const char* program) {
  int type = 0;
  socklen_t size = sizeof(type);
  if (getsockopt(kHelperDescriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    return absl::FailedPreconditionError(absl::StrCat(
        program, " is started by the agent, with a socket as file descriptor 3; it is not for use by hand"));
  }
  HelperEnd end{UniqueFd(kHelperDescriptor)};
  helper::v1::HelperToAgent message;
  message.mutable_hello()->set_protocol_version(kHelperProtocolVersion);
  message.mutable_hello()->set_program(program);
  message.mutable_hello()->set_pid(getpid());
  if (absl::Status sent = end.Send(message); !sent.ok()) return sent;
  return end;
}

absl::Status HelperEnd::Send(const helper::v1::HelperToAgent& message, absl::Duration timeout) {
  return SendMessage(socket_.get(), message, {}, timeout);
}

absl::StatusOr<HelperEnd::Received> HelperEnd::Receive(absl::Duration timeout) {
  absl::StatusOr<Packet> packet = ReceivePacket(socket_.get(), timeout);
  if (!packet.ok()) return packet.status();
  absl::StatusOr<helper::v1::AgentToHelper> message = Parse<helper::v1::AgentToHelper>(packet->bytes);
  if (!message.ok()) return message.status();
  return Received{*std::move(message), std::move(packet->descriptors)};
}

}  // namespace romulus
