#include "netbuf/hold_time_meter.h"

#include <deque>
#include <vector>

#include "gtest/gtest.h"

namespace romulus {
namespace {

using absl::Milliseconds;
using absl::Seconds;

absl::Duration At(int64_t milliseconds) { return Milliseconds(milliseconds); }

// Within the time between two readings, here 10 ms.
void ExpectNear(absl::Duration measured, absl::Duration expected) {
  EXPECT_LE(measured, expected + Milliseconds(10)) << expected;
  EXPECT_GE(measured, expected - Milliseconds(10)) << expected;
}

TEST(HoldTimeMeter, APacketsTimeIsFromItsArrivalToItsRelease) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  meter.OnReading(At(10), {});
  meter.OnReading(At(20), {1, 100, 0});
  meter.OnReading(At(100), {1, 100, 0});
  meter.OnMark();
  EXPECT_EQ(meter.spread().max, absl::ZeroDuration());
  meter.OnRelease(At(130));
  // It came between 10 and 20.
  EXPECT_EQ(meter.spread().max, At(120));
  ExpectNear(meter.spread().p50, At(115));
}

TEST(HoldTimeMeter, AnEvenStreamIsHeldFromTheCommitToAnIntervalMore) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  // A packet of 1000 bytes each millisecond; epochs of 100 ms, each committed 30 ms after its end. The truth beside it.
  std::deque<int64_t> queue;
  std::vector<int64_t> times;
  uint64_t sent_bytes = 0, marked = 0;
  for (int64_t now = 1; now <= 5000; ++now) {
    queue.push_back(now);
    if (now % 100 == 30) {
      meter.OnRelease(At(now));
      for (; marked > 0; --marked) {
        times.push_back(now - queue.front());
        queue.pop_front();
        sent_bytes += 1000;
      }
    }
    if (now % 10 == 0) meter.OnReading(At(now), {queue.size(), queue.size() * 1000, sent_bytes});
    if (now % 100 == 0) {
      meter.OnMark();
      marked = queue.size();
    }
  }
  std::sort(times.begin(), times.end());
  ExpectNear(meter.spread().p50, At(times[times.size() / 2]));
  ExpectNear(meter.spread().p99, At(times[times.size() * 99 / 100]));
  ExpectNear(meter.spread().p50, At(80));
  ExpectNear(meter.spread().p99, At(129));
}

TEST(HoldTimeMeter, WhatStandsBehindTheMarkStays) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  meter.OnReading(At(10), {1, 100, 0});
  meter.OnMark();
  EXPECT_EQ(meter.unmarked_bytes(), 0);
  meter.OnReading(At(20), {3, 300, 0});
  EXPECT_EQ(meter.unmarked_bytes(), 200);
  meter.OnRelease(At(30));
  EXPECT_EQ(meter.unmarked_bytes(), 200);
  EXPECT_EQ(meter.spread().max, At(30));
  meter.OnReading(At(40), {2, 200, 100});
  EXPECT_EQ(meter.unmarked_bytes(), 200);
  meter.OnRelease(At(50));  // Nothing is marked.
  EXPECT_EQ(meter.spread().max, At(30));
  meter.OnMark();
  meter.OnRelease(At(1000));
  EXPECT_EQ(meter.spread().max, At(990));
}

TEST(HoldTimeMeter, PacketsCountByTheirNumberNotByTheirBytes) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  // Ninety small ones early, ten big ones late: the median packet is an early one.
  meter.OnReading(At(10), {90, 9000, 0});
  meter.OnMark();
  meter.OnRelease(At(110));
  meter.OnReading(At(110), {0, 0, 9000});
  meter.OnReading(At(120), {10, 90000, 9000});
  meter.OnMark();
  meter.OnRelease(At(130));
  ExpectNear(meter.spread().p50, At(105));
}

TEST(HoldTimeMeter, WhatPassesDoesNotCount) {
  HoldTimeMeter meter;
  meter.OnReading(At(10), {0, 0, 5000});
  meter.OnReading(At(20), {1, 100, 9000});
  EXPECT_EQ(meter.unmarked_bytes(), 0);
  meter.OnReading(At(30), {0, 0, 9100});
  meter.OnMark();
  meter.OnReading(At(40), {1, 100, 9100});
  meter.OnPassThrough(At(90));
  EXPECT_EQ(meter.spread().max, At(60));
  meter.OnReading(At(5000), {0, 0, 50000});
  meter.OnReading(At(6000), {0, 0, 60000});
  meter.OnMark();
  meter.OnRelease(At(9000));
  EXPECT_EQ(meter.spread().max, At(60));
}

TEST(HoldTimeMeter, DiscardedPacketsHaveNoTime) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  meter.OnReading(At(10), {5, 500, 0});
  meter.OnDiscard();
  meter.OnReading(At(20), {1, 100, 0});
  meter.OnMark();
  EXPECT_EQ(meter.unmarked_bytes(), 0);
  meter.OnRelease(At(30));
  EXPECT_EQ(meter.spread().max, absl::ZeroDuration());
  meter.OnReading(At(40), {2, 200, 100});
  EXPECT_EQ(meter.unmarked_bytes(), 200);
}

TEST(HoldTimeMeter, APacketThatGoesBackIntoTheQueueIsNotCountedTwice) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  meter.OnReading(At(10), {2, 200, 0});
  meter.OnMark();
  meter.OnRelease(At(20));
  meter.OnReading(At(20), {2, 200, 100});
  meter.OnReading(At(30), {1, 100, 100});
  meter.OnReading(At(40), {0, 0, 200});
  meter.OnReading(At(50), {1, 100, 200});
  EXPECT_LE(meter.unmarked_bytes(), 100);
  meter.OnMark();
  meter.OnRelease(At(60));
  EXPECT_LE(meter.spread().p50, At(20));
}

TEST(HoldTimeMeter, AnHourWithoutAReleaseIsRememberedLessExactly) {
  HoldTimeMeter meter;
  meter.OnReading(At(0), {});
  meter.OnMark();
  for (uint64_t i = 1; i <= 360000; ++i) meter.OnReading(At(i * 10), {i, i * 100, 0});
  meter.OnPassThrough(Seconds(3600));
  // Half of them came in the last half of the hour.
  EXPECT_NEAR(absl::ToDoubleMinutes(meter.spread().p50), 30, 3);
  EXPECT_NEAR(absl::ToDoubleMinutes(meter.spread().p99), 59.4, 1);
  EXPECT_EQ(meter.unmarked_bytes(), 0);
}

}  // namespace
}  // namespace romulus
