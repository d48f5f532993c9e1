#include "netbuf/netlink_plug_kernel.h"

#include <errno.h>
#include <net/if.h>
#include <time.h>

#include <algorithm>
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

// An ifb that is not marked yet is that of an owner who died between two requests.
bool IsOf(const NetworkLink& ifb, const std::string& mark) {
  return IsRomulusIfb(ifb) && (ifb.alias == mark || ifb.alias.empty());
}

const char* Describe(PlugCommand command) {
  switch (command) {
    case PlugCommand::kBuffer:
      return "closing an epoch in";
    case PlugCommand::kReleaseOne:
      return "releasing an epoch from";
    case PlugCommand::kReleaseIndefinite:
      return "letting all pass";
  }
  __builtin_unreachable();
}

}  // namespace

NetlinkPlugKernel::Installation::Installation(NetworkLink vif_link, NetworkLink ifb_link)
    : vif(std::move(vif_link)),
      ifb(std::move(ifb_link)),
      probe(RedirectProbeRequest(vif)),
      buffer(PlugCommandRequest(ifb, PlugCommand::kBuffer)),
      release_one(PlugCommandRequest(ifb, PlugCommand::kReleaseOne)),
      release_indefinite(PlugCommandRequest(ifb, PlugCommand::kReleaseIndefinite)) {}

NetlinkMessage& NetlinkPlugKernel::Installation::Request(PlugCommand command) {
  switch (command) {
    case PlugCommand::kBuffer:
      return buffer;
    case PlugCommand::kReleaseOne:
      return release_one;
    case PlugCommand::kReleaseIndefinite:
      return release_indefinite;
  }
  __builtin_unreachable();
}

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
    if (!IsOf(**ifb, mark)) {
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
  absl::StatusOr<FoundRedirect> redirect = FindRedirect(*socket_, vif);
  if (!redirect.ok()) return redirect.status();
  if (!redirect->ours || redirect->to_index != ifb.index || !ifb.up) return false;
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
    requests.push_back(&installation.Request(command));
    what.push_back(absl::StrCat(vif.name, ": ", Describe(command), " ", installation.ifb.name));
    if (command == PlugCommand::kBuffer) {
      requests.push_back(&installation.probe);
      what.push_back(absl::StrCat(vif.name, " is not redirected any more to ", installation.ifb.name));
    }
  }
  if (requests.empty()) return first;
  const std::vector<NetlinkResult> results = socket_->Transact(requests);
  for (size_t i = 0; i < results.size(); ++i) {
    const int error = results[i].error;
    if (error == ENOENT || error == EINVAL || error == ENODEV) {
      // Something of it has gone from below us, or stands in its place.
      first.Update(absl::UnavailableError(absl::StrCat(what[i], ": ", results[i].reason, " (errno ", error, ")")));
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
  absl::StatusOr<std::optional<NetworkLink>> found = FindLink(*socket_, IfbName(vif));
  if (!found.ok()) return found.status();
  const bool ours = found->has_value() && IsOf(**found, FormatIfbMark({.protection = protection, .vif = vif.name}));
  const NetworkLink* ifb = ours ? &**found : nullptr;
  if (absl::Status status = RemoveRedirect(vif, ifb); !status.ok()) return status;
  if (ifb == nullptr) return absl::OkStatus();
  const absl::Status drained = held == Held::kDrain ? Drain(*ifb) : absl::OkStatus();
  absl::Status deleted = DeleteLink(*socket_, *ifb);
  return deleted.ok() ? drained : deleted;
}

absl::Status NetlinkPlugKernel::RemoveRedirect(const Vif& vif, const NetworkLink* ifb) {
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();
  if (!vif_link->has_value()) return absl::OkStatus();
  absl::StatusOr<FoundRedirect> found = FindRedirect(*socket_, **vif_link);
  if (!found.ok()) return found.status();
  // To device 0: its ifb was deleted, by whomever, and the filter now drops all that the guest sends.
  if (found->to_index != 0 && (ifb == nullptr || found->to_index != ifb->index)) return absl::OkStatus();
  return DeleteRedirect(*socket_, **vif_link, *found);
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

absl::StatusOr<std::vector<PlugKernel::Leftover>> NetlinkPlugKernel::FindLeftovers(
    const std::set<std::string>& living) {
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(*socket_);
  if (!links.ok()) return links.status();
  std::vector<Leftover> leftovers;
  for (const NetworkLink& link : *links) {
    const std::optional<IfbMark> mark = ParseIfbMark(link.alias);
    std::optional<Vif> vif = ParseIfbName(link.name);
    if (link.kind != "ifb" || !mark || !vif || living.count(mark->protection) != 0) continue;
    vif->name = mark->vif;
    leftovers.push_back({mark->protection, *std::move(vif), link.name});
  }
  std::sort(leftovers.begin(), leftovers.end(),
            [](const Leftover& a, const Leftover& b) { return a.device < b.device; });
  return leftovers;
}

void NetlinkPlugKernel::AwaitTransmission() { nanosleep(&kTransmissionWait, nullptr); }

std::string NetlinkPlugKernel::DeviceName(const Vif& vif) const { return IfbName(vif); }

absl::StatusOr<NetlinkPlugKernel::Installation*> NetlinkPlugKernel::Find(const Vif& vif) {
  auto known = installations_.find(vif.name);
  if (known != installations_.end()) return &known->second;
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();
  absl::StatusOr<std::optional<NetworkLink>> ifb = FindLink(*socket_, IfbName(vif));
  if (!ifb.ok()) return ifb.status();
  if (!vif_link->has_value() || !ifb->has_value() || !IsRomulusIfb(**ifb)) {
    return absl::UnavailableError(absl::StrCat(vif.name, ": no buffer is installed"));
  }
  return &installations_.emplace(vif.name, Installation(**vif_link, **ifb)).first->second;
}

}  // namespace romulus
