#ifndef ROMULUS_SECONDARY_TARGET_FAKE_STANDBY_H_
#define ROMULUS_SECONDARY_TARGET_FAKE_STANDBY_H_

#include <atomic>
#include <cstdint>

namespace romulus {

// The guest of fake_restore_helper, in memory that the test and the helper share.
struct FakeStandby {
  std::atomic<uint64_t> pages[64];
  std::atomic<bool> goes;       // Its vCPUs, while it runs along.
  std::atomic<uint64_t> dirty;  // A bit for each page that it has written to.
  std::atomic<bool> refuses;    // To run along, once.
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_FAKE_STANDBY_H_
