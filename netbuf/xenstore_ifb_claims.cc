#include "netbuf/xenstore_ifb_claims.h"

#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr char kLock[] = "pickifb";

class LockedTurn : public IfbClaims::Turn {
 public:
  explicit LockedTurn(std::unique_ptr<HotplugLock> lock) : lock_(std::move(lock)) {}

 private:
  const std::unique_ptr<HotplugLock> lock_;
};

std::string NetbufPath(const std::string& domid) { return absl::StrCat("/libxl/", domid, "/remus/netbuf"); }

std::string ClaimPath(const Vif& vif) {
  return absl::StrCat(NetbufPath(absl::StrCat(vif.domid)), "/", VifRecordName(vif));
}

absl::StatusOr<std::vector<std::string>> ListOrNothing(const XenstoreAccess& store, const std::string& path) {
  absl::StatusOr<std::vector<std::string>> names = store.List(path);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IfbClaims::Turn>> XenstoreIfbClaims::TakeTurn() {
  absl::StatusOr<std::unique_ptr<HotplugLock>> lock =
      HotplugLock::Acquire(options_.lock_directory, kLock, options_.lock_timeout);
  if (!lock.ok()) return lock.status();
  return std::unique_ptr<Turn>(new LockedTurn(*std::move(lock)));
}

absl::StatusOr<std::vector<IfbClaim>> XenstoreIfbClaims::List() {
  const absl::StatusOr<std::vector<std::string>> domains = ListOrNothing(*store_, "/libxl");
  if (!domains.ok()) return domains.status();
  std::vector<IfbClaim> claims;
  for (const std::string& domid : *domains) {
    const absl::StatusOr<std::vector<std::string>> records = ListOrNothing(*store_, NetbufPath(domid));
    if (!records.ok()) return records.status();
    for (const std::string& record : *records) {
      const std::string path = absl::StrCat(NetbufPath(domid), "/", record);
      const absl::StatusOr<std::string> device = store_->ReadOr(path + "/ifb", "");
      if (!device.ok()) return device.status();
      const absl::StatusOr<std::string> protection = store_->ReadOr(path + "/romulus", "");
      if (!protection.ok()) return protection.status();
      const absl::StatusOr<std::string> vif_name = store_->ReadOr(path + "/vif", "");
      if (!vif_name.ok()) return vif_name.status();
      if (device->empty()) continue;
      // A record of another shape keeps its device all the same.
      IfbClaim claim{.device = *device, .protection = *protection};
      if (std::optional<Vif> vif = ParseVifRecordName(record)) claim.vif = *std::move(vif);
      claim.vif.name = *vif_name;
      if (!absl::SimpleAtoi(domid, &claim.vif.domid)) claim.protection.clear();
      claims.push_back(std::move(claim));
    }
  }
  return claims;
}

absl::Status XenstoreIfbClaims::Record(const IfbClaim& claim) {
  const std::string path = ClaimPath(claim.vif);
  return store_->Transact([&](XenstoreAccess& transaction) {
    absl::Status status = transaction.Write(path + "/ifb", claim.device);
    status.Update(transaction.Write(path + "/romulus", claim.protection));
    status.Update(transaction.Write(path + "/vif", claim.vif.name));
    return status;
  });
}

absl::Status XenstoreIfbClaims::Erase(const Vif& vif, const std::string& protection) {
  const std::string path = ClaimPath(vif);
  const std::string domain = absl::StrCat(vif.domid);
  return store_->Transact([&](XenstoreAccess& transaction) {
    const absl::StatusOr<std::string> recorded = transaction.ReadOr(path + "/romulus", "");
    if (!recorded.ok() || recorded->empty() || *recorded != protection) return recorded.status();
    for (const char* node : {"/ifb", "/romulus", "/vif"}) {
      if (absl::Status status = transaction.Remove(path + node); !status.ok()) return status;
    }
    for (const std::string& parent : {path, NetbufPath(domain), absl::StrCat("/libxl/", domain, "/remus")}) {
      if (absl::Status status = transaction.RemoveIfEmpty(parent); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
}

}  // namespace romulus
