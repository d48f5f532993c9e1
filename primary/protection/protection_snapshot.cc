#include "absl/strings/str_cat.h"
#include "primary/protection/protection.h"

namespace romulus::protection {

Protection::Snapshot Protection::snapshot() const {
  Snapshot snapshot;
  snapshot.generation = generation_;
  snapshot.committed_epoch = committed_epoch_;
  snapshot.sessions = sessions_;
  snapshot.early_checkpoints = early_checkpoints_;
  snapshot.pacing = pacer_.snapshot();
  snapshot.lockstep = std::holds_alternative<Runs>(standby_guest_);
  snapshot.lockstep_runs = lockstep_runs_;
  snapshot.differences = differences_;
  snapshot.last_difference = last_difference_;
  snapshot.lockstep_refusal = lockstep_refusal_;
  snapshot.last_error = last_error_;
  snapshot.config = config_;
  const Position position = this->position();
  snapshot.phase = position.phase;
  snapshot.epoch = position.epoch;
  return snapshot;
}

Protection::Position Protection::position() const {
  Position position;
  Phase without_session = output_wanted_ == Output::kHeld ? Phase::kHolding : Phase::kUnprotected;
  if (!create_requests_.empty() && !std::holds_alternative<Ended>(state_)) without_session = Phase::kConnecting;
  // Recovered, and its guest is being seen to: what a predecessor holds or lets pass is not known yet.
  if (std::holds_alternative<Idle>(state_)) without_session = Phase::kConnecting;
  auto in_epoch = [&position](uint64_t executing, uint64_t checkpoint) {
    position.epoch = executing;
    position.phase = checkpoint == 1 ? Phase::kSeeding : Phase::kProtected;
  };
  auto ending = [&position, without_session](Aftermath aftermath) {
    position.phase = aftermath == Aftermath::kDelete ? Phase::kDisengaging : without_session;
  };
  if (std::holds_alternative<Seeding>(state_)) {
    in_epoch(1, 1);
  } else if (auto* capturing = std::get_if<Capturing>(&state_)) {
    in_epoch(capturing->epoch + (capturing->suspended ? 1 : 0), capturing->epoch);
  } else if (auto* replicating = std::get_if<Replicating>(&state_)) {
    in_epoch(replicating->epoch + (replicating->next >= Next::kSuspended ? 2 : 1), replicating->epoch);
  } else if (auto* running = std::get_if<Running>(&state_)) {
    in_epoch(running->epoch, running->epoch);
  } else if (auto* stopping = std::get_if<StoppingSession>(&state_)) {
    ending(stopping->aftermath);
  } else if (auto* unwinding = std::get_if<Unwinding>(&state_)) {
    ending(unwinding->aftermath);
  } else if (std::holds_alternative<Fenced>(state_)) {
    position.phase = Phase::kFenced;
  } else if (auto* ended = std::get_if<Ended>(&state_)) {
    position.phase = ended->why.ok() ? Phase::kEnded : Phase::kFailed;
    if (ended->retrying) position.phase = Phase::kDisengaging;
  } else {
    position.phase = without_session;
  }
  return position;
}

std::string Protection::state_name() const {
  struct Namer {
    const StandbyGuest& guest;
    std::string operator()(const Idle&) { return "Idle"; }
    std::string operator()(const Attaching&) { return "Attaching"; }
    std::string operator()(const Connecting&) { return "Connecting"; }
    std::string operator()(const Seeding&) { return "Seeding"; }
    std::string operator()(const Capturing& s) {
      return absl::StrCat(s.suspended ? "Capturing(" : "Suspending(", s.epoch, Doing(guest), ")");
    }
    std::string operator()(const Replicating& s) { return absl::StrCat("Replicating(", s.epoch, Taking(s.next), ")"); }
    std::string operator()(const Running& s) { return absl::StrCat("Running(", s.epoch, Doing(guest), ")"); }
    std::string operator()(const StoppingSession& s) { return absl::StrCat("StoppingSession(", For(s.aftermath), ")"); }
    std::string operator()(const Unwinding& s) { return absl::StrCat("Unwinding(", For(s.aftermath), ")"); }
    std::string operator()(const BackingOff&) { return "BackingOff"; }
    std::string operator()(const Fenced& s) {
      return absl::StrCat("Fenced(", s.generation, s.confirmed ? ")" : ", unconfirmed)");
    }
    std::string operator()(const Ended& s) { return s.why.ok() ? "Ended" : "Failed"; }
    static const char* Doing(const StandbyGuest& guest) {
      if (std::holds_alternative<Starts>(guest)) return ", standby starts";
      if (std::holds_alternative<Runs>(guest)) return ", standby runs";
      if (auto* suspends = std::get_if<Suspends>(&guest)) return suspends->listed ? ", pages listed" : ", both";
      return "";
    }
    static const char* Taking(Next next) {
      switch (next) {
        case Next::kNone:
          return "";
        case Next::kRequested:
          return ", suspending";
        case Next::kSuspended:
          return ", copying";
        case Next::kResumed:
          return ", copied";
        case Next::kCaptured:
          return ", captured";
      }
      return "";
    }
    static const char* For(Aftermath aftermath) {
      switch (aftermath) {
        case Aftermath::kRetry:
          return "retry";
        case Aftermath::kFail:
          return "fail";
        case Aftermath::kDelete:
          return "delete";
      }
      return "";
    }
  };
  return std::visit(Namer{standby_guest_}, state_);
}

}  // namespace romulus::protection
