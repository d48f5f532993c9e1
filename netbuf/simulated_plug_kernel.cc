#include "netbuf/simulated_plug_kernel.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {

void SimulatedPlugKernel::AddVif(const std::string& name) { vifs_.insert(name); }

void SimulatedPlugKernel::RemoveVif(const std::string& name) { vifs_.erase(name); }

void SimulatedPlugKernel::Enqueue(const std::string& vif, const SimulatedPacket& packet) {
  if (vifs_.count(vif) == 0) return;
  if (SimulatedPlug* redirected_to = plug(vif)) {
    redirected_to->Enqueue(packet);
  } else {
    sink_(vif, packet);
  }
}

void SimulatedPlugKernel::FailOperations(absl::Status status, int count, int skip) {
  fault_ = std::move(status);
  faults_ = count;
  faults_skipped_ = skip;
}

SimulatedPlug* SimulatedPlugKernel::plug(const std::string& vif) {
  auto found = installations_.find(vif);
  return found == installations_.end() ? nullptr : found->second.plug.get();
}

std::vector<std::string> SimulatedPlugKernel::installed() const {
  std::vector<std::string> vifs;
  for (const auto& [vif, installation] : installations_) vifs.push_back(vif);
  return vifs;
}

absl::StatusOr<PlugKernel::Installed> SimulatedPlugKernel::Install(const Vif& vif, const std::string& protection,
                                                                   uint32_t limit_bytes) {
  if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
  if (vifs_.count(vif.name) == 0 && vif.emulated) {
    absent_.insert(vif.name);
    return Installed::kFresh;
  }
  if (vifs_.count(vif.name) == 0) return absl::UnavailableError(absl::StrCat(vif.name, ": no such device"));
  auto found = installations_.find(vif.name);
  if (found != installations_.end()) {
    if (found->second.protection == protection) {
      found->second.plug->SetLimit(limit_bytes);
      return Installed::kAdopted;
    }
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " is buffered already, by protection ", found->second.protection));
  }
  Installation installation{protection, vif, NewPlug(vif.name, limit_bytes)};
  installation.plug->Command(PlugCommand::kReleaseIndefinite);
  installations_.emplace(vif.name, std::move(installation));
  return Installed::kFresh;
}

absl::Status SimulatedPlugKernel::Command(const std::vector<Vif>& vifs, PlugCommand command) {
  absl::Status first;
  for (const Vif& vif : vifs) {
    if (absent_.count(vif.name) != 0) {
      if (command == PlugCommand::kBuffer) first.Update(CheckAbsent(vif));
      continue;
    }
    absl::StatusOr<SimulatedPlug*> found = FindPlug(vif);
    if (absl::Status fault = TakeFault(); found.ok() && !fault.ok()) found = fault;
    if (found.ok() && command == PlugCommand::kBuffer && vifs_.count(vif.name) == 0 && !vif.emulated) {
      found = absl::UnavailableError(absl::StrCat(vif.name, ": no such device"));
    }
    if (found.ok()) (*found)->Command(command);
    first.Update(found.status());
  }
  return first;
}

absl::Status SimulatedPlugKernel::Discard(const Vif& vif, uint32_t limit_bytes) {
  if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
  if (absent_.count(vif.name) != 0) return absl::OkStatus();
  auto found = installations_.find(vif.name);
  if (found == installations_.end()) return FindPlug(vif).status();
  found->second.plug = NewPlug(vif.name, limit_bytes);
  return absl::OkStatus();
}

absl::Status SimulatedPlugKernel::Remove(const Vif& vif, const std::string& protection, Held held) {
  if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
  absent_.erase(vif.name);
  auto found = installations_.find(vif.name);
  if (found == installations_.end() || found->second.protection != protection) return absl::OkStatus();
  const uint64_t lost = held == Held::kDrain ? found->second.plug->statistics().held_packets : 0;
  installations_.erase(found);
  if (lost > 0)
    return absl::DataLossError(absl::StrCat(vif.name, ": ", lost, " packets did not leave and were dropped"));
  return absl::OkStatus();
}

absl::StatusOr<PlugKernel::Statistics> SimulatedPlugKernel::Read(const Vif& vif) {
  if (absent_.count(vif.name) != 0) return Statistics();
  absl::StatusOr<SimulatedPlug*> found = FindPlug(vif);
  if (!found.ok()) return found.status();
  return (*found)->statistics();
}

absl::StatusOr<std::vector<PlugKernel::Leftover>> SimulatedPlugKernel::FindLeftovers(
    const std::set<std::string>& living) {
  std::vector<Leftover> leftovers;
  for (const auto& [name, installation] : installations_) {
    if (living.count(installation.protection) != 0) continue;
    leftovers.push_back({installation.protection, installation.vif, DeviceName(installation.vif)});
  }
  return leftovers;
}

std::string SimulatedPlugKernel::DeviceName(const Vif& vif) const {
  if (absent_.count(vif.name) != 0) return "";
  return absl::StrCat("ifb-d", vif.domid, "-", vif.device_id, vif.emulated ? "e" : "");
}

absl::Status SimulatedPlugKernel::CheckAbsent(const Vif& vif) const {
  if (vifs_.count(vif.name) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(vif.name, " has come, and is not redirected"));
}

std::unique_ptr<SimulatedPlug> SimulatedPlugKernel::NewPlug(const std::string& vif, uint32_t limit_bytes) {
  return std::make_unique<SimulatedPlug>(limit_bytes, [this, vif](const SimulatedPacket& packet) {
    // ifb hands a packet back to the vif that it came from, and drops it if that is gone.
    if (vifs_.count(vif) != 0) sink_(vif, packet);
  });
}

absl::Status SimulatedPlugKernel::TakeFault() {
  if (faults_ == 0) return absl::OkStatus();
  if (faults_skipped_ > 0) {
    --faults_skipped_;
    return absl::OkStatus();
  }
  --faults_;
  return fault_;
}

absl::StatusOr<SimulatedPlug*> SimulatedPlugKernel::FindPlug(const Vif& vif) {
  if (SimulatedPlug* found = plug(vif.name)) return found;
  return absl::UnavailableError(absl::StrCat(vif.name, ": its buffer ", DeviceName(vif), " is gone"));
}

}  // namespace romulus
