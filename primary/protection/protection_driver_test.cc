#include "primary/protection/protection_driver.h"

#include <gtest/gtest.h>

#include <utility>

#include "common/loop/manual_scheduler.h"
#include "primary/quiet_seams.h"

// When the driver looks at the egress buffer. What it does otherwise is the simulation's to show (//tests/simulation).
namespace romulus {
namespace {

using absl::Milliseconds;

class NoStore final : public GenerationStore {
 public:
  absl::StatusOr<Record> Read(const std::string&) const override { return absl::NotFoundError("no record"); }
  absl::Status Write(const std::string&, const Record&) override { return absl::OkStatus(); }
  absl::Status Erase(const std::string&) override { return absl::OkStatus(); }
};

struct Outside {
  PrimaryLink::Observer* link = nullptr;
  CheckpointSource::Observer* source = nullptr;
  uint64_t requested = 0;
  uint64_t told = 0;  // The last checkpoint of whose sending the driver wants to know.
  int looks = 0;
};

class FakeLink final : public PrimaryLink {
 public:
  explicit FakeLink(Outside* outside) : outside_(outside) {}
  void Open(uint64_t, const replication::v1::OpenSession&, Observer* observer) override { outside_->link = observer; }
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader>, bool tell_when_sent,
                      replication::v1::AfterCheckpoint) override {
    if (tell_when_sent) outside_->told = epoch;
  }
  void Send(replication::v1::PrimaryMessage) override {}
  bool SendTraffic(replication::v1::PrimaryMessage) override { return true; }
  void Close() override {}
  uint64_t sent_bytes() const override { return 0; }

 private:
  Outside* const outside_;
};

class FakeSource final : public CheckpointSource {
 public:
  explicit FakeSource(Outside* outside) : outside_(outside) {}
  void Start(Observer* observer) override { outside_->source = observer; }
  void RequestCheckpoint(uint64_t epoch, bool) override { outside_->requested = epoch; }
  void AddStandbyPages(uint64_t, PageRuns) override {}
  void PermitResume(uint64_t) override {}
  void Stop() override {}

 private:
  Outside* const outside_;
};

class WatchedEgress final : public QuietEgressBuffer {
 public:
  explicit WatchedEgress(Outside* outside) : outside_(outside) {}
  absl::Status ReadStatistics(Statistics&) override {
    ++outside_->looks;
    return absl::OkStatus();
  }

 private:
  Outside* const outside_;
};

// Checkpoints are asked for every 100 ms; a suspend takes 60 and a copy 40. Looks are 10 ms apart.
class EgressLooks : public testing::Test, public ProtectionDriver::Observer {
 protected:
  EgressLooks() {
    protection::Config config;
    config.pacing.interval = Milliseconds(100);
    config.loss_policy = protection::LossPolicy::kHoldOutput;
    ProtectionDriver::Seams seams;
    seams.scheduler = &scheduler_;
    seams.store = &store_;
    seams.new_link = [this] { return std::make_unique<FakeLink>(&outside_); };
    seams.new_source = [this] { return std::make_unique<FakeSource>(&outside_); };
    seams.guest = std::make_unique<QuietGuestControl>();
    seams.egress = std::make_unique<WatchedEgress>(&outside_);
    driver_ = std::make_unique<ProtectionDriver>("protections/test", config, replication::v1::OpenSession(), "detail",
                                                 std::move(seams), this);
    driver_->Start(1, /*recovered=*/false, [](absl::Status) {});
    replication::v1::SecondaryMessage accepted;
    accepted.mutable_session_accepted();
    outside_.link->OnMessage(accepted);
    outside_.source->OnSeeding(nullptr);
    outside_.source->OnSuspended(1);
    Capture(1);
    Commit(1);
  }
  void OnChanged(bool) override {}
  void OnCheckpoint(const EpochTrace&) override {}

  void Capture(uint64_t epoch) {
    CheckpointSource::Captured captured;
    captured.epoch = epoch;
    captured.length = 1;
    captured.parts.suspend = Milliseconds(60);
    captured.copy = Milliseconds(40);
    outside_.source->OnCaptured(std::move(captured));
  }
  void Commit(uint64_t epoch) {
    replication::v1::SecondaryMessage commit;
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    outside_.link->OnMessage(commit);
  }
  int LooksIn(absl::Duration time) {
    const int before = outside_.looks;
    scheduler_.Pass(time);
    return outside_.looks - before;
  }

  ManualScheduler scheduler_;
  NoStore store_;
  Outside outside_;
  std::unique_ptr<ProtectionDriver> driver_;
};

TEST_F(EgressLooks, ComeWithEachMarkAndWhileTheGuestRunsButNotWhileItIsAskedToSuspend) {
  EXPECT_EQ(outside_.looks, 1) << "with the mark";
  EXPECT_GE(LooksIn(Milliseconds(99)), 8);
  EXPECT_EQ(outside_.requested, 0);
  scheduler_.Pass(Milliseconds(1));
  ASSERT_EQ(outside_.requested, 2);
  EXPECT_EQ(LooksIn(Milliseconds(60)), 0);
  const int before = outside_.looks;
  outside_.source->OnSuspended(2);
  EXPECT_EQ(outside_.looks - before, 1);
  EXPECT_EQ(LooksIn(Milliseconds(9)), 0) << "the mark's counts as one";
  EXPECT_GE(LooksIn(Milliseconds(50)), 4);
}

TEST_F(EgressLooks, GoOnWhereTheSessionEndsWhileTheGuestIsAskedToSuspend) {
  scheduler_.Pass(Milliseconds(100));
  ASSERT_EQ(outside_.requested, 2);
  outside_.link->OnClosed(absl::UnavailableError("silent"));
  outside_.source->OnEnded(absl::OkStatus());
  EXPECT_GE(LooksIn(Milliseconds(100)), 9) << "its output is held";
}

TEST_F(EgressLooks, GoOnWhereTheGuestIsSuspendedAndNoMarkCanBeSet) {
  // Commits take 200 ms, so that the next checkpoint is taken before.
  for (uint64_t epoch : {2, 3}) {
    scheduler_.Pass(Milliseconds(epoch == 2 ? 100 : 0));
    ASSERT_EQ(outside_.requested, epoch);
    scheduler_.Pass(Milliseconds(60));
    outside_.source->OnSuspended(epoch);
    scheduler_.Pass(Milliseconds(40));
    Capture(epoch);
    ASSERT_EQ(outside_.told, epoch);
    outside_.link->OnCheckpointSent(epoch);
    if (epoch == 3) break;
    scheduler_.Pass(Milliseconds(200));
    Commit(epoch);
  }
  EXPECT_GE(LooksIn(Milliseconds(119)), 10);
  scheduler_.Pass(Milliseconds(1));
  ASSERT_EQ(outside_.requested, 4);
  EXPECT_EQ(LooksIn(Milliseconds(60)), 0);
  outside_.source->OnSuspended(4);
  EXPECT_GE(LooksIn(Milliseconds(39)), 3);
}

}  // namespace
}  // namespace romulus
