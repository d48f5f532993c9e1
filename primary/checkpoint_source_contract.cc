#include "primary/checkpoint_source_contract.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/loop/call_scope.h"
#include "common/stream/record_scanner.h"
#include "gmock/gmock.h"

namespace romulus {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

namespace {

// What stands nowhere else in a checkpoint.
uint64_t Value(int number) { return 0x5eed'0fa9'1e77'0000 + static_cast<uint64_t>(number); }

// Of a checkpoint in memory.
absl::StatusOr<std::string> ReadAtOnce(CheckpointReader& reader) {
  std::string bytes;
  char buffer[1000];
  while (true) {
    const absl::StatusOr<size_t> got = reader.Read(absl::MakeSpan(buffer));
    if (!got.ok()) return got.status();
    if (*got == 0) return bytes;
    bytes.append(buffer, *got);
  }
}

}  // namespace

// ---- observer ----

void CheckpointSourceContract::OnCallback() {
  EXPECT_EQ(std::this_thread::get_id(), thread_) << "not on the scheduler's thread";
  EXPECT_EQ(calls_, 0) << "a callback from within a call";
  EXPECT_THAT(ended_, IsEmpty()) << "a callback after OnEnded";
  EXPECT_NE(source_, nullptr) << "a callback after the source's destruction";
  ++callbacks_;
}

bool CheckpointSourceContract::At(Point point, uint64_t epoch) {
  if (!place_.has_value() || place_->point != point || place_->epoch != epoch) return false;
  place_.reset();
  action_();
  return true;
}

void CheckpointSourceContract::OnSeeding(std::shared_ptr<CheckpointReader> reader) {
  OnCallback();
  EXPECT_FALSE(stopped_) << "after Stop";
  story_ += "seeding ";
  seeding_begun_ = true;
  harness_->ReadAll(reader, [this](absl::StatusOr<std::string> bytes) { seeded_ = std::move(bytes); });
  At(Point::kSeeding, 1);
}

void CheckpointSourceContract::OnSeedingProgress(uint64_t, uint64_t) {
  OnCallback();
  EXPECT_FALSE(stopped_) << "after Stop";
  EXPECT_EQ(story_, "seeding ") << "progress belongs to the live copy";
}

void CheckpointSourceContract::OnSuspended(uint64_t epoch) {
  OnCallback();
  EXPECT_FALSE(stopped_) << "after Stop";
  EXPECT_TRUE(harness_->suspended());
  EXPECT_TRUE(harness_->tracking_dirty_pages());
  story_ += absl::StrCat("suspended", epoch, " ");
  At(Point::kSuspended, epoch);
  if (permits_) Permit(epoch);
  At(Point::kPermitted, epoch);
}

void CheckpointSourceContract::OnCaptured(CheckpointSource::Captured captured) {
  OnCallback();
  EXPECT_FALSE(stopped_) << "after Stop";
  story_ += absl::StrCat("captured", captured.epoch, " ");
  EXPECT_EQ(captured.epoch == 1, captured.reader == nullptr);
  EXPECT_GE(captured.pause, captured.copy);
  const uint64_t epoch = captured.epoch;
  captured_.push_back(std::move(captured));
  if (At(Point::kCaptured, epoch)) return;
  if (epoch < last_epoch_) {
    captured_.back().reader.reset();
    Request(epoch + 1);
  }
}

void CheckpointSourceContract::OnEnded(absl::Status status) {
  OnCallback();
  ended_.push_back(std::move(status));
}

// ---- fixture ----

const std::vector<CheckpointSourceContract::Place>& CheckpointSourceContract::AllPlaces() {
  static const auto& places = *new std::vector<Place>{
      {Point::kStarted, 0},   {Point::kSeeding, 1},  {Point::kSuspended, 1}, {Point::kPermitted, 1},
      {Point::kCaptured, 1},  {Point::kIdle, 1},     {Point::kRequested, 2}, {Point::kSuspended, 2},
      {Point::kPermitted, 2}, {Point::kCaptured, 2}, {Point::kIdle, 2},      {Point::kRequested, 3}};
  return places;
}

std::string CheckpointSourceContract::NameOf(const Place& place) {
  const char* const names[] = {"started", "seeding", "suspended", "permitted", "captured", "idle", "requested"};
  return absl::StrCat(names[static_cast<int>(place.point)], " ", place.epoch);
}

void CheckpointSourceContract::TearDown() {
  harness_->Settle();  // What comes after OnEnded, or after the source has gone, is noticed.
  source_.reset();
}

void CheckpointSourceContract::Start(bool impatient) {
  story_.clear();
  seeding_begun_ = false;
  seeded_.reset();
  captured_.clear();
  ended_.clear();
  stopped_ = false;
  source_ = harness_->NewSource(impatient);
  const CallScope call(&calls_);
  source_->Start(this);
}

void CheckpointSourceContract::Request(uint64_t epoch, bool with_standby_pages) {
  const CallScope call(&calls_);
  source_->RequestCheckpoint(epoch, with_standby_pages);
}

void CheckpointSourceContract::AddStandbyPages(uint64_t epoch, PageRuns pages) {
  const CallScope call(&calls_);
  source_->AddStandbyPages(epoch, std::move(pages));
}

void CheckpointSourceContract::Permit(uint64_t epoch) {
  const CallScope call(&calls_);
  source_->PermitResume(epoch);
}

void CheckpointSourceContract::Stop() {
  stopped_ = true;
  const CallScope call(&calls_);
  source_->Stop();
}

void CheckpointSourceContract::RunTo(const Place& place, std::function<void()> action) {
  bool reached = false;
  action_ = [&reached, action = std::move(action)] {
    reached = true;
    action();
  };
  place_ = place;
  last_epoch_ = place.point == Point::kRequested ? place.epoch - 1 : place.epoch;
  Start();
  if (place.point == Point::kStarted) {
    At(Point::kStarted, 0);
  } else if (place.point == Point::kIdle) {
    RunUntilCaptured(place.epoch);
    At(Point::kIdle, place.epoch);
  } else if (place.point == Point::kRequested) {
    RunUntilCaptured(place.epoch - 1);
    captured_.back().reader.reset();
    Request(place.epoch);
    At(Point::kRequested, place.epoch);
  }
  RunUntil([&] { return reached; });
}

void CheckpointSourceContract::RunUntil(const std::function<bool()>& condition) {
  // Ends the test: what follows relies on the condition.
  if (!harness_->RunUntil(condition)) throw std::runtime_error("hangs: what was waited for never came");
}

void CheckpointSourceContract::RunUntilCaptured(uint64_t epoch) {
  RunUntil([&] { return (!captured_.empty() && captured_.back().epoch == epoch) || !ended_.empty(); });
  ASSERT_THAT(ended_, IsEmpty());
}

void CheckpointSourceContract::RunUntilEnded() {
  RunUntil([&] { return !ended_.empty(); });
}

void CheckpointSourceContract::ExpectGuestLeftRunning() {
  RunUntil([&] { return harness_->nothing_left(); });
  EXPECT_FALSE(harness_->suspended());
  EXPECT_FALSE(harness_->tracking_dirty_pages());
}

void CheckpointSourceContract::ExpectCheckpoint(uint64_t epoch, const std::string& bytes, uint64_t* pages) {
  RecordScanner scanner(epoch == 1 ? RecordScanner::Checkpoint::kFirst : RecordScanner::Checkpoint::kLater);
  const absl::Status scanned = scanner.Feed(bytes);
  EXPECT_TRUE(scanned.ok()) << epoch << ": " << scanned;
  EXPECT_TRUE(scanner.complete()) << epoch;
  *pages = scanner.page_count();
}

bool CheckpointSourceContract::Holds(const std::string& bytes, uint64_t value) {
  char words[sizeof value];
  memcpy(words, &value, sizeof value);
  return absl::StrContains(bytes, absl::string_view(words, sizeof words));
}

// ---- checkpoints ----

TEST_P(CheckpointSourceContract, OneCheckpointAfterTheOtherAsTheGuestWasAndTheGuestRunsInBetween) {
  harness_->Write(0, Value(0));
  uint64_t pages = 0;
  Start();
  RunUntilCaptured(1);
  EXPECT_EQ(story_, "seeding suspended1 captured1 ");
  EXPECT_FALSE(harness_->suspended());
  RunUntil([&] { return seeded_.has_value(); });
  ASSERT_TRUE(seeded_->ok()) << seeded_->status();
  ExpectCheckpoint(1, **seeded_, &pages);
  EXPECT_GE(pages, CheckpointSourceHarness::kPages);
  EXPECT_TRUE(Holds(**seeded_, Value(0)));

  for (uint64_t epoch = 2; epoch <= 5; ++epoch) {
    EXPECT_TRUE(harness_->tracking_dirty_pages());
    const int number = static_cast<int>(epoch) * 10;
    harness_->Write(1, Value(number));
    if (epoch % 2 == 0) harness_->Write(3, Value(number + 1));
    captured_.back().reader.reset();
    Request(epoch);
    RunUntilCaptured(epoch);
    EXPECT_FALSE(harness_->suspended());
    const absl::StatusOr<std::string> bytes = ReadAtOnce(*captured_.back().reader);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    ExpectCheckpoint(epoch, *bytes, &pages);
    EXPECT_EQ(bytes->size(), captured_.back().length);
    EXPECT_GE(pages, epoch % 2 == 0 ? 2 : 1) << "what was dirtied since the last one";
    EXPECT_LE(pages, 2) << "of what was dirtied at all";
    EXPECT_EQ(captured_.back().dirty_pages - captured_.back().unchanged_pages, pages);
    EXPECT_TRUE(Holds(*bytes, Value(number)));
    if (epoch % 2 == 0) EXPECT_TRUE(Holds(*bytes, Value(number + 1)));
    EXPECT_FALSE(Holds(*bytes, Value(0)));
  }
  EXPECT_EQ(story_,
            "seeding suspended1 captured1 suspended2 captured2 suspended3 captured3 suspended4 captured4 suspended5 "
            "captured5 ");
  Stop();
  RunUntilEnded();
  EXPECT_TRUE(ended_[0].ok()) << ended_[0];
  ExpectGuestLeftRunning();
}

TEST_P(CheckpointSourceContract, TheFirstCallbackIsOnSeedingHoweverFastTheGuestSuspends) {
  Start();
  harness_->LetGuestSuspend();
  RunUntilCaptured(1);
  EXPECT_THAT(story_, StartsWith("seeding "));
}

TEST_P(CheckpointSourceContract, TheFirstCopyHasNoEndBeforeCheckpoint1IsCaptured) {
  permits_ = false;
  Start();
  RunUntil([&] { return story_ == "seeding suspended1 "; });
  harness_->Settle();
  EXPECT_FALSE(seeded_.has_value());
  Permit(1);
  RunUntil([&] { return seeded_.has_value(); });
  EXPECT_TRUE(seeded_->ok()) << seeded_->status();
  EXPECT_THAT(captured_, SizeIs(1));
}

TEST_P(CheckpointSourceContract, TheGuestStaysSuspendedUntilItMayResume) {
  RunTo({Point::kSuspended, 2}, [this] { permits_ = false; });
  harness_->Settle();
  EXPECT_TRUE(harness_->suspended());
  EXPECT_EQ(story_, "seeding suspended1 captured1 suspended2 ");
  Permit(2);
  RunUntilCaptured(2);
  EXPECT_FALSE(harness_->suspended());
}

TEST_P(CheckpointSourceContract, ACheckpointIsUnchangedWhileTheNextIsTakenAndAfterTheEnd) {
  RunTo({Point::kIdle, 1}, [] {});
  harness_->Write(1, Value(1));
  Request(2);
  RunUntilCaptured(2);
  harness_->Write(1, Value(2));
  Request(3);  // The reader of checkpoint 2 is still there.
  RunUntilCaptured(3);
  const absl::StatusOr<std::string> second = ReadAtOnce(*captured_[1].reader);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Holds(*second, Value(1)));
  EXPECT_FALSE(Holds(*second, Value(2)));
  Stop();
  RunUntilEnded();
  source_.reset();
  const absl::StatusOr<std::string> third = ReadAtOnce(*captured_[2].reader);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(Holds(*third, Value(2)));
}

TEST_P(CheckpointSourceContract, ACancelledReaderGivesNothing) {
  RunTo({Point::kIdle, 2}, [] {});
  captured_.back().reader->Cancel();
  EXPECT_EQ(ReadAtOnce(*captured_.back().reader).status().code(), absl::StatusCode::kCancelled);
}

// ---- lockstep ----

TEST_P(CheckpointSourceContract, PagesOfTheStandbyAreInTheCheckpointAsTheGuestHasThem) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  harness_->Write(0, Value(0));
  harness_->Write(2, Value(2));
  RunTo({Point::kIdle, 1}, [] {});
  // When the list comes: before the guest is suspended, while it is, after the permit.
  for (uint64_t epoch = 2; epoch <= 4; ++epoch) {
    const auto add = [&] {
      // One that the guest writes to, two that it does not, and some that it does not have.
      AddStandbyPages(epoch, {{0, 3}, {CheckpointSourceHarness::kPages, 1000}, {uint64_t{1} << 40, 7}});
    };
    const uint64_t value = Value(static_cast<int>(10 * epoch));
    harness_->Write(1, value);
    permits_ = false;
    captured_.back().reader.reset();
    Request(epoch, /*with_standby_pages=*/true);
    if (epoch == 2) add();
    RunUntil([&] { return absl::StrContains(story_, absl::StrCat("suspended", epoch)); });
    if (epoch == 3) add();
    Permit(epoch);
    if (epoch == 4) {
      harness_->Settle();
      EXPECT_TRUE(harness_->suspended()) << "the checkpoint is not whole without the list";
      add();
    }
    RunUntilCaptured(epoch);
    const absl::StatusOr<std::string> bytes = ReadAtOnce(*captured_.back().reader);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    uint64_t pages = 0;
    ExpectCheckpoint(epoch, *bytes, &pages);
    EXPECT_EQ(pages, 3);
    EXPECT_EQ(captured_.back().standby_pages, 2);
    EXPECT_EQ(captured_.back().dirty_pages - captured_.back().unchanged_pages, 1);
    EXPECT_TRUE(Holds(*bytes, Value(0)));
    EXPECT_TRUE(Holds(*bytes, value));
    EXPECT_TRUE(Holds(*bytes, Value(2)));
  }
  captured_.back().reader.reset();
  Request(5, /*with_standby_pages=*/true);
  permits_ = true;
  AddStandbyPages(5, {});
  RunUntilCaptured(5);
  EXPECT_EQ(captured_.back().standby_pages, 0);
  captured_.back().reader.reset();
  Request(6);
  RunUntilCaptured(6);
}

TEST_P(CheckpointSourceContract, APageThatTheGuestWroteToWithoutChangeIsSentIfTheStandbyHasWrittenToIt) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunTo({Point::kIdle, 1}, [] {});
  for (uint64_t epoch = 2; epoch <= 4; ++epoch) {
    harness_->Write(1, Value(1));
    captured_.back().reader.reset();
    Request(epoch, /*with_standby_pages=*/true);
    AddStandbyPages(epoch, {{1, 1}});
    RunUntilCaptured(epoch);
    const absl::StatusOr<std::string> bytes = ReadAtOnce(*captured_.back().reader);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(Holds(*bytes, Value(1))) << epoch;
  }
}

TEST_P(CheckpointSourceContract, WithoutTheStandbysPagesItRunsWithoutACheckpoint) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  last_epoch_ = 1;
  Start(/*impatient=*/true);
  RunUntilCaptured(1);
  Request(2, /*with_standby_pages=*/true);
  RunUntilEnded();
  EXPECT_EQ(ended_[0].code(), absl::StatusCode::kUnavailable) << ended_[0];
  EXPECT_EQ(story_, "seeding suspended1 captured1 suspended2 ");
  ExpectGuestLeftRunning();
  AddStandbyPages(2, {{0, 1}});  // Too late: no effect.
}

// ---- the end ----

TEST_P(CheckpointSourceContract, StopEndsItAnywhereAndTheGuestRuns) {
  for (const Place& place : AllPlaces()) {
    SCOPED_TRACE(NameOf(place));
    RunTo(place, [this] {
      permits_ = false;
      Stop();
    });
    permits_ = true;
    Stop();
    Request(place.epoch + 1);
    Permit(place.epoch);
    RunUntilEnded();
    EXPECT_TRUE(ended_[0].ok()) << ended_[0];
    ExpectGuestLeftRunning();
    if (!seeding_begun_) continue;
    // Checkpoint 1 is whole, or nobody takes it for whole.
    RunUntil([&] { return seeded_.has_value(); });
    EXPECT_EQ(seeded_->ok(), !captured_.empty()) << seeded_->status();
  }
}

TEST_P(CheckpointSourceContract, AHelperThatDiesAnywhereIsUnavailableAndTheGuestRuns) {
  for (const Place& place : AllPlaces()) {
    SCOPED_TRACE(NameOf(place));
    RunTo(place, [this] {
      permits_ = false;
      harness_->KillHelper();
    });
    permits_ = true;
    RunUntilEnded();
    EXPECT_EQ(ended_[0].code(), absl::StatusCode::kUnavailable) << ended_[0];
    ExpectGuestLeftRunning();
    Stop();
    if (!seeding_begun_) continue;
    RunUntil([&] { return seeded_.has_value(); });
    EXPECT_EQ(seeded_->ok(), !captured_.empty()) << seeded_->status();
  }
}

TEST_P(CheckpointSourceContract, AnAgentThatDiesAnywhereLeavesTheGuestRunning) {
  for (const Place& place : AllPlaces()) {
    SCOPED_TRACE(NameOf(place));
    RunTo(place, [this] { permits_ = false; });
    source_.reset();
    const int before = callbacks_;
    ExpectGuestLeftRunning();
    harness_->Settle();
    EXPECT_EQ(callbacks_, before);
    permits_ = true;
    if (!seeding_begun_) continue;
    RunUntil([&] { return seeded_.has_value(); });
    EXPECT_EQ(seeded_->ok(), !captured_.empty()) << seeded_->status();
  }
}

TEST_P(CheckpointSourceContract, StopAndTheHelpersDeathAreOneEnd) {
  for (const Place& place : AllPlaces()) {
    SCOPED_TRACE(NameOf(place));
    RunTo(place, [this] {
      Stop();
      harness_->KillHelper();
    });
    RunUntilEnded();
    ExpectGuestLeftRunning();
  }
}

TEST_P(CheckpointSourceContract, ADomainThatGoesAnywhereIsNotFound) {
  for (const Place& place : AllPlaces()) {
    SCOPED_TRACE(NameOf(place));
    harness_ = GetParam()();
    RunTo(place, [this] { harness_->DestroyDomain(); });
    RunUntilEnded();
    EXPECT_EQ(ended_[0].code(), absl::StatusCode::kNotFound) << ended_[0];
    RunUntil([&] { return harness_->nothing_left(); });
    source_.reset();
  }
}

TEST_P(CheckpointSourceContract, ADomainThatIsGoneAlreadyIsNotFound) {
  harness_->DestroyDomain();
  Start();
  RunUntilEnded();
  EXPECT_EQ(ended_[0].code(), absl::StatusCode::kNotFound) << ended_[0];
}

TEST_P(CheckpointSourceContract, AGuestThatDoesNotSuspendIsUnavailableAndRuns) {
  harness_->MakeGuestDeaf();
  Start(/*impatient=*/true);
  RunUntilEnded();
  EXPECT_EQ(ended_[0].code(), absl::StatusCode::kUnavailable) << ended_[0];
  EXPECT_FALSE(absl::StrContains(story_, "suspended"));
  ExpectGuestLeftRunning();
}

TEST_P(CheckpointSourceContract, WithoutPermissionToResumeItRunsWithoutACheckpoint) {
  permits_ = false;
  Start(/*impatient=*/true);
  RunUntilEnded();
  EXPECT_EQ(ended_[0].code(), absl::StatusCode::kUnavailable) << ended_[0];
  EXPECT_EQ(story_, "seeding suspended1 ");
  ExpectGuestLeftRunning();
  RunUntil([&] { return seeded_.has_value(); });
  EXPECT_FALSE(seeded_->ok());
}

TEST_P(CheckpointSourceContract, AnotherSourceCanFollow) {
  for (int round = 0; round < 2; ++round) {
    RunTo({Point::kIdle, 2}, [this] { Stop(); });
    RunUntilEnded();
    EXPECT_TRUE(ended_[0].ok()) << ended_[0];
    source_.reset();
  }
}

}  // namespace romulus
