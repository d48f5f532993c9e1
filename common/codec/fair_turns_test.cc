#include "common/codec/fair_turns.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace romulus {
namespace {

using Turns = FairTurns<std::string>;

TEST(FairTurns, AnIdleLaneWaitsForOneTaskOfEachOther) {
  Turns turns;
  const auto busy = turns.AddLane();
  const auto busier = turns.AddLane();
  const auto idle = turns.AddLane();
  for (int i = 0; i < 100; ++i) {
    turns.Push(busy, "busy");
    turns.Push(busier, "busier");
    turns.Push(busier, "busier");
  }
  for (int i = 0; i < 10; ++i) turns.EndTurn(turns.Take()->first);
  turns.Push(idle, "idle");
  int before = 0;
  while (true) {
    const auto next = turns.Take();
    turns.EndTurn(next->first);
    if (next->second == "idle") break;
    ++before;
  }
  EXPECT_LE(before, 2);
}

TEST(FairTurns, ALanesTasksBeginInOrderAndOneAfterTheOther) {
  Turns turns;
  const auto one = turns.AddLane();
  const auto other = turns.AddLane();
  turns.Push(one, "1");
  turns.Push(one, "2");
  turns.Push(one, "3");
  EXPECT_EQ(turns.Take()->second, "1");
  EXPECT_FALSE(turns.Take().has_value());
  turns.Push(other, "a");
  EXPECT_EQ(turns.Take()->second, "a");
  EXPECT_FALSE(turns.Take().has_value());
  turns.EndTurn(one);
  EXPECT_EQ(turns.Take()->second, "2");
  turns.EndTurn(one);
  turns.Clear(one);
  EXPECT_FALSE(turns.Take().has_value());
  turns.RemoveLane(one);
  turns.EndTurn(other);
  EXPECT_FALSE(turns.Take().has_value());
}

TEST(FairTurns, LanesThatAlwaysHaveSomeGetEqualParts) {
  Turns turns;
  std::vector<Turns::LaneId> lanes;
  for (int i = 0; i < 5; ++i) lanes.push_back(turns.AddLane());
  std::map<Turns::LaneId, int> turns_of;
  for (int i = 0; i < 1000; ++i) {
    for (const auto lane : lanes) turns.Push(lane, "");
    const auto next = turns.Take();
    ++turns_of[next->first];
    turns.EndTurn(next->first);
  }
  for (const auto lane : lanes) EXPECT_EQ(turns_of[lane], 200);
}

}  // namespace
}  // namespace romulus
