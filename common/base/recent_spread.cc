#include "common/base/recent_spread.h"

#include <algorithm>
#include <vector>

namespace romulus {

void RecentSpread::Add(int64_t value) {
  spread_.reset();
  values_[next_] = value;
  next_ = (next_ + 1) % kCapacity;
  size_ = std::min(size_ + 1, kCapacity);
}

RecentSpread::Spread RecentSpread::spread() const {
  if (spread_.has_value()) return *spread_;
  if (size_ == 0) return {};
  std::vector<int64_t> values(values_.begin(), values_.begin() + size_);
  const auto rank = [&values](size_t percent) { return values.begin() + ((values.size() * percent + 99) / 100 - 1); };
  Spread spread;
  std::nth_element(values.begin(), rank(50), values.end());
  spread.p50 = *rank(50);
  std::nth_element(rank(50), rank(99), values.end());
  spread.p99 = *rank(99);
  spread.max = *std::max_element(rank(99), values.end());
  spread_ = spread;
  return spread;
}

}  // namespace romulus
