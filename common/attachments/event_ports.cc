#include "common/attachments/event_ports.h"

#include <errno.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"

extern "C" {
#include <xen/event_channel.h>
}

namespace romulus {
namespace {

using replication::v1::GuestAttachments;
using Port = GuestAttachments::Port;

constexpr uint32_t kPortMax = 4096;  // Beyond what a toolstack lets a guest have (1023).

std::string InWords(const Port* port) {
  if (port == nullptr) return "closed";
  switch (port->kind()) {
    case Port::REMOTE:
      return absl::StrCat("a channel to domain ", port->argument());
    case Port::VIRQ:
      return absl::StrCat("virtual interrupt ", port->argument(), " of vCPU ", port->vcpu());
    case Port::IPI:
      return absl::StrCat("an IPI of vCPU ", port->vcpu());
    default:
      return absl::StrCat("of kind ", port->kind(), ", ", port->argument());
  }
}

std::map<uint32_t, const Port*> ByNumber(const GuestAttachments& attachments) {
  std::map<uint32_t, const Port*> ports;
  for (const Port& port : attachments.ports()) ports[port.port()] = &port;
  return ports;
}

}  // namespace

absl::Status ReadEventPorts(xc_interface* xc, uint32_t domid, GuestAttachments& attachments,
                            std::optional<uint32_t> unknown) {
  attachments.clear_ports();
  uint32_t last_used = 0;
  for (uint32_t number = 1; number < kPortMax && number <= last_used + kPortGap; ++number) {
    xc_evtchn_status_t status{};
    status.dom = static_cast<domid_t>(domid);
    status.port = number;
    if (xc_evtchn_status(xc, &status) != 0) {
      if (errno == EINVAL) break;  // No ports from here on.
      return XenCallError(absl::StrCat("can't ask about event channel ", number), domid, errno);
    }
    if (status.status == EVTCHNSTAT_closed) continue;
    last_used = number;
    if (number == unknown) continue;
    Port* const port = attachments.add_ports();
    port->set_port(number);
    switch (status.status) {
      case EVTCHNSTAT_unbound:
        port->set_kind(Port::REMOTE);
        port->set_argument(status.u.unbound.dom);
        break;
      case EVTCHNSTAT_interdomain:
        port->set_kind(Port::REMOTE);
        port->set_argument(status.u.interdomain.dom);
        break;
      case EVTCHNSTAT_virq:
        port->set_kind(Port::VIRQ);
        port->set_argument(status.u.virq);
        port->set_vcpu(status.vcpu);
        break;
      case EVTCHNSTAT_ipi:
        port->set_kind(Port::IPI);
        port->set_vcpu(status.vcpu);
        break;
      default:
        port->set_kind(Port::PIRQ);
        port->set_argument(status.u.pirq);
        break;
    }
  }
  return absl::OkStatus();
}

std::string PortDifference(const GuestAttachments& primary, const GuestAttachments& here) {
  const std::map<uint32_t, const Port*> there_by_number = ByNumber(primary), here_by_number = ByNumber(here);
  std::map<uint32_t, const Port*> all = there_by_number;
  all.insert(here_by_number.begin(), here_by_number.end());
  const auto find = [](const std::map<uint32_t, const Port*>& ports, uint32_t number) -> const Port* {
    const auto found = ports.find(number);
    return found == ports.end() ? nullptr : found->second;
  };
  for (const auto& [number, unused] : all) {
    const std::string there = InWords(find(there_by_number, number)), found = InWords(find(here_by_number, number));
    if (there != found) {
      return absl::StrCat("the guest's event channel ", number, " is ", there, " on the primary, and ", found, " here");
    }
  }
  return "";
}

}  // namespace romulus
