#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTION_METRICS_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTION_METRICS_H_

#include <vector>

#include "common/observe/metric_families.h"
#include "proto/control/v1/protection_service.pb.h"

namespace romulus {

// What the control API says of the protections, as metrics; README.md's "Metrics" lists them. Labels: protection (the
// <id> of its name), phase, vif, quantile, part (of the pause), bound and goal (of the pacing), kind (of encoded page).
void AddProtectionMetrics(const std::vector<control::v1::Protection>& protections, MetricFamilies& families);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTION_METRICS_H_
