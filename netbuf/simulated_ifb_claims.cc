#include "netbuf/simulated_ifb_claims.h"

#include "common/base/log.h"

namespace romulus {

class SimulatedIfbClaims::OnlyTurn : public Turn {
 public:
  explicit OnlyTurn(bool* in_turn) : in_turn_(in_turn) { *in_turn_ = true; }
  ~OnlyTurn() override { *in_turn_ = false; }

 private:
  bool* const in_turn_;
};

absl::StatusOr<std::unique_ptr<IfbClaims::Turn>> SimulatedIfbClaims::TakeTurn() {
  if (in_turn_) return absl::UnavailableError("somebody else chooses an ifb");
  return std::unique_ptr<Turn>(new OnlyTurn(&in_turn_));
}

absl::StatusOr<std::vector<IfbClaim>> SimulatedIfbClaims::List() {
  std::vector<IfbClaim> claims;
  for (const auto& [key, claim] : claims_) claims.push_back(claim);
  return claims;
}

absl::Status SimulatedIfbClaims::Record(const IfbClaim& claim) {
  ROMULUS_CHECK_MESSAGE(in_turn_, "a claim out of turn");
  if (!record_fault_.ok()) return std::exchange(record_fault_, absl::OkStatus());
  claims_[{claim.vif.domid, VifRecordName(claim.vif)}] = claim;
  return absl::OkStatus();
}

absl::Status SimulatedIfbClaims::Erase(const Vif& vif, const std::string& protection) {
  const auto found = claims_.find({vif.domid, VifRecordName(vif)});
  if (found != claims_.end() && found->second.protection == protection) claims_.erase(found);
  return absl::OkStatus();
}

void SimulatedIfbClaims::RemoveDomain(uint32_t domid) {
  for (auto it = claims_.begin(); it != claims_.end();) it = it->first.first == domid ? claims_.erase(it) : ++it;
}

}  // namespace romulus
