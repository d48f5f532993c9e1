#include "netbuf/guest_taps.h"

#include <time.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "netbuf/network_link.h"

namespace romulus {
namespace {

constexpr FrameDirection kDirections[] = {FrameDirection::kFromGuest, FrameDirection::kToGuest};
// A packet that was past the filter when the filter went may reach the TAP a moment later.
constexpr int kTimesFoundEmpty = 5;
constexpr timespec kTransmissionWait = {.tv_sec = 0, .tv_nsec = 200'000};
constexpr int kDrainsMax = 5000;

}  // namespace

GuestTaps::GuestTaps(NetlinkSocket* socket, EventLoop* loop, OnFrames on_frames, OnError on_error)
    : socket_(socket), loop_(loop), on_frames_(std::move(on_frames)), on_error_(std::move(on_error)) {}

GuestTaps::~GuestTaps() {
  for (auto& [id, entry] : entries_) Unwatch(entry);
}

absl::StatusOr<GuestTaps::Entry*> GuestTaps::Find(uint32_t device_id) {
  const auto entry = entries_.find(device_id);
  if (entry == entries_.end()) return absl::NotFoundError(absl::StrCat("vif ", device_id, " is not taken"));
  return &entry->second;
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
  if (count > 0) on_frames_(entry.tap->vif(), direction, std::move(frames));
  if (!failure.ok()) on_error_(entry.tap->vif(), failure);
  return count;
}

absl::StatusOr<bool> GuestTaps::Exists(const Vif& vif) {
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(*socket_, vif.name);
  if (!link.ok()) return link.status();
  return link->has_value();
}

absl::StatusOr<VifFrames::Added> GuestTaps::Add(const Vif& vif, const std::string& owner, VifMode mode) {
  ROMULUS_CHECK(entries_.count(vif.device_id) == 0);
  absl::StatusOr<std::unique_ptr<GuestTap>> tap = GuestTap::Attach(*socket_, vif, owner, mode);
  if (!tap.ok()) return tap.status();
  Entry& entry = entries_[vif.device_id];
  entry.tap = *std::move(tap);
  Watch(entry);
  return entry.tap->adopted() ? Added::kAdopted : Added::kFresh;
}

absl::Status GuestTaps::Remove(uint32_t device_id, Held held) {
  const auto found = entries_.find(device_id);
  if (found == entries_.end()) return absl::OkStatus();
  Entry& entry = found->second;
  if (held == Held::kDrain) {
    const absl::Status direct = entry.tap->SetMode(VifMode::kDirect);
    // Of a vif that is gone its filters are gone, too.
    if (!direct.ok() && !absl::IsUnavailable(direct)) return direct;
    int found_empty = 0;
    for (int drains = 0; drains < kDrainsMax && found_empty < kTimesFoundEmpty; ++drains) {
      size_t read = 0;
      for (const FrameDirection direction : kDirections) read += ReadSome(entry, direction);
      found_empty = read == 0 ? found_empty + 1 : 0;
      if (read == 0) nanosleep(&kTransmissionWait, nullptr);
    }
  }
  const bool was_watched = entry.watched;
  Unwatch(entry);
  if (absl::Status detached = entry.tap->Detach(); !detached.ok()) {
    if (was_watched) Watch(entry);
    return detached;
  }
  entries_.erase(found);
  return absl::OkStatus();
}

absl::Status GuestTaps::Clear(const Vif& vif, const std::string& owner) {
  return GuestTap::Clear(*socket_, vif.name, owner);
}

absl::Status GuestTaps::SetMode(VifMode mode) {
  absl::Status first;
  for (auto& [id, entry] : entries_) first.Update(entry.tap->SetMode(mode));
  return first;
}

absl::Status GuestTaps::CheckInPlace(uint32_t device_id) {
  absl::StatusOr<Entry*> entry = Find(device_id);
  return entry.ok() ? (*entry)->tap->CheckInPlace() : entry.status();
}

void GuestTaps::Drain(uint32_t device_id, FrameDirection direction) {
  absl::StatusOr<Entry*> entry = Find(device_id);
  if (!entry.ok()) return;
  for (size_t read = 0; read < FrameTap::kQueueFrames;) {
    const size_t more = ReadSome(**entry, direction);
    if (more == 0) return;
    read += more;
  }
}

absl::Status GuestTaps::Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) {
  absl::StatusOr<Entry*> entry = Find(device_id);
  return entry.ok() ? (*entry)->tap->Write(direction, frame) : entry.status();
}

absl::Status GuestTaps::Write(uint32_t device_id, FrameDirection direction, std::string contents) {
  absl::StatusOr<Entry*> entry = Find(device_id);
  if (!entry.ok()) return entry.status();
  const size_t bytes = contents.size();
  const std::optional<GuestFrame> frame = ToGuestFrame(std::move(contents), (*entry)->tap->mtu());
  if (!frame.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("a frame of ", bytes, " bytes for ", (*entry)->tap->vif().name,
                                                   " is too short, or too large and not TCP, or damaged"));
  }
  return (*entry)->tap->Write(direction, *frame);
}

absl::StatusOr<uint64_t> GuestTaps::ReadDropped(uint32_t device_id, FrameDirection direction) {
  absl::StatusOr<Entry*> entry = Find(device_id);
  if (!entry.ok()) return entry.status();
  return (*entry)->tap->ReadDropped(direction);
}

std::string GuestTaps::DeviceName(const Vif& vif) const { return GuestTap::DeviceName(vif); }

}  // namespace romulus
