#ifndef ROMULUS_COMMON_CODEC_PAGE_INDEX_H_
#define ROMULUS_COMMON_CODEC_PAGE_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace romulus {

// Which page is in which slot of a cache, and which one goes. Pure; not thread safe.
//
// When all slots are used, a newcomer takes the place of the one that was used longer ago, of two picked at random; of
// none if both were used in this epoch or the last. So a guest that writes to more pages than there are slots, round
// and round, keeps a part of them in the cache, where evicting the oldest would always evict the page needed next.
class PageIndex {
 public:
  explicit PageIndex(uint32_t slots);

  void BeginEpoch() { ++epoch_; }
  // Counts as a use.
  std::optional<uint32_t> Find(uint64_t key);
  // A slot for a key that is not there. may_evict false: only a free one.
  std::optional<uint32_t> Insert(uint64_t key, bool may_evict);
  void Erase(uint64_t key);
  // All that were not used for more than `epochs` epochs. Looks at each.
  void EraseIdle(uint32_t epochs);
  void Clear();

  uint32_t used() const { return used_; }
  uint64_t evictions() const { return evictions_; }
  uint64_t memory_bytes() const;

 private:
  static constexpr int kCandidates = 2;
  // Epochs since its last use before a page may go.
  static constexpr uint32_t kSparedEpochs = 2;
  static constexpr uint32_t kEmpty = ~uint32_t{0};
  static constexpr size_t kTableMin = 64;
  struct Slot {
    uint64_t key = 0;
    uint32_t used_in = 0;  // Epoch.
  };

  size_t Home(uint64_t key) const;
  // Where in table_, which has been grown, it is, or the empty place where it would go.
  size_t Locate(uint64_t key) const;
  void RemoveAt(size_t place);
  std::optional<uint32_t> FreeSlot(bool may_evict);
  void GrowTable();
  uint32_t NextRandom();

  const uint32_t slots_max_;
  std::vector<Slot> slots_;  // Those that were ever used.
  std::vector<uint32_t> free_;
  std::vector<uint32_t> table_;  // Slot numbers, open addressing; at most half full. Grows with use.
  uint32_t epoch_ = kSparedEpochs;
  uint64_t random_ = 0x2545f4914f6cdd1d;
  uint32_t used_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_PAGE_INDEX_H_
