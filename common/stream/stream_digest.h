#ifndef ROMULUS_COMMON_STREAM_STREAM_DIGEST_H_
#define ROMULUS_COMMON_STREAM_STREAM_DIGEST_H_

#include <cstdint>
#include <memory>

#include "absl/types/span.h"

struct XXH3_state_s;

namespace romulus {

// XXH3, 64 bits, seed 0, of `bytes`.
uint64_t Digest(absl::Span<const char> bytes);

// The same over bytes that come in pieces: CheckpointTrailer.digest_xxh3. Not thread safe.
class StreamDigest {
 public:
  StreamDigest();

  void Add(absl::Span<const char> bytes);
  // Of all bytes added so far.
  uint64_t value() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_STREAM_DIGEST_H_
