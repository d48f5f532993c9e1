#include "tests/simulation/scenario.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/simulation/control_plane.h"
#include "tests/simulation/faults.h"

namespace romulus::simulation {
namespace {

using Phase = protection::Protection::Phase;
using StandbyPhase = standby::Standby::Phase;

constexpr absl::Duration kTroublesMax = absl::Seconds(8);
// I5: from the last fault on; retries are up to 10 s apart, a commit may be waited for for 10 link timeouts.
constexpr absl::Duration kRestoreMax = absl::Seconds(60);

class Scenario {
 public:
  Scenario(uint64_t seed, Mutant mutant, bool trace, Mode mode)
      : world_(seed, mutant, trace, mode), faults_(&world_), plane_(&world_) {}

  Outcome Run() {
    world_.CreateProtection();
    if (RunTroubles() && RunRestoration()) RunEnd();
    Outcome outcome;
    outcome.violation = world_.violations.first();
    outcome.faults = faults_.injected();
    for (const auto& [name, count] : plane_.requested()) outcome.faults[absl::StrCat("plane-", name)] = count;
    outcome.checkpoints = world_.checkpoints;
    outcome.takeovers = world_.takeovers;
    outcome.answers = world_.ledger.received();
    outcome.early_checkpoints = world_.early_checkpoints();
    outcome.dropped = world_.dropped + (world_.primary == nullptr ? 0 : world_.primary->dropped());
    outcome.runs_along = world_.runs_along;
    outcome.compared = world_.compared;
    outcome.divergences = world_.divergences;
    for (const auto& [name, count] : world_.takeovers_from) outcome.faults[name] = count;
    outcome.ending = ending_;
    return outcome;
  }

 private:
  bool StepUntil(absl::Duration until) {
    while (world_.now() < until) {
      if (!world_.Step()) return false;
    }
    return true;
  }

  bool RunTroubles() {
    Random& random = world_.random;
    absl::Duration end = random.Between(absl::Seconds(1), kTroublesMax);
    uint64_t troubles = random.Below(7);
    for (uint64_t i = 0; i < troubles; ++i) {
      bool ask = random.Chance(250);
      world_.After(random.Between(absl::ZeroDuration(), end), [this, ask] {
        bool had_power = world_.primary_host.powered;
        if (ask) {
          plane_.RequestOne();
        } else {
          faults_.InjectOne();
          // The host has died: mostly, somebody wants the guest back.
          if (had_power && !world_.primary_host.powered && world_.random.Chance(900)) {
            world_.After(world_.random.Between(absl::ZeroDuration(), absl::Seconds(2)), [this] { plane_.TakeOver(8); });
          }
        }
      });
    }
    world_.After(absl::Milliseconds(500), [this] { Reconcile(); });
    return StepUntil(end);
  }

  void Reconcile() {
    if (ending_begun_) return;
    plane_.Reconcile();
    world_.After(absl::Milliseconds(500), [this] { Reconcile(); });
  }

  bool guest_here() const { return world_.guest != nullptr && !world_.guest->destroyed; }

  // Protection is as good as it can be after what has happened; says how in ending_.
  bool Restored() {
    bool active = world_.secondary != nullptr && world_.secondary->driver->phase() == StandbyPhase::kActive;
    if (!guest_here()) {
      ending_ = active ? "taken over" : "guest gone";
      return true;
    }
    if (world_.primary == nullptr) {
      ending_ = "fenced";
      return world_.GuestFenced();
    }
    Phase phase = world_.primary->driver->phase();
    if (phase == Phase::kProtected) {
      ending_ = "protected";
      return world_.guest->Runs();
    }
    if (phase == Phase::kFenced || world_.GuestFenced()) {
      ending_ = active ? "moved" : "fenced";
      return true;
    }
    return false;
  }

  // I5.
  bool RunRestoration() {
    faults_.Heal();
    absl::Duration deadline = world_.now() + kRestoreMax;
    // What was asked of the control plane before may still be on its way.
    if (!StepUntil(world_.now() + absl::Seconds(3))) return false;
    while (!Restored()) {
      if (!StepUntil(world_.now() + absl::Milliseconds(100))) return false;
      if (world_.now() > deadline) {
        world_.violations.Report(
            "I5 restored",
            absl::StrCat("60 s after the last fault the primary is ",
                         world_.primary == nullptr ? "gone" : world_.primary->driver->core().state_name(),
                         ", the secondary ", world_.secondary->driver->core().state_name()));
        return false;
      }
    }
    // Without ON_LINK_LOSS nobody is fenced whom nobody asked to be.
    if (world_.primary != nullptr && world_.primary->driver->phase() == Phase::kFenced && !plane_.fence_asked() &&
        world_.config.failover_policy == protection::FailoverPolicy::kByRequest) {
      world_.violations.Report("I5 restored", "fenced, and nobody has asked for it");
      return false;
    }
    return true;
  }

  // I6.
  void RunEnd() {
    ending_begun_ = true;
    int waiting = 0;
    bool once_more = false;
    auto done = [this, &waiting, &once_more](absl::Status status) {
      --waiting;
      // Whoever deletes a protection that was about to learn that the other host owns the guest is told so, and to
      // delete again: it gets another end than it expected.
      if (absl::IsFailedPrecondition(status) && world_.primary->driver->phase() == Phase::kFenced && !once_more) {
        once_more = true;
        return;
      }
      if (!status.ok()) world_.violations.Report("I6 deleted", status.ToString());
    };
    auto delete_protection = [this, &waiting, &done] {
      ++waiting;
      uint64_t generation = std::max(world_.generation, world_.primary->driver->core().snapshot().generation);
      world_.primary->driver->Delete(generation, false, done);
    };
    if (world_.primary != nullptr) {
      delete_protection();
    } else if (world_.primary_host.powered && world_.primary_host.kernel != nullptr) {
      // The guest has gone while no agent was there; the next to start would find the record and clean up.
      return;
    }
    absl::Duration deadline = world_.now() + absl::Seconds(30);
    // False: a violation has ended the scenario.
    auto await_answers = [this, &waiting, deadline] {
      while (waiting > 0 && world_.now() < deadline) {
        if (!world_.Step()) return false;
      }
      return true;
    };
    if (!await_answers()) return;
    if (once_more) delete_protection();
    if (!await_answers()) return;
    if (waiting > 0) return world_.violations.Report("I6 deleted", "DeleteProtection does not answer");
    world_.Trace("deleted");
    waiting = 1;
    // Of a link that just closed the secondary may not know yet.
    if (!StepUntil(world_.now() + absl::Seconds(3))) return;
    uint64_t generation = std::max(world_.generation, world_.secondary->driver->core().snapshot().generation);
    world_.secondary->driver->Delete(generation, done);
    if (!await_answers()) return;
    if (waiting > 0) return world_.violations.Report("I6 deleted", "DeleteStandby does not answer");
    if (!StepUntil(world_.now() + absl::Seconds(1))) return;
    world_.leftovers.AtEnd(world_.primary_host);
    world_.leftovers.AtEnd(world_.secondary_host);
  }

  World world_;
  Faults faults_;
  ControlPlane plane_;
  std::string ending_ = "cut short";
  bool ending_begun_ = false;
};

}  // namespace

Outcome RunScenario(uint64_t seed, Mutant mutant, bool trace, Mode mode) {
  return Scenario(seed, mutant, trace, mode).Run();
}

}  // namespace romulus::simulation
