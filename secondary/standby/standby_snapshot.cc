#include "absl/strings/str_cat.h"
#include "secondary/standby/standby.h"

namespace romulus::standby {

Standby::Snapshot Standby::snapshot() const {
  Snapshot snapshot;
  snapshot.generation = generation_;
  snapshot.ownership_moved = ownership_moved_;
  snapshot.link_alive = link_.has_value();
  snapshot.lockstep_refusal = lockstep_refusal_;
  snapshot.last_error = last_error_;
  auto at = [&snapshot](Phase phase, uint64_t committed, uint64_t applied = 0) {
    snapshot.phase = phase;
    snapshot.committed_epoch = committed;
    snapshot.applied_epoch = applied;
  };
  if (std::holds_alternative<Preparing>(state_) || std::holds_alternative<Seeding>(state_)) {
    at(Phase::kSeeding, 0);
  } else if (auto* ready = std::get_if<Ready>(&state_)) {
    at(Phase::kReady, ready->committed, ready->applied);
    snapshot.runs_along = ready->guest == Guest::kRuns;
  } else if (auto* awaiting = std::get_if<AwaitingFence>(&state_)) {
    at(Phase::kActivating, awaiting->ready.committed, awaiting->ready.applied);
    snapshot.runs_along = awaiting->ready.guest == Guest::kRuns;
  } else if (auto* activating = std::get_if<Activating>(&state_)) {
    at(Phase::kActivating, activating->committed);
  } else if (auto* active = std::get_if<Active>(&state_)) {
    at(active->failure.ok() ? Phase::kActive : Phase::kFailed, active->committed, active->committed);
  } else if (auto* discarding = std::get_if<Discarding>(&state_)) {
    at(std::holds_alternative<ToOffer>(discarding->next) ? Phase::kSeeding : Phase::kFailed, 0);
  } else if (std::holds_alternative<Failed>(state_)) {
    at(Phase::kFailed, 0);
  }
  return snapshot;
}

std::string Standby::state_name() const {
  struct Namer {
    std::string operator()(const Idle&) { return "Idle"; }
    std::string operator()(const Preparing&) { return "Preparing"; }
    std::string operator()(const Seeding&) { return "Seeding"; }
    std::string operator()(const Ready& s) {
      return absl::StrCat(s.deferred ? "Deferring(" : "Standby(", s.committed, Doing(s.guest), ")");
    }
    std::string operator()(const AwaitingFence& s) {
      return absl::StrCat("AwaitingFence(", s.ready.committed, Doing(s.ready.guest), ")");
    }
    std::string operator()(const Activating& s) { return absl::StrCat("Activating(", s.committed, ")"); }
    std::string operator()(const Active& s) {
      return absl::StrCat(s.failure.ok() ? "Active(" : "ActivationFailed(", s.committed, ")");
    }
    std::string operator()(const Discarding&) { return "Discarding"; }
    std::string operator()(const Failed&) { return "Failed"; }
    static const char* Doing(Guest guest) {
      switch (guest) {
        case Guest::kWaits:
          return "";
        case Guest::kStarts:
          return ", starts";
        case Guest::kRuns:
          return ", runs";
        case Guest::kSuspending:
          return ", suspending";
        case Guest::kSuspended:
          return ", suspended";
        case Guest::kFrozen:
          return ", frozen";
      }
      return "";
    }
  };
  return std::visit(Namer{}, state_);
}

}  // namespace romulus::standby
