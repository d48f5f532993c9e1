#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "common/loop/run_until.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"
#include "secondary/checkpoint_target_contract.h"
#include "secondary/target/fake_standby.h"
#include "secondary/target/helper_checkpoint_target.h"

namespace romulus {
namespace {

// Only against a hang: no test expects time to pass.
constexpr absl::Duration kHang = absl::Seconds(60);

// What StandbyGuest would make in Xen.
struct FakeHost {
  std::atomic<bool> exists{false};
  std::atomic<bool> runs{false};
  std::atomic<bool> fails_to_create{false};
  std::atomic<bool> fails_to_run{false};
};

class FakeStandbyGuest final : public StandbyGuest {
 public:
  FakeStandbyGuest(FakeHost* host, FakeStandby* memory) : host_(*host), memory_(*memory) {
    host_.exists = true;
    ids_.domid = 7;
  }
  absl::Status Run(uint64_t store_mfn) override {
    EXPECT_EQ(store_mfn, 1);
    if (host_.fails_to_run) return absl::InternalError("the vif's backend did not connect");
    host_.runs = true;
    return absl::OkStatus();
  }
  absl::Status TakeOver() override {
    if (host_.fails_to_run) return absl::InternalError("the vif's port is gone");
    host_.runs = true;
    return absl::OkStatus();
  }
  absl::Status Unfreeze() override {
    memory_.goes = true;
    return absl::OkStatus();
  }
  absl::Status Halt() override {
    memory_.goes = false;
    return absl::OkStatus();
  }
  bool running() const override { return host_.runs; }
  void Settle(uint64_t, uint64_t) override {}
  bool AnnounceAgain() override { return true; }
  absl::Status Destroy() override {
    ROMULUS_CHECK(!host_.runs);
    host_.exists = false;
    memory_.goes = false;
    return absl::OkStatus();
  }
  const StandbyDomainIds& ids() const override { return ids_; }

 private:
  FakeHost& host_;
  FakeStandby& memory_;
  StandbyDomainIds ids_;
};

// The real side of the seam but for Xen: HelperCheckpointTarget with its helper process.
class HelperTargetHarness final : public CheckpointTargetHarness {
 public:
  HelperTargetHarness() : loop_(*EventLoop::New()) {
    signal(SIGPIPE, SIG_IGN);
    const std::string path = testing::TempDir() + "/standby";
    unlink(path.c_str());
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ROMULUS_CHECK(file.valid() && ftruncate(file.get(), sizeof(FakeStandby)) == 0);
    setenv("ROMULUS_FAKE_STANDBY", path.c_str(), /*overwrite=*/1);
    void* const memory = mmap(nullptr, sizeof(FakeStandby), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ROMULUS_CHECK(memory != MAP_FAILED);
    memory_ = static_cast<FakeStandby*>(memory);
  }

  std::unique_ptr<CheckpointTarget> NewTarget() override {
    HelperCheckpointTarget::Options options;
    options.restore_helper = "secondary/target/fake_restore_helper";
    options.create_guest = [this](const replication::v1::DomainDescription&,
                                  bool) -> absl::StatusOr<std::unique_ptr<StandbyGuest>> {
      if (host_.fails_to_create) return absl::ResourceExhaustedError("too little memory");
      return std::make_unique<FakeStandbyGuest>(&host_, memory_);
    };
    auto target = std::make_unique<HelperCheckpointTarget>(*loop_, options);
    latest_ = target.get();
    return target;
  }

  bool RunUntil(const std::function<bool()>& condition) override {
    return romulus::RunUntil(loop_.get(), condition, kHang);
  }
  // As long as it takes another target to come and go.
  void Settle() override {
    struct Other final : public CheckpointTarget::Observer {
      void OnPrepared(absl::Status, std::shared_ptr<CheckpointSink>, uint32_t) override { target->Discard(); }
      void OnApplied(uint64_t) override {}
      void OnRunning(uint64_t, const StandbyGap*) override {}
      void OnSuspended(uint64_t, PageRuns) override {}
      void OnLockstepRefused(uint64_t, absl::Status) override {}
      void OnBroken(absl::Status) override {}
      void OnActivated(absl::Status, CheckpointTarget::ActivationTimes) override {}
      void OnDiscarded() override { discarded = true; }
      std::unique_ptr<CheckpointTarget> target;
      bool discarded = false;
    };
    FakeHost host;
    HelperCheckpointTarget::Options options;
    options.restore_helper = "secondary/target/fake_restore_helper";
    FakeStandby memory{};
    options.create_guest = [&](const replication::v1::DomainDescription&, bool) {
      return std::make_unique<FakeStandbyGuest>(&host, &memory);
    };
    Other other;
    other.target = std::make_unique<HelperCheckpointTarget>(*loop_, options);
    other.target->Prepare({}, /*lockstep=*/false, &other);
    ROMULUS_CHECK(RunUntil([&] { return other.discarded; }));
  }

  bool exists() override { return host_.exists; }
  bool runs() override { return host_.runs; }
  uint64_t page(int number) override { return memory_->pages[number]; }
  bool knows_lockstep() const override { return true; }
  // A guest that is started the other way goes as long as it exists.
  bool goes() override { return memory_->goes; }
  void WriteAlong(int page, uint64_t value) override {
    ROMULUS_CHECK(memory_->goes);
    memory_->pages[page] = value;
    memory_->dirty |= uint64_t{1} << page;
  }
  void RefuseLockstep() override { memory_->refuses = true; }

  bool helper_runs() override {
    siginfo_t info{};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
      if (info.si_pid == 0) return true;
      waitpid(info.si_pid, nullptr, 0);
      info = {};
    }
    return false;
  }

  void FailToCreate() override { host_.fails_to_create = true; }
  void FailToRun() override { host_.fails_to_run = true; }
  void KillHelper() override { ROMULUS_CHECK(latest_->helper_pid() > 0 && kill(latest_->helper_pid(), SIGKILL) == 0); }

 private:
  const std::unique_ptr<EventLoop> loop_;
  FakeHost host_;
  FakeStandby* memory_;
  HelperCheckpointTarget* latest_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Helper, CheckpointTargetContract,
                         testing::Values([] { return std::make_unique<HelperTargetHarness>(); }));

// What of a checkpoint is libxenguest's, and what is not.
class HelperTargetTest : public CheckpointTargetContract {};
INSTANTIATE_TEST_SUITE_P(Helper, HelperTargetTest,
                         testing::Values([] { return std::make_unique<HelperTargetHarness>(); }));

TEST_P(HelperTargetTest, AttachmentsDoNotReachLibxenguestWhereTheGuestDoesNotRunAlongEither) {
  RunTo(Place::kSeeded);
  SyntheticStream stream;
  stream.Record(stream_format::kAttachments, "grants and ports");
  const uint64_t value = 201;
  stream.PageData({{1, 0, std::string(reinterpret_cast<const char*>(&value), sizeof value)}});
  target_->Apply(2, stream.State("vcpu").EndCheckpoint().bytes(), AfterCheckpoint::kWait);
  RunUntil([&] { return applied_ == 2; });
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  ASSERT_TRUE(activated_->ok()) << *activated_;
  EXPECT_EQ(harness_->page(1), value);
}

TEST_P(HelperTargetTest, AttachmentsThatDoNotEndWithinTheirCheckpointBreakTheStandby) {
  RunTo(Place::kSeeded);
  const uint32_t header[] = {stream_format::kAttachments, 1000};
  target_->Apply(2, std::string(reinterpret_cast<const char*>(header), sizeof header) + "grants",
                 AfterCheckpoint::kWait);
  RunUntil([&] { return broken_.has_value(); });
  EXPECT_EQ(broken_->code(), absl::StatusCode::kInvalidArgument) << *broken_;
  EXPECT_EQ(applied_, 1);
}

TEST_P(HelperTargetTest, AHelperThatDiesDoesNotKeepItsFrozenGuestFromGoingOn) {
  RunAlong();
  harness_->WriteAlong(1, 777);
  Freeze();
  RunUntil([&] { return !harness_->goes(); });
  harness_->KillHelper();  // Which is not known yet.
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  ASSERT_TRUE(activated_->ok()) << *activated_;
  EXPECT_TRUE(harness_->runs());
  EXPECT_TRUE(harness_->goes());
  EXPECT_EQ(harness_->page(1), 777);
}

}  // namespace
}  // namespace romulus
