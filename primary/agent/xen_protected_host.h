#ifndef ROMULUS_PRIMARY_AGENT_XEN_PROTECTED_HOST_H_
#define ROMULUS_PRIMARY_AGENT_XEN_PROTECTED_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/codec/encoding_pool.h"
#include "common/link/bandwidth_share.h"
#include "common/link/grpc_primary_link.h"
#include "common/loop/event_loop.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "netbuf/agent_taps.h"
#include "netbuf/ifb_claims.h"
#include "netbuf/plug_kernel.h"
#include "primary/capture/helper_checkpoint_source.h"
#include "primary/capture/helper_recovery.h"
#include "primary/control/protected_host.h"
#include "primary/lockstep/lockstep_egress_buffer.h"
#include "primary/protection/egress_watch.h"
#include "primary/protection/pause_turns.h"

namespace romulus {

// The real ProtectedHost: this Xen host.
class XenProtectedHost final : public ProtectedHost {
 public:
  struct Options {
    std::string save_helper;  // Path of romulus-save-helper.
    uint32_t egress_high_water_percent = EgressWatch::Options().high_water_percent;
    // Guests that may be paused at the same time; 0: half as many as dom0 has processors, at least one.
    uint32_t pauses_at_once = 0;
    // Of the checkpoints of all protections on the wire, in bytes per second; 0: no limit.
    uint64_t bandwidth_limit = 0;
    // On which the checkpoints of all protections are encoded; 0: as many as there are processors, at most 4.
    uint32_t encoding_threads = 0;
  };

  // FAILED_PRECONDITION where this is no Xen dom0. `loop` outlives it.
  static absl::StatusOr<std::unique_ptr<XenProtectedHost>> Open(EventLoop* loop, const Options& options);

  absl::StatusOr<replication::v1::DomainDescription> Describe(const std::string& domain) override;
  absl::StatusOr<replication::v1::HostCompatibility> Compatibility() override;
  void RecoverGuest(uint32_t domid, std::function<void(absl::Status)> done) override;
  void RemoveLeftovers(const std::set<std::string>& living) override;
  absl::StatusOr<ProtectionDriver::Seams> MakeSeams(const std::string& id, const control::v1::Protection& protection,
                                                    const replication::v1::DomainDescription& domain) override;
  void ApplySettings(const std::string& id, const control::v1::ProtectionSettings& settings) override;

 private:
  void RemoveLeftoverTaps(const std::set<std::string>& living);
  // Where a protection in stream mode COLO has its guest's output, and what goes to the guest.
  absl::Status AddLockstepSeams(lockstep::LockstepEgressBuffer::Options egress, ProtectionDriver::Seams& seams);

  XenProtectedHost(EventLoop* loop, Options options, XcInterface xc, std::unique_ptr<Xenstore> store,
                   std::unique_ptr<IfbClaims> claims, std::shared_ptr<PlugKernel> kernel);

  EventLoop* const loop_;
  const Options options_;
  const XcInterface xc_;
  const std::unique_ptr<Xenstore> store_;
  const std::unique_ptr<IfbClaims> claims_;
  const std::shared_ptr<PlugKernel> kernel_;
  AgentTaps taps_;  // Of all lockstep protections.
  PauseTurns pause_turns_;
  BandwidthShare bandwidth_;
  const std::shared_ptr<EncodingPool> encoding_pool_;
  // What the next session of a protection is made with.
  struct NextSession {
    GrpcPrimaryLink::Options link;
    HelperCheckpointSource::Options source;
  };
  std::map<std::string, std::weak_ptr<NextSession>> next_sessions_;  // By protection; those that are gone, too.
  const std::shared_ptr<int> egress_watches_ = std::make_shared<int>(0);
  std::map<uint32_t, std::unique_ptr<HelperRecovery>> recoveries_;  // By domain id.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_AGENT_XEN_PROTECTED_HOST_H_
