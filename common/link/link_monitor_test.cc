#include "common/link/link_monitor.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

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
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart));
  EXPECT_FALSE(monitor.TakeDueHeartbeat(kStart + Ms(99)));
  EXPECT_EQ(monitor.NextCheck(kStart), kStart + Ms(100));
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(100)));
  // After a stall one, not many.
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(900)));
  EXPECT_FALSE(monitor.TakeDueHeartbeat(kStart + Ms(901)));
}

TEST(LinkMonitor, NoHeartbeatIsDueWhereOtherMessagesGoOut) {
  LinkMonitor monitor(kOptions, kStart);
  for (int i = 0; i < 9; ++i) {
    const absl::Duration sent_at = kStart + i * Ms(99);
    monitor.OnSent(sent_at);
    EXPECT_EQ(monitor.NextCheck(sent_at), sent_at + Ms(100)) << i;
    EXPECT_FALSE(monitor.TakeDueHeartbeat(sent_at + Ms(98))) << i;
  }
  EXPECT_TRUE(monitor.TakeDueHeartbeat(kStart + 8 * Ms(99) + Ms(100)));
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
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart));
  ASSERT_TRUE(monitor.CheckLost(kStart + Ms(100)).ok());
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(100)));
  ASSERT_TRUE(monitor.TakeDueHeartbeat(kStart + Ms(200)));
  EXPECT_EQ(monitor.NextCheck(kStart + Ms(200)), kStart + Ms(250));
  monitor.OnBlocked(kStart + Ms(200));
  EXPECT_EQ(monitor.NextCheck(kStart + Ms(200)), kStart + Ms(300));
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
