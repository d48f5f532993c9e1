#include "common/link/link_monitor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace romulus {

using replication::v1::Heartbeat;

absl::StatusOr<LinkMonitor::Options> LinkMonitor::OptionsFrom(const replication::v1::OpenSession& open_session) {
  Options options;
  options.heartbeat_interval = absl::Milliseconds(open_session.heartbeat_interval_ms());
  options.link_timeout = absl::Milliseconds(open_session.link_timeout_ms());
  if (options.heartbeat_interval < absl::Milliseconds(10) || options.link_timeout < 2 * options.heartbeat_interval ||
      options.link_timeout > absl::Minutes(10)) {
    return absl::InvalidArgumentError(absl::StrCat("heartbeat_interval_ms ", open_session.heartbeat_interval_ms(),
                                                   " and link_timeout_ms ", open_session.link_timeout_ms(),
                                                   ": expected at least 10, and from twice the interval to 600000"));
  }
  return options;
}

LinkMonitor::LinkMonitor(Options options, absl::Duration now)
    : options_(options), advanced_to_(now), received_at_(now), next_heartbeat_(now) {}

void LinkMonitor::Advance(absl::Duration now) {
  if (now <= advanced_to_) return;
  if (ready_) silence_ += std::min(now - advanced_to_, 2 * options_.heartbeat_interval);
  advanced_to_ = now;
}

void LinkMonitor::OnReceived(absl::Duration now) {
  Advance(now);
  silence_ = absl::ZeroDuration();
  received_at_ = now;
}

void LinkMonitor::OnHeartbeat(const Heartbeat& heartbeat, absl::Duration now) {
  to_echo_ = heartbeat;
  to_echo_since_ = now;
  if (heartbeat.echo_ns() == 0) return;
  // The peer's figures are not to be trusted with more than a figure: one that makes no sense is dropped.
  const absl::Duration round_trip = now - absl::Nanoseconds(static_cast<int64_t>(heartbeat.echo_ns())) -
                                    absl::Nanoseconds(static_cast<int64_t>(heartbeat.echo_waited_ns()));
  if (round_trip >= absl::ZeroDuration() && round_trip <= absl::Hours(1)) round_trip_ = round_trip;
}

void LinkMonitor::OnBlocked(absl::Duration now) {
  Advance(now);
  ready_ = false;
}

void LinkMonitor::OnReady(absl::Duration now) {
  Advance(now);
  ready_ = true;
}

std::optional<Heartbeat> LinkMonitor::TakeDueHeartbeat(absl::Duration now) {
  if (now < next_heartbeat_) return std::nullopt;
  // Of now, not of when it was due: after a stall one is sent, not all that were missed.
  next_heartbeat_ = now + options_.heartbeat_interval;
  Heartbeat heartbeat;
  heartbeat.set_sent_at_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(now)));
  if (to_echo_.has_value()) {
    heartbeat.set_echo_ns(to_echo_->sent_at_ns());
    heartbeat.set_echo_waited_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(now - to_echo_since_)));
    to_echo_.reset();
  }
  return heartbeat;
}

absl::Status LinkMonitor::CheckLost(absl::Duration now) {
  Advance(now);
  if (silence_ < options_.link_timeout) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the peer has been silent for ", absl::FormatDuration(silence_),
                                             " (link timeout ", absl::FormatDuration(options_.link_timeout), ")"));
}

absl::Duration LinkMonitor::NextCheck(absl::Duration now) const {
  absl::Duration next = next_heartbeat_;
  if (ready_) next = std::min(next, advanced_to_ + (options_.link_timeout - silence_));
  return std::max(next, now);
}

}  // namespace romulus
