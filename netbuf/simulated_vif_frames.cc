#include "netbuf/simulated_vif_frames.h"

#include <optional>

#include "common/base/log.h"

namespace romulus {
namespace {

constexpr uint32_t kMtu = 1500;

size_t IndexOf(FrameDirection direction) { return direction == FrameDirection::kFromGuest ? 0 : 1; }

}  // namespace

void SimulatedVifs::Take(Kernel& vif, FrameDirection direction, GuestFrame frame) {
  std::deque<GuestFrame>& taken = vif.taken[IndexOf(direction)];
  if (vif.reader == nullptr) return;
  if (taken.size() >= queue_frames_) {
    ++vif.dropped[IndexOf(direction)];
    return;
  }
  taken.push_back(std::move(frame));
}

void SimulatedVifs::GuestSends(const std::string& name, GuestFrame frame) {
  Kernel& vif = vifs_.at(name);
  if (vif.mode == VifMode::kDirect || !vif.in_place) {
    vif.network.push_back(std::move(frame));
  } else {
    Take(vif, FrameDirection::kFromGuest, std::move(frame));
  }
}

void SimulatedVifs::NetworkSends(const std::string& name, GuestFrame frame) {
  Kernel& vif = vifs_.at(name);
  switch (vif.mode) {
    case VifMode::kDirect:
      vif.guest.push_back(std::move(frame));
      return;
    case VifMode::kIsolate:
      return;
    case VifMode::kDivert:
    case VifMode::kTranslate:
      Take(vif, FrameDirection::kToGuest, std::move(frame));
      return;
  }
}

void SimulatedVifs::Deliver() {
  for (auto& [name, vif] : vifs_) {
    if (vif.reader == nullptr) continue;
    SimulatedVifFrames& reader = *vif.reader;
    for (const auto& [id, added] : reader.added_) {
      if (added.name != name) continue;
      for (const FrameDirection direction : {FrameDirection::kFromGuest, FrameDirection::kToGuest}) {
        reader.Drain(id, direction);
      }
    }
  }
}

void SimulatedVifs::BreakReading(const std::string& name, absl::Status status) {
  Kernel& vif = vifs_.at(name);
  vif.readable = false;
  for (const auto& [id, added] : vif.reader->added_) {
    if (added.name == name) vif.reader->on_error_(added, status);
  }
}

SimulatedVifFrames::~SimulatedVifFrames() {
  for (const auto& [id, vif] : added_) {
    SimulatedVifs::Kernel* kernel = Find(id);
    if (kernel == nullptr) continue;
    kernel->reader = nullptr;
    for (auto& taken : kernel->taken) taken.clear();
  }
}

SimulatedVifs::Kernel* SimulatedVifFrames::Find(uint32_t device_id) {
  const auto added = added_.find(device_id);
  if (added == added_.end()) return nullptr;
  const auto vif = host_->vifs_.find(added->second.name);
  return vif == host_->vifs_.end() || vif->second.reader != this ? nullptr : &vif->second;
}

absl::StatusOr<VifFrames::Added> SimulatedVifFrames::Add(const Vif& vif, const std::string& owner, VifMode mode) {
  ROMULUS_CHECK(added_.count(vif.device_id) == 0);
  if (auto failing = host_->failing_adds_.extract(vif.name); !failing.empty()) return failing.mapped();
  const auto found = host_->vifs_.find(vif.name);
  if (found == host_->vifs_.end()) return absl::UnavailableError(vif.name + ": no such device");
  SimulatedVifs::Kernel& kernel = found->second;
  const bool adopted = !kernel.owner.empty();
  if (kernel.reader != nullptr || (adopted && kernel.owner != owner)) {
    return absl::FailedPreconditionError(vif.name + " is somebody else's");
  }
  kernel.mode = adopted && mode == VifMode::kDirect ? VifMode::kDivert : mode;
  kernel.owner = owner;
  kernel.reader = this;
  kernel.in_place = kernel.readable = true;
  added_[vif.device_id] = vif;
  return adopted ? Added::kAdopted : Added::kFresh;
}

absl::Status SimulatedVifFrames::Remove(uint32_t device_id, Held held) {
  SimulatedVifs::Kernel* vif = Find(device_id);
  if (vif != nullptr) {
    if (held == Held::kDrain) {
      vif->mode = VifMode::kDirect;
      Drain(device_id, FrameDirection::kFromGuest);
      Drain(device_id, FrameDirection::kToGuest);
    }
    vif->mode = VifMode::kDirect;
    vif->owner.clear();
    vif->reader = nullptr;
    for (auto& taken : vif->taken) taken.clear();
  }
  added_.erase(device_id);
  return absl::OkStatus();
}

absl::Status SimulatedVifFrames::Clear(const Vif& vif, const std::string& owner) {
  const auto found = host_->vifs_.find(vif.name);
  if (found == host_->vifs_.end() || found->second.reader != nullptr || found->second.owner != owner) {
    return absl::OkStatus();
  }
  found->second.mode = VifMode::kDirect;
  found->second.owner.clear();
  return absl::OkStatus();
}

absl::Status SimulatedVifFrames::SetMode(VifMode mode) {
  if (!host_->failing_set_mode_.ok()) return std::exchange(host_->failing_set_mode_, absl::OkStatus());
  absl::Status first;
  for (const auto& [id, vif] : added_) {
    if (SimulatedVifs::Kernel* kernel = Find(id); kernel != nullptr) {
      kernel->mode = mode;
    } else {
      first.Update(absl::UnavailableError(vif.name + " is gone"));
    }
  }
  return first;
}

absl::Status SimulatedVifFrames::CheckInPlace(uint32_t device_id) {
  if (added_.count(device_id) == 0) return absl::NotFoundError("not taken");
  const SimulatedVifs::Kernel* vif = Find(device_id);
  return vif != nullptr && vif->in_place ? absl::OkStatus() : absl::UnavailableError("not in place");
}

void SimulatedVifFrames::Drain(uint32_t device_id, FrameDirection direction) {
  SimulatedVifs::Kernel* vif = Find(device_id);
  if (vif == nullptr || !vif->readable) return;
  std::deque<GuestFrame> taken = std::exchange(vif->taken[IndexOf(direction)], {});
  if (taken.empty()) return;
  on_frames_(added_.at(device_id), direction,
             {std::make_move_iterator(taken.begin()), std::make_move_iterator(taken.end())});
}

absl::Status SimulatedVifFrames::Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) {
  if (added_.count(device_id) == 0) return absl::NotFoundError("not taken");
  SimulatedVifs::Kernel* vif = Find(device_id);
  if (vif == nullptr) return absl::UnavailableError("gone");
  (direction == FrameDirection::kFromGuest ? vif->network : vif->guest).push_back(frame);
  return absl::OkStatus();
}

absl::Status SimulatedVifFrames::Write(uint32_t device_id, FrameDirection direction, std::string contents) {
  const std::optional<GuestFrame> frame = ToGuestFrame(std::move(contents), kMtu);
  if (!frame.has_value()) return absl::InvalidArgumentError("no frame for this vif");
  return Write(device_id, direction, *frame);
}

absl::StatusOr<uint64_t> SimulatedVifFrames::ReadDropped(uint32_t device_id, FrameDirection direction) {
  const SimulatedVifs::Kernel* vif = Find(device_id);
  if (vif == nullptr) return absl::UnavailableError("gone");
  return vif->dropped[IndexOf(direction)];
}

}  // namespace romulus
