#include "primary/lockstep/simulated_guest_traffic.h"

#include "absl/strings/str_cat.h"

namespace romulus::lockstep {

void SimulatedDiversions::Enqueue(const std::string& vif, GuestFrame frame) {
  if (!vifs_.contains(vif)) return;
  const auto diversion = diversions_.find(vif);
  if (diversion == diversions_.end()) {
    sink_(vif, frame);
    return;
  }
  if (diversion->second.owner == nullptr) return;
  diversion->second.waiting.push_back(std::move(frame));
  if (!lag_) Deliver(vif, diversion->second);
}

void SimulatedDiversions::Deliver() {
  for (auto& [vif, diversion] : diversions_) Deliver(vif, diversion);
}

void SimulatedDiversions::Deliver(const std::string& vif, Diversion& diversion) {
  while (!diversion.waiting.empty()) {
    GuestFrame frame = std::move(diversion.waiting.front());
    diversion.waiting.pop_front();
    if (diversion.owner == nullptr || diversion.owner->observer_ == nullptr) continue;
    diversion.owner->observer_->OnGuestFrame(clock_(), vif, std::move(frame));
  }
}

std::vector<std::string> SimulatedDiversions::installed() const {
  std::vector<std::string> names;
  for (const auto& [vif, diversion] : diversions_) names.push_back(vif);
  return names;
}

SimulatedGuestTraffic::~SimulatedGuestTraffic() {
  for (auto& [vif, diversion] : host_->diversions_) {
    if (diversion.owner != this) continue;
    diversion.owner = nullptr;
    diversion.waiting.clear();
  }
}

absl::StatusOr<GuestTraffic::Diverted> SimulatedGuestTraffic::Divert(const Vif& vif, const std::string& protection) {
  if (!host_->vifs_.contains(vif.name)) {
    if (!vif.emulated) return absl::UnavailableError(absl::StrCat(vif.name, " is not there"));
    host_->absent_.insert(vif.name);
    return Diverted::kFresh;
  }
  const auto found = host_->diversions_.find(vif.name);
  if (found == host_->diversions_.end()) {
    host_->diversions_[vif.name] = {protection, this, {}};
    return Diverted::kFresh;
  }
  if (found->second.protection != protection || found->second.owner != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(vif.name, " is diverted by ", found->second.protection));
  }
  found->second.owner = this;
  return Diverted::kAdopted;
}

absl::Status SimulatedGuestTraffic::Collect(const Vif& vif) {
  const bool is_there = host_->vifs_.contains(vif.name);
  const auto found = host_->diversions_.find(vif.name);
  const bool ours = found != host_->diversions_.end() && found->second.owner == this;
  if (ours) host_->Deliver(vif.name, found->second);
  if (vif.emulated && !is_there) return absl::OkStatus();
  if (is_there && ours) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(vif.name, is_there ? " has come and is not diverted" : " is gone"));
}

void SimulatedGuestTraffic::WriteOut(const Vif& vif, const GuestFrame& frame) {
  if (host_->vifs_.contains(vif.name)) host_->sink_(vif.name, frame);
}

absl::Status SimulatedGuestTraffic::Restore(const Vif& vif, const std::string& protection) {
  host_->absent_.erase(vif.name);
  const auto found = host_->diversions_.find(vif.name);
  if (found == host_->diversions_.end() || found->second.protection != protection) return absl::OkStatus();
  if (found->second.owner != nullptr && found->second.owner != this) return absl::OkStatus();
  host_->Deliver(vif.name, found->second);
  host_->diversions_.erase(found);
  return absl::OkStatus();
}

}  // namespace romulus::lockstep
