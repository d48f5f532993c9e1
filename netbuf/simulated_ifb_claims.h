#ifndef ROMULUS_NETBUF_SIMULATED_IFB_CLAIMS_H_
#define ROMULUS_NETBUF_SIMULATED_IFB_CLAIMS_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "netbuf/ifb_claims.h"

namespace romulus {

// A host's record of claims, in memory: outlives the agents that write it, and is shared by them. One turn at a time:
// a second is refused at once, as if the wait for it had ended.
class SimulatedIfbClaims final : public IfbClaims {
 public:
  absl::StatusOr<std::unique_ptr<Turn>> TakeTurn() override;
  absl::StatusOr<std::vector<IfbClaim>> List() override;
  absl::Status Record(const IfbClaim& claim) override;
  absl::Status Erase(const Vif& vif, const std::string& protection) override;

  bool in_turn() const { return in_turn_; }
  // The next call of Record fails with `status`.
  void FailRecord(absl::Status status) { record_fault_ = std::move(status); }
  // A domain goes, and all that is on record of it.
  void RemoveDomain(uint32_t domid);

 private:
  class OnlyTurn;
  using Key = std::pair<uint32_t, std::string>;  // Domain, device as it is on record.

  std::map<Key, IfbClaim> claims_;
  bool in_turn_ = false;
  absl::Status record_fault_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_SIMULATED_IFB_CLAIMS_H_
