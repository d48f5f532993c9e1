#ifndef ROMULUS_SECONDARY_TARGET_STANDBY_DOMAIN_H_
#define ROMULUS_SECONDARY_TARGET_STANDBY_DOMAIN_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/domain_nodes.h"

namespace romulus {

// A standby's domain: created paused and empty, described in xenstore as libxl would, filled by the restore helper,
// then either run or destroyed. Blocking; one thread at a time.
class StandbyDomain {
 public:
  // `lockstep`: with the domain id of the description, which is FAILED_PRECONDITION where another domain has it.
  // INVALID_ARGUMENT: the description makes no sense. FAILED_PRECONDITION: this host can't run such a domain, or one
  // with its uuid or name is here. RESOURCE_EXHAUSTED: not enough free memory, with figures. After an error nothing is
  // left behind. `xc` and `store` outlive the StandbyDomain.
  static absl::StatusOr<std::unique_ptr<StandbyDomain>> Create(xc_interface* xc, Xenstore& store,
                                                               const replication::v1::DomainDescription& description,
                                                               bool lockstep);

  // Leaves the domain as it is; an agent that dies leaves it too, for FindLeftoverStandbys.
  ~StandbyDomain() = default;

  // After the restore has completed: connects the guest to xenstore and runs it, with as few steps as that takes. After
  // OK the domain is no standby any more: Destroy must not be called. An error leaves it paused.
  absl::Status Run(uint64_t store_mfn);

  // Instead of Run: it runs along already. From OK on it is the guest, also for who finds it after a crash.
  absl::Status BecomeGuest() { return MarkRestored(store_, ids_.domid); }
  // Stops its vCPUs.
  absl::Status Halt();
  // As StandbyGuest's.
  absl::Status Unfreeze();

  // Once, after Run or BecomeGuest, off the failover path: console, name, no more mark; gives back memory that it
  // claimed and did not use, and the tracking of what it writes to. What fails here is logged: the guest runs.
  void Settle(uint64_t store_mfn, uint64_t console_mfn);

  // The domain with all its memory, its nodes and its userdata. Safe to repeat.
  absl::Status Destroy();

  const StandbyDomainIds& ids() const { return ids_; }
  const std::string& uuid() const { return uuid_; }

 private:
  StandbyDomain(xc_interface* xc, Xenstore& store, const replication::v1::DomainDescription& description,
                StandbyDomainIds ids);
  absl::Status Build(bool lockstep);
  absl::Status RaiseFrameLimit();

  xc_interface* const xc_;
  Xenstore& store_;
  const replication::v1::DomainDescription description_;
  const std::string uuid_;
  StandbyDomainIds ids_;
};

// Destroys a domain with its nodes and userdata, whoever built it.
absl::Status DestroyDomain(xc_interface* xc, Xenstore& store, uint32_t domid, const std::string& uuid);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_STANDBY_DOMAIN_H_
