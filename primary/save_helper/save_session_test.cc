#include "primary/save_helper/save_session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/process/packet_socket.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::Failed;
using helper::v1::HelperToAgent;

class FakeGuest final : public SuspendableGuest {
 public:
  absl::StatusOr<SuspendTimes> Suspend(absl::Duration) override {
    story += "suspend ";
    now += absl::Milliseconds(3);
    if (!suspend_status.ok()) return suspend_status;
    return SuspendTimes{absl::Milliseconds(2), absl::Milliseconds(3)};
  }
  absl::Status Resume() override {
    story += "resume ";
    return absl::OkStatus();
  }
  absl::Status FinishResume() override {
    story += "finish ";
    return absl::OkStatus();
  }
  int event_descriptor() const override { return events.get(); }
  absl::Status CheckAlive() override { return alive; }

  std::string story;
  absl::Duration now;
  absl::Status suspend_status;
  absl::Status alive;
  UniqueFd events{eventfd(0, EFD_NONBLOCK)};
};

// Plays libxc: calls the callbacks in its order and writes to its descriptor. The agent's messages are queued before.
class SaveSessionTest : public testing::Test {
 protected:
  SaveSessionTest() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    pipe_.Reset(ends[0]);
    files_[0] = memfd_create("first", MFD_CLOEXEC);
    files_[1] = memfd_create("second", MFD_CLOEXEC);
    staging_ = std::make_unique<StagingFiles>(UniqueFd(ends[1]), UniqueFd(dup(files_[0])), UniqueFd(dup(files_[1])));
    session_ = std::make_unique<SaveSession>(
        *helper_, guest_, *staging_, *stop_, [this] { return guest_.now += absl::Milliseconds(1); },
        SaveSession::Options{absl::Seconds(1), absl::Milliseconds(20), 1000});
  }
  ~SaveSessionTest() override {
    close(files_[0]);
    close(files_[1]);
  }

  void Permit(uint64_t epoch) {
    AgentToHelper message;
    message.mutable_permit_resume()->set_epoch(epoch);
    EXPECT_TRUE(agent_->Send(message).ok());
  }
  void Begin(uint64_t epoch) {
    AgentToHelper message;
    message.mutable_begin_checkpoint()->set_epoch(epoch);
    EXPECT_TRUE(agent_->Send(message).ok());
  }
  void SendStop() {
    AgentToHelper message;
    message.mutable_stop();
    EXPECT_TRUE(agent_->Send(message).ok());
  }

  // One turn of libxc's loop: true if it would go on. The agent answers Suspended and Captured.
  bool TakeCheckpoint(const std::string& bytes, const std::function<void()>& on_suspended,
                      const std::function<void()>& on_captured) {
    if (!session_->Suspend()) return false;
    on_suspended();
    Write(bytes);
    if (!session_->PostCopy()) return false;
    on_captured();
    return session_->Checkpoint();
  }
  void Write(const std::string& bytes) {
    ASSERT_EQ(write(staging_->io_descriptor(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  HelperToAgent Next() {
    const absl::StatusOr<HelperToAgent> message = agent_->Receive();
    return message.ok() ? *message : HelperToAgent();
  }
  std::string Staged(int index, size_t length) {
    std::string bytes(length, '?');
    EXPECT_EQ(pread(files_[index], bytes.data(), length, 0), static_cast<ssize_t>(length));
    return bytes;
  }

  std::pair<UniqueFd, UniqueFd> sockets_ = *NewPacketSocketPair();
  std::unique_ptr<AgentEnd> agent_ = std::make_unique<AgentEnd>(std::move(sockets_.first));
  std::unique_ptr<HelperEnd> helper_ = std::make_unique<HelperEnd>(std::move(sockets_.second));
  std::unique_ptr<StopSignal> stop_ = *StopSignal::Install();
  FakeGuest guest_;
  UniqueFd pipe_;
  int files_[2];
  std::unique_ptr<StagingFiles> staging_;
  std::unique_ptr<SaveSession> session_;
};

// A PAGE_DATA record with `pages` page numbers and no data.
std::string PageData(uint32_t pages) {
  const uint32_t header[4] = {1, 8 + pages * 8, pages, 0};
  return std::string(reinterpret_cast<const char*>(header), sizeof(header)) + std::string(pages * 8, '\0');
}

TEST_F(SaveSessionTest, TheFirstSuspendEndsThePipeAndFilesTakeTurns) {
  Write("live");
  EXPECT_TRUE(TakeCheckpoint(
      PageData(3), [&] { Permit(1); }, [&] { Begin(2); }));
  char bytes[16] = {};
  EXPECT_EQ(read(pipe_.get(), bytes, sizeof(bytes)), 4);
  EXPECT_EQ(read(pipe_.get(), bytes, sizeof(bytes)), 0) << "the write end is still open";

  EXPECT_TRUE(TakeCheckpoint(
      PageData(2) + PageData(5), [&] { Permit(2); }, [&] { Begin(3); }));
  EXPECT_FALSE(TakeCheckpoint(
      PageData(1), [&] { Permit(3); }, [&] { SendStop(); }));
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->failure().has_value());
  EXPECT_EQ(guest_.story, "suspend resume finish suspend resume finish suspend resume finish ");

  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    EXPECT_EQ(Next().suspended().epoch(), epoch);
    const helper::v1::Captured captured = Next().captured();
    EXPECT_EQ(captured.epoch(), epoch);
    EXPECT_EQ(captured.staging_index(), (epoch + 1) % 2);
    EXPECT_EQ(captured.dirty_pages(), epoch == 1 ? 3 : epoch == 2 ? 7 : 1);
    EXPECT_EQ(captured.length(), epoch == 2 ? (PageData(2) + PageData(5)).size() : PageData(epoch == 1 ? 3 : 1).size());
    EXPECT_GT(captured.pause_us(), captured.copy_us() + captured.resume_us());
    const helper::v1::PauseParts& parts = captured.parts();
    EXPECT_EQ(parts.acknowledge_us(), 2000);  // As FakeGuest says.
    EXPECT_EQ(parts.acknowledge_us() + parts.suspend_us() + parts.dirty_bitmap_us() + parts.page_copy_us() +
                  parts.vcpu_state_us() + parts.permit_wait_us() + parts.resume_us(),
              captured.pause_us());
    EXPECT_EQ(parts.finish_resume_us() > 0, epoch > 1) << "of the checkpoint before";
  }
  EXPECT_EQ(Staged(0, PageData(1).size()), PageData(1));
  EXPECT_EQ(Staged(1, PageData(2).size()), PageData(2));
}

TEST_F(SaveSessionTest, TheGuestIsNotResumedBeforeThePermit) {
  ASSERT_TRUE(session_->Suspend());
  EXPECT_EQ(guest_.story, "suspend ");
  EXPECT_EQ(Next().suspended().epoch(), 1);
  Permit(1);
  EXPECT_TRUE(session_->PostCopy());
  EXPECT_EQ(guest_.story, "suspend resume ");
}

TEST_F(SaveSessionTest, WithoutAPermitTheGuestIsResumedAndTheSessionFails) {
  EXPECT_FALSE(TakeCheckpoint(
      "x", [] {}, [] {}));
  EXPECT_EQ(guest_.story, "suspend resume ");
  ASSERT_TRUE(session_->failure().has_value());
  EXPECT_EQ(session_->failure()->kind(), Failed::RESUME_TIMEOUT);
  EXPECT_TRUE(Next().has_suspended());
  EXPECT_FALSE(Next().has_captured());
}

TEST_F(SaveSessionTest, APermitForAnotherEpochIsAProtocolErrorAndNoPermit) {
  EXPECT_FALSE(TakeCheckpoint(
      "x", [&] { Permit(2); }, [] {}));
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
}

TEST_F(SaveSessionTest, ACheckpointOutOfOrderIsAProtocolError) {
  EXPECT_FALSE(TakeCheckpoint(
      "x", [&] { Permit(1); }, [&] { Begin(3); }));
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
}

TEST_F(SaveSessionTest, StopWhileSuspendedResumesWithoutACheckpoint) {
  ASSERT_TRUE(session_->Suspend());
  SendStop();
  EXPECT_FALSE(session_->PostCopy());
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, AnAgentThatDiesLeavesARunningGuest) {
  ASSERT_TRUE(session_->Suspend());
  agent_.reset();
  EXPECT_FALSE(session_->PostCopy());
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, AnAgentThatDiesDuringTheFirstCopyEndsIt) {
  EXPECT_EQ(session_->Precopy(0, 0, 1'000'000), SaveSession::PrecopyDecision::kContinue);
  EXPECT_EQ(Next().seeding_progress().pages_dirty(), 1000) << "more than the guest has";
  agent_.reset();
  EXPECT_EQ(session_->Precopy(1, 1'000'000, 300), SaveSession::PrecopyDecision::kAbort);
  EXPECT_TRUE(session_->StopRequested());
}

TEST_F(SaveSessionTest, TheFirstCopyEndsWhenFewPagesAreLeftOrAfterFiveRounds) {
  EXPECT_EQ(session_->Precopy(1, 900, -1), SaveSession::PrecopyDecision::kContinue);
  EXPECT_EQ(session_->Precopy(1, 900, 50), SaveSession::PrecopyDecision::kContinue);
  EXPECT_EQ(session_->Precopy(2, 950, 49), SaveSession::PrecopyDecision::kStopAndCopy);
  EXPECT_EQ(session_->Precopy(5, 990, 400), SaveSession::PrecopyDecision::kStopAndCopy);
}

TEST_F(SaveSessionTest, ASignalEndsTheFirstCopyEvenWhereItsWriteIsBlocked) {
  stop_->BreakWritesOf(staging_->io_descriptor());
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_EQ(write(staging_->io_descriptor(), "x", 1), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->Suspend());
  EXPECT_EQ(guest_.story, "");
}

TEST_F(SaveSessionTest, ASignalBetweenCheckpointsEndsTheSession) {
  ASSERT_TRUE(session_->Suspend());
  Permit(1);
  ASSERT_TRUE(session_->PostCopy());
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_FALSE(session_->Checkpoint());
  EXPECT_EQ(guest_.story, "suspend resume finish ");
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, FailedSuspendsAreToldApart) {
  guest_.suspend_status = absl::DeadlineExceededError("did not react");
  EXPECT_FALSE(session_->Suspend());
  EXPECT_EQ(session_->failure()->kind(), Failed::SUSPEND_TIMEOUT);
  EXPECT_EQ(session_->failure()->reason(), "epoch 1: did not react");
}

TEST_F(SaveSessionTest, AGuestThatEndsBetweenCheckpointsIsNoticed) {
  guest_.alive = absl::NotFoundError("domain 1 has crashed");
  EXPECT_FALSE(TakeCheckpoint(
      "x", [&] { Permit(1); }, [] {}));
  EXPECT_EQ(session_->failure()->kind(), Failed::DOMAIN_GONE);
}

}  // namespace
}  // namespace romulus
