#include "primary/control/protection_spec.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/control/durations.h"
#include "common/control/generation_check.h"

namespace romulus {
namespace {

using control::v1::Protection;
using control::v1::ProtectionSettings;
using google::protobuf::Duration;

// Two GSO packets: with room for less than one a guest could send nothing large, ever.
constexpr uint64_t kEgressBufferBytesMin = 128 << 10;
constexpr absl::Duration kIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kIntervalMax = absl::Seconds(60);
// The plug qdisc's limit is 32 bits wide.
constexpr uint64_t kEgressBufferBytesMax = 0xffffffff;

constexpr double kPauseShareMin = 0.001;
constexpr double kPauseShareMax = 0.9;

// With less the smallest checkpoints of an idle guest would take seconds; more is no limit on any link.
constexpr uint64_t kBandwidthLimitMin = 64 << 10;
constexpr uint64_t kBandwidthLimitMax = uint64_t{1} << 40;

constexpr uint64_t kPageCacheBytesDefault = 64 << 20;
constexpr uint64_t kPageCacheBytesMin = 4 << 10;
constexpr uint64_t kPageCacheBytesMax = uint64_t{16} << 30;

constexpr uint64_t kStagingBytesMin = 1 << 20;
constexpr uint64_t kStagingBytesMax = uint64_t{1} << 40;

constexpr char kChangeable[] =
    "settings.interval, settings.pacing_goal, settings.secondary_loss_policy, settings.bandwidth_limit, "
    "settings.encoding, settings.page_cache_bytes, settings.staging_bytes_max, generation";

absl::Status Invalid(const char* field, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", problem));
}

void Default(Duration& field, absl::Duration value) {
  if (field.seconds() == 0 && field.nanos() == 0) field = ToProto(value);
}

absl::Status CheckRange(const char* field, const Duration& value, absl::Duration min, absl::Duration max) {
  const absl::Duration duration = FromProto(value);
  if (duration >= min && duration <= max) return absl::OkStatus();
  return Invalid(field, absl::StrCat(absl::FormatDuration(duration), " is not between ", absl::FormatDuration(min),
                                     " and ", absl::FormatDuration(max)));
}

absl::Status CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 && absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 &&
      port < 65536) {
    return absl::OkStatus();
  }
  return Invalid("secondary_address", absl::StrCat("'", address.substr(0, 255),
                                                   "' should be host:port, the secondary "
                                                   "agent's replication address"));
}

void FillDefaults(ProtectionSettings& settings) {
  Default(*settings.mutable_interval(), absl::Milliseconds(100));
  if (settings.has_pacing_goal()) {
    Default(*settings.mutable_pacing_goal()->mutable_interval_min(), kIntervalMin);
    Default(*settings.mutable_pacing_goal()->mutable_interval_max(), absl::Seconds(1));
  }
  Default(*settings.mutable_heartbeat_interval(), absl::Milliseconds(500));
  Default(*settings.mutable_link_timeout(), absl::Seconds(2));
  Default(*settings.mutable_suspend_timeout(), absl::Seconds(10));
  if (settings.encoding() == control::v1::ENCODING_UNSPECIFIED) settings.set_encoding(control::v1::ADAPTIVE);
  if (settings.page_cache_bytes() == 0) settings.set_page_cache_bytes(kPageCacheBytesDefault);
  if (settings.stream_mode() == replication::v1::STREAM_MODE_UNSPECIFIED) {
    settings.set_stream_mode(replication::v1::REMUS);
  }
  if (settings.failover_policy() == replication::v1::FAILOVER_POLICY_UNSPECIFIED) {
    settings.set_failover_policy(replication::v1::BY_REQUEST);
  }
}

absl::Status CheckPacingGoal(const control::v1::PacingGoal& goal) {
  absl::Status status =
      CheckRange("settings.pacing_goal.interval_min", goal.interval_min(), kIntervalMin, kIntervalMax);
  status.Update(CheckRange("settings.pacing_goal.interval_max", goal.interval_max(), FromProto(goal.interval_min()),
                           kIntervalMax));
  if (goal.has_output_delay_p99()) {
    status.Update(CheckRange("settings.pacing_goal.output_delay_p99", goal.output_delay_p99(), absl::Milliseconds(5),
                             absl::Seconds(60)));
  }
  if (!status.ok()) return status;
  // Also false for what is no number.
  const bool share_in_range = goal.pause_share() >= kPauseShareMin && goal.pause_share() <= kPauseShareMax;
  if (goal.pause_share() != 0 && !share_in_range) {
    return Invalid("settings.pacing_goal.pause_share",
                   absl::StrCat(goal.pause_share(), " is not between ", kPauseShareMin, " and ", kPauseShareMax,
                                ", shares of the guest's time"));
  }
  if (!goal.has_output_delay_p99() && goal.pause_share() == 0) {
    return Invalid("settings.pacing_goal",
                   "name what to keep: output_delay_p99, pause_share or both; for a fixed interval leave it out");
  }
  return absl::OkStatus();
}

absl::Status CheckSettings(const ProtectionSettings& settings) {
  using absl::Milliseconds;
  using absl::Seconds;
  absl::Status status = CheckRange("settings.interval", settings.interval(), kIntervalMin, kIntervalMax);
  status.Update(
      CheckRange("settings.heartbeat_interval", settings.heartbeat_interval(), Milliseconds(50), Seconds(60)));
  status.Update(CheckRange("settings.link_timeout", settings.link_timeout(),
                           2 * FromProto(settings.heartbeat_interval()), absl::Minutes(10)));
  status.Update(
      CheckRange("settings.suspend_timeout", settings.suspend_timeout(), Milliseconds(100), absl::Minutes(2)));
  if (settings.has_pacing_goal()) status.Update(CheckPacingGoal(settings.pacing_goal()));
  if (!status.ok()) return status;
  if (settings.stream_mode() != replication::v1::REMUS && settings.stream_mode() != replication::v1::COLO) {
    return Invalid("settings.stream_mode", "REMUS or COLO");
  }
  if (!replication::v1::FailoverPolicy_IsValid(settings.failover_policy())) {
    return Invalid("settings.failover_policy", "BY_REQUEST or ON_LINK_LOSS");
  }
  if (!control::v1::SecondaryLossPolicy_IsValid(settings.secondary_loss_policy())) {
    return Invalid("settings.secondary_loss_policy", "RUN_UNPROTECTED, HOLD_OUTPUT or PAUSE_GUEST");
  }
  if (settings.failover_policy() == replication::v1::ON_LINK_LOSS &&
      settings.secondary_loss_policy() == control::v1::RUN_UNPROTECTED) {
    return Invalid("settings.secondary_loss_policy",
                   "RUN_UNPROTECTED with ON_LINK_LOSS would let both hosts run the guest after a mere link failure: "
                   "choose HOLD_OUTPUT or PAUSE_GUEST");
  }
  if (!control::v1::Encoding_IsValid(settings.encoding())) return Invalid("settings.encoding", "ADAPTIVE or RAW");
  if (settings.page_cache_bytes() < kPageCacheBytesMin || settings.page_cache_bytes() > kPageCacheBytesMax) {
    return Invalid("settings.page_cache_bytes",
                   "0 (64 MiB), or from 4 KiB to 16 GiB; for no page cache at all set settings.encoding to RAW");
  }
  const uint64_t staging = settings.staging_bytes_max();
  if (staging != 0 && (staging < kStagingBytesMin || staging > kStagingBytesMax)) {
    return Invalid("settings.staging_bytes_max", "0 (every page of the guest once), or from 1 MiB to 1 TiB");
  }
  const uint64_t bandwidth = settings.bandwidth_limit();
  if (bandwidth != 0 && (bandwidth < kBandwidthLimitMin || bandwidth > kBandwidthLimitMax)) {
    return Invalid("settings.bandwidth_limit", "0 (no limit), or from 64 KiB to 1 TiB, in bytes per second");
  }
  const uint64_t buffer = settings.egress_buffer_bytes();
  if (buffer != 0 && (buffer < kEgressBufferBytesMin || buffer > kEgressBufferBytesMax)) {
    return Invalid("settings.egress_buffer_bytes", "0 (chosen by the agent), or from 128 KiB to 4 GiB - 1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CompleteAndCheck(Protection& protection) {
  protection.clear_status();
  protection.clear_create_time();
  if (protection.generation() == 0) protection.set_generation(1);
  FillDefaults(*protection.mutable_settings());
  if (protection.domain().empty()) {
    return Invalid("domain", "name the guest to protect: its name, its uuid or its domain id (xl list shows them)");
  }
  if (absl::Status status = CheckAddress(protection.secondary_address()); !status.ok()) return status;
  return CheckSettings(protection.settings());
}

absl::Status ApplyUpdate(const control::v1::UpdateProtectionRequest& update, Protection& protection) {
  if (absl::Status status = CheckGeneration(update.protection().generation(), protection.generation()); !status.ok()) {
    return status;
  }
  if (update.update_mask().paths().empty()) {
    return Invalid("update_mask", absl::StrCat("name the fields to change: ", kChangeable));
  }
  Protection changed = protection;
  const ProtectionSettings& settings = update.protection().settings();
  for (const std::string& path : update.update_mask().paths()) {
    if (path == "settings.interval") {
      *changed.mutable_settings()->mutable_interval() = settings.interval();
    } else if (path == "settings.pacing_goal") {
      changed.mutable_settings()->clear_pacing_goal();
      if (settings.has_pacing_goal()) *changed.mutable_settings()->mutable_pacing_goal() = settings.pacing_goal();
    } else if (path == "settings.encoding") {
      changed.mutable_settings()->set_encoding(settings.encoding());
    } else if (path == "settings.page_cache_bytes") {
      changed.mutable_settings()->set_page_cache_bytes(settings.page_cache_bytes());
    } else if (path == "settings.staging_bytes_max") {
      changed.mutable_settings()->set_staging_bytes_max(settings.staging_bytes_max());
    } else if (path == "settings.bandwidth_limit") {
      changed.mutable_settings()->set_bandwidth_limit(settings.bandwidth_limit());
    } else if (path == "settings.secondary_loss_policy") {
      changed.mutable_settings()->set_secondary_loss_policy(settings.secondary_loss_policy());
    } else if (path != "generation") {
      return Invalid("update_mask",
                     absl::StrCat("'", path.substr(0, 100), "' can't be changed; what can: ", kChangeable));
    }
  }
  changed.set_generation(update.protection().generation());
  FillDefaults(*changed.mutable_settings());
  if (absl::Status status = CheckSettings(changed.settings()); !status.ok()) return status;
  protection = changed;
  return absl::OkStatus();
}

control::v1::SecondaryLossPolicy EffectiveLossPolicy(const ProtectionSettings& settings) {
  if (settings.secondary_loss_policy() != control::v1::SECONDARY_LOSS_POLICY_UNSPECIFIED) {
    return settings.secondary_loss_policy();
  }
  return settings.failover_policy() == replication::v1::ON_LINK_LOSS ? control::v1::PAUSE_GUEST
                                                                     : control::v1::RUN_UNPROTECTED;
}

}  // namespace romulus
