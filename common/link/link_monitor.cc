#include "common/link/link_monitor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace romulus {

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

void LinkMonitor::OnBlocked(absl::Duration now) {
  Advance(now);
  ready_ = false;
}

void LinkMonitor::OnReady(absl::Duration now) {
  Advance(now);
  ready_ = true;
}

bool LinkMonitor::TakeDueHeartbeat(absl::Duration now) {
  if (now < next_heartbeat_) return false;
  // Of now, not of when it was due: after a stall one is sent, not all that were missed.
  OnSent(now);
  return true;
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
