#include "primary/domain/backend_vifs.h"

#include "absl/strings/str_cat.h"

namespace romulus {

std::vector<Vif> BackendVifs(const replication::v1::DomainDescription& domain) {
  std::vector<Vif> vifs;
  for (const replication::v1::Vif& card : domain.vifs()) {
    Vif vif{.name = card.name(), .domid = domain.domid(), .device_id = card.device_id()};
    if (vif.name.empty()) vif.name = absl::StrCat("vif", domain.domid(), ".", card.device_id());
    vifs.push_back(vif);
    // Of another type of guest there is no device model, whatever the node says.
    if (domain.type() != replication::v1::HVM || card.type() != "vif_ioemu") continue;
    vif.name += "-emu";
    vif.emulated = true;
    vifs.push_back(vif);
  }
  return vifs;
}

}  // namespace romulus
