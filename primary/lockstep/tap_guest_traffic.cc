#include "primary/lockstep/tap_guest_traffic.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus::lockstep {
namespace {

GuestFrame ToHeld(romulus::GuestFrame frame) {
  GuestFrame held;
  held.segment_bytes = frame.offload.gso_type == 0 ? 0 : frame.offload.gso_bytes;
  held.offload.assign(reinterpret_cast<const char*>(&frame.offload), sizeof(frame.offload));
  held.contents = std::move(frame.contents);
  return held;
}

}  // namespace

TapGuestTraffic::TapGuestTraffic(const Scheduler* scheduler, const NewFrames& new_frames, OnInput on_input)
    : scheduler_(scheduler),
      on_input_(std::move(on_input)),
      frames_(
          new_frames([this](const Vif& vif, FrameDirection direction,
                            std::vector<romulus::GuestFrame> frames) { OnFrames(vif, direction, std::move(frames)); },
                     [this](const Vif& vif, absl::Status status) { OnError(vif, std::move(status)); })) {}

absl::StatusOr<GuestTraffic::Diverted> TapGuestTraffic::Divert(const Vif& vif, const std::string& protection) {
  if (vif.emulated) {
    const absl::StatusOr<bool> exists = frames_->Exists(vif);
    if (!exists.ok()) return exists.status();
    if (!*exists) {
      absent_.insert(vif.name);
      return Diverted::kFresh;
    }
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " is a device model's card, which lockstep has no way out for: use stream mode REMUS"));
  }
  failed_.erase(vif.name);
  const absl::StatusOr<VifFrames::Added> added = frames_->Add(vif, protection, VifMode::kDivert);
  if (!added.ok()) return added.status();
  dropped_[vif.device_id] = {};
  return *added == VifFrames::Added::kAdopted ? Diverted::kAdopted : Diverted::kFresh;
}

absl::Status TapGuestTraffic::Collect(const Vif& vif) {
  if (absent_.count(vif.name) != 0) {
    const absl::StatusOr<bool> exists = frames_->Exists(vif);
    if (!exists.ok()) return exists.status();
    if (!*exists) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(vif.name, " has come while the guest's output was held, and is not ",
                                               "diverted: end the protection and start it again"));
  }
  frames_->Drain(vif.device_id, FrameDirection::kFromGuest);
  frames_->Drain(vif.device_id, FrameDirection::kToGuest);
  if (const auto failed = failed_.find(vif.name); failed != failed_.end()) return failed->second;
  if (absl::Status status = frames_->CheckInPlace(vif.device_id); !status.ok()) {
    return absl::IsNotFound(status) ? absl::UnavailableError(status.message()) : status;
  }
  const absl::StatusOr<uint64_t> output = frames_->ReadDropped(vif.device_id, FrameDirection::kFromGuest);
  if (!output.ok()) return output.status();
  const absl::StatusOr<uint64_t> input = frames_->ReadDropped(vif.device_id, FrameDirection::kToGuest);
  if (!input.ok()) return input.status();
  dropped_[vif.device_id] = {.output = *output, .input = *input};
  return absl::OkStatus();
}

void TapGuestTraffic::WriteOut(const Vif& vif, const GuestFrame& frame) {
  romulus::GuestFrame written{.offload = {}, .contents = frame.contents};
  if (!frame.offload.empty()) {
    ROMULUS_CHECK(frame.offload.size() == sizeof(written.offload));
    memcpy(&written.offload, frame.offload.data(), sizeof(written.offload));
  }
  if (!frames_->Write(vif.device_id, FrameDirection::kFromGuest, written).ok()) ++unwritten_;
}

absl::Status TapGuestTraffic::Restore(const Vif& vif, const std::string& protection) {
  if (absent_.erase(vif.name) != 0) return absl::OkStatus();
  ReleaseInput();
  if (absl::Status status = frames_->Remove(vif.device_id, VifFrames::Held::kDrain); !status.ok()) return status;
  failed_.erase(vif.name);
  return frames_->Clear(vif, protection);
}

std::string TapGuestTraffic::DeviceName(const Vif& vif) const {
  return absent_.count(vif.name) != 0 ? "" : frames_->DeviceName(vif);
}

TapGuestTraffic::Statistics TapGuestTraffic::statistics() const {
  Statistics statistics{
      .output_unwritten = unwritten_, .input_dropped = held_input_dropped_, .input_unwritten = input_unwritten_};
  for (const auto& [id, dropped] : dropped_) {
    statistics.output_dropped += dropped.output;
    statistics.input_dropped += dropped.input;
  }
  return statistics;
}

void TapGuestTraffic::OnFrames(const Vif& vif, FrameDirection direction, std::vector<romulus::GuestFrame> frames) {
  if (direction == FrameDirection::kFromGuest) {
    for (romulus::GuestFrame& frame : frames) {
      if (observer_ != nullptr) observer_->OnGuestFrame(scheduler_->Now(), vif.name, ToHeld(std::move(frame)));
    }
    return;
  }
  if (!holds_input_) return GiveToGuest(vif, std::move(frames));
  if (held_input_.empty() || held_input_.back().first.name != vif.name) {
    held_input_.emplace_back(vif, std::vector<romulus::GuestFrame>());
  }
  for (romulus::GuestFrame& frame : frames) {
    const size_t bytes = frame.contents.size();
    if (held_input_frames_ == kHeldInputFrames || held_input_bytes_ + bytes > kHeldInputBytes) {
      ++held_input_dropped_;
      continue;
    }
    ++held_input_frames_;
    held_input_bytes_ += bytes;
    held_input_.back().second.push_back(std::move(frame));
  }
}

void TapGuestTraffic::ReleaseInput() {
  holds_input_ = false;
  held_input_frames_ = held_input_bytes_ = 0;
  for (auto& [vif, frames] : std::exchange(held_input_, {})) GiveToGuest(vif, std::move(frames));
}

void TapGuestTraffic::GiveToGuest(const Vif& vif, std::vector<romulus::GuestFrame> frames) {
  std::vector<TrafficFrame> input;
  for (romulus::GuestFrame& frame : frames) {
    // The guest has not got it: nor shall the standby.
    if (!frames_->Write(vif.device_id, FrameDirection::kToGuest, frame).ok()) {
      ++input_unwritten_;
      continue;
    }
    if (std::optional<std::string> contents = ToContents(std::move(frame)); contents.has_value()) {
      input.push_back({vif.device_id, *std::move(contents)});
    }
  }
  if (!input.empty()) on_input_(std::move(input));
}

// The next Collect says it: what the guest sends is held up until then, not lost to anybody.
void TapGuestTraffic::OnError(const Vif& vif, absl::Status status) {
  failed_[vif.name] = absl::UnavailableError(status.message());
}

}  // namespace romulus::lockstep
