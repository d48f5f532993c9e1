#ifndef ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_

#include <cstdint>
#include <memory>

#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/suspendable_guest.h"

namespace romulus {

// A guest with Linux' suspend protocol: the toolstack writes control/shutdown = "suspend", the guest clears it and
// suspends itself, xenstored fires @releaseDomain. (Xen's own event channel for suspends would come up to 8 ms sooner,
// but whoever dies with it subscribed breaks every later `xl save`.)
class XenGuest final : public SuspendableGuest {
 public:
  // All outlive it; it is the only user of the store's watches. It asks over a connection of its own: libxenstore reads
  // a connection with watches on another thread, and each answer would wake both while the guest suspends.
  static absl::StatusOr<std::unique_ptr<XenGuest>> New(xc_interface* xc, DomainHypercalls* hypercalls, Xenstore* store,
                                                       uint32_t domid);
  ~XenGuest() override;

  absl::StatusOr<SuspendTimes> Suspend(absl::Duration timeout) override;
  absl::Status Resume() override;
  absl::Status FinishResume() override;
  int event_descriptor() const override { return watches_->watch_fd(); }
  absl::Status CheckAlive() override;

  // Takes the request back in a transaction, as the guest may be acknowledging it right now. True: it was there and is
  // withdrawn, the guest won't suspend. False: there is none, or the guest has acknowledged it and may yet suspend.
  absl::StatusOr<bool> WithdrawSuspendRequest();

  // True: the guest is suspended; false: it was not within `timeout`. NOT_FOUND: the domain is gone.
  absl::StatusOr<bool> WaitSuspended(absl::Duration timeout);

 private:
  XenGuest(xc_interface* xc, DomainHypercalls* hypercalls, Xenstore* watches, std::unique_ptr<Xenstore> store,
           uint32_t domid);
  absl::Status WatchAndSettle();
  absl::Status WaitForWatch(absl::Duration deadline);

  xc_interface* const xc_;
  DomainHypercalls* const hypercalls_;
  Xenstore* const watches_;
  const std::unique_ptr<Xenstore> store_;
  const uint32_t domid_;
  const std::string shutdown_path_;
  Xenstore::WatchId shutdown_watch_ = 0;
  Xenstore::WatchId release_watch_ = 0;
  // Changes seen: of control/shutdown, and of any domain's life.
  int shutdown_changes_ = 0;
  int release_changes_ = 0;
  absl::Duration last_shutdown_change_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_
