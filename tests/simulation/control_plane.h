#ifndef ROMULUS_TESTS_SIMULATION_CONTROL_PLANE_H_
#define ROMULUS_TESTS_SIMULATION_CONTROL_PLANE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "tests/simulation/world.h"

namespace romulus::simulation {

// A control plane that asks for all sorts of things, at bad moments, with stale generations, but never states what is
// not so: primary_fenced only with the power cut or FenceProtection answered, unprotect_without_secondary only while
// the secondary has no standby.
class ControlPlane {
 public:
  explicit ControlPlane(World* world) : world_(*world) {}

  void RequestOne();
  // The primary host has lost its power: the guest is to run on the other.
  void TakeOver(int attempts);
  // A creation that failed is tried again, as any control plane would.
  void Reconcile();

  const std::map<std::string, uint64_t>& requested() const { return requested_; }
  // The guest was told to stop on the primary, or asked to.
  bool fence_asked() const { return fence_asked_; }

 private:
  void CallPrimary(std::function<void(ProtectionDriver&)> call);
  void CallSecondary(std::function<void(StandbyDriver&)> call);
  void ActivateUnasserted();
  void FenceThenActivate();
  void CutPowerThenActivate();
  void Activate(uint64_t generation, bool primary_fenced, int attempts);

  World& world_;
  std::map<std::string, uint64_t> requested_;
  bool fence_asked_ = false;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_CONTROL_PLANE_H_
