#include "secondary/target/leftover_standbys.h"

#include <errno.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/devices/agent_mark.h"
#include "common/xen/control.h"
#include "secondary/target/domain_nodes.h"
#include "secondary/target/standby_domain.h"

namespace romulus {
namespace {

enum class Presence { kAbsent, kPaused, kRuns };

absl::StatusOr<Presence> PresenceOf(xc_interface* xc, uint32_t domid) {
  xc_domaininfo_t info{};
  // Gives the first domain at or after domid.
  const int count = xc_domain_getinfolist(xc, domid, 1, &info);
  if (count < 0) return XenCallError("can't ask about the domain", domid, errno);
  if (count == 0 || info.domain != domid) return Presence::kAbsent;
  return (info.flags & XEN_DOMINF_paused) != 0 ? Presence::kPaused : Presence::kRuns;
}

}  // namespace

absl::StatusOr<std::vector<LeftoverStandby>> FindLeftoverStandbys(xc_interface* xc, Xenstore& store) {
  std::vector<LeftoverStandby> found;
  const absl::StatusOr<std::vector<std::string>> domains = store.List("/libxl");
  if (absl::IsNotFound(domains.status())) return found;
  if (!domains.ok()) return domains.status();
  for (const std::string& entry : *domains) {
    LeftoverStandby standby;
    if (!absl::SimpleAtoi(entry, &standby.domid)) continue;
    const absl::StatusOr<std::string> state = store.Read(StandbyStatePath(standby.domid));
    if (absl::IsNotFound(state.status())) continue;
    if (!state.ok()) return state.status();
    // It ran along with the primary's guest, and is not the guest. As any standby it goes with its agent.
    const bool lockstep = *state == kStateLockstep;
    if (lockstep && xc_domain_pause(xc, standby.domid) != 0 && errno != ESRCH) {
      return XenCallError("can't pause a standby that an agent has left behind", standby.domid, errno);
    }
    const absl::StatusOr<Presence> presence = PresenceOf(xc, standby.domid);
    if (!presence.ok()) return presence.status();
    if (*presence == Presence::kRuns) {
      // The agent died before it could take the mark away.
      if (absl::Status s = UnmarkStandby(store, standby.domid); !s.ok()) return s;
      continue;
    }
    standby.restored = *presence == Presence::kPaused && *state == kStateRestored;
    // It is kept, and the operator's: `xl destroy` takes its devices down.
    if (standby.restored) {
      if (absl::Status s = store.Write(AgentMarkPath(standby.domid), kMarkGuest); !s.ok()) return s;
    }
    const absl::StatusOr<std::string> name = store.ReadOr(absl::StrCat(LibxlPath(standby.domid), "/romulus/name"), "");
    if (name.ok()) standby.name = *name;
    const absl::StatusOr<std::string> vm = store.ReadOr(absl::StrCat(XenstoreDomainPath(standby.domid), "/vm"), "");
    if (vm.ok()) standby.uuid = std::string(absl::StripPrefix(*vm, "/vm/"));
    found.push_back(standby);
  }
  return found;
}

absl::Status DestroyLeftoverStandby(xc_interface* xc, Xenstore& store, const LeftoverStandby& leftover) {
  return DestroyDomain(xc, store, leftover.domid, leftover.uuid);
}

}  // namespace romulus
