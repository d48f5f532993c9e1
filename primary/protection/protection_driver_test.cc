#include "primary/protection/protection_driver.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "common/ownership/memory_generation_store.h"
#include "primary/played_seams.h"
#include "primary/quiet_seams.h"

// When the driver looks at the egress buffer, and how long output has waited. What it does otherwise is the
// simulation's to show (//tests/simulation).
namespace romulus {
namespace {

using absl::Milliseconds;

class WatchedEgress final : public QuietEgressBuffer {
 public:
  explicit WatchedEgress(int* looks) : looks_(looks) {}
  absl::Status ReadStatistics(Statistics&) override {
    ++*looks_;
    return absl::OkStatus();
  }

 private:
  int* const looks_;
};

// Checkpoints are asked for every 100 ms; a suspend takes 60 and a copy 40. Looks are 10 ms apart.
class ProtectedGuest : public testing::Test, public ProtectionDriver::Observer {
 protected:
  explicit ProtectedGuest(protection::LossPolicy loss_policy = protection::LossPolicy::kHoldOutput) {
    protection::Config config;
    config.pacing.interval = Milliseconds(100);
    config.loss_policy = loss_policy;
    ProtectionDriver::Seams seams;
    seams.scheduler = &scheduler_;
    seams.store = &store_;
    seams.new_link = [this] { return std::make_unique<PlayedLink>(&session_); };
    seams.new_source = [this] { return std::make_unique<PlayedSource>(&session_); };
    seams.guest = std::make_unique<QuietGuestControl>();
    seams.egress = std::make_unique<WatchedEgress>(&looks_);
    driver_ = std::make_unique<ProtectionDriver>("protections/test", config, replication::v1::OpenSession(), "detail",
                                                 std::move(seams), this);
    driver_->Start(1, /*recovered=*/false, [](absl::Status) {});
    Seed();
  }
  void OnChanged(bool) override {}
  void OnCheckpoint(const EpochTrace& trace) override { traces_.push_back(trace); }

  // A session until its first commit.
  void Seed(absl::Duration seeding = absl::ZeroDuration()) {
    session_.Accept();
    session_.source->OnSeeding(nullptr);
    scheduler_.Pass(seeding);
    session_.source->OnSuspended(1);
    Capture(1);
    session_.Commit(1);
  }
  // The link is lost, and opened again once the time for that has come.
  void LoseLink() { std::exchange(session_.link, nullptr)->OnClosed(absl::UnavailableError("silent")); }
  void Reconnect() {
    std::exchange(session_.source, nullptr)->OnEnded(absl::OkStatus());
    while (session_.link == nullptr) scheduler_.Pass(Milliseconds(1));
  }

  void Capture(uint64_t epoch) {
    CheckpointSource::Captured captured;
    captured.epoch = epoch;
    captured.length = 1;
    captured.parts.suspend = Milliseconds(60);
    captured.copy = Milliseconds(40);
    session_.source->OnCaptured(std::move(captured));
  }
  int LooksIn(absl::Duration time) {
    const int before = looks_;
    scheduler_.Pass(time);
    return looks_ - before;
  }

  ManualScheduler scheduler_;
  MemoryGenerationStore store_;
  PlayedSession session_;
  int looks_ = 0;
  std::vector<EpochTrace> traces_;
  std::unique_ptr<ProtectionDriver> driver_;
};

class EgressLooks : public ProtectedGuest {};

TEST_F(EgressLooks, ComeWithEachMarkAndWhileTheGuestRunsButNotWhileItIsAskedToSuspend) {
  EXPECT_EQ(looks_, 1) << "with the mark";
  EXPECT_GE(LooksIn(Milliseconds(99)), 8);
  EXPECT_EQ(session_.requested, 0);
  scheduler_.Pass(Milliseconds(1));
  ASSERT_EQ(session_.requested, 2);
  EXPECT_EQ(LooksIn(Milliseconds(60)), 0);
  const int before = looks_;
  session_.source->OnSuspended(2);
  EXPECT_EQ(looks_ - before, 1);
  EXPECT_EQ(LooksIn(Milliseconds(9)), 0) << "the mark's counts as one";
  EXPECT_GE(LooksIn(Milliseconds(50)), 4);
}

TEST_F(EgressLooks, GoOnWhereTheSessionEndsWhileTheGuestIsAskedToSuspend) {
  scheduler_.Pass(Milliseconds(100));
  ASSERT_EQ(session_.requested, 2);
  session_.link->OnClosed(absl::UnavailableError("silent"));
  session_.source->OnEnded(absl::OkStatus());
  EXPECT_GE(LooksIn(Milliseconds(100)), 9) << "its output is held";
}

TEST_F(EgressLooks, GoOnWhereTheGuestIsSuspendedAndNoMarkCanBeSet) {
  // Commits take 200 ms, so that the next checkpoint is taken before.
  for (uint64_t epoch : {2, 3}) {
    scheduler_.Pass(Milliseconds(epoch == 2 ? 100 : 0));
    ASSERT_EQ(session_.requested, epoch);
    scheduler_.Pass(Milliseconds(60));
    session_.source->OnSuspended(epoch);
    scheduler_.Pass(Milliseconds(40));
    Capture(epoch);
    ASSERT_EQ(session_.tell_when_sent, epoch);
    session_.link->OnCheckpointSent(epoch);
    if (epoch == 3) break;
    scheduler_.Pass(Milliseconds(200));
    session_.Commit(epoch);
  }
  EXPECT_GE(LooksIn(Milliseconds(119)), 10);
  scheduler_.Pass(Milliseconds(1));
  ASSERT_EQ(session_.requested, 4);
  EXPECT_EQ(LooksIn(Milliseconds(60)), 0);
  session_.source->OnSuspended(4);
  EXPECT_GE(LooksIn(Milliseconds(39)), 3);
}

using OutputDelay = ProtectedGuest;

TEST_F(OutputDelay, IsFromTheEpochsStartToItsRelease) {
  EXPECT_EQ(traces_.back().output_delay, absl::ZeroDuration()) << "nothing was held in epoch 1";
  scheduler_.Pass(Milliseconds(100));
  session_.source->OnSuspended(2);
  Capture(2);
  scheduler_.Pass(Milliseconds(30));
  session_.Commit(2);
  ASSERT_EQ(traces_.size(), 2);
  EXPECT_EQ(traces_.back().output_delay, Milliseconds(130));
  EXPECT_EQ(driver_->status().output_delay_ns.max, absl::ToInt64Nanoseconds(Milliseconds(130)));
}

TEST_F(OutputDelay, OfALostSessionEndsWhereTheNextOneIsAccepted) {
  const absl::Duration held_since = scheduler_.Now();  // Epoch 2's start.
  scheduler_.Pass(Milliseconds(150));
  LoseLink();
  session_.source->OnSuspended(2);  // It was on its way.
  Reconnect();
  EXPECT_EQ(driver_->status().output_delay_ns.max, 0) << "still held";
  const absl::Duration delay = scheduler_.Now() - held_since;
  Seed(absl::Seconds(3));
  EXPECT_EQ(traces_.back().output_delay, absl::ZeroDuration()) << "nothing was held in epoch 1";
  EXPECT_EQ(driver_->status().output_delay_ns.max, absl::ToInt64Nanoseconds(delay));
  LoseLink();
  Reconnect();
  Seed();
  EXPECT_EQ(driver_->status().output_delay_ns.max, absl::ToInt64Nanoseconds(delay)) << "counted anew";
}

class OutputDelayUnprotected : public ProtectedGuest {
 protected:
  OutputDelayUnprotected() : ProtectedGuest(protection::LossPolicy::kRunUnprotected) {}
};

TEST_F(OutputDelayUnprotected, EndsWhereOutputPasses) {
  scheduler_.Pass(Milliseconds(150));
  LoseLink();
  EXPECT_EQ(driver_->status().output_delay_ns.max, absl::ToInt64Nanoseconds(Milliseconds(150)));
  session_.source->OnSuspended(2);  // It was on its way. Nothing is held for it.
  Reconnect();
  Seed(absl::Seconds(3));
  ASSERT_EQ(traces_.size(), 2);
  EXPECT_EQ(traces_.back().output_delay, absl::ZeroDuration());
  scheduler_.Pass(Milliseconds(50));
  LoseLink();
  EXPECT_EQ(driver_->status().output_delay_ns.max, absl::ToInt64Nanoseconds(Milliseconds(150)));
}

}  // namespace
}  // namespace romulus
