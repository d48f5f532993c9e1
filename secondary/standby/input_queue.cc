#include "secondary/standby/input_queue.h"

#include <utility>

#include "common/base/log.h"

namespace romulus::standby {
namespace {

size_t BytesOf(const InputQueue::Entry& entry) {
  size_t bytes = 0;
  if (const auto* frames = std::get_if<InputQueue::Frames>(&entry)) {
    for (const TrafficFrame& frame : *frames) bytes += frame.contents.size();
  }
  return bytes;
}

}  // namespace

void InputQueue::OnCheckpoint(uint64_t epoch) {
  running_.reset();
  wanted_ = epoch;
  DropBefore(epoch);
}

void InputQueue::OnStopped() {
  if (!running_.has_value()) return;
  wanted_ = *running_ + 1;
  running_.reset();
}

std::vector<InputQueue::Entry> InputQueue::OnRunning(uint64_t epoch) {
  ROMULUS_CHECK(epoch == wanted_ && !running_.has_value());
  running_ = epoch;
  std::vector<Entry> due;
  while (!waiting_.empty() && waiting_.front().epoch == epoch) {
    waiting_bytes_ -= BytesOf(waiting_.front().entry);
    due.push_back(std::move(waiting_.front().entry));
    waiting_.pop_front();
  }
  return due;
}

std::optional<InputQueue::Entry> InputQueue::Add(uint64_t epoch, Entry entry) {
  if (running_ == epoch) return entry;
  const size_t bytes = BytesOf(entry);
  // What comes is in the order of its checkpoints, or somebody breaks the rules, and not to his profit.
  const bool in_order = waiting_.empty() || waiting_.back().epoch <= epoch;
  if (epoch < wanted_ || !in_order || waiting_.size() >= kEntriesMax || waiting_bytes_ + bytes > kBytesMax) {
    if (const auto* frames = std::get_if<Frames>(&entry)) dropped_frames_ += frames->size();
    return std::nullopt;
  }
  waiting_bytes_ += bytes;
  waiting_.push_back({epoch, std::move(entry)});
  return std::nullopt;
}

void InputQueue::DropBefore(uint64_t epoch) {
  while (!waiting_.empty() && waiting_.front().epoch < epoch) {
    if (const auto* frames = std::get_if<Frames>(&waiting_.front().entry)) dropped_frames_ += frames->size();
    waiting_bytes_ -= BytesOf(waiting_.front().entry);
    waiting_.pop_front();
  }
}

}  // namespace romulus::standby
