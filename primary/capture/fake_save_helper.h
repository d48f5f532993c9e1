#ifndef ROMULUS_PRIMARY_CAPTURE_FAKE_SAVE_HELPER_H_
#define ROMULUS_PRIMARY_CAPTURE_FAKE_SAVE_HELPER_H_

#include <cstdint>

namespace romulus {

// The domids that fake_save_helper knows.
enum class FakeBehaviour : uint32_t {
  kGood = 1,
  kDieSuspended = 2,         // In epoch 2.
  kDieSuspendedForGood = 3,  // And the recovery fails.
  kHangSuspended = 4,        // In epoch 2, deaf to SIGTERM.
  kWrongEpoch = 5,
  kWrongLength = 6,  // Longer than the staging file.
  kBlockInSeeding = 7,
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_FAKE_SAVE_HELPER_H_
