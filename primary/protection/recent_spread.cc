#include "primary/protection/recent_spread.h"

#include <algorithm>
#include <vector>

namespace romulus {

void RecentSpread::Add(int64_t value) {
  values_[next_] = value;
  next_ = (next_ + 1) % kCapacity;
  size_ = std::min(size_ + 1, kCapacity);
}

RecentSpread::Spread RecentSpread::spread() const {
  if (size_ == 0) return {};
  std::vector<int64_t> sorted(values_.begin(), values_.begin() + size_);
  std::sort(sorted.begin(), sorted.end());
  auto nearest_rank = [&sorted](size_t percent) { return sorted[(sorted.size() * percent + 99) / 100 - 1]; };
  return {nearest_rank(50), nearest_rank(99), sorted.back()};
}

}  // namespace romulus
