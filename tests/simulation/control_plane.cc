#include "tests/simulation/control_plane.h"

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
      if (world_.primary != nullptr) world_.primary->driver->Delete(world_.generation, false, ignore);
      return;
    case 4: {
      note("update");
      if (world_.primary == nullptr) return;
      ProtectionDriver::Update update;
      update.interval = random.Between(absl::Milliseconds(20), absl::Milliseconds(500));
      update.loss_policy = static_cast<protection::LossPolicy>(random.Below(3));
      if (random.Chance(300)) update.generation = ++world_.generation;
      world_.primary->driver->UpdateSettings(update, ignore);
      return;
    }
    case 5:
      note("stale-activate");
      if (world_.secondary != nullptr) world_.secondary->driver->Activate(random.Below(2), true, ignore);
      return;
    case 6:
      note("stale-fence");
      if (world_.primary != nullptr) world_.primary->driver->Fence(0, ignore);
      return;
    case 8:
      note("delete-unprotected");
      if (world_.primary == nullptr || !world_.SecondaryHasNothing()) return;
      world_.primary->driver->Delete(world_.generation, true, ignore);
      return;
    case 7:
      note("delete-standby");
      if (world_.secondary != nullptr) world_.secondary->driver->Delete(world_.generation, ignore);
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
  world_.primary->driver->Fence(generation, [this, generation](absl::Status status) {
    world_.Trace(absl::StrCat("fenced: ", status.ToString()));
    if (!status.ok()) return;
    world_.After(absl::Milliseconds(2), [this, generation] { Activate(generation, true, 3); });
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
  if (attempts == 0) return;
  auto again = [this, generation, primary_fenced, attempts] {
    world_.After(absl::Milliseconds(300),
                 [this, generation, primary_fenced, attempts] { Activate(generation, primary_fenced, attempts - 1); });
  };
  if (world_.secondary == nullptr) return again();
  world_.secondary->driver->Activate(generation, primary_fenced, [this, again](absl::Status status) {
    world_.Trace(absl::StrCat("activated: ", status.ToString()));
    if (!status.ok()) again();
  });
}

void ControlPlane::Reconcile() {
  using Phase = protection::Protection::Phase;
  if (world_.guest == nullptr || world_.guest->destroyed) return;
  if (world_.primary == nullptr || world_.GuestFenced()) return;
  Phase phase = world_.primary->driver->phase();
  if (phase == Phase::kFailed) {
    world_.primary->driver->Delete(std::max(world_.generation, world_.primary->driver->core().snapshot().generation),
                                   false, [](absl::Status) {});
  } else if (phase == Phase::kEnded) {
    world_.primary.reset();
    world_.CreateProtection();
  }
}

}  // namespace romulus::simulation
