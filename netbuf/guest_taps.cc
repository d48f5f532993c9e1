#include "netbuf/guest_taps.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

constexpr FrameDirection kDirections[] = {FrameDirection::kFromGuest, FrameDirection::kToGuest};
// A packet that was past the filter when the filter went may reach the TAP a moment later.
constexpr int kTimesFoundEmpty = 5;
constexpr timespec kTransmissionWait = {.tv_sec = 0, .tv_nsec = 200'000};
constexpr int kDrainsMax = 5000;

}  // namespace

absl::StatusOr<std::unique_ptr<GuestTaps>> GuestTaps::Attach(NetlinkSocket* socket, EventLoop* loop,
                                                             const std::vector<Vif>& vifs, Mode mode,
                                                             OnFrames on_frames, OnError on_error) {
  std::unique_ptr<GuestTaps> taps(new GuestTaps(loop, std::move(on_frames), std::move(on_error)));
  for (const Vif& vif : vifs) {
    absl::StatusOr<std::unique_ptr<GuestTap>> tap = GuestTap::Attach(*socket, vif, mode);
    if (!tap.ok()) {
      // A predecessor's stays mute.
      for (auto& [id, entry] : taps->entries_) {
        if (!entry.tap->adopted()) entry.tap->Detach().IgnoreError();
      }
      return tap.status();
    }
    Entry& entry = taps->entries_[vif.device_id];
    ROMULUS_CHECK(entry.tap == nullptr);
    entry.tap = *std::move(tap);
  }
  for (auto& [id, entry] : taps->entries_) taps->Watch(entry);
  // An adopted one is shut; so are the others, then.
  if (mode == Mode::kDirect && taps->adopted()) {
    if (absl::Status status = taps->SetMode(Mode::kDivert); !status.ok()) return status;
  }
  return taps;
}

absl::Status GuestTaps::Clear(NetlinkSocket& socket, const std::vector<Vif>& vifs) {
  absl::Status first;
  for (const Vif& vif : vifs) first.Update(GuestTap::Clear(socket, vif.name));
  return first;
}

GuestTaps::GuestTaps(EventLoop* loop, OnFrames on_frames, OnError on_error)
    : loop_(loop), on_frames_(std::move(on_frames)), on_error_(std::move(on_error)) {}

GuestTaps::~GuestTaps() {
  for (auto& [id, entry] : entries_) Unwatch(entry);
}

bool GuestTaps::adopted() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& each) { return each.second.tap->adopted(); });
}

void GuestTaps::Watch(Entry& entry) {
  for (const FrameDirection direction : kDirections) {
    loop_->WatchReadable(entry.tap->descriptor(direction), [this, &entry, direction] { ReadSome(entry, direction); });
  }
  entry.watched = true;
}

void GuestTaps::Unwatch(Entry& entry) {
  if (!entry.watched) return;
  for (const FrameDirection direction : kDirections) loop_->Unwatch(entry.tap->descriptor(direction));
  entry.watched = false;
}

size_t GuestTaps::ReadSome(Entry& entry, FrameDirection direction) {
  std::vector<GuestFrame> frames;
  size_t bytes = 0;
  absl::Status failure;
  while (entry.watched && frames.size() < kFramesPerTurn && bytes < kBytesPerTurn) {
    absl::StatusOr<std::optional<GuestFrame>> frame = entry.tap->Read(direction);
    if (!frame.ok()) {
      failure = frame.status();
      Unwatch(entry);
      break;
    }
    if (!frame->has_value()) break;
    bytes += (*frame)->contents.size();
    frames.push_back(**std::move(frame));
  }
  const size_t count = frames.size();
  const uint32_t device_id = entry.tap->vif().device_id;
  if (count > 0) on_frames_(device_id, direction, std::move(frames));
  if (!failure.ok()) on_error_(failure);
  return count;
}

absl::Status GuestTaps::SetMode(Mode mode) {
  absl::Status first;
  for (auto& [id, entry] : entries_) {
    if (entry.tap->mode() != mode) first.Update(entry.tap->SetMode(mode));
  }
  return first;
}

absl::Status GuestTaps::CheckInPlace() {
  absl::Status first;
  for (auto& [id, entry] : entries_) first.Update(entry.tap->CheckInPlace());
  return first;
}

void GuestTaps::Drain(FrameDirection direction) {
  for (auto& [id, entry] : entries_) {
    for (size_t read = 0; read < FrameTap::kQueueFrames;) {
      const size_t more = ReadSome(entry, direction);
      if (more == 0) break;
      read += more;
    }
  }
}

absl::Status GuestTaps::Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) {
  const auto entry = entries_.find(device_id);
  if (entry == entries_.end()) return absl::NotFoundError(absl::StrCat("the guest has no vif ", device_id));
  return entry->second.tap->Write(direction, frame);
}

absl::Status GuestTaps::Write(uint32_t device_id, FrameDirection direction, std::string contents) {
  const auto entry = entries_.find(device_id);
  if (entry == entries_.end()) return absl::NotFoundError(absl::StrCat("the guest has no vif ", device_id));
  const size_t bytes = contents.size();
  const std::optional<GuestFrame> frame = ToGuestFrame(std::move(contents), entry->second.tap->mtu());
  if (!frame.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("a frame of ", bytes, " bytes for ", entry->second.tap->vif().name,
                                                   " is too short, or too large and not TCP, or damaged"));
  }
  return entry->second.tap->Write(direction, *frame);
}

absl::StatusOr<GuestTaps::Statistics> GuestTaps::ReadStatistics() {
  Statistics statistics;
  for (auto& [id, entry] : entries_) {
    absl::StatusOr<uint64_t> from_guest = entry.tap->ReadDropped(FrameDirection::kFromGuest);
    if (!from_guest.ok()) return from_guest.status();
    absl::StatusOr<uint64_t> to_guest = entry.tap->ReadDropped(FrameDirection::kToGuest);
    if (!to_guest.ok()) return to_guest.status();
    statistics.dropped_from_guest += *from_guest;
    statistics.dropped_to_guest += *to_guest;
  }
  return statistics;
}

absl::Status GuestTaps::DetachDrained() {
  absl::Status first = SetMode(Mode::kDirect);
  int found_empty = 0;
  for (int drains = 0; drains < kDrainsMax && found_empty < kTimesFoundEmpty; ++drains) {
    size_t read = 0;
    for (auto& [id, entry] : entries_) {
      for (const FrameDirection direction : kDirections) read += ReadSome(entry, direction);
    }
    found_empty = read == 0 ? found_empty + 1 : 0;
    if (read == 0) nanosleep(&kTransmissionWait, nullptr);
  }
  first.Update(Detach());
  return first;
}

absl::Status GuestTaps::Detach() {
  absl::Status first;
  for (auto& [id, entry] : entries_) {
    Unwatch(entry);
    first.Update(entry.tap->Detach());
  }
  return first;
}

}  // namespace romulus
