#ifndef ROMULUS_SECONDARY_CONTROL_STANDBY_METRICS_H_
#define ROMULUS_SECONDARY_CONTROL_STANDBY_METRICS_H_

#include <vector>

#include "common/observe/metric_families.h"
#include "proto/control/v1/standby_service.pb.h"

namespace romulus {

// What the control API says of the standbys, as metrics; README.md's "Metrics" lists them. Labels: protection (the <id>
// of the standby's name, the same as on the primary), phase.
void AddStandbyMetrics(const std::vector<control::v1::Standby>& standbys, MetricFamilies& families);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CONTROL_STANDBY_METRICS_H_
