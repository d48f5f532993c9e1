#ifndef ROMULUS_PRIMARY_SAVE_HELPER_FRAME_MAP_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_FRAME_MAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace romulus {

// Which of a guest's frames are mapped here, and where. Frames are kept as runs that are contiguous in the guest and
// here, so that a guest of any size takes little. Pure; not thread safe.
class FrameMap {
 public:
  // Frames first, first + 1, ... are mapped one behind the other from `address`. They come in ascending order.
  void Add(uint64_t first, size_t count, const char* address);

  // Null: it is not mapped. Cheap where frames are asked for in ascending order.
  const char* Find(uint64_t frame) const;

  uint64_t size() const { return size_; }

  struct Run {
    uint64_t first = 0;
    uint64_t count = 0;
    const char* address = nullptr;
  };
  const std::vector<Run>& runs() const { return runs_; }

 private:
  std::vector<Run> runs_;
  uint64_t size_ = 0;
  mutable size_t last_ = 0;  // The run that was found last.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_FRAME_MAP_H_
