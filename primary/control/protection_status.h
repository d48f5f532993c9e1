#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTION_STATUS_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTION_STATUS_H_

#include "absl/time/time.h"
#include "primary/protection/protection_driver.h"
#include "proto/control/v1/protection_service.pb.h"

namespace romulus {

control::v1::ProtectionPhase ToProto(protection::Protection::Phase phase);

// What the control API says of a protection: the driver's status in the proto's words and units. `wall_now` is only
// used to state times of day. Fills everything but the domain's identity.
control::v1::ProtectionStatus ToProto(const ProtectionDriver::Status& status, absl::Time wall_now);

// Everything but the protection's name and the time of day.
control::v1::EpochTrace ToProto(const EpochTrace& trace);

protection::LossPolicy FromProto(control::v1::SecondaryLossPolicy policy);
protection::Config ToConfig(const control::v1::ProtectionSettings& settings);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTION_STATUS_H_
