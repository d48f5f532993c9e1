#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_ROUNDS_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_ROUNDS_H_

#include <cstdint>
#include <optional>

namespace romulus {

// Decides when the live first copy has come as far as it will. A round sends what was dirtied during the one before;
// the last word is a round with the guest suspended. Pure.
class SeedingRounds {
 public:
  // libxc's own limits: it converges, or it never will.
  static constexpr uint64_t kFewDirtyPages = 50;
  static constexpr uint32_t kMostRounds = 5;

  // Round `round` (1: all of memory) has been sent; since its beginning `dirty` pages were written. Whether to send
  // them live, in another round; if not, they are to be sent with those of the suspended guest.
  bool AnotherRound(uint32_t round, uint64_t dirty) {
    // The guest writes as fast as this sends: more rounds send the same pages again.
    const bool progress = !last_.has_value() || dirty < *last_;
    last_ = dirty;
    return dirty >= kFewDirtyPages && round < kMostRounds && progress;
  }

 private:
  std::optional<uint64_t> last_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_ROUNDS_H_
