#ifndef ROMULUS_COMMON_BASE_RECENT_SPREAD_H_
#define ROMULUS_COMMON_BASE_RECENT_SPREAD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace romulus {

// The spread of the last 1024 values of one figure; older ones are forgotten. Not thread safe.
class RecentSpread {
 public:
  static constexpr size_t kCapacity = 1024;

  void Add(int64_t value);

  struct Spread {
    int64_t p50 = 0;
    int64_t p99 = 0;
    int64_t max = 0;
  };
  // Percentiles by nearest rank; zeros while there is no value. Reckoned once after each Add, however often it is asked
  // for: the status of many guests, watched by many, is made on the agent's loop.
  Spread spread() const;

 private:
  std::array<int64_t, kCapacity> values_;
  size_t size_ = 0;
  size_t next_ = 0;
  mutable std::optional<Spread> spread_;  // Of the present values, once reckoned.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_RECENT_SPREAD_H_
