#ifndef ROMULUS_NETBUF_GUEST_TAPS_H_
#define ROMULUS_NETBUF_GUEST_TAPS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/loop/event_loop.h"
#include "netbuf/guest_tap.h"
#include "netbuf/vif_frames.h"

namespace romulus {

// The real VifFrames: a GuestTap per vif, read by an event loop, on whose thread everything is.
class GuestTaps final : public VifFrames {
 public:
  // A turn of the loop reads so much of one vif and direction, so that decisions wait for no longer.
  static constexpr size_t kFramesPerTurn = 64;
  static constexpr size_t kBytesPerTurn = 512 << 10;

  // `socket` and `loop` outlive this.
  GuestTaps(NetlinkSocket* socket, EventLoop* loop, OnFrames on_frames, OnError on_error);
  ~GuestTaps() override;

  absl::StatusOr<bool> Exists(const Vif& vif) override;
  absl::StatusOr<Added> Add(const Vif& vif, const std::string& owner, VifMode mode) override;
  absl::Status Remove(uint32_t device_id, Held held) override;
  absl::Status Clear(const Vif& vif, const std::string& owner) override;
  absl::Status SetMode(VifMode mode) override;
  absl::Status CheckInPlace(uint32_t device_id) override;
  void Drain(uint32_t device_id, FrameDirection direction) override;
  absl::Status Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) override;
  absl::Status Write(uint32_t device_id, FrameDirection direction, std::string contents) override;
  absl::StatusOr<uint64_t> ReadDropped(uint32_t device_id, FrameDirection direction) override;
  std::string DeviceName(const Vif& vif) const override;

 private:
  struct Entry {
    std::unique_ptr<GuestTap> tap;
    bool watched = false;
  };

  // NOT_FOUND in words.
  absl::StatusOr<Entry*> Find(uint32_t device_id);
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
