#include "common/process/helper_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace romulus {
namespace {

using helper::v1::HelperToAgent;

class HelperProcessTest : public testing::Test, public HelperProcess::Observer {
 protected:
  void Spawn(const std::string& behaviour) {
    HelperProcess::Options options;
    options.program = "common/process/misbehaving_helper";
    options.arguments = {behaviour};
    options.label = "test helper";
    options.hello_timeout = hello_timeout_;
    options.exit_grace = exit_grace_;
    auto process = HelperProcess::Spawn(*loop_, options, this);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }

  HelperProcess::Result Run(const std::string& behaviour) {
    Spawn(behaviour);
    loop_->Run();
    return result_;
  }

  void OnMessage(const HelperToAgent& message) override {
    ++messages_;
    if (on_message_) on_message_();
  }
  void OnExit(const HelperProcess::Result& result) override {
    result_ = result;
    process_.reset();
    loop_->Quit();
  }

  std::unique_ptr<EventLoop> loop_ = *EventLoop::New();
  absl::Duration hello_timeout_ = absl::Seconds(60);
  absl::Duration exit_grace_ = absl::Seconds(60);
  std::unique_ptr<HelperProcess> process_;
  std::function<void()> on_message_;
  int messages_ = 0;
  HelperProcess::Result result_;
};

TEST_F(HelperProcessTest, CompleteAndExitZeroIsSuccess) {
  const auto result = Run("complete");
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_TRUE(result.complete.has_value());
  EXPECT_EQ(result.evidence, "exited with 0 after Complete");
}

TEST_F(HelperProcessTest, ExitZeroWithoutCompleteIsAFailure) {
  const auto result = Run("exit-0");
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
  EXPECT_EQ(result.evidence, "exited with 0 without Complete");
}

TEST_F(HelperProcessTest, CompleteWithABadExitIsAFailure) {
  const auto result = Run("complete-then-exit-3");
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
  EXPECT_EQ(result.evidence, "exited with 3 after Complete");
}

TEST_F(HelperProcessTest, AbortIsReportedWithItsSignal) {
  const auto result = Run("abort");
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
  EXPECT_NE(result.evidence.find("killed by signal 6"), std::string::npos) << result.evidence;
}

TEST_F(HelperProcessTest, TheHelpersOwnWordsAreTheStatus) {
  const auto result = Run("fail");
  EXPECT_TRUE(absl::IsNotFound(result.status)) << result.status;
  EXPECT_EQ(result.status.message(), "test helper: the guest was destroyed");
  EXPECT_EQ(result.evidence, "exited with 1 after Failed");
}

TEST_F(HelperProcessTest, TheFirstCauseWinsOverTheSignalThatFollowsIt) {
  exit_grace_ = absl::Milliseconds(50);
  on_message_ = [this] { process_->Terminate(absl::InternalError("the first cause")); };
  const auto result = Run("ignore-sigterm");
  EXPECT_EQ(result.status.message(), "the first cause");
  EXPECT_NE(result.evidence.find("killed by signal 9"), std::string::npos) << result.evidence;
}

TEST_F(HelperProcessTest, SigtermComesFirstAndEndingWellOnItIsSuccess) {
  on_message_ = [this] { process_->Terminate(absl::OkStatus()); };
  const auto result = Run("complete-on-sigterm");
  EXPECT_TRUE(result.status.ok()) << result.status;
}

TEST_F(HelperProcessTest, AHelperThatDoesNotEndWhenToldIsAFailure) {
  exit_grace_ = absl::Milliseconds(50);
  on_message_ = [this] { process_->Terminate(absl::OkStatus()); };
  const auto result = Run("ignore-sigterm");
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
}

TEST_F(HelperProcessTest, ASilentHelperIsEnded) {
  hello_timeout_ = absl::Milliseconds(50);
  const auto result = Run("silent");
  EXPECT_NE(result.status.message().find("said nothing"), absl::string_view::npos) << result.status;
  EXPECT_NE(result.evidence.find("killed by signal 15"), std::string::npos) << result.evidence;
}

TEST_F(HelperProcessTest, AnotherProtocolVersionIsRefusedWithARemedy) {
  const auto result = Run("wrong-version");
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status)) << result.status;
  EXPECT_NE(result.status.message().find("from one build"), absl::string_view::npos) << result.status;
}

TEST_F(HelperProcessTest, BrokenProtocolEndsTheHelper) {
  for (const char* behaviour : {"no-hello", "talk-after-complete", "garbage", "oversize"}) {
    SCOPED_TRACE(behaviour);
    loop_ = *EventLoop::New();
    const auto result = Run(behaviour);
    EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
    EXPECT_EQ(result.status.message().find("exited with 0"), absl::string_view::npos) << result.status;
  }
  EXPECT_EQ(messages_, 0);
}

TEST_F(HelperProcessTest, AHelperThatClosesItsSocketAndStaysIsEnded) {
  exit_grace_ = absl::Milliseconds(50);
  const auto result = Run("close-socket");
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << result.status;
  EXPECT_NE(result.evidence.find("killed by signal 15"), std::string::npos) << result.evidence;
}

TEST_F(HelperProcessTest, AFloodOfLogLinesIsThinnedOutAndForgesNoLines) {
  testing::internal::CaptureStderr();
  const auto result = Run("flood");
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(result.status.ok()) << result.status;
  const auto lines = std::count(logged.begin(), logged.end(), '\n');
  EXPECT_GE(lines, 50);
  EXPECT_LT(lines, 2'000);
  EXPECT_EQ(logged.find("\nwith"), std::string::npos);
}

TEST_F(HelperProcessTest, DescriptorsArePassedAndNothingElseIs) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // Inheritable, on purpose.
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  Spawn("write-into-descriptor");
  helper::v1::AgentToHelper message;
  message.mutable_start_save()->set_domid(7);
  const int descriptor = write_end.get();
  ASSERT_TRUE(process_->Send(message, {descriptor}).ok());
  write_end.Reset();
  loop_->Run();
  EXPECT_TRUE(result_.status.ok()) << result_.status;
  char text[32] = {};
  EXPECT_EQ(read(read_end.get(), text, sizeof(text)), 8);
  EXPECT_STREQ(text, "domain 7");
}

TEST_F(HelperProcessTest, AHelperThatIsLetGoSeesTheEndOfFile) {
  on_message_ = [this] { loop_->Quit(); };
  Spawn("wait-for-end-of-file");
  loop_->Run();
  const pid_t pid = process_->pid();
  process_.reset();
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(HelperProcessTest, AMissingProgramIsNamed) {
  HelperProcess::Options options;
  options.program = "/nowhere/romulus-save-helper";
  const auto process = HelperProcess::Spawn(*loop_, options, this);
  EXPECT_TRUE(absl::IsFailedPrecondition(process.status())) << process.status();
  EXPECT_NE(process.status().message().find("/nowhere/romulus-save-helper"), absl::string_view::npos);
}

}  // namespace
}  // namespace romulus
