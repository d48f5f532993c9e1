#include "secondary/restore_helper/lockstep_guest.h"

#include <errno.h>
#include <sys/mman.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/attachments/event_ports.h"
#include "common/attachments/frontend_nodes.h"
#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/devices/device_nodes.h"
#include "common/devices/wait_for_node.h"
#include "common/devices/xenbus_state.h"
#include "common/xen/control.h"
#include "secondary/restore_helper/xenstore_ring.h"
#include "secondary/target/domain_nodes.h"

extern "C" {
#include <xenguest.h>
}

namespace romulus {
namespace {

using helper::v1::StandbyGap;
using replication::v1::GuestAttachments;

// For the guest's own devices to connect after its start.
constexpr absl::Duration kStartTimeout = absl::Seconds(30);
// How long its event channels have to stay as they are to count as all.
constexpr absl::Duration kPortsSettle = absl::Milliseconds(200);
constexpr absl::Duration kBackendTimeout = absl::Seconds(10);
constexpr absl::Duration kShutdownTimeout = absl::Seconds(5);
// How often a guest is looked at whose xenstore is busy, before it is stopped in the middle of a request.
constexpr int kQuietAttempts = 100;
constexpr absl::Duration kQuietPeriod = absl::Microseconds(500);

BackendDevice VifOf(uint32_t domid, uint32_t device_id) {
  return {.kind = "vif", .domid = domid, .device_id = device_id};
}

}  // namespace

absl::StatusOr<std::unique_ptr<LockstepGuest>> LockstepGuest::Open(const helper::v1::StartRestore& start,
                                                                   GapClock& clock) {
  absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  if (!xc.ok()) return xc.status();
  absl::StatusOr<XcInterface> urgent_xc = OpenXenControl(nullptr);
  if (!urgent_xc.ok()) return urgent_xc.status();
  ForeignMemoryHandle memory(xenforeignmemory_open(nullptr, 0));
  if (memory == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("can't open /dev/xen/privcmd: ", strerror(errno)));
  }
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  return std::unique_ptr<LockstepGuest>(
      new LockstepGuest(start, clock, *std::move(xc), *std::move(urgent_xc), std::move(memory), *std::move(store)));
}

LockstepGuest::LockstepGuest(const helper::v1::StartRestore& start, GapClock& clock, XcInterface xc,
                             XcInterface urgent_xc, ForeignMemoryHandle memory, std::unique_ptr<Xenstore> store)
    : domid_(start.domid()),
      store_port_(start.store_port()),
      store_domid_(start.store_domid()),
      console_port_(start.console_port()),
      console_domid_(start.console_domid()),
      vifs_(start.vif_device_ids().begin(), start.vif_device_ids().end()),
      clock_(clock),
      xc_(std::move(xc)),
      urgent_xc_(std::move(urgent_xc)),
      memory_(std::move(memory)),
      store_(std::move(store)),
      grants_(xc_.get(), memory_.get(), domid_) {}

LockstepGuest::~LockstepGuest() {
  if (store_ring_ != nullptr) xenforeignmemory_unmap(memory_.get(), const_cast<void*>(store_ring_), 1);
}

absl::Status LockstepGuest::TrackDirtyPages() {
  if (xc_shadow_control(xc_.get(), domid_, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, nullptr, 0) < 0) {
    return XenCallError("can't track its dirty pages", domid_, errno);
  }
  return absl::OkStatus();
}

absl::Status LockstepGuest::Start(uint64_t store_gfn, uint64_t console_gfn, const std::function<bool()>& hurry) {
  store_gfn_ = store_gfn;
  console_gfn_ = console_gfn;
  if (absl::Status status = MapStoreRing(); !status.ok()) return status;
  const absl::StatusOr<uint64_t> pages = OwnedPages();
  if (!pages.ok()) return pages.status();
  pages_ = *pages;
  // Somebody has to empty the console's ring: a guest waits for room in it.
  const std::string path = XenstoreDomainPath(domid_);
  for (const auto& [key, value] : {std::pair("/console/ring-ref", console_gfn), {"/store/ring-ref", store_gfn}}) {
    if (absl::Status status = store_->Write(path + key, absl::StrCat(value)); !status.ok()) return status;
  }
  if (absl::Status status = Mark(kStateLockstep); !status.ok()) return status;
  if (absl::Status status = store_->IntroduceDomain(domid_, store_gfn, store_port_); !status.ok()) return status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    running_ = true;
    // It is paused since it was created; where it is frozen it stays so.
    paused_ = frozen_;
    if (!frozen_ && xc_domain_unpause(xc_.get(), domid_) != 0) return XenCallError("can't start it", domid_, errno);
  }
  const absl::Duration deadline = MonotonicNow() + kStartTimeout;
  GuestAttachments ports;
  absl::Duration unchanged_since = MonotonicNow();
  while (!hurry()) {
    bool connected = true;
    for (const uint32_t vif : vifs_) {
      const absl::StatusOr<std::string> state =
          store_->ReadOr(absl::StrCat(VifOf(domid_, vif).backend_path(), "/state"), "");
      if (!state.ok()) return state.status();
      connected = connected && ParseXenbusState(*state) == XenbusState::kConnected;
    }
    GuestAttachments now;
    if (absl::Status status = ReadEventPorts(xc_.get(), domid_, now); !status.ok()) return status;
    if (!PortDifference(ports, now).empty()) {
      ports = std::move(now);
      unchanged_since = MonotonicNow();
    }
    if (connected && MonotonicNow() - unchanged_since >= kPortsSettle) return absl::OkStatus();
    if (MonotonicNow() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("domain ", domid_,
                                                      ": the guest's devices are not connected after ",
                                                      absl::FormatDuration(kStartTimeout), " of running along"));
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  return absl::OkStatus();
}

absl::Status LockstepGuest::MapStoreRing() {
  if (store_ring_ != nullptr) return absl::OkStatus();
  const xen_pfn_t gfn = store_gfn_;
  int error = 0;
  void* const page = xenforeignmemory_map(memory_.get(), domid_, PROT_READ, 1, &gfn, &error);
  if (page == nullptr || error != 0) return XenCallError("can't map its xenstore ring", domid_, errno);
  store_ring_ = page;
  return absl::OkStatus();
}

absl::Status LockstepGuest::Suspend() {
  bool stopped = false;
  for (int attempt = 0; !stopped; ++attempt) {
    if (xc_domain_pause(xc_.get(), domid_) != 0) return XenCallError("can't pause it", domid_, errno);
    if (XenstoreRingIsQuiet(*static_cast<const xenstore_domain_interface*>(store_ring_)) || attempt == kQuietAttempts) {
      if (attempt == kQuietAttempts) LogWarning("domain ", domid_, ": is stopped while it talks to xenstore");
      const std::lock_guard<std::mutex> lock(mutex_);
      if (xc_domain_shutdown(xc_.get(), domid_, SHUTDOWN_suspend) != 0) {
        return XenCallError("can't suspend it", domid_, errno);
      }
      running_ = false;
      stopped = true;
    }
    if (xc_domain_unpause(xc_.get(), domid_) != 0) return XenCallError("can't unpause it", domid_, errno);
    if (!stopped) absl::SleepFor(kQuietPeriod);
  }
  if (absl::Status status = WaitUntilShutDown(); !status.ok()) return status;
  clock_.Note(&StandbyGap::set_stop_us);
  // Backends take a while to close. What they could still write to is known without waiting for that.
  absl::StatusOr<std::vector<uint64_t>> in_use = grants_.StopWriters();
  const bool unknown = absl::IsUnimplemented(in_use.status());
  if (!in_use.ok() && !unknown) return in_use.status();
  pages_written_late_ = unknown ? std::vector<uint64_t>() : *std::move(in_use);
  {
    const std::lock_guard<std::mutex> lock(closing_mutex_);
    if (absl::Status status = SetFrontendStates(6); !status.ok()) return status;
    closing_ = true;
  }
  if (unknown) {
    if (absl::Status status = FinishClosing(); !status.ok()) return status;
  }
  const absl::StatusOr<uint64_t> pages = OwnedPages();
  if (!pages.ok()) return pages.status();
  if (*pages == pages_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("domain ", domid_, ": the standby's guest owns ", *pages, " pages instead of ",
                                         pages_, " (ballooning?): it is no copy of the primary's any more"));
}

absl::Status LockstepGuest::WaitUntilShutDown() {
  const absl::Duration deadline = MonotonicNow() + kShutdownTimeout;
  while (true) {
    xc_domaininfo_t info{};
    if (xc_domain_getinfolist(xc_.get(), domid_, 1, &info) != 1 || info.domain != domid_) {
      return absl::NotFoundError(absl::StrCat("domain ", domid_, " is gone"));
    }
    if ((info.flags & XEN_DOMINF_shutdown) != 0) {
      const uint32_t reason = info.flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;
      if (reason == SHUTDOWN_suspend) return absl::OkStatus();
      return absl::AbortedError(absl::StrCat("domain ", domid_, ": the standby's guest has shut down for reason ",
                                             reason, " while it ran along"));
    }
    if (MonotonicNow() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("domain ", domid_, " was not suspended within ", absl::FormatDuration(kShutdownTimeout)));
    }
    absl::SleepFor(absl::Microseconds(200));
  }
}

absl::StatusOr<uint64_t> LockstepGuest::OwnedPages() {
  xc_domaininfo_t info{};
  if (xc_domain_getinfolist(xc_.get(), domid_, 1, &info) != 1 || info.domain != domid_) {
    return absl::NotFoundError(absl::StrCat("domain ", domid_, " is gone"));
  }
  return info.tot_pages;
}

absl::Status LockstepGuest::FinishClosing() {
  const std::lock_guard<std::mutex> lock(closing_mutex_);
  if (!closing_) return absl::OkStatus();
  if (absl::Status status = WaitForBackends(6); !status.ok()) return status;
  // They get ready for the next connection. They have nothing of the guest mapped until then. A guest that ran before
  // they are might see one closed, and close its own end.
  if (absl::Status status = SetFrontendStates(1); !status.ok()) return status;
  if (absl::Status status = WaitForBackends(2); !status.ok()) return status;
  closing_ = false;
  return absl::OkStatus();
}

absl::Status LockstepGuest::SetFrontendStates(int state) {
  for (const uint32_t vif : vifs_) {
    if (absl::Status status = SetFrontendState(vif, state); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status LockstepGuest::SetFrontendState(uint32_t device_id, int state) {
  return store_->Write(VifOf(domid_, device_id).frontend_path() + "/state",
                       FormatXenbusState(static_cast<XenbusState>(state)));
}

absl::Status LockstepGuest::WaitForBackends(int state) {
  const std::string wanted = FormatXenbusState(static_cast<XenbusState>(state));
  for (const uint32_t vif : vifs_) {
    absl::Status status = WaitForNode(
        *store_, VifOf(domid_, vif).backend_path() + "/state",
        [&wanted](const std::string& value) { return value == wanted; }, kBackendTimeout);
    if (!status.ok()) {
      return absl::UnavailableError(
          absl::StrCat("domain ", domid_, ": the backend of its vif ", vif, " does not follow: ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status LockstepGuest::WriteFrontends(const GuestAttachments& primary) {
  // They hardly ever change, and each of a dozen takes a round trip.
  std::string frontends;
  for (const GuestAttachments::Frontend& frontend : primary.vifs()) {
    std::map<std::string, std::string> entries(frontend.entries().begin(), frontend.entries().end());
    absl::StrAppend(&frontends, frontend.device_id(), ";");
    for (const auto& [key, value] : entries) absl::StrAppend(&frontends, key, "=", value, ";");
  }
  if (frontends == written_frontends_) return absl::OkStatus();
  written_frontends_.clear();
  absl::Status status = store_->Transact([&](XenstoreAccess& transaction) {
    absl::Status written;
    for (const GuestAttachments::Frontend& frontend : primary.vifs()) {
      if (written.ok()) written = WriteFrontend(transaction, domid_, frontend);
    }
    return written;
  });
  if (status.ok()) written_frontends_ = frontends;
  return status;
}

absl::Status LockstepGuest::Continue(const GuestAttachments& primary) {
  GuestAttachments here;
  if (absl::Status status = ReadEventPorts(xc_.get(), domid_, here); !status.ok()) return status;
  if (const std::string difference = PortDifference(primary, here); !difference.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("domain ", domid_, ": ", difference));
  }
  for (const uint32_t vif : vifs_) {
    bool known = false;
    for (const GuestAttachments::Frontend& frontend : primary.vifs()) known = known || frontend.device_id() == vif;
    if (!known || static_cast<size_t>(primary.vifs().size()) != vifs_.size()) {
      return absl::FailedPreconditionError(
          absl::StrCat("domain ", domid_, ": the guest has other network interfaces on the primary"));
    }
  }
  if (absl::Status status = FinishClosing(); !status.ok()) return status;
  if (absl::Status status = grants_.Write(primary); !status.ok()) return status;
  if (absl::Status status = WriteFrontends(primary); !status.ok()) return status;
  if (absl::Status status = SetFrontendStates(4); !status.ok()) return status;
  clock_.Note(&StandbyGap::set_attach_us);
  // It runs while its backends connect. What it says to them meanwhile they find in its rings: Xen raises a channel's
  // event when it is bound.
  if (absl::Status status = Resume(/*cancelled=*/true); !status.ok()) return status;
  clock_.Note(&StandbyGap::set_resume_us);
  if (absl::Status status = WaitConnected(); !status.ok()) return status;
  clock_.Note(&StandbyGap::set_connect_us);
  return absl::OkStatus();
}

absl::Status LockstepGuest::GoOn() {
  if (absl::Status status = FinishClosing(); !status.ok()) return status;
  grants_.LetWrite();
  if (absl::Status status = SetFrontendStates(4); !status.ok()) return status;
  if (absl::Status status = Resume(/*cancelled=*/false); !status.ok()) return status;
  if (absl::Status status = WaitConnected(); !status.ok()) return status;
  return FinishResume();
}

absl::Status LockstepGuest::FinishResume() { return UnlessGuest(store_->ResumeDomain(domid_)); }

absl::Status LockstepGuest::WaitConnected() { return UnlessGuest(WaitForBackends(4)); }

absl::Status LockstepGuest::UnlessGuest(absl::Status status) {
  if (status.ok() || !is_guest_) return status;
  LogWarning(status.message(), "; the guest runs all the same");
  return absl::OkStatus();
}

absl::Status LockstepGuest::Resume(bool cancelled) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frozen_ && !paused_) {
      if (xc_domain_pause(xc_.get(), domid_) != 0) return XenCallError("can't pause it", domid_, errno);
      paused_ = true;
    }
    if (xc_domain_resume(xc_.get(), domid_, cancelled ? 1 : 0) != 0) {
      return XenCallError("can't resume it", domid_, errno);
    }
    running_ = true;
  }
  return absl::OkStatus();
}

absl::Status LockstepGuest::Renew() {
  // Resetting it would let it run.
  if (xc_domain_pause(xc_.get(), domid_) != 0) return XenCallError("can't pause it", domid_, errno);
  written_frontends_.clear();
  if (xc_domain_soft_reset(xc_.get(), domid_) != 0) return XenCallError("can't reset it", domid_, errno);
  const int store_port = xc_evtchn_alloc_unbound(xc_.get(), domid_, store_domid_);
  if (store_port < 0) return XenCallError("can't allocate an event channel", domid_, errno);
  const int console_port = xc_evtchn_alloc_unbound(xc_.get(), domid_, console_domid_);
  if (console_port < 0) return XenCallError("can't allocate an event channel", domid_, errno);
  if (static_cast<uint32_t>(store_port) != store_port_ || static_cast<uint32_t>(console_port) != console_port_) {
    return absl::InternalError(absl::StrCat("domain ", domid_, " has event channels ", store_port, " and ",
                                            console_port, " after its reset instead of ", store_port_, " and ",
                                            console_port_));
  }
  // xenstored has seen it shut down.
  if (absl::Status status = store_->ResumeDomain(domid_); !status.ok()) return status;
  if (absl::Status status = SetFrontendStates(1); !status.ok()) return status;
  if (absl::Status status = WaitForBackends(2); !status.ok()) return status;
  return Mark(kStateStandby);
}

absl::Status LockstepGuest::Mark(const char* state) { return store_->Write(StandbyStatePath(domid_), state); }

absl::Status LockstepGuest::BecomeGuest() {
  is_guest_ = true;
  return Mark(kStateRestored);
}

void LockstepGuest::Freeze() {
  const std::lock_guard<std::mutex> lock(mutex_);
  frozen_ = true;
  if (running_ && !paused_) paused_ = xc_domain_pause(urgent_xc_.get(), domid_) == 0;
}

absl::StatusOr<bool> LockstepGuest::Unfreeze() {
  const std::lock_guard<std::mutex> lock(mutex_);
  frozen_ = false;
  if (paused_ && xc_domain_unpause(urgent_xc_.get(), domid_) != 0) {
    return XenCallError("can't unpause it", domid_, errno);
  }
  paused_ = false;
  return running_;
}

void LockstepGuest::Halt() { xc_domain_pause(urgent_xc_.get(), domid_); }

bool LockstepGuest::frozen() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return frozen_;
}

std::vector<uint64_t> LockstepGuest::ring_gfns() const { return {store_gfn_, console_gfn_}; }

}  // namespace romulus
