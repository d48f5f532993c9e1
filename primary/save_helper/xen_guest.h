#ifndef ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/suspend_notice.h"
#include "primary/save_helper/suspendable_guest.h"

namespace romulus {

// A guest with Linux' suspend protocol: the toolstack writes control/shutdown = "suspend", the guest clears it and
// suspends itself. That it has done so the hypervisor says, to who waits for it (SuspendNotice), or to xenstored, which
// fires @releaseDomain for everybody.
class XenGuest final : public SuspendableGuest {
 public:
  // All outlive it; it is the only user of the store's watches. It asks over a connection of its own: libxenstore reads
  // a connection with watches on another thread, and each answer would wake both while the guest suspends.
  static absl::StatusOr<std::unique_ptr<XenGuest>> New(xc_interface* xc, DomainHypercalls* hypercalls, Xenstore* store,
                                                       uint32_t domid);
  // Suspends are noticed through `notice` from now on.
  void Use(std::unique_ptr<SuspendNotice> notice) { notice_ = std::move(notice); }
  // Suspends are noticed through xenstore from now on, by everybody. Undoes a subscription, whoever has left it.
  absl::Status UseXenstore();
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
  // For a change in xenstore, or a notice (then it returns true). DEADLINE_EXCEEDED: neither has come.
  absl::StatusOr<bool> WaitForEvent(absl::Duration deadline);
  // Whether xenstored may believe the domain to be shut down: it looks at all domains when one of them ends.
  bool XenstoreMayHaveSeenSuspend() const { return notice_ == nullptr || release_changes_ != releases_answered_; }

  xc_interface* const xc_;
  DomainHypercalls* const hypercalls_;
  Xenstore* const watches_;
  const std::unique_ptr<Xenstore> store_;
  const uint32_t domid_;
  const std::string shutdown_path_;
  std::unique_ptr<SuspendNotice> notice_;  // Null: @releaseDomain.
  Xenstore::WatchId shutdown_watch_ = 0;
  Xenstore::WatchId release_watch_ = 0;
  // Changes seen: of control/shutdown, and of any domain's life.
  int shutdown_changes_ = 0;
  int release_changes_ = 0;
  int releases_answered_ = 0;  // After so many of them xenstored was told that the domain runs.
  absl::Duration last_shutdown_change_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_H_
