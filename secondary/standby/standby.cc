#include "secondary/standby/standby.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus::standby {
namespace {

constexpr absl::Duration kRetryActivateDelay = absl::Seconds(1);

absl::Status TooLow(uint64_t asked, uint64_t highest) {
  return absl::AbortedError(
      absl::StrCat("generation ", asked, " is lower than the highest seen for this protection, ", highest));
}

absl::Status Superseded() { return absl::UnavailableError("superseded by a new session of the primary"); }

std::string Text(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

Standby::Standby() : state_(Idle{}) {}

std::vector<action::Action> Standby::Step(const event::Event& event) {
  actions_.clear();
  std::visit([this](const auto& e) { On(e); }, event);
  return std::move(actions_);
}

Standby::Ready* Standby::ready() {
  if (AwaitingFence* awaiting = in<AwaitingFence>()) return &awaiting->ready;
  return in<Ready>();
}

bool Standby::has_target() const {
  return std::holds_alternative<Preparing>(state_) || std::holds_alternative<Seeding>(state_) ||
         std::holds_alternative<Ready>(state_);
}

void Standby::ReplyAll(const std::vector<RequestId>& requests, const absl::Status& status) {
  for (RequestId request : requests) Do(action::Reply{request, status});
}

// ---- sessions ----

void Standby::On(const event::Start& e) {
  ROMULUS_CHECK(in<Idle>() && !in<Idle>()->started);
  generation_ = e.stored_generation;
  ownership_moved_ = e.ownership_moved;
  forgotten_ = e.forgotten;
  if (ownership_moved_ && !forgotten_) {
    state_ = Active{};
  } else {
    state_ = Idle{true};
  }
}

absl::Status Standby::MayAccept(const Offer& offer) const {
  if (offer.generation < generation_) return TooLow(offer.generation, generation_);
  if (ownership_moved_ && offer.generation == generation_) {
    return absl::AbortedError(absl::StrCat("the guest was activated on this host in generation ", generation_));
  }
  if (ownership_moved_ && !forgotten_) {
    return absl::FailedPreconditionError(absl::StrCat("the guest was activated on this host in generation ",
                                                      generation_, "; delete the standby here first"));
  }
  if (shutting_down_) return absl::UnavailableError("the secondary agent is shutting down");
  if (std::holds_alternative<AwaitingFence>(state_)) {
    return absl::UnavailableError("the standby is about to be activated");
  }
  return offer.compatibility;
}

void Standby::On(const event::SessionOffered& e) {
  if (absl::Status refusal = MayAccept(e.offer); !refusal.ok()) {
    Do(action::RefuseLink{e.offer.session, refusal});
    return;
  }
  pending_accept_ = e.offer;
  // On record before anything is destroyed or promised in it.
  if (e.offer.generation > generation_) Do(action::WriteRecord{e.offer.generation, false, false});
  Do(action::Continue{Milestone::kAccept});
}

void Standby::Accept(const Offer& offer) {
  CloseLink(Superseded());
  session_ = offer;
  link_ = offer.session;
  state_ = Preparing{};
  Do(action::TakeLink{offer.session});
  Do(action::PrepareTarget{});
}

void Standby::CloseLink(absl::Status status) {
  if (!link_.has_value()) return;
  link_.reset();
  Do(action::CloseLink{std::move(status)});
}

// From here nothing of the target will ever be activated.
void Standby::Discard(AfterDiscard next, bool say_stopped, std::vector<RequestId> requests) {
  Do(action::DropArrived{});
  Do(action::DiscardTarget{});
  state_ = Discarding{std::move(next), say_stopped, std::move(requests)};
}

void Standby::On(const event::LinkClosed& e) {
  if (link_ != e.session) {
    if (Discarding* discarding = in<Discarding>()) {
      ToOffer* queued = std::get_if<ToOffer>(&discarding->next);
      if (queued != nullptr && queued->offer.session == e.session) discarding->next = ToFailed{};
    }
    return;
  }
  link_.reset();
  absl::Status why = e.status.ok() ? absl::UnavailableError("the primary has ended the session") : e.status;
  // A dead link is a dead primary host only if nobody closed it for a reason of its own.
  bool activate = session_.failover_policy == FailoverPolicy::kOnLinkLoss && absl::IsUnavailable(why);
  if (in<Preparing>() || in<Seeding>()) {
    last_error_ =
        absl::UnavailableError(absl::StrCat("the link was lost before the first copy was complete: ", Text(why)));
    return Discard(ToFailed{});
  }
  Ready* kept = ready();
  if (kept == nullptr) return;
  last_error_ = why;
  if (kept->deferred) {
    kept->deferred = false;
    Do(action::DropArrived{});
  }
  Freeze(*kept);
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    if (awaiting->primary_fenced || activate) {
      return BeginActivation(awaiting->generation, std::move(awaiting->requests));
    }
    return AbandonFence(absl::FailedPreconditionError(
        absl::StrCat("the link was lost before the primary had confirmed that the guest is stopped there (", Text(why),
                     "): make sure that it is, then activate with primary_fenced")));
  }
  if (activate) BeginActivation(generation_ + 1, {});
}

void Standby::ProtocolBroken(const std::string& what) {
  if (!link_.has_value()) return;
  last_error_ = absl::InvalidArgumentError(absl::StrCat("the primary broke the protocol: ", what));
  CloseLink(last_error_);
  Do(action::DropArrived{});
  if (in<Preparing>() || in<Seeding>()) return Discard(ToFailed{});
  if (Ready* kept = ready()) {
    kept->deferred = false;
    Freeze(*kept);
  }
  if (in<AwaitingFence>()) AbandonFence(absl::FailedPreconditionError(Text(last_error_)));
}

void Standby::On(const event::PeerMisbehaved& e) { ProtocolBroken(e.what); }

void Standby::On(const event::StopSession& e) {
  if (e.generation < generation_ && link_.has_value() && has_target()) {
    // A message of an older generation on this session: whoever sends it no longer owns the guest.
    absl::Status too_low = TooLow(e.generation, generation_);
    CloseLink(too_low);
    last_error_ = too_low;
    if (!in<Ready>()) return Discard(ToFailed{});
    in<Ready>()->deferred = false;
    Do(action::DropArrived{});
    Freeze(*in<Ready>());
    return;
  }
  if (e.generation != session_.generation) return ProtocolBroken("StopSession of another generation");
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    // Crossed with Fence: who has sent StopSession does not stop the guest.
    std::vector<RequestId> requests = std::move(awaiting->requests);
    ReplyAll(requests, absl::FailedPreconditionError("the primary has just ended the protection"));
    Do(action::CancelTimer{Timer::kFence});
    return Discard(ToIdle{}, /*say_stopped=*/true);
  }
  if (has_target()) Discard(ToIdle{}, /*say_stopped=*/true);
}

// ---- checkpoints ----

void Standby::On(const event::Prepared& e) {
  if (in<Discarding>()) return;
  ROMULUS_CHECK(in<Preparing>());
  if (!e.status.ok()) {
    last_error_ = e.status;
    CloseLink(e.status);
    return Discard(ToFailed{});
  }
  state_ = Seeding{};
  Do(action::SendAccepted{});
}

void Standby::On(const event::Seeded& e) {
  if (!in<Seeding>()) {
    if (in<Preparing>() || ready() != nullptr) return ProtocolBroken("checkpoint 1 twice, or before SessionAccepted");
    Do(action::DropArrived{});
    return;
  }
  if (!Allows(e.after)) return;
  state_ = Ready{1, 1};
  Take(*in<Ready>(), 1, e.after == After::kRun);
}

void Standby::On(const event::CheckpointArrived& e) {
  if (in<Preparing>() || in<Seeding>()) return ProtocolBroken("a checkpoint before the first copy was complete");
  Ready* kept = ready();
  if (kept == nullptr || !link_.has_value()) {
    Do(action::DropArrived{});
    return;
  }
  if (kept->deferred || e.epoch != kept->committed + 1) {
    return ProtocolBroken(absl::StrCat("checkpoint ", e.epoch, " after ", kept->committed));
  }
  if (kept->guest != Guest::kWaits && kept->guest != Guest::kSuspended) {
    return ProtocolBroken(absl::StrCat("checkpoint ", e.epoch, " while the standby runs along and is not suspended"));
  }
  if (!Allows(e.after)) return;
  kept->deferred = true;
  kept->deferred_runs = e.after == After::kRun;
  TakeDeferred(*kept);
}

void Standby::On(const event::Applied& e) {
  Ready* kept = ready();
  if (kept == nullptr) return;
  ROMULUS_CHECK(e.epoch <= kept->committed);
  kept->applied = std::max(kept->applied, e.epoch);
  TakeDeferred(*kept);
}

// Handing over and committing are one: what was not acknowledged is not applied, so a takeover is exactly the last
// committed epoch.
void Standby::TakeDeferred(Ready& ready) {
  if (!ready.deferred || ready.committed - ready.applied >= kUnappliedCheckpointsMax) return;
  ready.deferred = false;
  ++ready.committed;
  Take(ready, ready.committed, ready.deferred_runs);
}

void Standby::Take(Ready& ready, uint64_t epoch, bool runs) {
  ready.guest = runs ? Guest::kStarts : Guest::kWaits;
  Do(action::Apply{epoch, runs});
  Do(action::SendCommit{epoch});
}

// ---- lockstep ----

bool Standby::Allows(After after) {
  if (after == After::kWait || (after == After::kRun && session_.lockstep)) return true;
  ProtocolBroken(after == After::kRun ? "STANDBY_RUNS in a session whose stream mode is not COLO"
                                      : "CheckpointTrailer.after is of no known kind");
  return false;
}

void Standby::On(const event::SuspendStandby& e) {
  if (in<Preparing>() || in<Seeding>()) return ProtocolBroken("SuspendStandby before the first copy was complete");
  Ready* kept = ready();
  if (kept == nullptr || !link_.has_value()) return;
  if (kept->guest != Guest::kRuns || e.epoch != kept->committed + 1) {
    return ProtocolBroken(absl::StrCat("SuspendStandby for checkpoint ", e.epoch, " in ", state_name()));
  }
  kept->guest = Guest::kSuspending;
  Do(action::SuspendTarget{e.epoch});
}

void Standby::On(const event::Running& e) {
  Ready* kept = ready();
  if (kept == nullptr || kept->guest == Guest::kFrozen) return;
  ROMULUS_CHECK(kept->guest == Guest::kStarts && e.epoch == kept->committed);
  kept->guest = Guest::kRuns;
  Do(action::SendStandbyRunning{e.epoch});
}

void Standby::On(const event::LockstepRefused& e) {
  Ready* kept = ready();
  if (kept == nullptr || kept->guest == Guest::kFrozen) return;
  ROMULUS_CHECK(kept->guest == Guest::kStarts && e.epoch == kept->committed);
  kept->guest = Guest::kWaits;
  lockstep_refusal_ = Text(e.why);
  Do(action::SendLockstepRefused{e.epoch, lockstep_refusal_});
}

void Standby::On(const event::Suspended& e) {
  Ready* kept = ready();
  if (kept == nullptr || kept->guest == Guest::kFrozen) return;
  ROMULUS_CHECK(kept->guest == Guest::kSuspending && e.epoch == kept->committed + 1);
  kept->guest = Guest::kSuspended;
  Do(action::SendDirtyPages{e.epoch});
}

// Its input has ended, and its timers must not run without it. From here only an activation, which goes on from its own
// state, or the end.
void Standby::Freeze(Ready& ready) {
  if (ready.guest == Guest::kWaits || ready.guest == Guest::kFrozen) return;
  ready.guest = Guest::kFrozen;
  Do(action::FreezeTarget{});
}

void Standby::On(const event::Broken& e) {
  if (in<Discarding>() || in<Active>()) return;
  last_error_ = absl::InternalError(absl::StrCat("the standby is lost: ", Text(e.status)));
  if (in<Activating>()) return On(event::Activated{e.status});
  ROMULUS_CHECK(has_target() || in<AwaitingFence>());
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    std::vector<RequestId> requests = std::move(awaiting->requests);
    ReplyAll(requests, last_error_);
    Do(action::CancelTimer{Timer::kFence});
  }
  if (in<Preparing>()) {
    CloseLink(e.status);
  } else if (link_.has_value()) {
    Do(action::SendStandbyFailed{Text(last_error_)});
  }
  Discard(ToFailed{});
}

void Standby::On(const event::Discarded&) {
  Discarding* discarding = in<Discarding>();
  ROMULUS_CHECK(discarding != nullptr);
  Discarding done = std::move(*discarding);
  if (done.say_stopped && link_.has_value()) Do(action::SendSessionStopped{});
  ReplyAll(done.requests, absl::OkStatus());
  if (ToOffer* queued = std::get_if<ToOffer>(&done.next)) return Accept(queued->offer);
  if (std::holds_alternative<ToFailed>(done.next)) {
    state_ = Failed{};
  } else {
    state_ = Idle{true};
  }
}

// ---- activation ----

void Standby::On(const event::ActivateRequested& e) {
  auto refuse = [&](absl::Status status) { Do(action::Reply{e.request, std::move(status)}); };
  if (e.generation < generation_) return refuse(TooLow(e.generation, generation_));
  if (Active* active = in<Active>()) {
    if (e.generation == generation_) return refuse(active->failure);
    return refuse(absl::FailedPreconditionError(
        absl::StrCat("the guest was activated here in generation ", generation_, " already")));
  }
  if (Activating* activating = in<Activating>()) {
    if (e.generation == generation_) {
      activating->requests.push_back(e.request);
      return;
    }
    return refuse(absl::FailedPreconditionError(absl::StrCat("being activated in generation ", generation_)));
  }
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    if (e.generation != awaiting->generation) {
      return refuse(
          absl::FailedPreconditionError(absl::StrCat("being activated in generation ", awaiting->generation)));
    }
    awaiting->requests.push_back(e.request);
    if (e.primary_fenced && !awaiting->primary_fenced) {
      awaiting->primary_fenced = true;
      Do(action::ArmTimer{Timer::kFence, session_.heartbeat_interval});
    }
    return;
  }
  Ready* kept = in<Ready>();
  if (kept == nullptr || shutting_down_) {
    return refuse(absl::FailedPreconditionError(absl::StrCat("there is no committed checkpoint here to activate from",
                                                             last_error_.ok() ? "" : ": ", Text(last_error_))));
  }
  if (e.generation == generation_) {
    return refuse(absl::InvalidArgumentError(
        absl::StrCat("generation: activation takes a higher one than any seen so far, ", generation_)));
  }
  if (kept->fenced_by_primary.has_value()) return BeginActivation(e.generation, {e.request});
  if (!link_.has_value()) {
    if (e.primary_fenced) return BeginActivation(e.generation, {e.request});
    return refuse(absl::FailedPreconditionError(
        "the link to the primary is dead, so it is not known whether the guest still runs there: make sure that it "
        "does not (FenceProtection there, or cut the host's power), then activate with primary_fenced"));
  }
  // An answer is due at once from a primary that lives. Where the caller vouches for a dead one, waiting for it is no
  // more than a courtesy to a caller who errs, and costs the guest's clients: one heartbeat's time is enough.
  Do(action::SendFence{e.generation});
  Do(action::ArmTimer{Timer::kFence, e.primary_fenced ? session_.heartbeat_interval : session_.link_timeout});
  Ready ready = *kept;
  state_ = AwaitingFence{ready, {e.request}, e.generation, e.primary_fenced};
}

void Standby::On(const event::Fenced& e) {
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    if (e.next_generation != awaiting->generation) return;
    awaiting->ready.fenced_by_primary = e.next_generation;
    return BeginActivation(awaiting->generation, std::move(awaiting->requests));
  }
  if (Ready* kept = in<Ready>()) {
    kept->fenced_by_primary = e.next_generation;
    return;
  }
  if (in<Preparing>() || in<Seeding>()) ProtocolBroken("Fenced before the first commit");
}

void Standby::AbandonFence(absl::Status why) {
  AwaitingFence awaiting = std::move(*in<AwaitingFence>());
  Do(action::CancelTimer{Timer::kFence});
  state_ = awaiting.ready;
  ReplyAll(awaiting.requests, why);
}

// Ownership moves with the record, before anything else happens: after a crash this host neither accepts the old
// owner's session nor forgets that the guest may have run here.
void Standby::BeginActivation(uint64_t generation, std::vector<RequestId> requests) {
  if (AwaitingFence* awaiting = in<AwaitingFence>()) {
    Do(action::CancelTimer{Timer::kFence});
    Ready ready = awaiting->ready;
    state_ = ready;
  }
  ROMULUS_CHECK(in<Ready>() && generation > generation_);
  pending_activation_ = PendingActivation{generation, std::move(requests)};
  Do(action::WriteRecord{generation, true, false});
  Do(action::Continue{Milestone::kActivate});
}

void Standby::On(const event::Continued& e) {
  switch (e.milestone) {
    case Milestone::kAccept: {
      Offer offer = *std::exchange(pending_accept_, std::nullopt);
      generation_ = offer.generation;
      ownership_moved_ = forgotten_ = false;
      if (Discarding* discarding = in<Discarding>()) {
        if (ToOffer* queued = std::get_if<ToOffer>(&discarding->next)) {
          Do(action::RefuseLink{queued->offer.session, Superseded()});
        }
        discarding->next = ToOffer{offer};
      } else if (has_target()) {
        CloseLink(Superseded());
        Discard(ToOffer{offer});
      } else {
        Accept(offer);
      }
      return;
    }
    case Milestone::kActivate: {
      PendingActivation pending = *std::exchange(pending_activation_, std::nullopt);
      generation_ = pending.generation;
      ownership_moved_ = true;
      forgotten_ = false;
      uint64_t committed = in<Ready>()->committed;
      // What has come of the next checkpoint is dropped; no more can come.
      Do(action::DropArrived{});
      CloseLink(
          absl::AbortedError(absl::StrCat("the guest is activated on the secondary in generation ", generation_)));
      Do(action::ActivateTarget{});
      state_ = Activating{committed, std::move(pending.requests)};
      return;
    }
    case Milestone::kForget: {
      std::vector<RequestId> requests = std::exchange(pending_forget_, {});
      forgotten_ = true;
      if (!in<Active>()->failure.ok()) return Discard(ToIdle{}, false, std::move(requests));
      Do(action::ReleaseTarget{});
      ReplyAll(requests, absl::OkStatus());
      state_ = Idle{true};
      return;
    }
  }
}

void Standby::On(const event::WriteFailed& e) {
  last_error_ = e.status;
  if (pending_accept_.has_value()) {
    // Not ready to promise anything; perhaps later.
    Do(action::RefuseLink{pending_accept_->session, absl::UnavailableError(Text(e.status))});
    pending_accept_.reset();
  } else if (pending_activation_.has_value()) {
    PendingActivation pending = *std::exchange(pending_activation_, std::nullopt);
    ReplyAll(pending.requests, absl::InternalError(absl::StrCat("not activated: ", Text(e.status))));
    if (pending.requests.empty()) Do(action::ArmTimer{Timer::kRetryActivate, kRetryActivateDelay});
  } else {
    ReplyAll(std::exchange(pending_forget_, {}), e.status);
  }
}

void Standby::On(const event::Activated& e) {
  Activating* activating = in<Activating>();
  if (activating == nullptr) return;
  std::vector<RequestId> requests = std::move(activating->requests);
  Active active{activating->committed, absl::OkStatus()};
  if (!e.status.ok()) {
    // The primary's copy is stopped for good, and this one may be the last: it is not destroyed, and not started
    // anywhere else either. People decide.
    active.failure = absl::InternalError(absl::StrCat(
        "activation failed after ownership had moved here: ", Text(e.status),
        "; the domain is kept as far as it came: look at it with `xl list`, or remove it with DeleteStandby"));
    last_error_ = active.failure;
  } else {
    last_error_ = absl::OkStatus();
  }
  ReplyAll(requests, active.failure);
  state_ = std::move(active);
}

void Standby::On(const event::TimerFired& e) {
  switch (e.timer) {
    case Timer::kFence:
      if (AwaitingFence* awaiting = in<AwaitingFence>()) {
        if (awaiting->primary_fenced) return BeginActivation(awaiting->generation, std::move(awaiting->requests));
        AbandonFence(absl::FailedPreconditionError(
            "the primary is connected but has not confirmed that the guest is stopped there: see its own status"));
      }
      return;
    case Timer::kRetryActivate:
      if (in<Ready>() && !link_.has_value() && session_.failover_policy == FailoverPolicy::kOnLinkLoss) {
        BeginActivation(generation_ + 1, {});
      }
      return;
  }
}

// ---- the end ----

void Standby::On(const event::DeleteRequested& e) {
  auto reply = [&](absl::Status status) { Do(action::Reply{e.request, std::move(status)}); };
  if (e.generation < generation_) return reply(TooLow(e.generation, generation_));
  bool queued_offer = in<Discarding>() && std::holds_alternative<ToOffer>(in<Discarding>()->next);
  if (in<AwaitingFence>() || in<Activating>()) {
    return reply(absl::FailedPreconditionError("the standby is being activated"));
  }
  if ((has_target() && link_.has_value()) || queued_offer) {
    return reply(absl::FailedPreconditionError("its primary is connected: delete the protection there"));
  }
  if (has_target()) return Discard(ToIdle{}, false, {e.request});
  if (Discarding* discarding = in<Discarding>()) {
    discarding->next = ToIdle{};
    discarding->requests.push_back(e.request);
    return;
  }
  if (in<Active>()) {
    pending_forget_.push_back(e.request);
    Do(action::WriteRecord{generation_, true, true});
    Do(action::Continue{Milestone::kForget});
    return;
  }
  state_ = Idle{true};
  reply(absl::OkStatus());
}

void Standby::On(const event::ShutdownRequested& e) {
  if (in<AwaitingFence>() || in<Activating>()) {
    // The primary's copy is stopped, or about to be: leaving now would leave the guest nowhere.
    Do(action::Reply{e.request, absl::FailedPreconditionError("the standby is being activated")});
    return;
  }
  shutting_down_ = true;
  if (has_target()) {
    last_error_ = absl::UnavailableError("the secondary agent is shutting down");
    Do(action::CancelTimer{Timer::kRetryActivate});
    if (in<Preparing>()) {
      CloseLink(last_error_);
    } else if (link_.has_value()) {
      Do(action::SendStandbyFailed{Text(last_error_)});
    }
    return Discard(ToFailed{}, false, {e.request});
  }
  if (Discarding* discarding = in<Discarding>()) {
    if (ToOffer* queued = std::get_if<ToOffer>(&discarding->next)) {
      Do(action::RefuseLink{queued->offer.session, absl::UnavailableError("the secondary agent is shutting down")});
      discarding->next = ToFailed{};
    }
    discarding->requests.push_back(e.request);
    return;
  }
  Do(action::Reply{e.request, absl::OkStatus()});
}

}  // namespace romulus::standby
