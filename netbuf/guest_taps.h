#ifndef ROMULUS_NETBUF_GUEST_TAPS_H_
#define ROMULUS_NETBUF_GUEST_TAPS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/loop/event_loop.h"
#include "netbuf/guest_tap.h"

namespace romulus {

// The frames of all of a guest's vifs, on an event loop. Everything is for the loop's own thread. Errors as GuestTap's.
class GuestTaps {
 public:
  using Mode = GuestTap::Mode;

  // A turn of the loop reads so much of one vif and direction, so that decisions wait for no longer.
  static constexpr size_t kFramesPerTurn = 64;
  static constexpr size_t kBytesPerTurn = 512 << 10;

  // In order within a vif and direction. Called from the loop, and from within Drain; never empty.
  using OnFrames = std::function<void(uint32_t device_id, FrameDirection direction, std::vector<GuestFrame> frames)>;
  // Reading a TAP failed: nothing of that vif is read any more. UNAVAILABLE: the device is gone.
  using OnError = std::function<void(absl::Status)>;

  // All vifs or none. `socket` and `loop` outlive this.
  static absl::StatusOr<std::unique_ptr<GuestTaps>> Attach(NetlinkSocket* socket, EventLoop* loop,
                                                           const std::vector<Vif>& vifs, Mode mode, OnFrames on_frames,
                                                           OnError on_error);
  // As GuestTap's, for all of them; the first error counts.
  static absl::Status Clear(NetlinkSocket& socket, const std::vector<Vif>& vifs);
  ~GuestTaps();

  // A predecessor's filters were there, on one vif at least: the mode is not kDirect then.
  bool adopted() const;

  // Of all vifs, also of those after one that failed; the first error counts.
  absl::Status SetMode(Mode mode);
  absl::Status CheckInPlace();

  // Reads what is there now, and no more than the TAPs' queues have room for: for an epoch's end, when the guest is
  // suspended and what it sent is to count to that epoch.
  void Drain(FrameDirection direction);

  // NOT_FOUND: no such device.
  absl::Status Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame);
  // A frame that came as contents alone; INVALID_ARGUMENT if it is none that the device could send (ToGuestFrame).
  absl::Status Write(uint32_t device_id, FrameDirection direction, std::string contents);

  struct Statistics {
    uint64_t dropped_from_guest = 0;  // By the kernel, because they were not read in time.
    uint64_t dropped_to_guest = 0;
  };
  absl::StatusOr<Statistics> ReadStatistics();

  // SetMode(kDirect), Drain of both directions (whose frames OnFrames shall Write), then GuestTap::Detach: no frame is
  // lost.
  absl::Status DetachDrained();
  // What the kernel still has is dropped.
  absl::Status Detach();

 private:
  struct Entry {
    std::unique_ptr<GuestTap> tap;
    bool watched = false;
  };

  GuestTaps(EventLoop* loop, OnFrames on_frames, OnError on_error);
  void Watch(Entry& entry);
  void Unwatch(Entry& entry);
  // Returns how many frames it delivered.
  size_t ReadSome(Entry& entry, FrameDirection direction);

  EventLoop* const loop_;
  const OnFrames on_frames_;
  const OnError on_error_;
  std::map<uint32_t, Entry> entries_;  // By device id.
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_GUEST_TAPS_H_
