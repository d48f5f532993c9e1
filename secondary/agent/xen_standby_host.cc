#include "secondary/agent/xen_standby_host.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/xen/control.h"
#include "common/xen/host_compatibility.h"
#include "netbuf/guest_tap.h"
#include "secondary/target/helper_checkpoint_target.h"
#include "secondary/target/leftover_standbys.h"
#include "secondary/target/xen_standby_guest.h"
#include "secondary/traffic/tap_standby_traffic.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<XenStandbyHost>> XenStandbyHost::Open(EventLoop* loop,
                                                                     const std::string& restore_helper) {
  absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  if (!xc.ok()) return xc.status();
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  return std::unique_ptr<XenStandbyHost>(new XenStandbyHost(loop, restore_helper, *std::move(xc), *std::move(store)));
}

XenStandbyHost::XenStandbyHost(EventLoop* loop, std::string restore_helper, XcInterface xc,
                               std::unique_ptr<Xenstore> store)
    : loop_(loop),
      restore_helper_(std::move(restore_helper)),
      xc_(std::move(xc)),
      store_(std::move(store)),
      taps_(loop) {}

absl::StatusOr<replication::v1::HostCompatibility> XenStandbyHost::Compatibility() {
  return ReadHostCompatibility(xc_.get());
}

absl::Status XenStandbyHost::CheckSession(const replication::v1::OpenSession& open_session) {
  if (open_session.stream_mode() != replication::v1::REMUS && open_session.stream_mode() != replication::v1::COLO) {
    return absl::FailedPreconditionError(
        absl::StrCat("this secondary knows the stream modes REMUS and COLO, the primary asks for ",
                     static_cast<int>(open_session.stream_mode()), ": install agents of one version on both hosts"));
  }
  bool raw = false;
  for (const int codec : open_session.codecs()) raw = raw || codec == replication::v1::RAW;
  if (!raw) {
    return absl::FailedPreconditionError(
        "the primary does not offer the codec RAW, which all know: install agents of one version on both hosts");
  }
  const absl::StatusOr<replication::v1::HostCompatibility> here = Compatibility();
  if (!here.ok()) return here.status();
  return CheckCompatible(open_session.primary_host(), *here);
}

std::unique_ptr<CheckpointTarget> XenStandbyHost::NewTarget() {
  HelperCheckpointTarget::Options options;
  options.restore_helper = restore_helper_;
  options.create_guest = XenStandbyGuest::Create;
  return std::make_unique<HelperCheckpointTarget>(*loop_, options);
}

absl::StatusOr<std::unique_ptr<StandbyTraffic>> XenStandbyHost::NewTraffic(const replication::v1::OpenSession& session,
                                                                           uint32_t domid) {
  const absl::StatusOr<AgentTaps::NewFrames> new_frames = taps_.Maker();
  if (!new_frames.ok()) return new_frames.status();
  return TapStandbyTraffic::New(loop_, *new_frames, session, domid);
}

// Of lockstep. A guest that was taken over with the agent translating for it is mute since that died: it runs, and is
// the owner. An isolated vif's domain may run as well, and must not be heard.
void XenStandbyHost::RemoveLeftoverTaps() {
  const absl::StatusOr<std::vector<GuestTap::Leftover>> leftovers = taps_.FindLeftovers({});
  if (!leftovers.ok()) return LogError("can't look for left-over diversions: ", leftovers.status().message());
  for (const GuestTap::Leftover& leftover : *leftovers) {
    if (leftover.mode == VifMode::kIsolate) {
      LogWarning(leftover.vif, " of a standby is still isolated: before its guest is run by hand, 'tc filter del dev ",
                 leftover.vif, " ingress' and the same for egress");
    }
    if (leftover.mode != VifMode::kTranslate) continue;
    const absl::Status cleared = taps_.Clear(leftover);
    LogWarning("translation for ", leftover.vif, ", whose guest was taken over: ",
               cleared.ok() ? "ended; connections that needed it break" : cleared.message());
  }
}

void XenStandbyHost::RemoveLeftovers() {
  const absl::StatusOr<std::vector<LeftoverStandby>> leftovers = FindLeftoverStandbys(xc_.get(), *store_);
  if (!leftovers.ok()) return LogError("can't look for left-over standbys: ", leftovers.status().message());
  for (const LeftoverStandby& leftover : *leftovers) {
    const std::string what = absl::StrCat("domain ", leftover.domid, ", a standby of ", leftover.name, " (uuid ",
                                          leftover.uuid, ") that an agent has left behind");
    if (leftover.restored) {
      LogWarning(what,
                 ", holds a whole checkpoint and may be the only copy: kept, paused; xl unpause runs it if its "
                 "guest runs nowhere else, xl destroy removes it");
      continue;
    }
    const absl::Status destroyed = DestroyLeftoverStandby(xc_.get(), *store_, leftover);
    LogWarning(what, ": ", destroyed.ok() ? "destroyed" : destroyed.message());
  }
  // The vifs of those that were destroyed are gone.
  RemoveLeftoverTaps();
}

}  // namespace romulus
