#include "primary/save_helper/xen_guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_time.h"
#include "common/xen/control.h"
#include "primary/save_helper/domain_state.h"

namespace romulus {
namespace {

constexpr char kSuspendRequest[] = "suspend";

}  // namespace

absl::StatusOr<std::unique_ptr<XenGuest>> XenGuest::New(xc_interface* xc, DomainHypercalls* hypercalls, Xenstore* store,
                                                        uint32_t domid) {
  absl::StatusOr<std::unique_ptr<Xenstore>> requests = Xenstore::Open();
  if (!requests.ok()) return requests.status();
  std::unique_ptr<XenGuest> guest(new XenGuest(xc, hypercalls, store, *std::move(requests), domid));
  if (absl::Status watching = guest->WatchAndSettle(); !watching.ok()) return watching;
  return guest;
}

XenGuest::XenGuest(xc_interface* xc, DomainHypercalls* hypercalls, Xenstore* watches, std::unique_ptr<Xenstore> store,
                   uint32_t domid)
    : xc_(xc),
      hypercalls_(hypercalls),
      watches_(watches),
      store_(std::move(store)),
      domid_(domid),
      shutdown_path_(XenstoreDomainPath(domid) + "/control/shutdown") {}

XenGuest::~XenGuest() {
  watches_->Unwatch(shutdown_watch_);
  watches_->Unwatch(release_watch_);
}

absl::Status XenGuest::WatchAndSettle() {
  auto watch = watches_->Watch(shutdown_path_, [this](const std::string&) {
    ++shutdown_changes_;
    last_shutdown_change_ = MonotonicNow();
  });
  if (!watch.ok()) return watch.status();
  shutdown_watch_ = *watch;
  watch = watches_->Watch("@releaseDomain", [this](const std::string&) { ++release_changes_; });
  if (!watch.ok()) return watch.status();
  release_watch_ = *watch;
  // Each watch fires once at its start; counted later it would look like the echo of a request.
  const absl::Duration deadline = MonotonicNow() + absl::Seconds(10);
  while (shutdown_changes_ == 0 || release_changes_ == 0) {
    if (absl::Status status = WaitForEvent(deadline).status(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> XenGuest::WaitForEvent(absl::Duration deadline) {
  const absl::Duration left = deadline - MonotonicNow();
  if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("nothing has happened in time");
  pollfd events[] = {{watches_->watch_fd(), POLLIN, 0}, {notice_ == nullptr ? -1 : notice_->descriptor(), POLLIN, 0}};
  const int timeout_ms = static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 3'600'000));
  if (poll(events, 2, timeout_ms) < 0) {
    if (errno == EINTR) return false;
    return absl::InternalError(absl::StrCat("can't wait for the guest: ", strerror(errno)));
  }
  const bool noticed = events[1].revents != 0;
  absl::Status status = noticed ? notice_->Take() : absl::OkStatus();
  if (events[0].revents != 0) status.Update(watches_->DispatchWatches());
  if (!status.ok()) return status;
  return noticed;
}

absl::StatusOr<SuspendableGuest::SuspendTimes> XenGuest::Suspend(absl::Duration timeout) {
  const absl::Duration requested_at = MonotonicNow();
  shutdown_changes_ = 0;
  if (notice_ != nullptr) {
    if (absl::Status status = notice_->Begin(); !status.ok()) return status;
  }
  if (absl::Status status = store_->Write(shutdown_path_, kSuspendRequest); !status.ok()) {
    // Whoever removed the node removed the domain.
    if (absl::StatusOr<DomainState> state = ReadDomainState(xc_, domid_); !state.ok()) return state.status();
    return status;
  }
  absl::StatusOr<bool> suspended = WaitSuspended(timeout);
  if (suspended.ok() && !*suspended) {
    const absl::StatusOr<bool> withdrawn = WithdrawSuspendRequest();
    if (!withdrawn.ok()) return withdrawn.status();
    if (*withdrawn) {
      return absl::DeadlineExceededError(absl::StrCat(
          "domain ", domid_, " did not react to the suspend request within ", absl::FormatDuration(timeout),
          "; the request was withdrawn. Does its kernel have Xen's suspend support (Linux: "
          "CONFIG_HIBERNATE_CALLBACKS)?"));
    }
    // Acknowledged at the last minute: it will suspend, and somebody has to be there to resume it.
    suspended = WaitSuspended(timeout);
  }
  if (!suspended.ok()) return suspended.status();
  if (!*suspended) {
    return absl::DeadlineExceededError(absl::StrCat("domain ", domid_,
                                                    " acknowledged the suspend request but did not suspend within ",
                                                    absl::FormatDuration(2 * timeout)));
  }
  SuspendTimes times;
  times.suspend = MonotonicNow() - requested_at;
  // The first change is the echo of the request itself, the second the guest's acknowledgement.
  if (shutdown_changes_ >= 2) times.acknowledge = last_shutdown_change_ - requested_at;
  return times;
}

absl::StatusOr<bool> XenGuest::WaitSuspended(absl::Duration timeout) {
  const absl::Duration deadline = MonotonicNow() + timeout;
  bool late = false;
  while (true) {
    const int seen = release_changes_;
    const absl::StatusOr<DomainState> state = ReadDomainState(xc_, domid_);
    if (!state.ok()) return state.status();
    if (state->run_state == DomainRunState::kSuspended) return true;
    if (late) return false;
    bool look_again = false;
    while (!look_again) {
      const absl::StatusOr<bool> noticed = WaitForEvent(deadline);
      // A last look: a guest that has closed the channel keeps nothing but the notice from coming.
      late = absl::IsDeadlineExceeded(noticed.status());
      if (!noticed.ok() && !late) return noticed.status();
      look_again = late || *noticed || release_changes_ != seen;
    }
  }
}

absl::StatusOr<bool> XenGuest::WithdrawSuspendRequest() {
  bool withdrawn = false;
  const absl::Status status = store_->Transact([&](XenstoreAccess& store) -> absl::Status {
    const absl::StatusOr<std::string> value = store.ReadOr(shutdown_path_, "");
    if (!value.ok()) return value.status();
    withdrawn = *value == kSuspendRequest;
    return withdrawn ? store.Write(shutdown_path_, "") : absl::OkStatus();
  });
  if (!status.ok()) return status;
  return withdrawn;
}

absl::Status XenGuest::Resume() {
  absl::Status resumed = hypercalls_->ResumeCancelled();
  if (resumed.ok()) return resumed;
  const absl::StatusOr<DomainState> state = ReadDomainState(xc_, domid_);
  if (!state.ok()) return state.status();
  return state->run_state == DomainRunState::kRunning ? absl::OkStatus() : resumed;
}

absl::Status XenGuest::FinishResume() {
  if (notice_ != nullptr) {
    if (absl::Status status = notice_->End(); !status.ok()) return status;
  }
  if (!XenstoreMayHaveSeenSuspend()) return absl::OkStatus();
  releases_answered_ = release_changes_;
  return store_->ResumeDomain(domid_);
}

absl::Status XenGuest::UseXenstore() {
  notice_.reset();
  return hypercalls_->NotifySuspend(0);
}

absl::Status XenGuest::CheckAlive() {
  if (absl::Status status = watches_->DispatchWatches(); !status.ok()) return status;
  const absl::StatusOr<DomainState> state = ReadDomainState(xc_, domid_);
  if (!state.ok()) return state.status();
  if (state->run_state == DomainRunState::kSuspended) {
    return absl::NotFoundError(
        absl::StrCat("domain ", domid_, " was suspended by somebody else (xl save or migrate?)"));
  }
  return absl::OkStatus();
}

}  // namespace romulus
