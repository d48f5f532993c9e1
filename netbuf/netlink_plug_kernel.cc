#include "netbuf/netlink_plug_kernel.h"

#include <errno.h>
#include <net/if.h>
#include <time.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "netbuf/ifb_link.h"
#include "netbuf/plug_qdisc.h"
#include "netbuf/redirect_filter.h"

namespace romulus {
namespace {

constexpr timespec kTransmissionWait = {.tv_sec = 0, .tv_nsec = 200'000};
// A second at least: any queue within the limit leaves in that time, unless the device is stopped.
constexpr int kTriesUntilDrained = 5000;
// A packet that was past the filter when the filter went may reach the plug a moment later.
constexpr int kTimesFoundEmpty = 5;

constexpr size_t kLongestAlias = 255;

}  // namespace

NetlinkPlugKernel::Installation::Installation(NetworkLink vif_link, NetworkLink ifb_link)
    : vif(std::move(vif_link)),
      ifb(std::move(ifb_link)),
      probe(RedirectProbeRequest(vif)),
      buffer(PlugCommandRequest(ifb, PlugCommand::kBuffer)),
      release_one(PlugCommandRequest(ifb, PlugCommand::kReleaseOne)),
      release_indefinite(PlugCommandRequest(ifb, PlugCommand::kReleaseIndefinite)) {}

absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> NetlinkPlugKernel::New() {
  absl::StatusOr<std::unique_ptr<NetlinkSocket>> socket = NetlinkSocket::Open();
  if (!socket.ok()) return socket.status();
  return std::shared_ptr<NetlinkPlugKernel>(new NetlinkPlugKernel(*std::move(socket)));
}

absl::StatusOr<PlugKernel::Installed> NetlinkPlugKernel::Install(const Vif& vif, const std::string& protection,
                                                                 uint32_t limit_bytes) {
  const std::string name = IfbName(vif);
  const std::string mark = FormatIfbMark({.protection = protection, .vif = vif.name});
  if (name.size() >= IFNAMSIZ || mark.size() > kLongestAlias) {
    return absl::InvalidArgumentError(absl::StrCat(name, " (", mark, ") is too long for a device's name or alias"));
  }
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();
  if (!vif_link->has_value()) return absl::UnavailableError(absl::StrCat(vif.name, ": no such device"));
  absl::StatusOr<std::optional<NetworkLink>> ifb = FindLink(*socket_, name);
  if (!ifb.ok()) return ifb.status();

  if (ifb->has_value()) {
    if ((*ifb)->kind != "ifb" || (*ifb)->alias != mark) {
      return absl::FailedPreconditionError(
          absl::StrCat(vif.name, " can't be buffered: a device ", name, " is there already, of kind '", (*ifb)->kind,
                       "', marked '", (*ifb)->alias, "', where protection ", protection,
                       " would need its own: if nobody uses it, ", "'ip link del ", name, "'"));
    }
    absl::StatusOr<bool> whole = IsWhole(**vif_link, **ifb);
    if (!whole.ok()) return whole.status();
    if (*whole) {
      installations_.insert_or_assign(vif.name, Installation(**vif_link, **ifb));
      return Installed::kAdopted;
    }
    // A predecessor died half-way, or the vif it was for has gone: it can hold nothing that could still leave.
    if (absl::Status status = Remove(vif, protection, Held::kDrop); !status.ok()) return status;
  }

  absl::StatusOr<NetworkLink> created = CreateIfb(*socket_, name, mark, **vif_link);
  if (!created.ok()) return created.status();
  absl::Status status = SetUpPassingIfb(**vif_link, *created, limit_bytes);
  if (!status.ok()) {
    DeleteLink(*socket_, *created).IgnoreError();
    return status;
  }
  installations_.insert_or_assign(vif.name, Installation(**vif_link, *created));
  return Installed::kFresh;
}

// The plug passes before the link is up, and the link is up before a packet is sent to it: none is held or dropped.
absl::Status NetlinkPlugKernel::SetUpPassingIfb(const NetworkLink& vif, const NetworkLink& ifb, uint32_t limit_bytes) {
  if (absl::Status status = AddPassingPlug(*socket_, ifb, limit_bytes); !status.ok()) return status;
  if (absl::Status status = SetUp(*socket_, ifb); !status.ok()) return status;
  return AddRedirect(*socket_, vif, ifb);
}

absl::StatusOr<bool> NetlinkPlugKernel::IsWhole(const NetworkLink& vif, const NetworkLink& ifb) {
  int target = 0;
  absl::StatusOr<Redirect> redirect = FindRedirect(*socket_, vif, &target);
  if (!redirect.ok()) return redirect.status();
  if (*redirect != Redirect::kOurs || target != ifb.index || !ifb.up) return false;
  return ReadPlug(*socket_, ifb).ok();
}

absl::Status NetlinkPlugKernel::Command(const std::vector<Vif>& vifs, PlugCommand command) {
  absl::Status first;
  std::vector<NetlinkMessage*> requests;
  std::vector<std::string> what;
  for (const Vif& vif : vifs) {
    absl::StatusOr<Installation*> found = Find(vif);
    if (!found.ok()) {
      first.Update(found.status());
      continue;
    }
    Installation& installation = **found;
    switch (command) {
      case PlugCommand::kBuffer:
        requests.push_back(&installation.buffer);
        requests.push_back(&installation.probe);
        what.push_back(absl::StrCat(vif.name, ": closing the epoch in ", installation.ifb.name));
        what.push_back(absl::StrCat(vif.name, " is not redirected any more to ", installation.ifb.name));
        break;
      case PlugCommand::kReleaseOne:
        requests.push_back(&installation.release_one);
        what.push_back(absl::StrCat(vif.name, ": releasing an epoch from ", installation.ifb.name));
        break;
      case PlugCommand::kReleaseIndefinite:
        requests.push_back(&installation.release_indefinite);
        what.push_back(absl::StrCat(vif.name, ": letting all pass ", installation.ifb.name));
        break;
    }
  }
  if (requests.empty()) return first;
  const std::vector<NetlinkResult> results = socket_->Transact(requests);
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].error == ENOENT) {
      // The plug or the filter has gone from below us.
      first.Update(absl::UnavailableError(absl::StrCat(what[i], ": ", results[i].reason)));
    } else {
      first.Update(results[i].ToStatus(what[i]));
    }
  }
  return first;
}

absl::Status NetlinkPlugKernel::Discard(const Vif& vif, uint32_t limit_bytes) {
  absl::StatusOr<Installation*> found = Find(vif);
  if (!found.ok()) return found.status();
  return ReplacePlug(*socket_, (*found)->ifb, limit_bytes);
}

absl::Status NetlinkPlugKernel::Remove(const Vif& vif, const std::string& protection, Held held) {
  installations_.erase(vif.name);
  absl::StatusOr<std::optional<NetworkLink>> ifb = FindLink(*socket_, IfbName(vif));
  if (!ifb.ok()) return ifb.status();
  const bool ours = ifb->has_value() && (*ifb)->kind == "ifb" &&
                    (*ifb)->alias == FormatIfbMark({.protection = protection, .vif = vif.name});
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();

  if (vif_link->has_value()) {
    int target = 0;
    absl::StatusOr<Redirect> redirect = FindRedirect(*socket_, **vif_link, &target);
    if (!redirect.ok()) return redirect.status();
    const bool to_our_ifb = *redirect == Redirect::kOurs && (target == 0 || (ours && target == (*ifb)->index));
    // Attach died between the two halves of the redirection.
    const bool half_made = *redirect == Redirect::kEmpty && ours;
    if (to_our_ifb || half_made) {
      if (absl::Status status = DeleteRedirect(*socket_, **vif_link); !status.ok()) return status;
    }
  }
  if (!ours) return absl::OkStatus();
  const absl::Status drained = held == Held::kDrain ? Drain(**ifb) : absl::OkStatus();
  absl::Status deleted = DeleteLink(*socket_, **ifb);
  return deleted.ok() ? drained : deleted;
}

// Two queues: the plug's, and the one inside ifb between its transmit function and its softirq.
absl::Status NetlinkPlugKernel::Drain(const NetworkLink& ifb) {
  uint64_t left = 0;
  int found_empty = 0;
  for (int tries = 0; tries < kTriesUntilDrained && found_empty < kTimesFoundEmpty; ++tries) {
    absl::StatusOr<Statistics> plug = ReadPlug(*socket_, ifb);
    if (!plug.ok()) return plug.status();
    absl::StatusOr<std::optional<NetworkLink>> link = FindLink(*socket_, ifb.name);
    if (!link.ok()) return link.status();
    if (!link->has_value()) return absl::OkStatus();
    const uint64_t inside = (*link)->received_packets - (*link)->received_dropped - (*link)->transmitted_packets;
    left = plug->held_packets + inside;
    found_empty = left == 0 ? found_empty + 1 : 0;
    AwaitTransmission();
  }
  if (left == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(ifb.name, ": ", left, " packets did not leave and were dropped"));
}

absl::StatusOr<PlugKernel::Statistics> NetlinkPlugKernel::Read(const Vif& vif) {
  absl::StatusOr<Installation*> found = Find(vif);
  if (!found.ok()) return found.status();
  return ReadPlug(*socket_, (*found)->ifb);
}

void NetlinkPlugKernel::AwaitTransmission() { nanosleep(&kTransmissionWait, nullptr); }

std::string NetlinkPlugKernel::DeviceName(const Vif& vif) const { return IfbName(vif); }

absl::StatusOr<NetlinkPlugKernel::Installation*> NetlinkPlugKernel::Find(const Vif& vif) {
  auto found = installations_.find(vif.name);
  if (found != installations_.end()) return &found->second;
  return absl::UnavailableError(absl::StrCat(vif.name, ": no buffer is installed"));
}

}  // namespace romulus
