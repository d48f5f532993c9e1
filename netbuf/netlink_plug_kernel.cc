#include "netbuf/netlink_plug_kernel.h"

#include <errno.h>
#include <net/if.h>
#include <time.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "netbuf/free_ifb.h"
#include "netbuf/ifb_link.h"
#include "netbuf/plug_qdisc.h"
#include "netbuf/port_kind.h"
#include "netbuf/redirect_filter.h"

namespace romulus {
namespace {

constexpr timespec kTransmissionWait = {.tv_sec = 0, .tv_nsec = 200'000};
// A second at least: any queue within the limit leaves in that time, unless the device is stopped.
constexpr int kTriesUntilDrained = 5000;
// A packet that was past the filter when the filter went may reach the plug a moment later.
constexpr int kTimesFoundEmpty = 5;

bool SameCard(const Vif& a, const Vif& b) {
  return a.domid == b.domid && a.device_id == b.device_id && a.emulated == b.emulated;
}

bool IsOf(const std::optional<IfbMark>& mark, const Vif& vif, const std::string& protection) {
  return mark.has_value() && mark->protection == protection && mark->vif.name == vif.name && SameCard(mark->vif, vif);
}

// Of an owner who died between two requests. None that lives has one outside its turn.
bool IsUnmarked(const NetworkLink& ifb) { return IsRomulusIfb(ifb) && ifb.alias.empty(); }

// Ways of the kernel to say that it makes no ifb for us, where one that is there may do.
bool IsRefusal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status);
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

absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> NetlinkPlugKernel::New(IfbClaims* claims, Options options) {
  absl::StatusOr<std::unique_ptr<NetlinkSocket>> socket = NetlinkSocket::Open();
  if (!socket.ok()) return socket.status();
  return std::shared_ptr<NetlinkPlugKernel>(new NetlinkPlugKernel(*std::move(socket), claims, options));
}

absl::StatusOr<PlugKernel::Installed> NetlinkPlugKernel::Install(const Vif& vif, const std::string& protection,
                                                                 uint32_t limit_bytes) {
  const std::string name = IfbName(vif);
  const std::string mark = FormatIfbMark({.protection = protection, .vif = vif, .adopted = {}});
  if (name.size() >= IFNAMSIZ || mark.size() > kIfbMarkBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(name, " (", mark, ") is too long for a device's name or alias"));
  }
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();
  if (!vif_link->has_value() && vif.emulated) {
    absent_.insert(vif.name);
    return Installed::kFresh;
  }
  if (!vif_link->has_value()) return absl::UnavailableError(absl::StrCat(vif.name, ": no such device"));

  // Until the plug is on the device, and the claim on record, nobody else on this host chooses one.
  absl::StatusOr<std::unique_ptr<IfbClaims::Turn>> turn = claims_->TakeTurn();
  if (!turn.ok()) return turn.status();
  absl::StatusOr<std::vector<IfbClaim>> claims = claims_->List();
  if (!claims.ok()) return claims.status();
  absl::StatusOr<std::optional<NetworkLink>> ifb = FindIfb(vif, protection);
  if (!ifb.ok()) return ifb.status();
  if (ifb->has_value()) {
    absl::StatusOr<bool> whole = IsWhole(**vif_link, **ifb);
    if (!whole.ok()) return whole.status();
    if (*whole) {
      if (absl::Status status = SetPlugLimit(*socket_, **ifb, limit_bytes); !status.ok()) return status;
      // Its owner may have died, or its record may have been lost, before it was claimed.
      const absl::Status status = claims_->Record({.vif = vif, .device = (*ifb)->name, .protection = protection});
      if (!status.ok()) return status;
      return Keep(**vif_link, **ifb, Installed::kAdopted);
    }
    // A predecessor died half-way, or the vif it was for has gone: it can hold nothing that could still leave.
    if (absl::Status status = Remove(vif, protection, Held::kDrop); !status.ok()) return status;
  }
  if (absl::Status status = CheckPortKind(**vif_link); !status.ok()) return status;
  if (absl::Status status = CheckUnclaimed(vif, protection, *claims); !status.ok()) return status;

  absl::StatusOr<NetworkLink> obtained = ObtainIfb(**vif_link, vif, protection, *claims);
  if (!obtained.ok()) return obtained.status();
  absl::Status status = claims_->Record({.vif = vif, .device = obtained->name, .protection = protection});
  if (status.ok()) status = SetUpPassingIfb(**vif_link, *obtained, limit_bytes);
  if (!status.ok()) {
    if (Release(*obtained).ok()) claims_->Erase(vif, protection).IgnoreError();
    return status;
  }
  return Keep(**vif_link, *obtained, Installed::kFresh);
}

absl::StatusOr<std::optional<NetworkLink>> NetlinkPlugKernel::FindIfb(const Vif& vif, const std::string& protection) {
  absl::StatusOr<std::optional<NetworkLink>> created = FindLink(*socket_, IfbName(vif));
  if (!created.ok()) return created.status();
  if (created->has_value() && (IsUnmarked(**created) || IsOf(ReadIfbMark(**created), vif, protection))) return created;
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(*socket_);
  if (!links.ok()) return links.status();
  for (NetworkLink& link : *links) {
    if (IsOf(ReadIfbMark(link), vif, protection)) return std::optional<NetworkLink>(std::move(link));
  }
  return std::optional<NetworkLink>();
}

absl::Status NetlinkPlugKernel::CheckUnclaimed(const Vif& vif, const std::string& protection,
                                               const std::vector<IfbClaim>& claims) {
  const std::string name = IfbName(vif);
  absl::StatusOr<std::optional<NetworkLink>> in_the_way = FindLink(*socket_, name);
  if (!in_the_way.ok()) return in_the_way.status();
  if (in_the_way->has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " can't be buffered: a device ", name, " is there already, of kind '",
                     (*in_the_way)->kind, "', marked '", (*in_the_way)->alias, "', where protection ", protection,
                     " would need its own: if nobody uses it, ", "'ip link del ", name, "'"));
  }
  for (const IfbClaim& claim : claims) {
    if (!SameCard(claim.vif, vif) || claim.protection == protection) continue;
    absl::StatusOr<std::optional<NetworkLink>> device = FindLink(*socket_, claim.device);
    if (!device.ok()) return device.status();
    // Of one that is gone, or that was given back, nobody has anything any more.
    if (!device->has_value()) continue;
    if (!claim.protection.empty() && !IsOf(ReadIfbMark(**device), claim.vif, claim.protection)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " can't be buffered by protection ", protection, ": xenstore says that ", claim.device,
                     " buffers it for ", claim.protection.empty() ? "somebody else (xl remus?)" : claim.protection,
                     ". End that first; if nobody uses it, 'xenstore-rm /libxl/", vif.domid, "/remus/netbuf/",
                     VifRecordName(vif), "'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NetworkLink> NetlinkPlugKernel::ObtainIfb(const NetworkLink& vif_link, const Vif& vif,
                                                         const std::string& protection,
                                                         const std::vector<IfbClaim>& claims) {
  const IfbMark mark{.protection = protection, .vif = vif, .adopted = {}};
  absl::Status refused = absl::FailedPreconditionError("creating ifbs is switched off");
  if (options_.create_ifbs) {
    absl::StatusOr<NetworkLink> created = CreateIfb(*socket_, IfbName(vif), FormatIfbMark(mark), vif_link);
    if (created.ok() || !IsRefusal(created.status())) return created;
    refused = created.status();
  }
  std::set<std::string> claimed;
  for (const IfbClaim& claim : claims) {
    // Our own is of a predecessor, and given back by now.
    if (claim.protection != protection || !SameCard(claim.vif, vif)) claimed.insert(claim.device);
  }
  absl::StatusOr<std::optional<NetworkLink>> free = FindFreeIfb(*socket_, claimed);
  if (!free.ok()) return free.status();
  if (!free->has_value()) {
    return absl::Status(refused.code(),
                        absl::StrCat(std::string(refused.message()), "; and there is no free ifb to adopt for ",
                                     vif.name, " ('modprobe ifb numifbs=8' where it is not loaded yet)"));
  }
  return AdoptIfb(*socket_, **free, mark, vif_link);
}

absl::Status NetlinkPlugKernel::Release(const NetworkLink& ifb) {
  const std::optional<IfbMark> mark = ReadIfbMark(ifb);
  if (mark.has_value() && mark->adopted.has_value()) return GiveIfbBack(*socket_, ifb, *mark->adopted);
  return DeleteLink(*socket_, ifb);
}

PlugKernel::Installed NetlinkPlugKernel::Keep(const NetworkLink& vif, const NetworkLink& ifb, Installed installed) {
  Installation& kept = installations_.insert_or_assign(vif.name, Installation(vif, ifb)).first->second;
  absl::StatusOr<ZeroCopyTap> tap = ZeroCopyTap::Open(vif);
  if (tap.ok()) {
    kept.tap = *std::move(tap);
  } else {
    LogWarning("the guest of ", vif.name,
               " can send no more than some 240 packets per epoch: ", tap.status().message());
  }
  return installed;
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
  std::vector<const Vif*> probed;  // By request; null where it is no probe.
  for (const Vif& vif : vifs) {
    if (absent_.count(vif.name) != 0) {
      if (command == PlugCommand::kBuffer) first.Update(CheckAbsent(vif));
      continue;
    }
    absl::StatusOr<Installation*> found = Find(vif);
    if (!found.ok()) {
      first.Update(found.status());
      continue;
    }
    Installation& installation = **found;
    requests.push_back(&installation.Request(command));
    what.push_back(absl::StrCat(vif.name, ": ", Describe(command), " ", installation.ifb.name));
    probed.push_back(nullptr);
    if (command == PlugCommand::kBuffer) {
      requests.push_back(&installation.probe);
      what.push_back(absl::StrCat(vif.name, " is not redirected any more to ", installation.ifb.name));
      probed.push_back(&vif);
    }
  }
  if (requests.empty()) return first;
  const std::vector<NetlinkResult> results = socket_->Transact(requests);
  for (size_t i = 0; i < results.size(); ++i) {
    const int error = results[i].error;
    if (error == ENODEV && probed[i] != nullptr && probed[i]->emulated) {
      first.Update(CheckAbsent(*probed[i]));
    } else if (error == ENOENT || error == EINVAL || error == ENODEV) {
      // Something of it has gone from below us, or stands in its place.
      first.Update(absl::UnavailableError(absl::StrCat(what[i], ": ", results[i].reason, " (errno ", error, ")")));
    } else {
      first.Update(results[i].ToStatus(what[i]));
    }
  }
  return first;
}

// A guest whose PV driver took the card over has none any more: nothing can leave by it.
absl::Status NetlinkPlugKernel::CheckAbsent(const Vif& vif) {
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(*socket_, vif.name);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(vif.name, " has come while the guest's output was held, and is not ",
                                             "redirected: end the protection and start it again"));
}

absl::Status NetlinkPlugKernel::Discard(const Vif& vif, uint32_t limit_bytes) {
  if (absent_.count(vif.name) != 0) return absl::OkStatus();
  absl::StatusOr<Installation*> found = Find(vif);
  if (!found.ok()) return found.status();
  return ReplacePlug(*socket_, (*found)->ifb, limit_bytes);
}

absl::Status NetlinkPlugKernel::Remove(const Vif& vif, const std::string& protection, Held held) {
  installations_.erase(vif.name);
  absent_.erase(vif.name);
  const absl::Status removed = RemoveDevices(vif, protection, held);
  if (!removed.ok() && !absl::IsDataLoss(removed)) return removed;
  // After the device, which its claim protects to the end; that takes no turn. A domain that is gone has no record.
  absl::Status erased = claims_->Erase(vif, protection);
  return erased.ok() ? removed : erased;
}

absl::Status NetlinkPlugKernel::RemoveDevices(const Vif& vif, const std::string& protection, Held held) {
  absl::StatusOr<std::optional<NetworkLink>> found = FindIfb(vif, protection);
  if (!found.ok()) return found.status();
  const NetworkLink* ifb = found->has_value() ? &**found : nullptr;
  if (absl::Status status = RemoveRedirect(vif, ifb); !status.ok()) return status;
  if (ifb == nullptr) return absl::OkStatus();
  const absl::Status drained = held == Held::kDrain ? Drain(*ifb) : absl::OkStatus();
  absl::Status released = Release(*ifb);
  return released.ok() ? drained : released;
}

absl::Status NetlinkPlugKernel::RemoveRedirect(const Vif& vif, const NetworkLink* ifb) {
  if (vif.name.empty()) return absl::OkStatus();  // Of an owner who died before it had marked its ifb.
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
  if (absent_.count(vif.name) != 0) return Statistics();
  absl::StatusOr<Installation*> found = Find(vif);
  if (!found.ok()) return found.status();
  return ReadPlug(*socket_, (*found)->ifb);
}

absl::StatusOr<std::vector<PlugKernel::Leftover>> NetlinkPlugKernel::FindLeftovers(
    const std::set<std::string>& living) {
  // In a turn, what is half-made or claimed without a device is a dead owner's; else it may be somebody's at work.
  absl::StatusOr<std::unique_ptr<IfbClaims::Turn>> turn = claims_->TakeTurn();
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(*socket_);
  if (!links.ok()) return links.status();
  std::vector<Leftover> leftovers;
  std::set<std::pair<std::string, std::string>> marked;  // Device, protection.
  for (const NetworkLink& link : *links) {
    std::optional<IfbMark> mark = ReadIfbMark(link);
    std::optional<Vif> vif = ParseIfbName(link.name);
    if (mark.has_value()) {
      marked.emplace(link.name, mark->protection);
    } else if (turn.ok() && IsUnmarked(link) && vif.has_value()) {
      mark = IfbMark{.protection = "", .vif = *vif, .adopted = {}};
    }
    if (!mark.has_value() || living.count(mark->protection) != 0) continue;
    leftovers.push_back({mark->protection, mark->vif, link.name});
  }
  if (turn.ok()) {
    absl::StatusOr<std::vector<IfbClaim>> claims = claims_->List();
    if (!claims.ok()) return claims.status();
    for (const IfbClaim& claim : *claims) {
      const bool dead = !claim.protection.empty() && living.count(claim.protection) == 0;
      if (dead && marked.count({claim.device, claim.protection}) == 0)
        leftovers.push_back({claim.protection, claim.vif, claim.device});
    }
  }
  std::sort(leftovers.begin(), leftovers.end(),
            [](const Leftover& a, const Leftover& b) { return a.device < b.device; });
  return leftovers;
}

void NetlinkPlugKernel::AwaitTransmission() { nanosleep(&kTransmissionWait, nullptr); }

std::string NetlinkPlugKernel::DeviceName(const Vif& vif) const {
  if (absent_.count(vif.name) != 0) return "";
  const auto known = installations_.find(vif.name);
  return known != installations_.end() ? known->second.ifb.name : IfbName(vif);
}

absl::StatusOr<NetlinkPlugKernel::Installation*> NetlinkPlugKernel::Find(const Vif& vif) {
  auto known = installations_.find(vif.name);
  if (known != installations_.end()) return &known->second;
  absl::StatusOr<std::optional<NetworkLink>> vif_link = FindLink(*socket_, vif.name);
  if (!vif_link.ok()) return vif_link.status();
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(*socket_);
  if (!links.ok()) return links.status();
  const NetworkLink* ifb = nullptr;
  for (const NetworkLink& link : *links) {
    const std::optional<IfbMark> mark = ReadIfbMark(link);
    if (mark.has_value() && SameCard(mark->vif, vif) && mark->vif.name == vif.name) ifb = &link;
  }
  if (!vif_link->has_value() || ifb == nullptr) {
    return absl::UnavailableError(absl::StrCat(vif.name, ": no buffer is installed"));
  }
  return &installations_.emplace(vif.name, Installation(**vif_link, *ifb)).first->second;
}

}  // namespace romulus
