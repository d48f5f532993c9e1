#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTION_SPEC_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTION_SPEC_H_

#include "absl/status/status.h"
#include "proto/control/v1/protection_service.pb.h"

// What a control plane may ask of a protection: pure checks and defaults. The bounds are those that
// protection_service.proto states; every error names the field and what it takes.
namespace romulus {

// Fills unset fields of a new protection with their defaults, then checks all of them. Output-only fields are cleared.
absl::Status CompleteAndCheck(control::v1::Protection& protection);

// Applies an UpdateProtection to `protection`: the masked fields of `update`, and its generation if that is higher.
// ABORTED if the update's generation is lower than the protection's. On an error `protection` is unchanged.
absl::Status ApplyUpdate(const control::v1::UpdateProtectionRequest& update, control::v1::Protection& protection);

// The policy that SECONDARY_LOSS_POLICY_UNSPECIFIED stands for, otherwise the policy itself.
control::v1::SecondaryLossPolicy EffectiveLossPolicy(const control::v1::ProtectionSettings& settings);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTION_SPEC_H_
