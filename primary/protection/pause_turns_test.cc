#include "primary/protection/pause_turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/loop/manual_scheduler.h"

namespace romulus {
namespace {

using absl::Milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PauseTurnsTest : public testing::Test {
 protected:
  void Ask(const std::string& guest, absl::Duration patience = Milliseconds(10)) {
    turns_held_[guest] = turns_->Ask(patience, [this, guest] { paused_.push_back(guest); });
  }
  void Resumed(const std::string& guest) { turns_held_.erase(guest); }
  // Those whose turn has come since the last call.
  std::vector<std::string> Paused() { return std::exchange(paused_, {}); }

  ManualScheduler scheduler_;
  std::optional<PauseTurns> turns_{std::in_place, &scheduler_, 1};
  std::vector<std::string> paused_;
  std::map<std::string, std::unique_ptr<PauseTurns::Turn>> turns_held_;
};

TEST_F(PauseTurnsTest, AGuestThatIsAloneNeverWaits) {
  for (int i = 0; i < 3; ++i) {
    Ask("a");
    EXPECT_THAT(Paused(), ElementsAre("a"));
    Resumed("a");
  }
  EXPECT_EQ(scheduler_.timers(), 0);
}

TEST_F(PauseTurnsTest, GuestsTakeTurnsInTheOrderInWhichTheyAsked) {
  Ask("a");
  Ask("b");
  Ask("c");
  EXPECT_THAT(Paused(), ElementsAre("a"));
  Resumed("a");
  EXPECT_THAT(Paused(), ElementsAre("b"));
  // Behind one that waits already, however often it asks.
  Ask("a");
  Resumed("b");
  EXPECT_THAT(Paused(), ElementsAre("c"));
  Resumed("c");
  EXPECT_THAT(Paused(), ElementsAre("a"));
  Resumed("a");
  EXPECT_EQ(scheduler_.timers(), 0);
}

TEST_F(PauseTurnsTest, ABusyGuestHoldsUpAnIdleOneForNoLongerThanItsPatience) {
  Ask("busy", Milliseconds(100));
  Ask("idle", Milliseconds(5));
  EXPECT_THAT(Paused(), ElementsAre("busy"));
  scheduler_.Pass(Milliseconds(4));
  EXPECT_THAT(Paused(), IsEmpty());
  scheduler_.Pass(Milliseconds(1));
  EXPECT_THAT(Paused(), ElementsAre("idle"));
  // Both are paused: whoever comes now waits until less than one is.
  Ask("third", Milliseconds(100));
  Resumed("idle");
  EXPECT_THAT(Paused(), IsEmpty());
  Resumed("busy");
  EXPECT_THAT(Paused(), ElementsAre("third"));
}

TEST_F(PauseTurnsTest, AWaitThatIsGivenUpMakesRoomForTheNext) {
  Ask("a");
  Ask("b");
  Ask("c");
  Resumed("b");
  EXPECT_THAT(Paused(), ElementsAre("a"));
  Resumed("a");
  EXPECT_THAT(Paused(), ElementsAre("c"));
  scheduler_.Pass(absl::Seconds(1));
  EXPECT_THAT(Paused(), IsEmpty());
}

TEST_F(PauseTurnsTest, WithoutPatienceOrWithoutALimitNobodyWaits) {
  Ask("a");
  Ask("b", absl::ZeroDuration());
  EXPECT_THAT(Paused(), ElementsAre("a", "b"));
  turns_held_.clear();
  turns_.emplace(&scheduler_, 0);
  for (const char* guest : {"a", "b", "c"}) Ask(guest);
  EXPECT_THAT(Paused(), ElementsAre("a", "b", "c"));
  turns_held_.clear();
}

// Eight guests with pauses of 5 ms every 100 ms, all due at the same moment, and one with pauses of 60 ms.
TEST_F(PauseTurnsTest, ManyGuestsFallOutOfStepAndNobodyStarves) {
  struct Guest {
    absl::Duration pause;
    int pauses = 0;
    absl::Duration asked, waited_longest;
  };
  std::map<std::string, Guest> guests;
  for (int i = 0; i < 8; ++i) guests["idle" + std::to_string(i)].pause = Milliseconds(5);
  guests["busy"].pause = Milliseconds(60);
  int paused_now = 0;
  std::function<void(const std::string&)> due = [&](const std::string& name) {
    Guest& guest = guests[name];
    guest.asked = scheduler_.Now();
    turns_held_[name] = turns_->Ask(guest.pause, [&, name] {
      ++paused_now;
      guests[name].waited_longest = std::max(guests[name].waited_longest, scheduler_.Now() - guests[name].asked);
      scheduler_.After(guests[name].pause, [&, name] {
        --paused_now;
        ++guests[name].pauses;
        turns_held_.erase(name);
        scheduler_.After(Milliseconds(100) - guests[name].pause, [&, name] { due(name); });
      });
    });
  };
  for (const auto& [name, guest] : guests) due(name);
  scheduler_.Pass(absl::Seconds(10));
  for (const auto& [name, guest] : guests) {
    EXPECT_LE(guest.waited_longest, guest.pause) << name;
    EXPECT_GE(guest.pauses, 90) << name;
  }
  turns_held_.clear();
  scheduler_.Pass(absl::Seconds(0));
}

}  // namespace
}  // namespace romulus
