#include "primary/capture/helper_checkpoint_source.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "primary/capture/fake_save_helper.h"

namespace romulus {
namespace {

std::string ReadAll(CheckpointReader& reader) {
  std::string bytes;
  char buffer[7];  // Small, so that reads cross the seam between pipe and tail.
  while (true) {
    const absl::StatusOr<size_t> got = reader.Read(absl::MakeSpan(buffer));
    if (!got.ok()) return absl::StrCat(bytes, "<", absl::StatusCodeToString(got.status().code()), ">");
    if (*got == 0) return bytes;
    bytes.append(buffer, *got);
  }
}

class HelperCheckpointSourceTest : public testing::Test, public CheckpointSource::Observer {
 protected:
  void Run(FakeBehaviour behaviour) {
    HelperCheckpointSource::Options options;
    options.helper_program = program_;
    options.domid = static_cast<uint32_t>(behaviour);
    options.capture_timeout = absl::Milliseconds(200);
    options.suspend_timeout = absl::Seconds(5);
    source_ = std::make_unique<HelperCheckpointSource>(*loop_, options);
    source_->Start(this);
    loop_->Run();
    if (seeder_.joinable()) seeder_.join();
  }

  void OnSeeding(std::shared_ptr<CheckpointReader> reader) override {
    story_ += "seeding ";
    if (read_seeding_) seeder_ = std::thread([this, reader] { seeded_ = ReadAll(*reader); });
    if (stop_in_seeding_) loop_->After(absl::Milliseconds(20), [this] { source_->Stop(); });
  }
  void OnSeedingProgress(uint64_t, uint64_t) override {}
  void OnSuspended(uint64_t epoch) override {
    story_ += absl::StrCat("suspended", epoch, " ");
    source_->PermitResume(epoch);
  }
  void OnCaptured(CheckpointSource::Captured captured) override {
    story_ += absl::StrCat("captured", captured.epoch, " ");
    EXPECT_EQ(captured.pause, absl::Milliseconds(captured.epoch));
    if (captured.reader != nullptr) bytes_ += ReadAll(*captured.reader) + ";";
    if (hold_readers_) held_.push_back(captured.reader);
    if (captured.epoch == last_epoch_) {
      source_->Stop();
    } else {
      source_->RequestCheckpoint(captured.epoch + 1, /*with_standby_pages=*/false);
    }
    if (on_captured_) on_captured_(captured.epoch);
  }
  void OnEnded(absl::Status status) override {
    status_ = std::move(status);
    source_.reset();
    loop_->Quit();
  }

  std::unique_ptr<EventLoop> loop_ = *EventLoop::New();
  std::string program_ = "primary/capture/fake_save_helper";
  std::unique_ptr<HelperCheckpointSource> source_;
  uint64_t last_epoch_ = 4;
  bool read_seeding_ = true;
  bool stop_in_seeding_ = false;
  bool hold_readers_ = false;
  std::function<void(uint64_t)> on_captured_;
  std::vector<std::shared_ptr<CheckpointReader>> held_;
  std::thread seeder_;
  std::string story_, seeded_, bytes_;
  absl::Status status_ = absl::UnknownError("not ended");
};

TEST_F(HelperCheckpointSourceTest, GivesTheFirstCopyThenOneCheckpointAfterTheOther) {
  Run(FakeBehaviour::kGood);
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_EQ(seeded_, "live checkpoint 1");
  EXPECT_EQ(bytes_, "checkpoint 2;checkpoint 3;checkpoint 4;");
  EXPECT_EQ(story_, "seeding suspended1 captured1 suspended2 captured2 suspended3 captured3 suspended4 captured4 ");
}

TEST_F(HelperCheckpointSourceTest, AStagingFileIsNotWrittenWhileItIsRead) {
  hold_readers_ = true;
  // Checkpoint 4 needs the file of checkpoint 2, whose reader is let go only later.
  bool released = false;
  on_captured_ = [&](uint64_t epoch) {
    if (epoch == 3) {
      loop_->After(absl::Milliseconds(50), [&] {
        EXPECT_EQ(story_.find("suspended4"), std::string::npos);
        released = true;
        held_.clear();
      });
    }
  };
  Run(FakeBehaviour::kGood);
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_TRUE(released);
  EXPECT_NE(story_.find("captured4"), std::string::npos);
}

TEST_F(HelperCheckpointSourceTest, AHelperThatDiesIsFollowedByARecovery) {
  Run(FakeBehaviour::kDieSuspended);
  EXPECT_TRUE(absl::IsUnavailable(status_)) << status_;
  EXPECT_EQ(status_.message(), "save helper of domain 2: killed by signal 6 (Aborted) without Complete");
}

TEST_F(HelperCheckpointSourceTest, AFailedRecoveryIsSaid) {
  Run(FakeBehaviour::kDieSuspendedForGood);
  EXPECT_TRUE(absl::IsUnavailable(status_)) << status_;
  EXPECT_NE(status_.message().find("the guest may be suspended"), absl::string_view::npos) << status_;
  EXPECT_NE(status_.message().find("the hypervisor does not answer"), absl::string_view::npos) << status_;
}

TEST_F(HelperCheckpointSourceTest, AHelperThatHangsWithTheGuestSuspendedIsKilled) {
  Run(FakeBehaviour::kHangSuspended);
  EXPECT_TRUE(absl::IsUnavailable(status_)) << status_;
  EXPECT_NE(status_.message().find("hung"), absl::string_view::npos) << status_;
}

TEST_F(HelperCheckpointSourceTest, AHelperThatLiesIsNotBelieved) {
  Run(FakeBehaviour::kWrongEpoch);
  EXPECT_NE(status_.message().find("Suspended(2) out of turn"), absl::string_view::npos) << status_;
  loop_ = *EventLoop::New();
  Run(FakeBehaviour::kWrongLength);
  EXPECT_NE(status_.message().find("can't hold a checkpoint"), absl::string_view::npos) << status_;
  EXPECT_EQ(story_.find("captured"), std::string::npos) << story_;
  EXPECT_EQ(seeded_, "live <UNAVAILABLE>");
}

TEST_F(HelperCheckpointSourceTest, StopEndsAFirstCopyThatNobodyReads) {
  read_seeding_ = false;
  stop_in_seeding_ = true;
  Run(FakeBehaviour::kBlockInSeeding);
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_EQ(story_, "seeding ");
}

TEST_F(HelperCheckpointSourceTest, StopEndsAReaderOfTheFirstCopy) {
  stop_in_seeding_ = true;
  Run(FakeBehaviour::kBlockInSeeding);
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_NE(seeded_.find("<CANCELLED>"), std::string::npos);
}

TEST_F(HelperCheckpointSourceTest, AMissingHelperProgramIsNamed) {
  program_ = "/nowhere/romulus-save-helper";
  Run(FakeBehaviour::kGood);
  EXPECT_TRUE(absl::IsFailedPrecondition(status_)) << status_;
  EXPECT_EQ(story_, "");
}

}  // namespace
}  // namespace romulus
