// The floor of a checkpoint's pause: suspends and resumes a domain over and over, with the save helper's own code, and
// copies nothing; log-dirty stays off. What remains is what the guest, xenstored and the hypervisor take for
// themselves, where the end of a suspend is learnt as a toolstack learns it, from xenstored.
//
//   suspend_floor DOMID INTERVAL_MS   until SIGTERM or SIGINT
//
// The interval counts, as Romulus' own, from a suspend to the next request, at least. Writes a line per
// pause to stdout, in microseconds: when the guest ran again (CLOCK_MONOTONIC), and from the request until it had
// acknowledged, was suspended, ran again.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <memory>

#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/xen/control.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/stop_signal.h"
#include "primary/save_helper/xen_guest.h"

namespace romulus {
namespace {

constexpr absl::Duration kSuspendTimeout = absl::Seconds(10);

// Returns when it was suspended.
absl::StatusOr<absl::Duration> PauseOnce(XenGuest& guest) {
  const absl::Duration requested_at = MonotonicNow();
  const absl::StatusOr<SuspendableGuest::SuspendTimes> times = guest.Suspend(kSuspendTimeout);
  if (!times.ok()) return times.status();
  if (absl::Status resumed = guest.Resume(); !resumed.ok()) return resumed;
  const absl::Duration running_at = MonotonicNow();
  if (absl::Status finished = guest.FinishResume(); !finished.ok()) return finished;
  printf("%lld %lld %lld %lld\n", static_cast<long long>(absl::ToInt64Microseconds(running_at)),
         static_cast<long long>(absl::ToInt64Microseconds(times->acknowledge)),
         static_cast<long long>(absl::ToInt64Microseconds(times->suspend)),
         static_cast<long long>(absl::ToInt64Microseconds(running_at - requested_at)));
  fflush(stdout);
  return requested_at + times->suspend;
}

// False once the end was asked for.
bool WaitUntil(absl::Duration time, const StopSignal& stop) {
  while (!stop.requested()) {
    const absl::Duration left = time - MonotonicNow();
    if (left <= absl::ZeroDuration()) return true;
    pollfd event{stop.descriptor(), POLLIN, 0};
    (void)poll(&event, 1, static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000)));
  }
  return false;
}

absl::Status Run(uint32_t domid, absl::Duration interval) {
  const absl::StatusOr<std::unique_ptr<StopSignal>> stop = StopSignal::Install();
  if (!stop.ok()) return stop.status();
  const absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  if (!xc.ok()) return xc.status();
  const absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  const absl::StatusOr<std::unique_ptr<DomainHypercalls>> hypercalls = DomainHypercalls::New(nullptr, domid);
  if (!hypercalls.ok()) return hypercalls.status();
  const absl::StatusOr<std::unique_ptr<XenGuest>> guest =
      XenGuest::New(xc->get(), hypercalls->get(), store->get(), domid);
  if (!guest.ok()) return guest.status();
  absl::Duration next = MonotonicNow();
  while (WaitUntil(next, **stop)) {
    const absl::StatusOr<absl::Duration> suspended_at = PauseOnce(**guest);
    if (!suspended_at.ok()) return suspended_at.status();
    next = *suspended_at + interval;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  if (argc != 3 || atoi(argv[2]) <= 0) {
    fprintf(stderr, "usage: %s DOMID INTERVAL_MS\n", argv[0]);
    return 2;
  }
  const absl::Status status = romulus::Run(atoi(argv[1]), absl::Milliseconds(atoi(argv[2])));
  if (!status.ok()) romulus::LogError("suspend_floor: ", status.ToString());
  return status.ok() ? 0 : 1;
}
