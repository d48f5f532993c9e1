#include "primary/agent/egress_plan.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/control/durations.h"
#include "netbuf/egress_sizing.h"
#include "netbuf/link_rate.h"

namespace romulus {
namespace {

struct Rate {
  uint64_t bytes_per_second;
  const char* source;
};

Rate RateOf(const Vif& vif, const replication::v1::DomainDescription& domain, const std::string& files) {
  for (const replication::v1::Vif& card : domain.vifs()) {
    if (card.device_id() != vif.device_id) continue;
    const auto node = card.backend_entries().find("rate");
    if (node == card.backend_entries().end()) continue;
    if (const std::optional<uint64_t> rate = ParseVifRate(node->second)) return {*rate, "the vif's rate"};
  }
  if (const std::optional<uint64_t> rate = ReadUplinkRate(vif.name, files + "/sys/class/net")) {
    return {*rate, "its bridge's fastest port"};
  }
  return {kAssumedBytesPerSecond, "assumed: neither the vif nor a port of its bridge says"};
}

// That the pacer may choose; with an output delay to keep it stays below that.
absl::Duration LongestInterval(const control::v1::ProtectionSettings& settings) {
  if (!settings.has_pacing_goal()) return FromProto(settings.interval());
  const absl::Duration longest = FromProto(settings.pacing_goal().interval_max());
  if (!settings.pacing_goal().has_output_delay_p99()) return longest;
  return std::min(longest, FromProto(settings.pacing_goal().output_delay_p99()));
}

// What can be had without swapping (the kernel's own estimate); 0 if it can't be read.
uint64_t FreeMemoryBytes(const std::string& files) {
  std::ifstream meminfo(files + "/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    constexpr char kKey[] = "MemAvailable:";
    if (line.rfind(kKey, 0) == 0) return std::strtoull(line.c_str() + sizeof(kKey) - 1, nullptr, 10) << 10;
  }
  return 0;
}

}  // namespace

EgressPlan PlanEgress(const control::v1::ProtectionSettings& settings, const replication::v1::DomainDescription& domain,
                      const std::vector<Vif>& vifs, const std::string& files) {
  EgressPlan plan;
  plan.sample_period = absl::InfiniteDuration();
  EgressDemand demand;
  demand.interval = LongestInterval(settings);
  demand.free_memory_bytes = FreeMemoryBytes(files);
  demand.vifs = static_cast<uint32_t>(vifs.size());
  for (const Vif& vif : vifs) {
    const Rate rate = RateOf(vif, domain, files);
    demand.bytes_per_second = rate.bytes_per_second;
    const bool set = settings.egress_buffer_bytes() > 0;
    const uint32_t limit = set ? static_cast<uint32_t>(settings.egress_buffer_bytes()) : EgressLimitBytes(demand);
    plan.limits_bytes.push_back(limit);
    plan.sample_period = std::min(plan.sample_period, EgressSamplePeriod(limit, rate.bytes_per_second));
    absl::StrAppend(&plan.why, plan.why.empty() ? "" : "; ", vif.name, ": ", limit, " bytes, ",
                    set ? "as set" : absl::StrCat("for ", rate.bytes_per_second, " bytes/s (", rate.source, ")"));
  }
  if (vifs.empty()) plan.sample_period = EgressSamplePeriod(kEgressLimitFloor, 0);
  return plan;
}

}  // namespace romulus
