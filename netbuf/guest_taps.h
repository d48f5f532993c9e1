#ifndef ROMULUS_NETBUF_GUEST_TAPS_H_
#define ROMULUS_NETBUF_GUEST_TAPS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/loop/event_loop.h"
#include "netbuf/guest_tap.h"

namespace romulus {

// The frames of a guest's vifs, on an event loop. Everything is for the loop's own thread. Errors as GuestTap's.
class GuestTaps {
 public:
  using Mode = GuestTap::Mode;

  // A turn of the loop reads so much of one vif and direction, so that decisions wait for no longer.
  static constexpr size_t kFramesPerTurn = 64;
  static constexpr size_t kBytesPerTurn = 512 << 10;

  // In order within a vif and direction, never empty. From the loop, and from within Drain and Remove; may Write, and
  // must not Add, Remove or destroy.
  using OnFrames = std::function<void(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames)>;
  // Reading a vif's TAP failed, and it is not read any more: nothing passes that is held up there.
  using OnError = std::function<void(const Vif& vif, absl::Status)>;

  // `socket` and `loop` outlive this.
  GuestTaps(NetlinkSocket* socket, EventLoop* loop, OnFrames on_frames, OnError on_error);
  // As GuestTap's: all that is not removed stays held up, dropped from here on.
  ~GuestTaps();

  // Precondition, checked: no vif of the same device id is there.
  absl::StatusOr<GuestTap*> Add(const Vif& vif, const std::string& owner, Mode mode);
  // Null if there is none.
  GuestTap* Find(uint32_t device_id) const;
  // kDrain: no frame is lost: the vif becomes direct, and what the kernel has of it goes to OnFrames, which shall Write
  // it. OK if there is no such vif.
  enum class Held { kDrain, kDrop };
  absl::Status Remove(uint32_t device_id, Held held);

  // Of all vifs, also of those after one that failed; the first error counts.
  absl::Status SetMode(Mode mode);

  // Reads what is there now, and little more than a TAP's queue has room for: for an epoch's end, when the guest is
  // suspended and what it sent is to count to that epoch.
  void Drain(uint32_t device_id, FrameDirection direction);

  // NOT_FOUND: no such vif.
  absl::Status Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame);
  // A frame that came as contents alone; INVALID_ARGUMENT if it is none that the vif could carry (ToGuestFrame).
  absl::Status Write(uint32_t device_id, FrameDirection direction, std::string contents);

 private:
  struct Entry {
    std::unique_ptr<GuestTap> tap;
    bool watched = false;
  };

  void Watch(Entry& entry);
  void Unwatch(Entry& entry);
  // Returns how many frames it delivered.
  size_t ReadSome(Entry& entry, FrameDirection direction);

  NetlinkSocket* const socket_;
  EventLoop* const loop_;
  const OnFrames on_frames_;
  const OnError on_error_;
  std::map<uint32_t, Entry> entries_;  // By device id.
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_GUEST_TAPS_H_
