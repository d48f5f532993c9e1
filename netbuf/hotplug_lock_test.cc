#include "netbuf/hotplug_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::HasSubstr;

class HotplugLockTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<HotplugLock>> Acquire(absl::Duration timeout = absl::Seconds(60)) {
    return HotplugLock::Acquire(directory_, "pickifb", timeout);
  }
  bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

  const std::string directory_ = ::testing::TempDir() + "/hotplug" + std::to_string(getpid());
  const std::string path_ = directory_ + "/pickifb";
};

TEST_F(HotplugLockTest, MakesTheDirectoryAndTheFileAndRemovesTheFileWhenItIsReleased) {
  absl::StatusOr<std::unique_ptr<HotplugLock>> lock = Acquire();
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(Exists(path_));
  lock->reset();
  EXPECT_FALSE(Exists(path_));
  EXPECT_TRUE(Exists(directory_));
}

TEST_F(HotplugLockTest, ASecondWaitsABoundedTimeAndSaysWhatToDo) {
  absl::StatusOr<std::unique_ptr<HotplugLock>> lock = Acquire();
  ASSERT_TRUE(lock.ok());
  const absl::Status refused = Acquire(absl::Milliseconds(20)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path_));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("lslocks"));
  EXPECT_TRUE(Exists(path_)) << "it is the first one's";
  lock->reset();
  EXPECT_TRUE(Acquire().ok());
}

TEST_F(HotplugLockTest, AHolderThatDiedIsNoObstacle) {
  const pid_t child = fork();
  if (child == 0) _exit(Acquire().ok() ? (execl("/bin/true", "true", nullptr), 1) : 2);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(Acquire(absl::Milliseconds(1)).ok());
}

// A script that waits holds the file open: it locks it in the moment that the holder removes it.
TEST_F(HotplugLockTest, TheLockOfAFileThatWasRemovedIsNone) {
  absl::StatusOr<std::unique_ptr<HotplugLock>> first = Acquire();
  ASSERT_TRUE(first.ok());
  const int stale = open(path_.c_str(), O_RDWR);
  ASSERT_GE(stale, 0);
  first->reset();
  ASSERT_EQ(flock(stale, LOCK_EX | LOCK_NB), 0);
  absl::StatusOr<std::unique_ptr<HotplugLock>> second = Acquire(absl::Milliseconds(1));
  EXPECT_TRUE(second.ok()) << second.status();
  close(stale);
}

// Whoever is alone makes the directory and takes it away again. The others are processes of ours, and shells that keep
// to the protocol as Xen's scripts do.
constexpr int kProcesses = 4;
constexpr int kTurns = 200;
constexpr char kShell[] = R"sh(
  cd "$1"
  turns=0
  while [ $turns -lt 20 ]; do
    exec 200>>pickifb
    flock -x 200
    [ "$(stat -L -c %d.%i /proc/self/fd/200)" = "$(stat -c %d.%i pickifb 2>/dev/null)" ] || continue
    mkdir alone || exit 1
    rmdir alone
    rm pickifb
    turns=$((turns + 1))
  done)sh";

int TakeTurns(const std::string& directory, int turns) {
  const std::string alone = directory + "/alone";
  for (int turn = 0; turn < turns; ++turn) {
    absl::StatusOr<std::unique_ptr<HotplugLock>> lock = HotplugLock::Acquire(directory, "pickifb", absl::Seconds(60));
    if (!lock.ok()) return 2;
    if (mkdir(alone.c_str(), 0755) != 0 || rmdir(alone.c_str()) != 0) return 1;
  }
  return 0;
}

TEST_F(HotplugLockTest, NeverTwoAtATimeAmongRacingProcessesAndShells) {
  ASSERT_TRUE(Acquire().ok());
  for (int i = 0; i < kProcesses; ++i) {
    if (fork() == 0) _exit(TakeTurns(directory_, kTurns));
    if (fork() == 0) _exit(execlp("bash", "bash", "-c", kShell, "bash", directory_.c_str(), nullptr));
  }
  for (int i = 0; i < 2 * kProcesses; ++i) {
    int status = 0;
    ASSERT_GT(wait(&status), 0);
    EXPECT_EQ(status, 0) << "1: two were alone at a time; 2: the lock could not be had";
  }
}

}  // namespace
}  // namespace romulus
