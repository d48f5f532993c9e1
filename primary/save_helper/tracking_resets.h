#ifndef ROMULUS_PRIMARY_SAVE_HELPER_TRACKING_RESETS_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_TRACKING_RESETS_H_

#include <algorithm>
#include <cstdint>

namespace romulus {

// Decides at which checkpoints the tracking of dirty pages starts anew (CLEAN), and at which it goes on (PEEK). Pure.
//
// A reset is dear to the guest: Xen protects all of its memory again, so that the first access to each page it uses,
// and the first write to each that it changes, leaves the guest for the hypervisor, in the suspend that follows, too. A
// checkpoint without a reset has every page that was written since the last one: more than it needs, never less. As
// most guests write the same pages over and over (a suspend alone writes some 430, always the same), that is hardly
// more, and what has not changed costs a comparison (CapturedPages).
//
// So tracking goes on until the pages come to half as many again as the first checkpoint after a reset had: a trip to
// the hypervisor costs some times what a comparison does. A guest that always writes other pages gets its reset each
// time, and is tried again less and less often.
class TrackingResets {
 public:
  // So many pages more than after a reset are looked at rather than tracked anew.
  static constexpr uint64_t Allowed(uint64_t after_reset) { return after_reset + after_reset / 2 + 64; }
  // After as many checkpoints the set is looked at anew, whatever its size: guests change.
  static constexpr uint32_t kMostCheckpoints = 256;
  static constexpr uint32_t kLongestWait = 64;

  // For the next checkpoint, of which `dirty` pages are known while the guest still runs.
  bool ResetNext(uint64_t dirty) const {
    if (age_ == 0 || wait_ > 0 || age_ >= kMostCheckpoints) return true;
    return age_ > 1 && dirty > Allowed(after_reset_);
  }

  // A checkpoint of `pages` was taken, with a reset or without.
  void OnTaken(bool reset, uint64_t pages) {
    if (!reset) {
      if (++age_ == 2) after_reset_ = pages;
      return;
    }
    if (wait_ > 0) {
      --wait_;
    } else if (age_ == 2) {  // Not even the second one was like the first: other pages each time.
      wait_ = next_wait_;
      next_wait_ = std::min(2 * next_wait_, kLongestWait);
    } else if (age_ > 3) {
      next_wait_ = 1;
    }
    age_ = 1;
  }

 private:
  uint32_t age_ = 0;          // Checkpoints since the last reset, the one that reset included.
  uint64_t after_reset_ = 0;  // Pages of the second of them, the first that was tracked from the reset on.
  uint32_t wait_ = 0;         // Checkpoints to be taken with a reset each before it is tried again.
  uint32_t next_wait_ = 1;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_TRACKING_RESETS_H_
