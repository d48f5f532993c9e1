#include "primary/save_helper/save_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/process/packet_socket.h"
#include "common/stream/record_scanner.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::Failed;
using helper::v1::HelperToAgent;
using stream_format::kPageBytes;

constexpr size_t kPages = 300;

// A guest, and the agent of its save: it permits each resume, asks for the next checkpoint, and after `checkpoints` for
// the end.
class SaveLoopTest : public testing::Test, public SuspendableGuest, public GuestImage {
 protected:
  SaveLoopTest() : memory_(kPages * kPageBytes, 'm'), bitmap_((kPages + 63) / 64) {
    frames_.Add(0, kPages, memory_.data());
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pipe_.Reset(ends[0]);
    session_ = std::make_unique<SaveSession>(
        *helper_, *this, *stop_,
        [this] {
          // While the session waits: nothing is there for who only looks.
          if (standby_pages_.has_value()) SendStandbyPages(*std::exchange(standby_pages_, std::nullopt));
          return now_ += absl::Milliseconds(1);
        },
        SaveSession::Options{absl::Seconds(1), absl::Seconds(1)});
    write_end_.Reset(ends[1]);
  }

  void Run(size_t staging_bytes_max = 0, size_t limit = size_t{16} << 20) {
    std::thread reader([this] {
      char buffer[1 << 16];
      while (true) {
        const ssize_t got = read(pipe_.get(), buffer, sizeof(buffer));
        if (got <= 0) return;
        live_.append(buffer, static_cast<size_t>(got));
      }
    });
    {
      SaveLoop loop(*this, *session_,
                    *SeedingPipe::New(std::move(write_end_), {helper_->descriptor(), stop_->descriptor()},
                                      [this] { return session_->StopRequested(); }),
                    {*StagingMemory::New(UniqueFd(dup(files_[0].get())), limit),
                     *StagingMemory::New(UniqueFd(dup(files_[1].get())), limit)},
                    {.staging_bytes_max = staging_bytes_max,
                     .captured_pages_bytes_max = captured_pages_bytes_max_,
                     .lockstep = standby_writes_ != nullptr},
                    [this] { return now_ += absl::Milliseconds(1); });
      loop.Run([this] {
        EXPECT_EQ(session_->epoch(), 0);
        ++seeded_;
      });
    }
    reader.join();
  }
  // The memory of a staging file.
  size_t StagingTaken(size_t file) {
    struct stat status {};
    EXPECT_EQ(fstat(files_[file].get(), &status), 0);
    return static_cast<size_t>(status.st_blocks) * 512;
  }
  // As it was when it was captured.
  std::string Staged(const helper::v1::Captured& captured) {
    EXPECT_GE(staged_[captured.epoch()].size(), captured.length());
    return staged_[captured.epoch()].substr(0, captured.length());
  }
  static bool BeginsWithAttachments(const std::string& checkpoint) {
    const uint32_t header[] = {stream_format::kAttachments, 6};
    std::string record(reinterpret_cast<const char*>(header), sizeof(header));
    record += "grants";  // As ReadAttachments says.
    return checkpoint.compare(0, record.size(), record) == 0;
  }
  std::vector<helper::v1::Captured> AllCaptured() {
    std::vector<helper::v1::Captured> all;
    while (true) {
      const absl::StatusOr<HelperToAgent> message = agent_->Receive();
      if (!message.ok()) return all;
      if (message->has_captured()) all.push_back(message->captured());
    }
  }
  void Dirty(size_t first, size_t count) {
    for (size_t page = first; page < first + count; ++page) bitmap_[page / 64] |= uint64_t{1} << page % 64;
  }

  // SuspendableGuest
  absl::StatusOr<SuspendTimes> Suspend(absl::Duration) override {
    suspended_ = true;
    story_ += "suspend ";
    return SuspendTimes{};
  }
  absl::Status Resume() override {
    suspended_ = false;
    story_ += "resume ";
    return absl::OkStatus();
  }
  absl::Status FinishResume() override {
    std::string bytes(size_t{3} << 20, '?');
    const ssize_t got =
        pread(files_[SaveSession::StagingIndex(session_->epoch())].get(), bytes.data(), bytes.size(), 0);
    EXPECT_GT(got, 0);
    staged_[session_->epoch()] = bytes.substr(0, static_cast<size_t>(got));
    AgentToHelper message;
    if (session_->epoch() >= checkpoints_) {
      message.mutable_stop();
    } else {
      message.mutable_begin_checkpoint()->set_epoch(session_->epoch() + 1);
      message.mutable_begin_checkpoint()->set_with_standby_pages(standby_writes_ != nullptr);
    }
    EXPECT_TRUE(agent_->Send(message).ok());
    if (after_resume_) {
      after_resume_();
      if (standby_writes_ && message.has_begin_checkpoint()) next_standby_pages_ = standby_writes_();
      return absl::OkStatus();
    }
    Dirty(10, dirty_pages_);
    const uint64_t epoch = session_->epoch();
    for (const size_t page : changes_[epoch]) memory_[page * kPageBytes] = static_cast<char>('0' + epoch - 1);
    return absl::OkStatus();
  }
  void SendStandbyPages(const PageRuns& runs) {
    AgentToHelper message;
    message.mutable_standby_pages()->set_epoch(session_->epoch());
    message.mutable_standby_pages()->set_run_count(runs.size());
    const UniqueFd file(memfd_create("standby", 0));
    const ssize_t bytes = static_cast<ssize_t>(runs.size() * sizeof(PageRun));
    EXPECT_EQ(write(file.get(), runs.data(), static_cast<size_t>(bytes)), bytes);
    EXPECT_TRUE(agent_->Send(message, {file.get()}).ok());
  }
  int event_descriptor() const override { return events_.get(); }
  absl::Status CheckAlive() override { return absl::OkStatus(); }

  // GuestImage
  absl::StatusOr<Description> Describe() override { return Description{4, 17, std::string(24, 'c'), ""}; }
  absl::Status Begin() override { return absl::OkStatus(); }
  const FrameMap& frames() const override { return frames_; }
  absl::StatusOr<uint64_t> CountDirty() override {
    uint64_t count = 0;
    for (const uint64_t word : bitmap_) count += static_cast<uint64_t>(__builtin_popcountll(word));
    return count;
  }
  absl::StatusOr<absl::Span<const uint64_t>> TakeDirty(bool final) override {
    EXPECT_EQ(final, suspended_);
    taken_ = std::exchange(bitmap_, std::vector<uint64_t>(bitmap_.size()));
    if (final) {
      AgentToHelper message;
      message.mutable_permit_resume()->set_epoch(session_->epoch());
      EXPECT_TRUE(agent_->Send(message).ok());
    }
    return taken_;
  }
  absl::StatusOr<absl::Span<const uint64_t>> LookAtDirty() override {
    ++looks_;
    const std::vector<uint64_t> kept = bitmap_;
    const auto taken = TakeDirty(/*final=*/true);
    bitmap_ = kept;
    return taken;
  }
  absl::Status AddTypes(absl::Span<uint64_t>) override { return absl::OkStatus(); }
  absl::Status CheckMemoryMap() override {
    EXPECT_TRUE(suspended_);
    return session_->epoch() == map_changes_at_ ? absl::AbortedError("it has grown") : absl::OkStatus();
  }
  absl::Status PrepareState() override {
    EXPECT_FALSE(suspended_);
    return absl::OkStatus();
  }
  absl::StatusOr<State> ReadState() override {
    EXPECT_TRUE(suspended_);
    standby_pages_ = std::exchange(next_standby_pages_, std::nullopt);
    State state;
    state.hvm_context = absl::MakeConstSpan("vcpu", 4);
    return state;
  }

  absl::StatusOr<absl::Span<const char>> ReadAttachments() override {
    EXPECT_TRUE(suspended_);
    return absl::MakeConstSpan("grants", 6);
  }

  std::pair<UniqueFd, UniqueFd> sockets_ = *NewPacketSocketPair();
  std::unique_ptr<AgentEnd> agent_ = std::make_unique<AgentEnd>(std::move(sockets_.first));
  std::unique_ptr<HelperEnd> helper_ = std::make_unique<HelperEnd>(std::move(sockets_.second));
  std::unique_ptr<StopSignal> stop_ = *StopSignal::Install();
  UniqueFd events_{eventfd(0, EFD_NONBLOCK)};
  UniqueFd files_[2] = {UniqueFd(memfd_create("0", 0)), UniqueFd(memfd_create("1", 0))};
  UniqueFd pipe_, write_end_;
  std::string memory_;
  FrameMap frames_;
  std::vector<uint64_t> bitmap_, taken_;
  std::unique_ptr<SaveSession> session_;
  absl::Duration now_;
  bool suspended_ = false;
  uint64_t checkpoints_ = 4;
  uint64_t map_changes_at_ = 0;
  size_t dirty_pages_ = 7;
  size_t captured_pages_bytes_max_ = 0;
  std::function<PageRuns()> standby_writes_;         // The standby runs along, and has written to these.
  std::optional<PageRuns> next_standby_pages_, standby_pages_;  // Of the next checkpoint; to be sent.
  std::function<void()> after_resume_;               // Instead of what else the guest does between checkpoints.
  std::map<uint64_t, std::vector<size_t>> changes_;  // After the checkpoint of that epoch.
  int looks_ = 0;
  std::string story_, live_;
  int seeded_ = 0;
  std::map<uint64_t, std::string> staged_;
};

TEST_F(SaveLoopTest, TheLiveCopyAndTheFirstFileAreOneCheckpointAndEachLaterFileIsOne) {
  Dirty(100, 60);  // Comes up after the first round: one more; then it has converged.
  Run();
  EXPECT_FALSE(session_->failure().has_value());
  EXPECT_EQ(seeded_, 1);
  const std::vector<helper::v1::Captured> captured = AllCaptured();
  ASSERT_EQ(captured.size(), 4);
  for (const helper::v1::Captured& each : captured) {
    RecordScanner scanner(each.epoch() == 1 ? RecordScanner::Checkpoint::kFirst : RecordScanner::Checkpoint::kLater);
    if (each.epoch() == 1) {
      ASSERT_TRUE(scanner.Feed(live_).ok());
      EXPECT_EQ(scanner.page_count(), kPages + 60);
      EXPECT_FALSE(scanner.complete());
    } else {
      EXPECT_EQ(each.dirty_pages(), 7);
    }
    EXPECT_EQ(each.oversized_checkpoints(), 0);
    ASSERT_TRUE(scanner.Feed(Staged(each)).ok()) << each.epoch();
    EXPECT_TRUE(scanner.complete());
    EXPECT_FALSE(BeginsWithAttachments(Staged(each)));
    if (each.epoch() == 1) continue;
    EXPECT_NE(Staged(each).find(std::string(kPageBytes, 'm')), std::string::npos);
  }
  EXPECT_EQ(story_, "suspend resume suspend resume suspend resume suspend resume ");
}

TEST_F(SaveLoopTest, WithoutAResetOfTheTrackingACheckpointHasWhatWasWrittenSinceTheLastOne) {
  Dirty(200, 3);  // Before checkpoint 1, in which tracking is reset.
  Run();
  const std::vector<helper::v1::Captured> captured = AllCaptured();
  ASSERT_EQ(captured.size(), 4);
  EXPECT_EQ(looks_, 3);
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(captured[i].dirty_pages(), 7) << i;
}

TEST_F(SaveLoopTest, APageThatHoldsWhatWasLastCapturedIsLeftOut) {
  captured_pages_bytes_max_ = size_t{1} << 20;
  checkpoints_ = 5;
  // While the guest runs after each checkpoint, so before the next: 7 pages are written to, only these change.
  changes_ = {{2, {11}}, {3, {11, 12}}, {4, {}}};
  Run();
  EXPECT_FALSE(session_->failure().has_value());
  const std::vector<helper::v1::Captured> captured = AllCaptured();
  ASSERT_EQ(captured.size(), 5);
  const std::vector<std::vector<uint64_t>> expected = {
      {10, 11, 12, 13, 14, 15, 16},  // None of them was captured since the first copy.
      {11},
      {11, 12},
      {}};
  for (size_t i = 0; i < expected.size(); ++i) {
    const helper::v1::Captured& each = captured[i + 1];
    std::vector<uint64_t> frames;
    std::string contents;
    ForEachWrittenPage(Staged(each), [&](uint64_t entry, const char* page) {
      frames.push_back(entry);
      contents.append(page, kPageBytes);
    });
    EXPECT_EQ(frames, expected[i]) << each.epoch();
    EXPECT_EQ(each.dirty_pages(), 7);
    EXPECT_EQ(each.unchanged_pages(), 7 - expected[i].size());
    EXPECT_EQ(each.captured_pages_bytes() > 0, i > 0);
    // As the guest was then, not as it is by the time that contents are kept.
    for (size_t page = 0; i > 0 && page < frames.size(); ++page) {
      EXPECT_EQ(contents[page * kPageBytes], static_cast<char>('0' + i)) << "page " << frames[page];
    }
    RecordScanner scanner(RecordScanner::Checkpoint::kLater);
    EXPECT_TRUE(scanner.Feed(Staged(each)).ok());
    EXPECT_TRUE(scanner.complete());
  }
}

TEST_F(SaveLoopTest, WhoeverAppliesEveryCheckpointHasTheGuestsMemoryHoweverLittleOfItIsKept) {
  checkpoints_ = 100;
  captured_pages_bytes_max_ = 20 * kPageBytes;
  std::mt19937 random(20261121);
  const auto below = [&random](size_t bound) { return random() % bound; };
  std::string replica;
  after_resume_ = [&] {
    // The guest has not run since it was copied.
    const uint64_t epoch = session_->epoch();
    if (epoch == 1) {
      replica = memory_;
    } else {
      // Of what lies in the file, the checkpoint is what the scanner takes.
      std::string& staged = staged_[epoch];
      RecordScanner scanner(RecordScanner::Checkpoint::kLater);
      size_t length = 0;
      while (!scanner.complete() && length < staged.size()) {
        ASSERT_TRUE(scanner.Feed(absl::string_view(staged).substr(length, 8)).ok());
        length += 8;
      }
      ForEachWrittenPage(absl::MakeConstSpan(staged.data(), length), [&](uint64_t entry, const char* page) {
        replica.replace(entry * kPageBytes, kPageBytes, page, kPageBytes);
      });
      ASSERT_TRUE(replica == memory_) << "after checkpoint " << epoch;
    }
    for (size_t writes = below(40); writes > 0; --writes) {
      // Some pages more often than others; with few values, so that they often are what they were.
      const size_t page = below(2) == 0 ? below(15) : below(kPages);
      Dirty(page, 1);
      memory_[page * kPageBytes + below(2)] = static_cast<char>('a' + below(2));
    }
  };
  Run();
  EXPECT_FALSE(session_->failure().has_value());
  const std::vector<helper::v1::Captured> captured = AllCaptured();
  ASSERT_EQ(captured.size(), 100);
  uint64_t dirty = 0, unchanged = 0;
  for (const helper::v1::Captured& each : captured) {
    dirty += each.dirty_pages();
    unchanged += each.unchanged_pages();
  }
  EXPECT_GT(unchanged, dirty / 20) << "the test shall try it";
  EXPECT_LT(unchanged, dirty / 2);
}

// A standby that runs along writes to its own memory between checkpoints; its primary is told where.
class SaveLoopLockstepTest : public SaveLoopTest {
 protected:
  // How often the standby's memory was not the guest's after a checkpoint.
  int RunAlong(bool tell) {
    checkpoints_ = 100;
    captured_pages_bytes_max_ = 20 * kPageBytes;
    std::mt19937 random(20261122);
    const auto below = [&random](size_t bound) { return random() % bound; };
    // Some pages more often than others; with few values, so that they often are what they were.
    const auto some_page = [below] { return below(2) == 0 ? below(15) : below(kPages); };
    std::string standby;
    int differed = 0;
    after_resume_ = [&] {
      const uint64_t epoch = session_->epoch();
      if (epoch == 1) {
        EXPECT_FALSE(BeginsWithAttachments(staged_[epoch]));
        standby = memory_;
      } else {
        std::string& staged = staged_[epoch];
        EXPECT_TRUE(BeginsWithAttachments(staged)) << epoch;
        RecordScanner scanner(RecordScanner::Checkpoint::kLater);
        size_t length = 0;
        while (!scanner.complete() && length < staged.size()) {
          ASSERT_TRUE(scanner.Feed(absl::string_view(staged).substr(length, 8)).ok());
          length += 8;
        }
        std::vector<bool> seen(kPages);
        ForEachWrittenPage(absl::MakeConstSpan(staged.data(), length), [&](uint64_t entry, const char* page) {
          EXPECT_FALSE(seen[entry]) << "page " << entry << " twice";
          seen[entry] = true;
          standby.replace(entry * kPageBytes, kPageBytes, page, kPageBytes);
        });
        if (standby != memory_) ++differed;
      }
      for (size_t writes = below(40); writes > 0; --writes) {
        const size_t page = some_page();
        Dirty(page, 1);
        memory_[page * kPageBytes + below(2)] = static_cast<char>('a' + below(2));
      }
    };
    standby_writes_ = [&] {
      std::vector<bool> written(kPages + 70);
      for (size_t writes = below(40); writes > 0; --writes) {
        const size_t page = some_page();
        standby[page * kPageBytes + below(2)] = static_cast<char>('s' + below(2));
        written[page] = true;
      }
      // Where the guest has nothing: shared info, grant frames.
      written[kPages + below(70)] = true;
      std::vector<uint64_t> pages;
      for (size_t page = 0; page < written.size(); ++page) {
        if (written[page]) pages.push_back(page);
      }
      return tell ? PageRunsOf(pages) : PageRuns();
    };
    Run();
    EXPECT_FALSE(session_->failure().has_value());
    const std::vector<helper::v1::Captured> captured = AllCaptured();
    EXPECT_EQ(captured.size(), 100);
    uint64_t unchanged = 0, standby_pages = 0;
    for (const helper::v1::Captured& each : captured) {
      unchanged += each.unchanged_pages();
      standby_pages += each.standby_pages();
    }
    EXPECT_GT(unchanged, 100) << "the test shall try it";
    EXPECT_EQ(standby_pages > 100, tell);
    return differed;
  }
};

TEST_F(SaveLoopLockstepTest, AStandbyThatWritesToItsOwnMemoryHasTheGuestsAfterEachCheckpoint) {
  EXPECT_EQ(RunAlong(/*tell=*/true), 0);
}

TEST_F(SaveLoopLockstepTest, AndHasItNotWhereThePrimaryIsNotTold) { EXPECT_GT(RunAlong(/*tell=*/false), 50); }

TEST_F(SaveLoopLockstepTest, PagesThatComeInNoOrderEndTheSessionAndTheGuestRuns) {
  standby_writes_ = [] { return PageRuns{{5, 2}, {3, 1}}; };
  after_resume_ = [] {};
  Run();
  ASSERT_TRUE(session_->failure().has_value());
  EXPECT_EQ(session_->failure()->kind(), Failed::PROTOCOL);
  EXPECT_EQ(AllCaptured().size(), 1);
  EXPECT_FALSE(suspended_);
}

TEST_F(SaveLoopTest, AMemoryMapThatHasChangedIsNotCopied) {
  map_changes_at_ = 3;
  Run();
  ASSERT_TRUE(session_->failure().has_value());
  EXPECT_EQ(session_->failure()->kind(), Failed::MEMORY_MAP_CHANGED);
  EXPECT_EQ(AllCaptured().size(), 2);
  EXPECT_FALSE(suspended_);
  EXPECT_EQ(story_, "suspend resume suspend resume suspend resume ") << "at once";
}

TEST_F(SaveLoopTest, ACheckpointLargerThanTheBoundIsTakenAndCounted) {
  dirty_pages_ = 200;
  Run(/*staging_bytes_max=*/100 * kPageBytes);
  EXPECT_FALSE(session_->failure().has_value());
  const std::vector<helper::v1::Captured> captured = AllCaptured();
  ASSERT_EQ(captured.size(), 4);
  EXPECT_EQ(captured[0].oversized_checkpoints(), 0);
  EXPECT_EQ(captured[3].oversized_checkpoints(), 3);
}

TEST_F(SaveLoopTest, StagingMemoryIsTakenInStepsThatGrowUpToTheBound) {
  dirty_pages_ = 280;
  Run();
  // 2.1 MiB is what a checkpoint of all of the guest could take.
  EXPECT_EQ(StagingTaken(0), size_t{4} << 20);
  EXPECT_EQ(StagingTaken(1), size_t{4} << 20);
}

TEST_F(SaveLoopTest, StagingMemoryBeyondTheBoundIsWhatIsNeeded) {
  dirty_pages_ = 280;
  Run(/*staging_bytes_max=*/100 * kPageBytes);
  EXPECT_EQ(StagingTaken(0), size_t{3} << 20);
}

TEST_F(SaveLoopTest, WhereThereIsNoMemoryForItTheGuestRunsOnAndItIsSaid) {
  dirty_pages_ = 280;
  Run(/*staging_bytes_max=*/0, /*limit=*/size_t{1} << 20);
  ASSERT_TRUE(session_->failure().has_value());
  EXPECT_EQ(session_->failure()->kind(), Failed::OUT_OF_MEMORY);
  EXPECT_FALSE(suspended_);
}

TEST_F(SaveLoopTest, AStopEndsAFirstCopyThatNobodyReads) {
  AgentToHelper message;
  message.mutable_stop();
  EXPECT_TRUE(agent_->Send(message).ok());
  // Keeps the pipe open, and full.
  const UniqueFd held(dup(pipe_.get()));
  SaveLoop loop(*this, *session_,
                *SeedingPipe::New(std::move(write_end_), {helper_->descriptor(), stop_->descriptor()},
                                  [this] { return session_->StopRequested(); }),
                {*StagingMemory::New(UniqueFd(dup(files_[0].get())), kPageBytes),
                 *StagingMemory::New(UniqueFd(dup(files_[1].get())), kPageBytes)},
                {}, [this] { return now_; });
  loop.Run([] { FAIL() << "nobody has read the first copy"; });
  EXPECT_TRUE(session_->StopRequested());
  EXPECT_FALSE(session_->failure().has_value());
  EXPECT_EQ(story_, "");
}

}  // namespace
}  // namespace romulus
