#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SUSPEND_NOTICE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SUSPEND_NOTICE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/domain_hypercalls.h"

namespace romulus {

// The hypervisor's own notice that a guest has suspended: an event channel (XEN_DOMCTL_subscribe in Xen's
// public/domctl.h). It comes instead of VIRQ_DOM_EXC, so that neither xenstored nor anybody who watches @releaseDomain
// wakes for a suspend that is none of their business, while the guest waits. The guest has no part in it.
//
// Whoever is subscribed alone hears of the guest's suspends, also after it has died: a later `xl save` would wait in
// vain. So a subscription lasts from a request to its resume, and whoever finds the guest of a dead helper ends what it
// left (guest_recovery.h).
//
// The hypervisor notifies a port of the guest's, which nobody but the guest could close again. It gets one in its life:
// its number stands in xenstore (SuspendPortPath) for whoever subscribes next.
//
// Begin, wait for descriptor(), Take, ..., End; again. Not thread safe. Errors are XenCallError's.
class SuspendNotice {
 public:
  // All outlive it. Nothing is subscribed yet.
  static absl::StatusOr<std::unique_ptr<SuspendNotice>> New(xc_interface* xc, xentoollog_logger* logger,
                                                            DomainHypercalls* hypercalls, XenstoreAccess& store);

  absl::Status Begin();
  // Readable once the guest has suspended, and when a hostile guest rings: look at the domain's state.
  int descriptor() const;
  // Takes a notice that has come, so that the next one is heard. Before the domain's state is looked at again.
  absl::Status Take();
  absl::Status End();

 private:
  SuspendNotice(DomainHypercalls* hypercalls, EventChannelHandle channels, uint32_t guest_port)
      : hypercalls_(hypercalls), channels_(std::move(channels)), guest_port_(guest_port) {}

  DomainHypercalls* const hypercalls_;
  const EventChannelHandle channels_;
  const uint32_t guest_port_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SUSPEND_NOTICE_H_
