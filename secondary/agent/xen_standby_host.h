#ifndef ROMULUS_SECONDARY_AGENT_XEN_STANDBY_HOST_H_
#define ROMULUS_SECONDARY_AGENT_XEN_STANDBY_HOST_H_

#include <memory>
#include <string>

#include "common/loop/event_loop.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "netbuf/agent_taps.h"
#include "secondary/agent/standby_host.h"

namespace romulus {

// The real StandbyHost: this Xen host.
class XenStandbyHost final : public StandbyHost {
 public:
  // `restore_helper`: path of romulus-restore-helper. FAILED_PRECONDITION where this is no Xen dom0. `loop` outlives
  // it.
  static absl::StatusOr<std::unique_ptr<XenStandbyHost>> Open(EventLoop* loop, const std::string& restore_helper);

  absl::StatusOr<replication::v1::HostCompatibility> Compatibility() override;
  absl::Status CheckSession(const replication::v1::OpenSession& open_session) override;
  std::unique_ptr<CheckpointTarget> NewTarget() override;
  absl::StatusOr<std::unique_ptr<StandbyTraffic>> NewTraffic(const replication::v1::OpenSession& session,
                                                             uint32_t domid) override;
  void RemoveLeftovers() override;

 private:
  void RemoveLeftoverTaps();
  XenStandbyHost(EventLoop* loop, std::string restore_helper, XcInterface xc, std::unique_ptr<Xenstore> store);

  EventLoop* const loop_;
  const std::string restore_helper_;
  const XcInterface xc_;
  const std::unique_ptr<Xenstore> store_;
  AgentTaps taps_;  // Of all standbys in lockstep.
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_AGENT_XEN_STANDBY_HOST_H_
