#ifndef ROMULUS_COMMON_PROCESS_RATE_LIMITER_H_
#define ROMULUS_COMMON_PROCESS_RATE_LIMITER_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"

namespace romulus {

// A token bucket: `burst` events at once, `per_second` in the long run; counts what it refuses. Not thread safe.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}

  // `now` is monotonic time.
  bool Allow(absl::Duration now) {
    tokens_ = std::min(burst_, tokens_ + absl::ToDoubleSeconds(now - last_) * per_second_);
    last_ = now;
    if (tokens_ < 1) {
      ++refused_;
      return false;
    }
    tokens_ -= 1;
    return true;
  }

  // Refused since the last call of this.
  uint64_t TakeRefused() { return std::exchange(refused_, 0); }

 private:
  const double per_second_;
  const double burst_;
  double tokens_;
  absl::Duration last_;
  uint64_t refused_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_RATE_LIMITER_H_
