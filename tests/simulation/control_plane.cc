#include "tests/simulation/control_plane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus::simulation {

void ControlPlane::RequestOne() {
  Random& random = world_.random;
  auto note = [&](const char* name) {
    ++requested_[name];
    world_.Trace(absl::StrCat("control plane: ", name));
  };
  auto ignore = [](absl::Status) {};
  switch (random.Below(9)) {
    case 0:
      note("activate-unasserted");
      return ActivateUnasserted();
    case 1:
      note("fence-then-activate");
      return FenceThenActivate();
    case 2:
      note("cut-power-then-activate");
      return CutPowerThenActivate();
    case 3:
      note("delete");
      CallPrimary([this, ignore](ProtectionDriver& driver) { driver.Delete(world_.generation, false, ignore); });
      return;
    case 4: {
      note("update");
      ProtectionDriver::Update update;
      update.pacing = RandomPacing(random, absl::Milliseconds(500));
      update.loss_policy = static_cast<protection::LossPolicy>(random.Below(3));
      // With ON_LINK_LOSS the secondary gives itself a generation: a control plane that issues one to the primary then
      // gives the guest two owners, and only people can say which it is to be.
      if (world_.config.failover_policy == protection::FailoverPolicy::kByRequest && random.Chance(300)) {
        update.generation = ++world_.generation;
      }
      CallPrimary([update, ignore](ProtectionDriver& driver) mutable {
        protection::Config config = driver.core().snapshot().config;
        config.pacing = *update.pacing;
        config.loss_policy = *update.loss_policy;
        update.record_detail = DetailOf(config);
        driver.UpdateSettings(update, ignore);
      });
      return;
    }
    case 5:
      note("stale-activate");
      CallSecondary(
          [generation = random.Below(2), ignore](StandbyDriver& driver) { driver.Activate(generation, true, ignore); });
      return;
    case 6:
      note("stale-fence");
      CallPrimary([ignore](ProtectionDriver& driver) { driver.Fence(0, ignore); });
      return;
    case 8:
      note("delete-unprotected");
      CallPrimary([this, ignore](ProtectionDriver& driver) {
        // What is still on its way may become a standby: this control plane leaves it alone. One that activates by
        // itself can't be vouched for.
        bool by_request = world_.config.failover_policy == protection::FailoverPolicy::kByRequest;
        if (!by_request || !world_.SecondaryHasNothing()) return;
        world_.unprotect_vouched = true;
        driver.Delete(world_.generation, true, ignore);
      });
      return;
    case 7:
      note("delete-standby");
      CallSecondary([this, ignore](StandbyDriver& driver) { driver.Delete(world_.generation, ignore); });
      return;
  }
}

void ControlPlane::ActivateUnasserted() {
  if (world_.secondary == nullptr) return;
  fence_asked_ = true;
  Activate(++world_.generation, false, 1);
}

void ControlPlane::FenceThenActivate() {
  if (world_.primary == nullptr) return;
  fence_asked_ = true;
  uint64_t generation = ++world_.generation;
  CallPrimary([this, generation](ProtectionDriver& driver) {
    driver.Fence(generation, [this, generation](absl::Status status) {
      world_.Trace(absl::StrCat("fenced: ", status.ToString()));
      if (!status.ok()) return;
      world_.After(absl::Milliseconds(2), [this, generation] { Activate(generation, true, 3); });
    });
  });
}

void ControlPlane::CutPowerThenActivate() {
  if (!world_.primary_host.powered) return;
  fence_asked_ = true;
  world_.PowerOff(world_.primary_host);
  TakeOver(5);
}

void ControlPlane::TakeOver(int attempts) { Activate(++world_.generation, true, attempts); }

void ControlPlane::Activate(uint64_t generation, bool primary_fenced, int attempts) {
  if (attempts == 0 || world_.unprotect_vouched) return;
  auto again = [this, generation, primary_fenced, attempts] {
    world_.After(absl::Milliseconds(300),
                 [this, generation, primary_fenced, attempts] { Activate(generation, primary_fenced, attempts - 1); });
  };
  if (world_.secondary == nullptr) return again();
  CallSecondary([this, generation, primary_fenced, again](StandbyDriver& driver) {
    driver.Activate(generation, primary_fenced, [this, again](absl::Status status) {
      world_.Trace(absl::StrCat("activated: ", status.ToString()));
      if (!status.ok()) again();
    });
  });
}

// As an RPC: reaches the agent that is there now, when its host executes, or nobody.
void ControlPlane::CallPrimary(std::function<void(ProtectionDriver&)> call) {
  PrimaryAgent* agent = world_.primary.get();
  if (agent == nullptr) return;
  agent->process.After(absl::Milliseconds(1), [agent, call = std::move(call)] { call(*agent->driver); });
}

void ControlPlane::CallSecondary(std::function<void(StandbyDriver&)> call) {
  SecondaryAgent* agent = world_.secondary.get();
  if (agent == nullptr) return;
  agent->process.After(absl::Milliseconds(1), [agent, call = std::move(call)] { call(*agent->driver); });
}

void ControlPlane::Reconcile() {
  using Phase = protection::Protection::Phase;
  if (world_.guest == nullptr || world_.guest->destroyed) return;
  if (world_.primary == nullptr || world_.GuestFenced()) return;
  Phase phase = world_.primary->driver->phase();
  if (phase == Phase::kFailed) {
    CallPrimary([this](ProtectionDriver& driver) {
      driver.Delete(std::max(world_.generation, driver.core().snapshot().generation), false, [](absl::Status) {});
    });
  } else if (phase == Phase::kEnded) {
    world_.primary.reset();
    world_.CreateProtection();
  }
}

}  // namespace romulus::simulation
