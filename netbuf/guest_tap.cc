#include "netbuf/guest_tap.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "netbuf/port_kind.h"
#include "netbuf/tap_cookie.h"

namespace romulus {

// A filter of ours on the vif, and the modes that it is part of.
struct TapRule {
  enum class Purpose {
    kLetOursPass,  // What this process writes.
    kTake,         // Redirected to the TAP.
    kShut,         // Dropped.
  };

  TcHook hook;
  uint32_t priority;
  Purpose purpose;
  bool divert, isolate, translate;

  bool In(GuestTap::Mode mode) const {
    switch (mode) {
      case GuestTap::Mode::kDirect:
        return purpose == Purpose::kLetOursPass;
      case GuestTap::Mode::kDivert:
        return divert;
      case GuestTap::Mode::kIsolate:
        return isolate;
      case GuestTap::Mode::kTranslate:
        return translate;
    }
    __builtin_unreachable();
  }
};

namespace {

using Mode = GuestTap::Mode;

// Put by FrameTap's side on what it sends into the vif's hooks, and taken off there. Nothing from outside has a mark,
// and a guest can't set one.
constexpr uint32_t kMark = 0x524f4d55;

constexpr uint32_t kIsolation = 2;
// Never reached: tells a successor that the guest was taken over. (5 was a filter of earlier agents, for another end.)
constexpr uint32_t kTranslation = 6;

// By hook and priority. The last one of a hook that takes or drops all stays while the others are exchanged, for a
// successor: so it is never open. While a redirection is before it, it sees nothing.
constexpr TapRule kRules[] = {
    {TcHook::kIngress, 1, TapRule::Purpose::kLetOursPass, true, true, true},
    {TcHook::kIngress, 2, TapRule::Purpose::kTake, true, true, true},
    {TcHook::kIngress, 3, TapRule::Purpose::kShut, true, true, true},
    {TcHook::kEgress, 1, TapRule::Purpose::kLetOursPass, true, true, true},
    {TcHook::kEgress, kIsolation, TapRule::Purpose::kShut, false, true, false},
    {TcHook::kEgress, 3, TapRule::Purpose::kTake, true, true, true},
    {TcHook::kEgress, 4, TapRule::Purpose::kShut, true, true, true},
    {TcHook::kEgress, kTranslation, TapRule::Purpose::kShut, false, false, true},
};
constexpr uint32_t kLastShutAtIngress = 3;
constexpr uint32_t kLastShutAtEgress = 4;

bool IsLastShut(TcHook hook, uint32_t priority) {
  return priority == (hook == TcHook::kIngress ? kLastShutAtIngress : kLastShutAtEgress);
}

TcRule ToTcRule(const TapRule& rule, const NetworkLink& from_guest, const NetworkLink& to_guest,
                const TapCookie& cookie) {
  TcRule made{.hook = rule.hook, .priority = rule.priority, .cookie = FormatTapCookie(cookie)};
  made.to_index = rule.hook == TcHook::kIngress ? from_guest.index : to_guest.index;
  switch (rule.purpose) {
    case TapRule::Purpose::kLetOursPass:
      made.only_mark = kMark;
      made.action = TcRule::Action::kPass;
      break;
    case TapRule::Purpose::kTake:
      made.action = TcRule::Action::kRedirectEgress;
      break;
    case TapRule::Purpose::kShut:
      made.action = TcRule::Action::kDrop;
      break;
  }
  return made;
}

// What is written to a TAP goes into the vif, marked.
TcRule WayBack(FrameDirection direction, const NetworkLink& vif) {
  return {.hook = TcHook::kIngress,
          .action = direction == FrameDirection::kFromGuest ? TcRule::Action::kRedirectIngress
                                                            : TcRule::Action::kRedirectEgress,
          .to_index = vif.index,
          .set_mark = kMark};
}

// Sends requests with the rule that each is about (null: the qdisc) and explains the first error that is one.
class Batch {
 public:
  explicit Batch(const NetworkLink& link) : link_(link) {}

  void AddClsact() { Append(AddClsactRequest(link_), std::nullopt, false); }
  void DeleteClassifier() { Append(DeleteClassifierRequest(link_), std::nullopt, true); }
  void Add(const TcRule& rule) { Append(AddRuleRequest(link_, rule), rule, false); }
  void Delete(const TcRule& rule) { Append(DeleteRuleRequest(link_, rule), rule, true); }

  absl::Status Send(NetlinkSocket& socket) {
    if (requests_.empty()) return absl::OkStatus();
    std::vector<NetlinkMessage*> pointers;
    for (NetlinkMessage& request : requests_) pointers.push_back(&request);
    const std::vector<NetlinkResult> results = socket.Transact(pointers);
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].ok() || (deletes_[i] && SaysGone(results[i]))) continue;
      if (!rules_[i].has_value()) return ExplainClsact(results[i], link_);
      return ExplainRule(results[i], absl::StrCat("setting up filters on ", link_.name), *rules_[i]);
    }
    return absl::OkStatus();
  }

 private:
  void Append(NetlinkMessage request, std::optional<TcRule> rule, bool deletes) {
    requests_.push_back(std::move(request));
    rules_.push_back(std::move(rule));
    deletes_.push_back(deletes);
  }

  const NetworkLink& link_;
  std::vector<NetlinkMessage> requests_;
  std::vector<std::optional<TcRule>> rules_;
  std::vector<bool> deletes_;
};

struct Found {
  Classifier classifier = Classifier::kNone;
  std::vector<FoundRule> ours;
  std::set<uint64_t> owner_hashes;
  bool foreign = false;
  bool qdisc_is_ours = false;

  bool Has(const TapRule& rule) const {
    return std::any_of(ours.begin(), ours.end(), [&](const FoundRule& found) {
      return found.hook == rule.hook && found.priority == rule.priority;
    });
  }
  bool any() const { return !ours.empty(); }
};

absl::StatusOr<Found> FindRules(NetlinkSocket& socket, const NetworkLink& vif) {
  absl::StatusOr<Classifier> classifier = FindClassifier(socket, vif);
  if (!classifier.ok()) return classifier.status();
  Found found{.classifier = *classifier};
  for (const TcHook hook : {TcHook::kIngress, TcHook::kEgress}) {
    if (*classifier == Classifier::kNone) break;
    if (*classifier == Classifier::kIngress && hook == TcHook::kEgress) break;
    absl::StatusOr<std::vector<FoundRule>> rules = ListRules(socket, vif, hook);
    if (!rules.ok()) return rules.status();
    for (FoundRule& rule : *rules) {
      const std::optional<TapCookie> cookie = ParseTapCookie(rule.cookie);
      if (!cookie.has_value()) {
        found.foreign = true;
        continue;
      }
      found.qdisc_is_ours |= cookie->qdisc_is_ours;
      found.owner_hashes.insert(cookie->owner_hash);
      found.ours.push_back(std::move(rule));
    }
  }
  return found;
}

absl::Status RefuseForeign(const NetworkLink& vif) {
  return absl::FailedPreconditionError(absl::StrCat(
      vif.name, " has filters that are not of a lockstep session (an egress buffer's, or somebody else's): look at ",
      "them with 'tc filter show dev ", vif.name, " ingress' (and egress), end who made them, or remove them with ",
      "'tc filter del dev ", vif.name, " ingress' (and egress)"));
}

Mode ModeOf(const Found& found) {
  bool isolates = false, translates = false;
  for (const FoundRule& rule : found.ours) {
    if (rule.hook != TcHook::kEgress) continue;
    isolates |= rule.priority == kIsolation;
    translates |= rule.priority == kTranslation;
  }
  return isolates ? Mode::kIsolate : translates ? Mode::kTranslate : Mode::kDivert;
}

// Whether a process that lives has the vif's TAPs.
bool IsAttached(const std::vector<NetworkLink>& links, const std::string& vif) {
  return std::any_of(links.begin(), links.end(),
                     [&](const NetworkLink& link) { return link.alias == FrameTap::Alias(vif); });
}

TcRule Address(const FoundRule& rule) {
  TcRule address{.hook = rule.hook, .priority = rule.priority};
  if (rule.kind == "fw") address.only_mark = kMark;
  return address;
}

absl::Status DeleteRules(NetlinkSocket& socket, const NetworkLink& vif, const Found& found) {
  if (!found.any()) return absl::OkStatus();
  if (found.qdisc_is_ours && !found.foreign) return DeleteClassifier(socket, vif);
  Batch batch(vif);
  for (const FoundRule& rule : found.ours) batch.Delete(Address(rule));
  return batch.Send(socket);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GuestTap>> GuestTap::Attach(NetlinkSocket& socket, const Vif& vif,
                                                           const std::string& owner, Mode mode) {
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(socket, vif.name);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::UnavailableError(absl::StrCat(vif.name, ": no such device"));
  if (vif.emulated) {
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " is a device model's card: a guest in lockstep has none"));
  }
  if (absl::Status status = CheckPortKind(**link); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FrameTap>> from_guest =
      FrameTap::New(socket, FrameTap::Name(vif, kFromGuestSuffix), **link);
  if (absl::IsAlreadyExists(from_guest.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(vif.name, " is of a lockstep session already: ", from_guest.status().message()));
  }
  if (!from_guest.ok()) return from_guest.status();
  absl::StatusOr<std::unique_ptr<FrameTap>> to_guest =
      FrameTap::New(socket, FrameTap::Name(vif, kToGuestSuffix), **link);
  if (!to_guest.ok()) return to_guest.status();
  std::unique_ptr<GuestTap> tap(
      new GuestTap(socket, vif, HashTapOwner(owner), **std::move(link), *std::move(from_guest), *std::move(to_guest)));
  if (absl::Status status = tap->Install(mode); !status.ok()) return status;
  return tap;
}

GuestTap::GuestTap(NetlinkSocket& socket, Vif vif, uint64_t owner_hash, NetworkLink link,
                   std::unique_ptr<FrameTap> from_guest, std::unique_ptr<FrameTap> to_guest)
    : socket_(socket),
      vif_(std::move(vif)),
      owner_hash_(owner_hash),
      link_(std::move(link)),
      from_guest_(std::move(from_guest)),
      to_guest_(std::move(to_guest)) {}

GuestTap::~GuestTap() = default;

FrameTap& GuestTap::tap(FrameDirection direction) const {
  return direction == FrameDirection::kFromGuest ? *from_guest_ : *to_guest_;
}

TcRule GuestTap::Build(const TapRule& rule) const {
  return ToTcRule(rule, from_guest_->link(), to_guest_->link(),
                  {.owner_hash = owner_hash_, .qdisc_is_ours = qdisc_is_ours_});
}

absl::Status GuestTap::Install(Mode mode) {
  for (const FrameDirection direction : {FrameDirection::kFromGuest, FrameDirection::kToGuest}) {
    Batch way_back(tap(direction).link());
    way_back.AddClsact();
    way_back.Add(WayBack(direction, link_));
    if (absl::Status status = way_back.Send(socket_); !status.ok()) return status;
  }
  absl::StatusOr<Found> found = FindRules(socket_, link_);
  if (!found.ok()) return found.status();
  if (found->foreign) return RefuseForeign(link_);
  if (found->any() && found->owner_hashes != std::set<uint64_t>{owner_hash_}) {
    return absl::FailedPreconditionError(absl::StrCat(
        link_.name,
        " is still mute from the lockstep session of another protection, whose agent died: start the agent ",
        "again, which lets it speak where that protection has ended, or remove its filters with 'tc filter del dev ",
        link_.name, " ingress' and the same for egress"));
  }
  adopted_ = found->any();
  mode_ = adopted_ && mode == Mode::kDirect ? Mode::kDivert : mode;
  qdisc_is_ours_ = adopted_ ? found->qdisc_is_ours : found->classifier == Classifier::kNone;

  Batch batch(link_);
  // Of an older host or agent, and empty. Nobody relies on it, and it has no hook for what goes to the guest.
  if (found->classifier == Classifier::kIngress) batch.DeleteClassifier();
  if (found->classifier != Classifier::kClsact) batch.AddClsact();
  // What shuts stays, or comes first, until all is exchanged.
  std::vector<const TapRule*> kept;
  for (const TapRule& rule : kRules) {
    if (!adopted_ || !IsLastShut(rule.hook, rule.priority) || !rule.In(mode_)) continue;
    if (!found->Has(rule)) batch.Add(Build(rule));
    kept.push_back(&rule);
  }
  for (const FoundRule& rule : found->ours) {
    if (!IsLastShut(rule.hook, rule.priority)) batch.Delete(Address(rule));
  }
  for (const TapRule& rule : kRules) {
    if (rule.In(mode_) && std::find(kept.begin(), kept.end(), &rule) == kept.end()) batch.Add(Build(rule));
  }
  for (const FoundRule& rule : found->ours) {
    const bool was_kept = std::any_of(kept.begin(), kept.end(), [&](const TapRule* each) {
      return each->hook == rule.hook && each->priority == rule.priority;
    });
    if (IsLastShut(rule.hook, rule.priority) && !was_kept) batch.Delete(Address(rule));
  }
  absl::Status status = batch.Send(socket_);
  if (!status.ok() && !adopted_) {
    // As it was; but an empty ingress qdisc has become an empty clsact.
    absl::StatusOr<Found> made = FindRules(socket_, link_);
    if (made.ok()) DeleteRules(socket_, link_, *made).IgnoreError();
    if (qdisc_is_ours_ && made.ok() && !made->any()) DeleteClassifier(socket_, link_).IgnoreError();
  }
  return status;
}

absl::Status GuestTap::SetMode(Mode mode) {
  if (mode == mode_) return absl::OkStatus();
  Batch batch(link_);
  // What a packet would reach first goes in first and out last.
  for (const TapRule& rule : kRules) {
    if (rule.In(mode) && !rule.In(mode_)) batch.Add(Build(rule));
  }
  for (auto rule = std::rbegin(kRules); rule != std::rend(kRules); ++rule) {
    if (rule->In(mode_) && !rule->In(mode)) batch.Delete(Build(*rule));
  }
  absl::Status status = batch.Send(socket_);
  if (status.ok()) mode_ = mode;
  return status;
}

absl::Status GuestTap::CheckInPlace() {
  std::vector<NetlinkMessage> probes;
  for (const TapRule& rule : kRules) {
    if (rule.In(mode_)) probes.push_back(ProbeRuleRequest(link_, Build(rule)));
  }
  std::vector<NetlinkMessage*> pointers;
  for (NetlinkMessage& probe : probes) pointers.push_back(&probe);
  for (const NetlinkResult& result : socket_.Transact(pointers)) {
    if (SaysGone(result)) {
      return absl::UnavailableError(absl::StrCat(
          link_.name, " is not diverted any more: it was unplugged, or somebody removed its filters (errno ",
          result.error, ")"));
    }
    if (!result.ok()) return result.ToStatus(absl::StrCat("looking at the filters of ", link_.name));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GuestTap::ReadDropped(FrameDirection direction) {
  const std::string& name = tap(direction).link().name;
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(socket_, name);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::UnavailableError(absl::StrCat(name, " is gone"));
  return (*link)->transmitted_dropped;
}

absl::Status GuestTap::Detach() {
  if (from_guest_ == nullptr) return absl::OkStatus();
  absl::StatusOr<Found> found = FindRules(socket_, link_);
  // ENODEV: the vif is gone, and its filters with it.
  if (!found.ok() && !absl::IsUnavailable(found.status())) return found.status();
  if (found.ok()) {
    if (absl::Status status = DeleteRules(socket_, link_, *found); !status.ok()) return status;
  }
  from_guest_.reset();
  to_guest_.reset();
  mode_ = Mode::kDirect;
  return absl::OkStatus();
}

absl::Status GuestTap::Clear(NetlinkSocket& socket, const std::string& vif) {
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(socket, vif);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::OkStatus();
  absl::StatusOr<Found> found = FindRules(socket, **link);
  if (!found.ok()) return found.status();
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(socket);
  if (!links.ok()) return links.status();
  if (found->any() && IsAttached(*links, vif)) {
    return absl::FailedPreconditionError(absl::StrCat(vif, " is of a lockstep session whose agent lives: end that"));
  }
  return DeleteRules(socket, **link, *found);
}

absl::Status GuestTap::Clear(NetlinkSocket& socket, const std::string& vif, const std::string& owner) {
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(socket, vif);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::OkStatus();
  absl::StatusOr<Found> found = FindRules(socket, **link);
  if (!found.ok()) return found.status();
  if (found->owner_hashes.count(HashTapOwner(owner)) == 0) return absl::OkStatus();
  const absl::Status cleared = Clear(socket, vif);
  return absl::IsFailedPrecondition(cleared) ? absl::OkStatus() : cleared;
}

absl::StatusOr<std::vector<GuestTap::Leftover>> GuestTap::FindLeftovers(NetlinkSocket& socket,
                                                                        const std::set<std::string>& living) {
  std::set<uint64_t> living_hashes;
  for (const std::string& owner : living) living_hashes.insert(HashTapOwner(owner));
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(socket);
  if (!links.ok()) return links.status();
  std::vector<Leftover> leftovers;
  for (const NetworkLink& link : *links) {
    if (IsAttached(*links, link.name)) continue;
    absl::StatusOr<Found> found = FindRules(socket, link);
    // Devices come and go meanwhile.
    if (!found.ok() || !found->any()) continue;
    const bool lives = std::any_of(found->owner_hashes.begin(), found->owner_hashes.end(),
                                   [&](uint64_t hash) { return living_hashes.count(hash) != 0; });
    if (!lives) leftovers.push_back({link.name, ModeOf(*found)});
  }
  std::sort(leftovers.begin(), leftovers.end(), [](const Leftover& a, const Leftover& b) { return a.vif < b.vif; });
  return leftovers;
}

}  // namespace romulus
