#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_GUEST_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_GUEST_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/attachments/grant_table.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "proto/helper/v1/helper.pb.h"
#include "proto/replication/v1/attachments.pb.h"
#include "secondary/restore_helper/gap_clock.h"

namespace romulus {

// A standby's guest that runs along, on a stock Xen: stopped, given another memory, and set going again, without its
// noticing. README.md has the rules and where they come from.
//
// Its life: Start, then (Suspend, FinishClosing, [a checkpoint is applied, Continue, FinishResume] or GoOn)*. Renew
// makes it as it was before Start. Blocking; one thread, except FinishClosing, Freeze and Halt. Errors name the domain.
class LockstepGuest {
 public:
  // `clock`: notes the parts of a gap that happen here. It outlives the guest.
  static absl::StatusOr<std::unique_ptr<LockstepGuest>> Open(const helper::v1::StartRestore& start, GapClock& clock);
  ~LockstepGuest();

  // What the guest writes to from now on comes up in libxenguest's lists. Once, with checkpoint 1 applied.
  absl::Status TrackDirtyPages();

  // The first time: the guest sets up everything anew, as after a migration. Returns when its network interfaces are
  // connected and it has opened all its event channels, which takes it a second or more; or when `hurry` says so.
  // DEADLINE_EXCEEDED: it runs, but they are not.
  absl::Status Start(uint64_t store_gfn, uint64_t console_gfn, const std::function<bool()>& hurry);

  // Stops it wherever it is, and begins to close its backends. From here on nobody writes to its memory but they, and
  // that only to pages_written_late() (beside its rings: ring_gfns), until FinishClosing returns. ABORTED: it has more
  // pages than it had, or fewer: no checkpoint makes it a copy of the primary's again.
  absl::Status Suspend();
  // In ascending order. As of the last Suspend.
  const std::vector<uint64_t>& pages_written_late() const { return pages_written_late_; }

  // Waits until its backends are closed, after which nobody writes to its memory, and ready to be connected again.
  // Before anything of a checkpoint is applied. Any thread; the first one does it, others wait for that; where Suspend
  // has not come, there is nothing to do.
  absl::Status FinishClosing();

  // After Suspend: as if nothing had happened.
  absl::Status GoOn();

  // A checkpoint was applied since Suspend: from that, as if the suspend that the primary's guest was in had been
  // cancelled. FAILED_PRECONDITION: it can't, since it has not got what the primary's guest has; nothing ran.
  absl::Status Continue(const replication::v1::GuestAttachments& primary);
  // What is left to do then, while it runs.
  absl::Status FinishResume();

  // Forgets all that the guest has set up outside of its memory: paused, ready to be introduced to xenstore and started
  // as after a migration. While it is suspended.
  absl::Status Renew();

  // From here on what is found after a crash is the guest. Before it goes on at an activation.
  absl::Status BecomeGuest();

  // Stops the vCPUs of a guest that runs, now or later. Any thread.
  void Freeze();
  // It shall run. True: its vCPUs do, from its own state; otherwise what is under way will let it. Any thread.
  absl::StatusOr<bool> Unfreeze();
  // As Freeze, for good, by whatever means. Any thread.
  void Halt();

  bool frozen();
  // The gfns of its xenstore and console rings, which others write to as well and Xen does not say so.
  std::vector<uint64_t> ring_gfns() const;

 private:
  LockstepGuest(const helper::v1::StartRestore& start, GapClock& clock, XcInterface xc, XcInterface urgent_xc,
                ForeignMemoryHandle memory, std::unique_ptr<Xenstore> store);
  absl::Status MapStoreRing();
  absl::Status WaitUntilShutDown();
  absl::StatusOr<uint64_t> OwnedPages();
  // Makes the frontends' entries the primary's.
  absl::Status WriteFrontends(const replication::v1::GuestAttachments& primary);
  absl::Status SetFrontendStates(int state);
  absl::Status Resume(bool cancelled);
  absl::Status WaitConnected();
  // What fails once the guest runs does not make it one that does not run: where it is the guest, it is only said.
  absl::Status UnlessGuest(absl::Status status);
  absl::Status Mark(const char* state);
  absl::Status SetFrontendState(uint32_t device_id, int state);
  absl::Status WaitForBackends(int state);

  const uint32_t domid_;
  const uint32_t store_port_, store_domid_, console_port_, console_domid_;
  const std::vector<uint32_t> vifs_;
  GapClock& clock_;
  const XcInterface xc_;
  const XcInterface urgent_xc_;
  const ForeignMemoryHandle memory_;
  const std::unique_ptr<Xenstore> store_;
  GrantTable grants_;
  uint64_t store_gfn_ = 0, console_gfn_ = 0;
  const void* store_ring_ = nullptr;
  // The primary's frontends as they stand in this host's xenstore; empty: the guest's own stand there.
  std::string written_frontends_;
  std::vector<uint64_t> pages_written_late_;
  bool is_guest_ = false;
  uint64_t pages_ = 0;  // That it owned when it was started.

  std::mutex mutex_;
  bool running_ = false;  // Guarded by mutex_; also where it is frozen.
  bool frozen_ = false;   // Guarded by mutex_.
  bool paused_ = false;   // Guarded by mutex_: by Freeze.

  std::mutex closing_mutex_;  // Held for as long as it takes.
  bool closing_ = false;      // Guarded by closing_mutex_: Suspend has begun it.
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_GUEST_H_
