#include "common/link/link_monitor.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

using replication::v1::Heartbeat;
using replication::v1::OpenSession;

constexpr auto Ms = absl::Milliseconds<int>;
const LinkMonitor::Options kOptions{Ms(100), Ms(1000)};
const absl::Duration kStart = absl::Seconds(5000);

// Runs the monitor as a thread would, every heartbeat interval, until `until`.
bool LostBefore(LinkMonitor& monitor, absl::Duration from, absl::Duration until) {
  for (absl::Duration now = from; now < until; now += Ms(50)) {
    if (!monitor.CheckLost(now).ok()) return true;
  }
  return false;
}

TEST(LinkMonitor, AHeartbeatIsDueAtOnceAndThenAtTheInterval) {
  LinkMonitor monitor(kOptions, kStart);
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart).has_value());
  EXPECT_FALSE(monitor.TakeDueHeartbeat(kStart + Ms(99)).has_value());
  EXPECT_EQ(monitor.NextCheck(kStart), kStart + Ms(100));
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(100)).has_value());
  // After a stall one, not many.
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(900)).has_value());
  EXPECT_FALSE(monitor.TakeDueHeartbeat(kStart + Ms(901)).has_value());
}

TEST(LinkMonitor, SilenceForTheLinkTimeoutLosesTheLinkAndNotEarlier) {
  LinkMonitor monitor(kOptions, kStart);
  EXPECT_FALSE(LostBefore(monitor, kStart, kStart + Ms(500)));
  monitor.OnReceived(kStart + Ms(500));
  EXPECT_FALSE(LostBefore(monitor, kStart + Ms(500), kStart + Ms(1500)));
  const absl::Status lost = monitor.CheckLost(kStart + Ms(1500));
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(lost.message().find("silent for 1s"), std::string::npos) << lost;
  EXPECT_EQ(monitor.SinceReceived(kStart + Ms(1500)), Ms(1000));
}

TEST(LinkMonitor, ABlockedReceiverIsNoProofOfADeadPeer) {
  LinkMonitor monitor(kOptions, kStart);
  monitor.OnBlocked(kStart + Ms(100));
  EXPECT_FALSE(LostBefore(monitor, kStart + Ms(100), kStart + Ms(60000)));
  // It counts on from where it was.
  monitor.OnReady(kStart + Ms(60000));
  EXPECT_FALSE(LostBefore(monitor, kStart + Ms(60000), kStart + Ms(60900)));
  EXPECT_TRUE(LostBefore(monitor, kStart + Ms(60900), kStart + Ms(61000)));
}

TEST(LinkMonitor, TimeInWhichThisSideDidNotRunIsNotSilence) {
  LinkMonitor monitor(kOptions, kStart);
  EXPECT_TRUE(monitor.CheckLost(kStart + absl::Minutes(5)).ok());
  // But a peer that is then not heard is lost all the same.
  EXPECT_TRUE(LostBefore(monitor, kStart + absl::Minutes(5), kStart + absl::Minutes(5) + Ms(850)));
}

TEST(LinkMonitor, TheNextCheckComesWhenTheLinkWouldBeLost) {
  LinkMonitor monitor({Ms(100), Ms(250)}, kStart);
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart).has_value());
  ASSERT_TRUE(monitor.CheckLost(kStart + Ms(100)).ok());
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(100)).has_value());
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(200)).has_value());
  EXPECT_EQ(monitor.NextCheck(kStart + Ms(200)), kStart + Ms(250));
  monitor.OnBlocked(kStart + Ms(200));
  EXPECT_EQ(monitor.NextCheck(kStart + Ms(200)), kStart + Ms(300));
}

TEST(LinkMonitor, TheRoundTripLeavesOutHowLongTheEchoWaited) {
  LinkMonitor here(kOptions, kStart);
  LinkMonitor there(kOptions, kStart);
  const Heartbeat ping = *here.TakeDueHeartbeat(kStart);
  ASSERT_TRUE(there.TakeDueHeartbeat(kStart).has_value());
  there.OnHeartbeat(ping, kStart + Ms(3));
  const Heartbeat pong = *there.TakeDueHeartbeat(kStart + Ms(100));
  here.OnHeartbeat(pong, kStart + Ms(104));
  ASSERT_TRUE(here.round_trip().has_value());
  EXPECT_EQ(*here.round_trip(), Ms(7));
  // An echo is given once.
  EXPECT_EQ(there.TakeDueHeartbeat(kStart + Ms(200))->echo_ns(), 0);
}

TEST(LinkMonitor, ANonsensicalEchoIsNoRoundTrip) {
  LinkMonitor monitor(kOptions, kStart);
  Heartbeat hostile;
  for (const uint64_t echo : {uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 62}) {
    hostile.set_echo_ns(echo);
    hostile.set_echo_waited_ns(echo / 3);
    monitor.OnHeartbeat(hostile, kStart);
    EXPECT_FALSE(monitor.round_trip().has_value()) << echo;
  }
}

TEST(LinkMonitor, TimesOutOfBoundsAreRefused) {
  const auto Code = [](uint32_t interval, uint32_t timeout) {
    OpenSession open;
    open.set_heartbeat_interval_ms(interval);
    open.set_link_timeout_ms(timeout);
    return LinkMonitor::OptionsFrom(open).status().code();
  };
  EXPECT_EQ(Code(100, 1000), absl::StatusCode::kOk);
  EXPECT_EQ(Code(0, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(9, 1000), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(100, 199), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(100, 600001), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(~0u, ~0u), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace romulus
