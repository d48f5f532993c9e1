#ifndef ROMULUS_NETBUF_AGENT_TAPS_H_
#define ROMULUS_NETBUF_AGENT_TAPS_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/loop/event_loop.h"
#include "netbuf/guest_tap.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/vif_frames.h"

namespace romulus {

// The taps of all guests that an agent has in lockstep, over one netlink socket, which is opened when it is needed
// first. On the loop's thread. Errors of all: PERMISSION_DENIED and others of the socket with the native code in words.
class AgentTaps {
 public:
  using NewFrames = std::function<std::unique_ptr<VifFrames>(VifFrames::OnFrames, VifFrames::OnError)>;

  // `loop` outlives it.
  explicit AgentTaps(EventLoop* loop) : loop_(loop) {}

  // What makes the GuestTaps of one guest; they and it must not outlive this.
  absl::StatusOr<NewFrames> Maker();

  // What dead agents left on this host, of either kind: it is for the caller to choose by mode what was its own.
  absl::StatusOr<std::vector<GuestTap::Leftover>> FindLeftovers(const std::set<std::string>& living);
  absl::Status Clear(const GuestTap::Leftover& leftover);

 private:
  absl::StatusOr<NetlinkSocket*> Socket();

  EventLoop* const loop_;
  std::unique_ptr<NetlinkSocket> socket_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_AGENT_TAPS_H_
