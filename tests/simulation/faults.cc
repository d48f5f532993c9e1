#include "tests/simulation/faults.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace romulus::simulation {
namespace {

enum Kind {
  kPrimaryAgentCrash,
  kSecondaryAgentCrash,
  kSaveHelperCrash,
  kRestoreHelperCrash,
  kPrimaryHostPowerLoss,
  kSecondaryHostPowerLoss,
  kPartitionToSecondary,
  kPartitionToPrimary,
  kPartition,
  kSlowNetwork,
  kConnectionReset,
  kPrimaryHostStall,
  kSecondaryHostStall,
  kSuspendFailure,
  kPauseFailure,
  kPrepareFailure,
  kActivationFailure,
  kEgressFailure,
  kPrimaryDiskFailure,
  kSecondaryDiskFailure,
  kStaleSession,
  kWallClockJump,
  kGuestFlood,
  kStandbyCannotRun,
  kGuestDestroyed,
};

constexpr const char* kNames[] = {
    "primary-agent-crash",
    "secondary-agent-crash",
    "save-helper-crash",
    "restore-helper-crash",
    "primary-power-loss",
    "secondary-power-loss",
    "partition-to-secondary",
    "partition-to-primary",
    "partition",
    "slow-network",
    "connection-reset",
    "primary-host-stall",
    "secondary-host-stall",
    "suspend-failure",
    "pause-failure",
    "prepare-failure",
    "activation-failure",
    "egress-failure",
    "primary-disk-failure",
    "secondary-disk-failure",
    "stale-session",
    "wall-clock-jump",
    "guest-flood",
    "standby-can-not-run",
    "guest-destroyed",
};

}  // namespace

void Faults::InjectOne() {
  Random& random = world_.random;
  auto kind = static_cast<Kind>(random.Below(std::size(kNames)));
  // The ends of the story are rarer than its turns.
  bool rare = kind == kPrimaryHostPowerLoss || kind == kGuestDestroyed || kind == kActivationFailure;
  if (rare && random.Chance(600)) return InjectOne();
  ++injected_[kNames[kind]];
  world_.Trace(absl::StrCat("fault: ", kNames[kind]));
  absl::Duration restart = random.Between(absl::Milliseconds(10), absl::Seconds(2));
  switch (kind) {
    case kPrimaryAgentCrash:
      return world_.CrashPrimaryAgent(restart);
    case kSecondaryAgentCrash:
      return world_.CrashSecondaryAgent(restart);
    case kSaveHelperCrash:
      if (world_.primary != nullptr && world_.primary->source != nullptr) world_.primary->source->KillHelper();
      return;
    case kRestoreHelperCrash:
      if (world_.secondary != nullptr && world_.secondary->target != nullptr) world_.secondary->target->KillHelper();
      return;
    case kPrimaryHostPowerLoss:
      primary_host_lost_ = true;
      return world_.PowerOff(world_.primary_host);
    case kSecondaryHostPowerLoss:
      world_.PowerOff(world_.secondary_host);
      world_.After(random.Between(absl::Milliseconds(500), absl::Seconds(4)),
                   [this] { world_.PowerOn(world_.secondary_host); });
      return;
    case kPartitionToSecondary:
      return Partition(true, false);
    case kPartitionToPrimary:
      return Partition(false, true);
    case kPartition:
      return Partition(true, true);
    case kSlowNetwork:
      world_.network.extra_latency_max = random.Between(absl::Milliseconds(1), absl::Milliseconds(400));
      world_.After(random.Between(absl::Milliseconds(100), absl::Seconds(3)),
                   [this] { world_.network.extra_latency_max = absl::ZeroDuration(); });
      return;
    case kConnectionReset:
      return world_.ResetConnection();
    case kPrimaryHostStall:
      return Stall(world_.primary_host);
    case kSecondaryHostStall:
      return Stall(world_.secondary_host);
    case kSuspendFailure:
      ++world_.primary_host.failing_suspends;
      return;
    case kPauseFailure:
      world_.primary_host.failing_pauses += static_cast<int>(1 + random.Below(3));
      return;
    case kPrepareFailure:
      ++world_.secondary_host.failing_prepares;
      return;
    case kActivationFailure:
      activation_failed_ = true;
      ++world_.secondary_host.failing_activations;
      return;
    case kEgressFailure:
      if (world_.config.lockstep.has_value()) {
        world_.primary_host.failing_traffic = static_cast<int>(1 + random.Below(4));
      } else if (world_.primary_host.powered) {
        world_.primary_host.kernel->FailOperations(absl::UnavailableError("simulated: netlink: ENOBUFS"),
                                                   static_cast<int>(1 + random.Below(4)),
                                                   static_cast<int>(random.Below(6)));
      }
      return;
    case kPrimaryDiskFailure:
      return world_.primary_host.store.FailWrites(static_cast<int>(1 + random.Below(3)));
    case kSecondaryDiskFailure:
      return world_.secondary_host.store.FailWrites(static_cast<int>(1 + random.Below(3)));
    case kStaleSession:
      return world_.DeliverStaleSession();
    case kWallClockJump:
      // Nothing can be done to a clock that nobody can read: SimulatedScheduler has no other than the monotonic one.
      return;
    case kGuestFlood:
      return world_.FloodFor(random.Between(absl::Milliseconds(100), absl::Seconds(3)));
    case kStandbyCannotRun:
      world_.secondary_host.failing_runs += static_cast<int>(1 + random.Below(3));
      return;
    case kGuestDestroyed:
      guest_destroyed_ = true;
      return world_.DestroyGuest();
  }
}

void Faults::Partition(bool to_secondary, bool to_primary) {
  if (to_secondary) world_.network.partitioned[kToSecondary] = true;
  if (to_primary) world_.network.partitioned[kToPrimary] = true;
  world_.After(world_.random.Between(absl::Milliseconds(50), absl::Seconds(5)), [this] {
    world_.network.partitioned = {false, false};
  });
}

void Faults::Stall(Host& host) {
  if (!host.powered) return;
  std::shared_ptr<StallGate> gate = host.gate;
  gate->Stall();
  world_.After(world_.random.Between(absl::Milliseconds(50), absl::Seconds(5)), [gate] { gate->GoOn(); });
}

void Faults::Heal() {
  world_.network.partitioned = {false, false};
  world_.network.extra_latency_max = absl::ZeroDuration();
  world_.network.corruption = 0;
  world_.FloodFor(absl::ZeroDuration());
  for (Host* host : {&world_.primary_host, &world_.secondary_host}) {
    host->failing_pauses = host->failing_suspends = host->failing_prepares = host->failing_activations = 0;
    host->failing_traffic = host->failing_runs = 0;
    host->store.FailWrites(0);
    if (host->powered) host->kernel->FailOperations(absl::OkStatus(), 0);
    if (host->gate->stalled()) host->gate->GoOn();
  }
  world_.PowerOn(world_.secondary_host);
}

}  // namespace romulus::simulation
