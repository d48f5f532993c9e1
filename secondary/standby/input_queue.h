#ifndef ROMULUS_SECONDARY_STANDBY_INPUT_QUEUE_H_
#define ROMULUS_SECONDARY_STANDBY_INPUT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "common/link/traffic_messages.h"
#include "common/packet/connection.h"

namespace romulus::standby {

// What is on its way to the standby's guest, by the checkpoint after which the primary's guest got it: the standby gets
// it once it runs from that one, in the order in which it came. Pure.
class InputQueue {
 public:
  // Of frames that wait: as much as a second of a Gbit/s link brings would not fit, but a checkpoint is applied sooner.
  static constexpr size_t kBytesMax = 16 << 20;
  static constexpr size_t kEntriesMax = 16 << 10;

  using Frames = std::vector<TrafficFrame>;
  using Entry = std::variant<Frames, packet::SequenceOffset>;

  // Checkpoint `epoch` is handed over to be applied. Only what came after it, or later ones, is wanted from here on.
  void OnCheckpoint(uint64_t epoch);
  // The guest is no longer to get anything, until OnRunning.
  void OnStopped();
  // The guest runs from checkpoint `epoch`, the last one that was handed over. Returns what waited for that.
  std::vector<Entry> OnRunning(uint64_t epoch);
  // Returns the entry if the guest is to have it now. What is of an earlier checkpoint than the next is dropped (the
  // checkpoint has its effect), and so is what comes past the bounds: then the guests will differ.
  std::optional<Entry> Add(uint64_t epoch, Entry entry);

  uint64_t dropped_frames() const { return dropped_frames_; }

 private:
  struct Waiting {
    uint64_t epoch = 0;
    Entry entry;
  };

  void DropBefore(uint64_t epoch);

  uint64_t wanted_ = 1;              // The lowest epoch that still is.
  std::optional<uint64_t> running_;  // From which the guest runs.
  std::deque<Waiting> waiting_;
  size_t waiting_bytes_ = 0;
  uint64_t dropped_frames_ = 0;
};

}  // namespace romulus::standby

#endif  // ROMULUS_SECONDARY_STANDBY_INPUT_QUEUE_H_
