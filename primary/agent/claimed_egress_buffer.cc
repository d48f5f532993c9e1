#include "primary/agent/claimed_egress_buffer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

// Only dom0 may read or write below /libxl.
std::string NetbufPath(const Vif& vif) { return absl::StrCat("/libxl/", vif.domid, "/remus/netbuf/", vif.device_id); }

}  // namespace

ClaimedEgressBuffer::ClaimedEgressBuffer(std::unique_ptr<EgressBuffer> below, std::vector<Vif> vifs, Xenstore* store)
    : below_(std::move(below)), vifs_(std::move(vifs)), store_(store) {}

absl::Status ClaimedEgressBuffer::Attach() {
  if (absl::Status status = below_->Attach(); !status.ok()) return status;
  const std::vector<std::string> devices = below_->devices();
  for (size_t i = 0; i < vifs_.size() && i < devices.size(); ++i) {
    if (absl::Status status = store_->Write(absl::StrCat(NetbufPath(vifs_[i]), "/ifb"), devices[i]); !status.ok()) {
      // An adopted buffer may hold packets that must not leave now: it stays, and the next start tries again.
      if (!below_->adopted()) {
        if (absl::Status undone = Detach(); !undone.ok()) LogError("can't undo an attachment: ", undone.message());
      }
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status ClaimedEgressBuffer::Detach() {
  if (absl::Status status = below_->Detach(); !status.ok()) return status;
  // Domain gone: so are its nodes. Remove is OK then. Empty parents would be left behind otherwise.
  for (const Vif& vif : vifs_) {
    if (absl::Status status = store_->Remove(NetbufPath(vif)); !status.ok()) return status;
  }
  for (const Vif& vif : vifs_) {
    for (const char* parent : {"/remus/netbuf", "/remus"}) {
      const std::string path = absl::StrCat("/libxl/", vif.domid, parent);
      const auto children = store_->List(path);
      if (!children.ok() || !children->empty()) break;
      if (absl::Status status = store_->Remove(path); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace romulus
