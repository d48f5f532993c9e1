#ifndef ROMULUS_NETBUF_GUEST_TAP_H_
#define ROMULUS_NETBUF_GUEST_TAP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/frame_tap.h"
#include "netbuf/guest_frame.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/tc_rule.h"
#include "netbuf/vif.h"
#include "netbuf/vif_frames.h"

namespace romulus {

// A vif's frames in this process: filters in the vif's clsact qdisc take them to two TAP devices, and what is written
// to those enters the vif as if it had come there by itself (README.md, "Frames in user space").
//
// Write(kFromGuest) puts a frame into the bridge, Write(kToGuest) gives one to the guest, in every mode.
//
// Nothing is lost by SetMode but by kIsolate. What the kernel has for us when a diversion ends can still be read;
// Write it, then Detach.
//
// An agent that dies takes the TAPs along and leaves the filters: what the guest sends, and in kIsolate and kTranslate
// what is sent to it, is dropped, never let through, until a successor attaches or somebody Clears. Destruction without
// Detach does the same, on purpose.
//
// Synchronous, not thread safe. Errors: UNAVAILABLE if the vif is gone, FAILED_PRECONDITION with what to do,
// PERMISSION_DENIED, others with the native code in words.
class GuestTap {
 public:
  using Mode = VifMode;

  // `socket` outlives this. An error leaves the vif as it was; after a predecessor's death that is mute.
  // Where filters of a dead agent's for the same `owner` (a protection's name) are in place they are taken over without
  // a gap: nothing passes that they held up, and a `mode` of kDirect is then kDivert until SetMode(kDirect). Those of
  // another owner: FAILED_PRECONDITION; so is an agent that lives.
  static absl::StatusOr<std::unique_ptr<GuestTap>> Attach(NetlinkSocket& socket, const Vif& vif,
                                                          const std::string& owner, Mode mode);

  // Removes what a dead agent left on a vif, filters and qdisc: from here on what its guest sends passes. OK if there
  // is nothing, or no vif. FAILED_PRECONDITION: its agent lives.
  static absl::Status Clear(NetlinkSocket& socket, const std::string& vif);
  // The same of this owner's alone; OK where there are only others', or its agent lives.
  static absl::Status Clear(NetlinkSocket& socket, const std::string& vif, const std::string& owner);

  // What dead agents left on this host, of owners that are not in `living`; sorted by vif.
  struct Leftover {
    std::string vif;
    // kTranslate: the guest had been taken over, and runs: Clear it. kDivert, kIsolate: it is mute until Clear.
    Mode mode = Mode::kDivert;
  };
  static absl::StatusOr<std::vector<Leftover>> FindLeftovers(NetlinkSocket& socket,
                                                             const std::set<std::string>& living);

  // Of the TAP for what the guest sends.
  static std::string DeviceName(const Vif& vif) { return FrameTap::Name(vif, kFromGuestSuffix); }

  ~GuestTap();

  Mode mode() const { return mode_; }
  bool adopted() const { return adopted_; }
  const Vif& vif() const { return vif_; }
  uint32_t mtu() const { return link_.mtu; }

  // One netlink round trip: nothing passes that neither mode holds up, at no moment in between.
  absl::Status SetMode(Mode mode);

  // Readable when a frame is there: for EventLoop::WatchReadable. Valid as long as this.
  int descriptor(FrameDirection direction) const { return tap(direction).descriptor(); }
  // The next frame; nothing if none is there now.
  absl::StatusOr<std::optional<GuestFrame>> Read(FrameDirection direction) { return tap(direction).Read(); }
  // In the order of the calls. The kernel passes it on within the call.
  absl::Status Write(FrameDirection direction, const GuestFrame& frame) { return tap(direction).Write(frame); }

  // UNAVAILABLE if the vif is not (or not completely) diverted any more: it was unplugged and plugged in again, or
  // somebody removed a filter. What it sent since has left.
  absl::Status CheckInPlace();

  // Frames that the kernel dropped since Attach because nobody read them in time.
  absl::StatusOr<uint64_t> ReadDropped(FrameDirection direction);

  // Removes filters and TAPs. What the TAPs still hold is dropped: SetMode(kDirect), read and write first. OK if the
  // vif is gone. Idempotent; nothing else may be called after it.
  absl::Status Detach();

 private:
  static constexpr char kFromGuestSuffix = 'o';
  static constexpr char kToGuestSuffix = 'i';

  GuestTap(NetlinkSocket& socket, Vif vif, uint64_t owner_hash, NetworkLink link, std::unique_ptr<FrameTap> from_guest,
           std::unique_ptr<FrameTap> to_guest);
  FrameTap& tap(FrameDirection direction) const;
  absl::Status Install(Mode mode);
  TcRule Build(const struct TapRule& rule) const;

  NetlinkSocket& socket_;
  const Vif vif_;
  const uint64_t owner_hash_;
  const NetworkLink link_;
  std::unique_ptr<FrameTap> from_guest_;  // Both null after Detach.
  std::unique_ptr<FrameTap> to_guest_;
  Mode mode_ = Mode::kDirect;
  bool adopted_ = false;
  bool qdisc_is_ours_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_GUEST_TAP_H_
