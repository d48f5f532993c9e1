// Any packet from a helper that lies, or from an agent: a message with a body, or an error; never a crash, and the
// channel works for the next packet.
// Input: the packet.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/log.h"
#include "common/process/helper_channel.h"
#include "common/process/packet_socket.h"
#include "tests/fuzz/seeds.h"

namespace romulus {

using helper::v1::AgentToHelper;
using helper::v1::HelperToAgent;

std::vector<std::string> FuzzSeeds() {
  HelperToAgent captured;
  captured.mutable_captured()->set_epoch(3);
  captured.mutable_captured()->set_length(1 << 20);
  captured.mutable_captured()->set_pause_us(900);
  HelperToAgent log;
  log.mutable_log()->set_text("xc: info: saving domain");
  log.mutable_log()->set_suppressed(4);
  HelperToAgent failed;
  failed.mutable_failed()->set_reason("the guest did not suspend");
  AgentToHelper begin;
  begin.mutable_begin_checkpoint()->set_epoch(2);
  AgentToHelper recover;
  recover.mutable_recover()->set_domid(5);
  return {captured.SerializeAsString(), log.SerializeAsString(), failed.SerializeAsString(), begin.SerializeAsString(),
          recover.SerializeAsString()};
}

namespace {

template <typename End, typename Receive>
void Deliver(absl::string_view packet, Receive receive) {
  auto pair = NewPacketSocketPair();
  ROMULUS_CHECK(pair.ok());
  const int other = pair->second.get();
  End end(std::move(pair->first));
  ROMULUS_CHECK(SendPacket(other, packet, {}, absl::ZeroDuration()).ok());
  const absl::Status status = receive(end);
  ROMULUS_CHECK(status.ok() || absl::IsInvalidArgument(status));
  // What came before must not be what is read next.
  ROMULUS_CHECK(absl::IsDeadlineExceeded(receive(end)));
}

}  // namespace
}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace romulus;  // NOLINT
  if (size == 0 || size > kMaxPacketBytes) return 0;
  const absl::string_view packet(reinterpret_cast<const char*>(data), size);
  Deliver<AgentEnd>(packet, [](AgentEnd& end) {
    const auto message = end.Receive();
    ROMULUS_CHECK(!message.ok() || message->body_case() != HelperToAgent::BODY_NOT_SET);
    return message.status();
  });
  Deliver<HelperEnd>(packet, [](HelperEnd& end) {
    const auto received = end.Receive(absl::ZeroDuration());
    ROMULUS_CHECK(!received.ok() || received->message.body_case() != AgentToHelper::BODY_NOT_SET);
    return received.status();
  });
  return 0;
}
