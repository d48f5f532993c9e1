#ifndef ROMULUS_TESTS_BENCH_CHECKPOINT_CODING_H_
#define ROMULUS_TESTS_BENCH_CHECKPOINT_CODING_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/codec/growable_bytes.h"

namespace romulus {

// One way to put a session's checkpoints on the wire, and to get them back: both ends, with what they remember.
// Everything that would be sent counts, so that the ratios of all can be compared.
class CheckpointCoding {
 public:
  virtual ~CheckpointCoding() = default;
  // Appends to `wire`.
  virtual void Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) = 0;
  // `to` is as long as the checkpoint was.
  virtual void Decode(absl::Span<const char> wire, absl::Span<char> to) = 0;
};

struct NamedCoding {
  std::string name;
  // Another one is no single encoding: it combines, and chooses.
  bool single = true;
  std::unique_ptr<CheckpointCoding> (*make)();
};
// raw, zero, xbzrle, lz4, zstd, deltas, chooser.
std::vector<NamedCoding> Codings();

}  // namespace romulus

#endif  // ROMULUS_TESTS_BENCH_CHECKPOINT_CODING_H_
