#ifndef ROMULUS_SECONDARY_CONTROL_STANDBY_STATUS_H_
#define ROMULUS_SECONDARY_CONTROL_STANDBY_STATUS_H_

#include <string>

#include "absl/time/time.h"
#include "proto/control/v1/standby_service.pb.h"
#include "secondary/standby/standby_driver.h"

namespace romulus {

// NONE is STANDBY_PHASE_UNSPECIFIED: there is nothing to show.
control::v1::StandbyPhase ToProto(standby::Standby::Phase phase);

// What the control API says of a standby: the driver's status in the proto's words and units. `wall_now` is only used
// to state times of day.
control::v1::Standby ToProto(const std::string& name, const StandbyDriver::Status& status, absl::Time wall_now);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CONTROL_STANDBY_STATUS_H_
