#ifndef ROMULUS_SECONDARY_TARGET_DOMAIN_NODES_H_
#define ROMULUS_SECONDARY_TARGET_DOMAIN_NODES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// A domain that waits as a standby: what the hypervisor gave it.
struct StandbyDomainIds {
  uint32_t domid = 0;
  uint32_t store_domid = 0;
  uint32_t store_port = 0;
  uint32_t console_domid = 0;
  uint32_t console_port = 0;
};

// "01234567-89ab-cdef-0123-456789abcdef" from 16 bytes.
std::string FormatUuid(absl::string_view bytes);

// "<name>--standby"
std::string StandbyName(const std::string& name);

// What dom0 and libxl read about a domain, but no guest may write: /libxl/<domid>. Below it, `romulus/state` marks a
// domain of ours until its guest runs: "standby", then "restored". `romulus/backends` (agent_mark.h) marks it for good.
std::string LibxlPath(uint32_t domid);
std::string StandbyStatePath(uint32_t domid);
inline constexpr char kStateStandby[] = "standby";
inline constexpr char kStateRestored[] = "restored";
// It has run along (lockstep): it runs, or is suspended, perhaps with a checkpoint half applied; not the guest while
// its primary lives. What is found so is stopped before anything else.
inline constexpr char kStateLockstep[] = "lockstep";

// Describes the domain as libxl does between xc_domain_create and the start of a restored guest (libxl_create.c,
// libxl__domain_make, and libxl_dom.c, libxl__build_post, both 4.17), all but what only a finished restore knows.
// One transaction.
absl::Status WriteStandbyNodes(Xenstore& store, const StandbyDomainIds& ids,
                               const replication::v1::DomainDescription& domain);

// The standby's domain holds the whole last checkpoint from now on.
absl::Status MarkRestored(Xenstore& store, uint32_t domid);

// What only a finished restore knows (0: it is there already), and the guest's own name; takes the standby's mark away.
// One transaction. Not needed for the guest to run: it finds its rings by itself, and xenconsoled connects when
// `console/ring-ref` comes.
absl::Status WriteRunningNodes(Xenstore& store, const StandbyDomainIds& ids,
                               const replication::v1::DomainDescription& domain, uint64_t store_mfn,
                               uint64_t console_mfn);

// It is no standby any more, but a guest that `xl` looks after; its devices stay the listener's.
absl::Status UnmarkStandby(XenstoreAccess& store, uint32_t domid);

// Everything in xenstore that belongs to the domain, its devices' backends in this host included.
// Goes on after an error and returns the first.
absl::Status RemoveDomainNodes(Xenstore& store, uint32_t domid, const std::string& uuid);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_DOMAIN_NODES_H_
