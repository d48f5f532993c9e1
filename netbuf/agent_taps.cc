#include "netbuf/agent_taps.h"

#include <utility>

#include "netbuf/guest_taps.h"

namespace romulus {

absl::StatusOr<NetlinkSocket*> AgentTaps::Socket() {
  if (socket_ == nullptr) {
    absl::StatusOr<std::unique_ptr<NetlinkSocket>> socket = NetlinkSocket::Open();
    if (!socket.ok()) return socket.status();
    socket_ = *std::move(socket);
  }
  return socket_.get();
}

absl::StatusOr<AgentTaps::NewFrames> AgentTaps::Maker() {
  const absl::StatusOr<NetlinkSocket*> socket = Socket();
  if (!socket.ok()) return socket.status();
  return [socket = *socket, loop = loop_](VifFrames::OnFrames on_frames, VifFrames::OnError on_error) {
    return std::make_unique<GuestTaps>(socket, loop, std::move(on_frames), std::move(on_error));
  };
}

absl::StatusOr<std::vector<GuestTap::Leftover>> AgentTaps::FindLeftovers(const std::set<std::string>& living) {
  const absl::StatusOr<NetlinkSocket*> socket = Socket();
  if (!socket.ok()) return socket.status();
  return GuestTap::FindLeftovers(**socket, living);
}

absl::Status AgentTaps::Clear(const GuestTap::Leftover& leftover) {
  const absl::StatusOr<NetlinkSocket*> socket = Socket();
  return socket.ok() ? GuestTap::Clear(**socket, leftover.vif) : socket.status();
}

}  // namespace romulus
