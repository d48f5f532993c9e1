#ifndef ROMULUS_COMMON_LINK_LINK_MONITOR_H_
#define ROMULUS_COMMON_LINK_LINK_MONITOR_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// Decides for one end of one link when to send a heartbeat and when the peer is lost. Pure: `now` is any monotonic
// clock, the same for all calls; threads that read it and then wait for a lock may bring it in another order. Both the
// real and the simulated link use it. Not thread safe.
//
// Silence counts only while this side could have heard the peer: not while its receiver is blocked (by a slow sink, by
// a loop that has not taken earlier messages), and not while this side did not run at all (a stalled host, whose clock
// jumps when it goes on): calls that are further apart than twice the heartbeat interval count as that much.
class LinkMonitor {
 public:
  struct Options {
    absl::Duration heartbeat_interval;
    absl::Duration link_timeout;
  };
  // From OpenSession: INVALID_ARGUMENT unless 10 ms <= heartbeat_interval, 2 * heartbeat_interval <= link_timeout and
  // link_timeout <= 10 min.
  static absl::StatusOr<Options> OptionsFrom(const replication::v1::OpenSession& open_session);

  LinkMonitor(Options options, absl::Duration now);

  // Any message.
  void OnReceived(absl::Duration now);
  // Any message is being written: it says what a heartbeat would.
  void OnSent(absl::Duration now) { next_heartbeat_ = now + options_.heartbeat_interval; }
  // The receiver can't take messages until OnReady. Both are idempotent; it starts ready.
  void OnBlocked(absl::Duration now);
  void OnReady(absl::Duration now);

  // A heartbeat is to be sent now: nothing has been for the interval. The first one is due at once.
  bool TakeDueHeartbeat(absl::Duration now);
  // OK, or UNAVAILABLE once the link is lost; it stays so unless something is received.
  absl::Status CheckLost(absl::Duration now);
  // When to call the two above again, if nothing else happens.
  absl::Duration NextCheck(absl::Duration now) const;

  absl::Duration SinceReceived(absl::Duration now) const { return now - received_at_; }

 private:
  void Advance(absl::Duration now);

  const Options options_;
  bool ready_ = true;
  absl::Duration silence_;  // Counted up to advanced_to_.
  absl::Duration advanced_to_;
  absl::Duration received_at_;
  absl::Duration next_heartbeat_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_LINK_MONITOR_H_
