#ifndef ROMULUS_PRIMARY_SAVE_HELPER_DIRTY_FRAMES_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_DIRTY_FRAMES_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace romulus {

// The frame numbers of a dirty bitmap, batch by batch, in ascending order. Looks at a word at a time: a bitmap is as
// long as the guest's frame numbers reach (a million for any PVH guest), and nearly all of it is zero.
class DirtyFrames {
 public:
  // Bit i of word j stands for frame 64 j + i. `bitmap` outlives it.
  explicit DirtyFrames(absl::Span<const uint64_t> bitmap) : bitmap_(bitmap) {}

  // Fills `frames` from its start; less than full: these are the last ones.
  size_t Next(absl::Span<uint64_t> frames) {
    size_t found = 0;
    while (true) {
      while (left_ == 0) {
        if (next_word_ == bitmap_.size()) return found;
        left_ = bitmap_[next_word_++];
      }
      if (found == frames.size()) return found;
      frames[found++] = (next_word_ - 1) * 64 + static_cast<uint64_t>(__builtin_ctzll(left_));
      left_ &= left_ - 1;
    }
  }

 private:
  const absl::Span<const uint64_t> bitmap_;
  size_t next_word_ = 0;
  uint64_t left_ = 0;  // Of the word before next_word_, the bits not given out.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_DIRTY_FRAMES_H_
