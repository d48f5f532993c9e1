#include "primary/save_helper/save_session.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
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

// Plays SaveLoop. The agent's messages are queued before.
class SaveSessionTest : public testing::Test {
 protected:
  SaveSessionTest() {
    session_ = std::make_unique<SaveSession>(
        *helper_, guest_, *stop_,
        [this] {
          if (on_clock_) on_clock_();
          return guest_.now += absl::Milliseconds(1);
        },
        SaveSession::Options{absl::Seconds(1), absl::Milliseconds(20)});
  }

  void Permit(uint64_t epoch) {
    AgentToHelper message;
    message.mutable_permit_resume()->set_epoch(epoch);
    EXPECT_TRUE(agent_->Send(message).ok());
  }
  void Begin(uint64_t epoch, bool with_standby_pages = false) {
    AgentToHelper message;
    message.mutable_begin_checkpoint()->set_with_standby_pages(with_standby_pages);
    message.mutable_begin_checkpoint()->set_epoch(epoch);
    EXPECT_TRUE(agent_->Send(message).ok());
  }
  void SendStop() {
    AgentToHelper message;
    message.mutable_stop();
    EXPECT_TRUE(agent_->Send(message).ok());
  }

  // One turn of the loop: true if it would go on. The agent answers Suspended and Captured.
  bool TakeCheckpoint(const std::function<void()>& on_suspended, const std::function<void()>& on_captured) {
    if (!session_->Suspend()) return false;
    on_suspended();
    if (!session_->Resume(Copy())) return false;
    on_captured();
    return session_->Deliver() && session_->NextEpoch();
  }
  SaveSession::Copied Copy() {
    SaveSession::Copied copied;
    copied.length = 100 * session_->epoch();
    copied.dirty_pages = session_->epoch();
    copied.dirty_bitmap = absl::Milliseconds(1);
    copied.page_copy = absl::Milliseconds(7);
    copied.vcpu_state = absl::Milliseconds(2);
    guest_.now += absl::Milliseconds(10);
    return copied;
  }
  HelperToAgent Next() {
    const absl::StatusOr<HelperToAgent> message = agent_->Receive();
    return message.ok() ? *message : HelperToAgent();
  }

  std::pair<UniqueFd, UniqueFd> sockets_ = *NewPacketSocketPair();
  std::unique_ptr<AgentEnd> agent_ = std::make_unique<AgentEnd>(std::move(sockets_.first));
  std::unique_ptr<HelperEnd> helper_ = std::make_unique<HelperEnd>(std::move(sockets_.second));
  std::unique_ptr<StopSignal> stop_ = *StopSignal::Install();
  FakeGuest guest_;
  std::function<void()> on_clock_;  // The session looks at the time.
  std::unique_ptr<SaveSession> session_;
};

TEST_F(SaveSessionTest, SaysOfEachCheckpointWhereItIsAndWhereThePauseWent) {
  EXPECT_TRUE(TakeCheckpoint([&] { Permit(1); }, [&] { Begin(2); }));
  EXPECT_TRUE(TakeCheckpoint([&] { Permit(2); }, [&] { Begin(3); }));
  EXPECT_FALSE(TakeCheckpoint([&] { Permit(3); }, [&] { SendStop(); }));
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->failure().has_value());
  EXPECT_EQ(guest_.story, "suspend resume finish suspend resume finish suspend resume finish ");

  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    EXPECT_EQ(Next().suspended().epoch(), epoch);
    const helper::v1::Captured captured = Next().captured();
    EXPECT_EQ(captured.epoch(), epoch);
    EXPECT_EQ(captured.staging_index(), (epoch + 1) % 2);
    EXPECT_EQ(captured.dirty_pages(), epoch);
    EXPECT_EQ(captured.length(), 100 * epoch);
    const helper::v1::PauseParts& parts = captured.parts();
    EXPECT_EQ(parts.acknowledge_us(), 2000);   // As FakeGuest says.
    EXPECT_EQ(parts.dirty_bitmap_us(), 1000);  // As Copy says.
    EXPECT_EQ(parts.page_copy_us(), 7000);
    EXPECT_EQ(parts.vcpu_state_us(), 2000);
    EXPECT_GT(parts.permit_wait_us(), 0);
    EXPECT_EQ(
        parts.acknowledge_us() + parts.suspend_us() + captured.copy_us() + parts.permit_wait_us() + parts.resume_us(),
        captured.pause_us());
    EXPECT_EQ(parts.finish_resume_us() > 0, epoch > 1) << "of the checkpoint before";
  }
}

TEST_F(SaveSessionTest, TheGuestIsNotResumedBeforeThePermit) {
  ASSERT_TRUE(session_->Suspend());
  EXPECT_EQ(guest_.story, "suspend ");
  EXPECT_EQ(Next().suspended().epoch(), 1);
  Permit(1);
  EXPECT_TRUE(session_->Resume(Copy()));
  EXPECT_EQ(guest_.story, "suspend resume ");
}

TEST_F(SaveSessionTest, WithoutAPermitTheGuestIsResumedAndTheSessionFails) {
  EXPECT_FALSE(TakeCheckpoint([] {}, [] {}));
  EXPECT_EQ(guest_.story, "suspend resume ");
  ASSERT_TRUE(session_->failure().has_value());
  EXPECT_EQ(session_->failure()->kind(), Failed::RESUME_TIMEOUT);
  EXPECT_TRUE(Next().has_suspended());
  EXPECT_FALSE(Next().has_captured());
}

TEST_F(SaveSessionTest, APermitThatIsThereCountsHoweverLongTheCopyTook) {
  ASSERT_TRUE(session_->Suspend());
  Permit(1);
  guest_.now += absl::Minutes(1);
  EXPECT_TRUE(session_->Resume(Copy()));
}

TEST_F(SaveSessionTest, APermitForAnotherEpochIsAProtocolErrorAndNoPermit) {
  EXPECT_FALSE(TakeCheckpoint([&] { Permit(2); }, [] {}));
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
}

TEST_F(SaveSessionTest, ACheckpointOutOfOrderIsAProtocolError) {
  EXPECT_FALSE(TakeCheckpoint([&] { Permit(1); }, [&] { Begin(3); }));
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
}

TEST_F(SaveSessionTest, StopWhileSuspendedResumesWithoutACheckpoint) {
  ASSERT_TRUE(session_->Suspend());
  SendStop();
  EXPECT_FALSE(session_->Resume(Copy()));
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, AnAgentThatDiesLeavesARunningGuest) {
  ASSERT_TRUE(session_->Suspend());
  agent_.reset();
  EXPECT_FALSE(session_->Resume(Copy()));
  EXPECT_EQ(guest_.story, "suspend resume ");
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, AnAgentThatDiesDuringTheFirstCopyEndsIt) {
  EXPECT_TRUE(session_->Progress(1, 900, 300));
  const HelperToAgent message = Next();
  EXPECT_EQ(message.seeding_progress().pages_written(), 900);
  EXPECT_EQ(message.seeding_progress().pages_dirty(), 300);
  agent_.reset();
  EXPECT_FALSE(session_->Progress(2, 1200, 300));
  EXPECT_TRUE(session_->StopRequested());
}

TEST_F(SaveSessionTest, ASignalEndsTheFirstCopy) {
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->Suspend());
  EXPECT_EQ(guest_.story, "");
}

TEST_F(SaveSessionTest, ACopyThatFailedResumesTheGuest) {
  ASSERT_TRUE(session_->Suspend());
  session_->ResumeAfterFailure();
  session_->Fail(absl::AbortedError("it owns 5 pages instead of 4"));
  EXPECT_EQ(guest_.story, "suspend resume finish ");
  EXPECT_EQ(session_->failure()->kind(), Failed::MEMORY_MAP_CHANGED);
  session_->Fail(absl::InternalError("what came of it"));
  EXPECT_EQ(session_->failure()->reason(), "epoch 1: the guest has to be copied anew: it owns 5 pages instead of 4");
}

TEST_F(SaveSessionTest, WhatWasCancelledIsNoFailure) {
  session_->Fail(absl::CancelledError("stopped"));
  session_->Fail(absl::OkStatus());
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(SaveSessionTest, ASignalBetweenCheckpointsEndsTheSession) {
  ASSERT_TRUE(session_->Suspend());
  Permit(1);
  ASSERT_TRUE(session_->Resume(Copy()));
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_TRUE(session_->Deliver());
  EXPECT_FALSE(session_->NextEpoch());
  EXPECT_EQ(guest_.story, "suspend resume finish ");
  EXPECT_FALSE(session_->failure().has_value());
}

// Checkpoint 2 of a standby that runs along is under way.
class StandbyPagesTest : public SaveSessionTest {
 protected:
  void Suspended2(bool with_standby_pages = true) {
    ASSERT_TRUE(TakeCheckpoint([&] { Permit(1); }, [&] { Begin(2, with_standby_pages); }));
    ASSERT_TRUE(session_->Suspend());
  }
  void SendPages(const PageRuns& runs, uint64_t epoch = 2, std::optional<uint64_t> count = std::nullopt,
                 bool file = true) {
    AgentToHelper message;
    message.mutable_standby_pages()->set_epoch(epoch);
    message.mutable_standby_pages()->set_run_count(count.value_or(runs.size()));
    const UniqueFd pages(memfd_create("standby", 0));
    const size_t bytes = runs.size() * sizeof(PageRun);
    EXPECT_EQ(write(pages.get(), runs.data(), bytes), static_cast<ssize_t>(bytes));
    EXPECT_TRUE((file ? agent_->Send(message, {pages.get()}) : agent_->Send(message)).ok());
  }
  // There is no checkpoint.
  void ExpectRefused(Failed::Kind kind, const char* why) {
    EXPECT_EQ(session_->StandbyPages().status().code(), absl::StatusCode::kCancelled);
    ASSERT_TRUE(session_->failure().has_value()) << why;
    EXPECT_EQ(session_->failure()->kind(), kind);
    EXPECT_NE(session_->failure()->reason().find(why), std::string::npos) << session_->failure()->reason();
  }
  const PageRuns runs_ = {{3, 2}, {9, 1}};
};

TEST_F(StandbyPagesTest, AreWaitedFor) {
  Suspended2();
  int looks = 0;
  on_clock_ = [&] {
    if (++looks == 1) Permit(2);
    if (looks == 3) SendPages(runs_);
  };
  const absl::StatusOr<PageRuns> pages = session_->StandbyPages();
  ASSERT_TRUE(pages.ok()) << pages.status();
  EXPECT_EQ(*pages, runs_);
  on_clock_ = nullptr;
  EXPECT_TRUE(session_->Resume(Copy())) << "the permit came meanwhile";
  EXPECT_EQ(guest_.story, "suspend resume finish suspend resume ");
}

TEST_F(StandbyPagesTest, OfAStandbyThatWaitsAreNone) {
  Suspended2(/*with_standby_pages=*/false);
  const absl::StatusOr<PageRuns> pages = session_->StandbyPages();
  ASSERT_TRUE(pages.ok());
  EXPECT_TRUE(pages->empty());
}

TEST_F(StandbyPagesTest, ThatAreNoneAreToldWithoutAFile) {
  Suspended2();
  SendPages({}, 2, std::nullopt, /*file=*/false);
  const absl::StatusOr<PageRuns> pages = session_->StandbyPages();
  ASSERT_TRUE(pages.ok());
  EXPECT_TRUE(pages->empty());
}

TEST_F(StandbyPagesTest, ThatDoNotComeInTimeEndTheSession) {
  Suspended2();
  Permit(2);
  ExpectRefused(Failed::RESUME_TIMEOUT, "which pages the standby has written to");
}

TEST_F(StandbyPagesTest, StopWhileTheyAreWaitedForIsNoFailure) {
  Suspended2();
  SendStop();
  EXPECT_EQ(session_->StandbyPages().status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(session_->failure().has_value());
}

TEST_F(StandbyPagesTest, OfAnotherCheckpoint) {
  Suspended2();
  SendPages(runs_, 3);
  ExpectRefused(Failed::PROTOCOL, "(epoch 3)");
}
TEST_F(StandbyPagesTest, ThatNobodyAskedFor) {
  Suspended2(/*with_standby_pages=*/false);
  SendPages(runs_);
  EXPECT_FALSE(session_->Resume(Copy()));
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
  EXPECT_EQ(guest_.story, "suspend resume finish suspend resume ");
}
TEST_F(StandbyPagesTest, ThatComeTwice) {
  Suspended2();
  SendPages(runs_);
  SendPages(runs_);
  EXPECT_TRUE(session_->StandbyPages().ok());
  EXPECT_FALSE(session_->Resume(Copy()));
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
}
TEST_F(StandbyPagesTest, InTooManyRuns) {
  Suspended2();
  SendPages(runs_, 2, uint64_t{1} << 40);
  ExpectRefused(Failed::PROTOCOL, "runs");
}
TEST_F(StandbyPagesTest, WithoutTheirFile) {
  Suspended2();
  SendPages(runs_, 2, std::nullopt, /*file=*/false);
  ExpectRefused(Failed::PROTOCOL, "without their file");
}
TEST_F(StandbyPagesTest, InAFileThatIsTooShort) {
  Suspended2();
  SendPages(runs_, 2, 3);
  ExpectRefused(Failed::PROTOCOL, "can't be read");
}
TEST_F(StandbyPagesTest, OutOfOrder) {
  Suspended2();
  SendPages({{9, 1}, {3, 2}});
  ExpectRefused(Failed::PROTOCOL, "ascending");
}

TEST_F(SaveSessionTest, FailedSuspendsAreToldApart) {
  guest_.suspend_status = absl::DeadlineExceededError("did not react");
  EXPECT_FALSE(session_->Suspend());
  EXPECT_EQ(session_->failure()->kind(), Failed::SUSPEND_TIMEOUT);
  EXPECT_EQ(session_->failure()->reason(), "epoch 1: did not react");
}

TEST_F(SaveSessionTest, AGuestThatEndsBetweenCheckpointsIsNoticed) {
  guest_.alive = absl::NotFoundError("domain 1 has crashed");
  ASSERT_EQ(eventfd_write(guest_.events.get(), 1), 0);
  EXPECT_FALSE(TakeCheckpoint([&] { Permit(1); }, [] {}));
  EXPECT_EQ(session_->failure()->kind(), Failed::DOMAIN_GONE);
}

}  // namespace
}  // namespace romulus
