#include "common/devices/script_runner.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/loop/run_until.h"

namespace romulus {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);
constexpr absl::Duration kLong = absl::Seconds(50);

class ScriptRunnerTest : public testing::Test {
 protected:
  ScriptRunnerTest() : loop_(*EventLoop::New()), runner_(*loop_, 2) {}

  static ScriptRunner::Call Shell(const std::string& script, bool may_fail = false) {
    return {{"/bin/sh", {"-c", script}, {"PATH=/bin:/usr/bin", "WORD=hello"}, -1}, may_fail};
  }
  ScriptRunner::Id Run(std::vector<ScriptRunner::Call> calls, absl::Duration timeout = kLong) {
    return runner_.Run(std::move(calls), timeout, [this](absl::Status status) { results_.push_back(status); });
  }
  bool Wait(size_t results) {
    return RunUntil(
        loop_.get(), [&] { return results_.size() >= results; }, kLimit);
  }
  std::string File(const std::string& name) { return absl::StrCat(testing::TempDir(), "/", getpid(), name); }
  std::string Content(const std::string& name) {
    std::ifstream file(File(name));
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  const std::unique_ptr<EventLoop> loop_;
  std::vector<absl::Status> results_;
  ScriptRunner runner_;
};

TEST_F(ScriptRunnerTest, RunsWithArgumentsAndEnvironmentAndNothingElse) {
  setenv("STRANGER", "x", 1);
  Run({Shell(absl::StrCat("echo \"$WORD.$STRANGER.\" >", File("env")))});
  ASSERT_TRUE(Wait(1));
  EXPECT_TRUE(results_[0].ok()) << results_[0];
  EXPECT_EQ(Content("env"), "hello..\n");
}

TEST_F(ScriptRunnerTest, SaysHowItEnded) {
  Run({Shell("exit 3")});
  ASSERT_TRUE(Wait(1));
  EXPECT_NE(results_[0].message().find("exited with 3"), absl::string_view::npos);
  Run({{{"/nowhere/script", {}, {}, -1}, false}});
  ASSERT_TRUE(Wait(2));
  EXPECT_TRUE(absl::IsFailedPrecondition(results_[1]));
  Run({Shell("kill -9 $$")});
  ASSERT_TRUE(Wait(3));
  EXPECT_NE(results_[2].message().find("signal 9"), absl::string_view::npos);
}

TEST_F(ScriptRunnerTest, OneCallAfterTheOtherUntilOneFails) {
  Run({Shell("exit 1", /*may_fail=*/true), Shell(absl::StrCat("echo a >>", File("order"))),
       Shell(absl::StrCat("echo b >>", File("order"), "; exit 4")), Shell(absl::StrCat("echo c >>", File("order")))});
  ASSERT_TRUE(Wait(1));
  EXPECT_NE(results_[0].message().find("exited with 4"), absl::string_view::npos);
  EXPECT_EQ(Content("order"), "a\nb\n");
}

TEST_F(ScriptRunnerTest, ATimeoutKillsTheScriptWithItsChildren) {
  Run({Shell(absl::StrCat("sleep 1000 & echo $! >", File("child"), "; wait"))}, absl::Milliseconds(300));
  ASSERT_TRUE(Wait(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(results_[0])) << results_[0];
  const std::string child = Content("child");
  if (child.empty()) GTEST_SKIP() << "the shell had not got that far";
  // Dead, or a zombie that nobody has reaped yet.
  EXPECT_TRUE(RunUntil(
      loop_.get(),
      [&] {
        std::ifstream stat(absl::StrCat("/proc/", std::stoi(child), "/stat"));
        std::string pid, name, state;
        return !(stat >> pid >> name >> state) || state == "Z";
      },
      kLimit));
}

TEST_F(ScriptRunnerTest, EndEndsWhatRunsAndWhatWaits) {
  const ScriptRunner::Id first = Run({Shell("trap '' TERM; while :; do sleep 0.1; done")});
  const ScriptRunner::Id second = Run({Shell("sleep 1000")});
  const ScriptRunner::Id third = Run({Shell(absl::StrCat("echo ran >", File("third")))});
  ASSERT_TRUE(RunUntil(
      loop_.get(), [&] { return runner_.running() == 2; }, kLimit));
  runner_.End(third, absl::ZeroDuration());
  runner_.End(second, absl::ZeroDuration());
  runner_.End(first, absl::ZeroDuration());
  runner_.End(12345, absl::ZeroDuration());
  ASSERT_TRUE(Wait(3));
  for (const absl::Status& result : results_) EXPECT_TRUE(absl::IsCancelled(result)) << result;
  EXPECT_EQ(Content("third"), "");
  EXPECT_EQ(runner_.running(), 0u);
}

TEST_F(ScriptRunnerTest, PatienceLetsAScriptEndByItself) {
  const ScriptRunner::Id id = Run({Shell("sleep 0.2; exit 5")});
  ASSERT_TRUE(RunUntil(
      loop_.get(), [&] { return runner_.running() == 1; }, kLimit));
  runner_.End(id, kLong);
  ASSERT_TRUE(Wait(1));
  EXPECT_NE(results_[0].message().find("exited with 5"), absl::string_view::npos);
}

TEST_F(ScriptRunnerTest, APredecessorIsWaitedFor) {
  auto predecessor = StartProgram({"/bin/sh", {"-c", absl::StrCat("sleep 0.3; echo first >>", File("both"))}, {}, -1});
  ASSERT_TRUE(predecessor.ok());
  const pid_t pid = predecessor->pid;
  runner_.Run(
      {Shell(absl::StrCat("echo second >>", File("both")))}, kLong,
      [this](absl::Status status) { results_.push_back(status); }, *std::move(predecessor));
  ASSERT_TRUE(Wait(1));
  EXPECT_TRUE(results_[0].ok()) << results_[0];
  EXPECT_EQ(Content("both"), "first\nsecond\n");
  waitpid(pid, nullptr, 0);
}

TEST_F(ScriptRunnerTest, APredecessorThatHangsIsKilled) {
  auto predecessor = StartProgram({"/bin/sh", {"-c", "sleep 1000"}, {}, -1});
  ASSERT_TRUE(predecessor.ok());
  const pid_t pid = predecessor->pid;
  runner_.Run(
      {Shell("exit 0")}, absl::Milliseconds(200), [this](absl::Status status) { results_.push_back(status); },
      *std::move(predecessor));
  ASSERT_TRUE(Wait(1));
  int how = 0;
  ASSERT_EQ(waitpid(pid, &how, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(how));
}

TEST_F(ScriptRunnerTest, SoManyAtATime) {
  for (int i = 0; i < 5; ++i) Run({Shell("sleep 0.05")});
  size_t most = 0;
  ASSERT_TRUE(RunUntil(
      loop_.get(),
      [&] {
        most = std::max(most, runner_.running());
        return results_.size() == 5;
      },
      kLimit));
  EXPECT_EQ(most, 2u);
}

}  // namespace
}  // namespace romulus
