#include "primary/save_helper/suspend_notice.h"

#include <errno.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/attachments/suspend_port.h"
#include "common/xen/control.h"

namespace romulus {
namespace {

constexpr uint32_t kHere = 0;  // dom0

// Whether nobody has it but who asks: a number in xenstore is believed only where the hypervisor agrees.
bool IsFree(xc_interface* xc, uint32_t domid, uint32_t port) {
  xc_evtchn_status_t status{};
  status.dom = static_cast<domid_t>(domid);
  status.port = port;
  return xc_evtchn_status(xc, &status) == 0 && status.status == EVTCHNSTAT_unbound && status.u.unbound.dom == kHere;
}

absl::StatusOr<uint32_t> FindOrAllocate(xc_interface* xc, uint32_t domid, XenstoreAccess& store) {
  const absl::StatusOr<std::optional<uint32_t>> kept = ReadSuspendPort(store, domid);
  if (!kept.ok()) return kept.status();
  if (kept->has_value() && IsFree(xc, domid, **kept)) return **kept;
  const int port = xc_evtchn_alloc_unbound(xc, domid, kHere);
  if (port < 0) return XenCallError("can't allocate an event channel for suspends", domid, errno);
  if (absl::Status written = store.Write(SuspendPortPath(domid), absl::StrCat(port)); !written.ok()) return written;
  return static_cast<uint32_t>(port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SuspendNotice>> SuspendNotice::New(xc_interface* xc, xentoollog_logger* logger,
                                                                  DomainHypercalls* hypercalls, XenstoreAccess& store) {
  const uint32_t domid = hypercalls->domid();
  absl::StatusOr<EventChannelHandle> channels = OpenEventChannels(logger);
  if (!channels.ok()) return channels.status();
  const absl::StatusOr<uint32_t> guest_port = FindOrAllocate(xc, domid, store);
  if (!guest_port.ok()) return guest_port.status();
  // Closed with the handle; the guest's end is free again then.
  if (xenevtchn_bind_interdomain(channels->get(), domid, *guest_port) < 0) {
    return XenCallError(absl::StrCat("can't bind event channel ", *guest_port), domid, errno);
  }
  return std::unique_ptr<SuspendNotice>(new SuspendNotice(hypercalls, *std::move(channels), *guest_port));
}

absl::Status SuspendNotice::Begin() { return hypercalls_->NotifySuspend(guest_port_); }

absl::Status SuspendNotice::End() { return hypercalls_->NotifySuspend(0); }

int SuspendNotice::descriptor() const { return xenevtchn_fd(channels_.get()); }

absl::Status SuspendNotice::Take() {
  const int port = xenevtchn_pending(channels_.get());
  if (port < 0 || xenevtchn_unmask(channels_.get(), port) != 0) {
    return XenCallError("can't take the notice of a suspend", hypercalls_->domid(), errno);
  }
  return absl::OkStatus();
}

}  // namespace romulus
