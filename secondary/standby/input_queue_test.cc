#include "secondary/standby/input_queue.h"

#include <string>

#include "gtest/gtest.h"

namespace romulus::standby {
namespace {

InputQueue::Entry Frames(std::string contents) { return InputQueue::Frames{{0, std::move(contents)}}; }
InputQueue::Entry Offset(uint32_t primary_initial) {
  packet::SequenceOffset offset;
  offset.primary_initial = primary_initial;
  return offset;
}

std::string Told(const std::vector<InputQueue::Entry>& entries) {
  std::string told;
  for (const InputQueue::Entry& entry : entries) {
    if (const auto* frames = std::get_if<InputQueue::Frames>(&entry)) {
      for (const TrafficFrame& frame : *frames) told += frame.contents + " ";
    } else {
      told += "#" + std::to_string(std::get<packet::SequenceOffset>(entry).primary_initial) + " ";
    }
  }
  return told;
}
std::string Told(const std::optional<InputQueue::Entry>& entry) {
  return entry.has_value() ? Told(std::vector<InputQueue::Entry>{*entry}) : "-";
}

TEST(InputQueue, TheGuestGetsWhatItsPrimaryGotAfterItsCheckpoint) {
  InputQueue queue;
  EXPECT_EQ(Told(queue.Add(1, Frames("a"))), "-") << "checkpoint 1 has not come";
  queue.OnCheckpoint(1);
  EXPECT_EQ(Told(queue.Add(1, Offset(7))), "-") << "not running yet";
  EXPECT_EQ(Told(queue.Add(1, Frames("b"))), "-");
  EXPECT_EQ(Told(queue.OnRunning(1)), "a #7 b ");
  EXPECT_EQ(Told(queue.Add(1, Frames("c"))), "c ");
  EXPECT_EQ(Told(queue.Add(1, Offset(8))), "#8 ");
  // The primary is ahead: suspended, and running again.
  EXPECT_EQ(Told(queue.Add(2, Frames("d"))), "-");
  EXPECT_EQ(Told(queue.Add(2, Frames("e"))), "-");
  queue.OnStopped();
  EXPECT_EQ(Told(queue.Add(2, Frames("f"))), "-");
  queue.OnCheckpoint(2);
  EXPECT_EQ(Told(queue.OnRunning(2)), "d e f ");
  EXPECT_EQ(queue.dropped_frames(), 0);
}

TEST(InputQueue, WhatACheckpointHasIsDropped) {
  InputQueue queue;
  queue.OnCheckpoint(1);
  queue.OnRunning(1);
  queue.OnStopped();
  EXPECT_EQ(Told(queue.Add(1, Frames("late"))), "-") << "the guest is suspended: checkpoint 2 has it";
  queue.Add(2, Frames("a"));
  queue.OnCheckpoint(2);  // To wait with it.
  queue.Add(3, Frames("b"));
  queue.OnCheckpoint(3);
  EXPECT_EQ(Told(queue.OnRunning(3)), "b ");
  EXPECT_EQ(Told(queue.Add(2, Frames("stale"))), "-");
  EXPECT_EQ(queue.dropped_frames(), 3);
}

TEST(InputQueue, WhatWaitsIsBounded) {
  InputQueue queue;
  queue.OnCheckpoint(1);
  const std::string frame(64 << 10, 'x');
  for (size_t i = 0; i < InputQueue::kBytesMax / frame.size(); ++i) queue.Add(1, Frames(frame));
  EXPECT_EQ(queue.dropped_frames(), 0);
  queue.Add(1, Frames(frame));
  EXPECT_EQ(queue.dropped_frames(), 1);
  EXPECT_EQ(queue.OnRunning(1).size(), InputQueue::kBytesMax / frame.size());
  // Room again.
  queue.OnCheckpoint(2);
  for (size_t i = 0; i < InputQueue::kEntriesMax; ++i) queue.Add(2, Frames("x"));
  EXPECT_EQ(queue.dropped_frames(), 1);
  queue.Add(2, Frames("x"));
  EXPECT_EQ(queue.dropped_frames(), 2);
  queue.OnCheckpoint(3);
  for (size_t i = 0; i < InputQueue::kBytesMax / frame.size(); ++i) queue.Add(3, Frames(frame));
  EXPECT_EQ(queue.dropped_frames(), 2 + InputQueue::kEntriesMax);
}

TEST(InputQueue, WhatIsOutOfOrderIsDropped) {
  InputQueue queue;
  queue.OnCheckpoint(1);
  queue.Add(3, Frames("a"));
  EXPECT_EQ(Told(queue.Add(2, Frames("b"))), "-");
  EXPECT_EQ(queue.dropped_frames(), 1);
  EXPECT_EQ(Told(queue.OnRunning(1)), "");
}

}  // namespace
}  // namespace romulus::standby
