#ifndef ROMULUS_PRIMARY_COMPARISON_STREAM_BYTES_H_
#define ROMULUS_PRIMARY_COMPARISON_STREAM_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace romulus::comparison {

enum class Match {
  kEqual,    // All of it is there, and the same.
  kMissing,  // What is there is the same, and some is not there.
  kDiffers,  // Something that is there is not the same.
};

// Bytes of a stream, by position, with gaps. Not thread safe.
class StreamBytes {
 public:
  // Bytes that come within `resolution` of each other may be kept as if they had come with the first.
  explicit StreamBytes(absl::Duration resolution) : resolution_(resolution) {}

  // False: some of it contradicts what is there; then nothing is added.
  bool Add(absl::Duration now, int64_t position, absl::string_view bytes);
  Match Compare(int64_t position, absl::string_view bytes) const;
  // Forgets those in [begin, end).
  void Erase(int64_t begin, int64_t end);
  void Clear();

  // Behind the last byte; nullopt: there is none.
  std::optional<int64_t> end() const;
  // When the first byte at or behind `position` came.
  std::optional<absl::Duration> CameAt(int64_t position) const;
  // What it costs in memory, about.
  size_t cost() const { return bytes_ + chunks_.size() * kChunkCost; }

 private:
  static constexpr size_t kChunkCost = 128;
  // A chunk that has reached this grows no more: to forget a few bytes of it moves the others.
  static constexpr size_t kChunkBytes = 16 << 10;

  struct Chunk {
    std::string bytes;
    absl::Duration came;
  };
  using Chunks = std::map<int64_t, Chunk>;  // By position; they don't overlap.

  // The first chunk that ends behind `position`.
  Chunks::const_iterator FirstBehind(int64_t position) const;

  const absl::Duration resolution_;
  Chunks chunks_;
  size_t bytes_ = 0;
};

// The newest bytes of a stream without gaps, up to a bound. Not thread safe.
class RecentBytes {
 public:
  explicit RecentBytes(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Behind a gap it starts anew. Bytes that are there, or lie before, stay as they are.
  void Add(int64_t position, absl::string_view bytes);
  // kMissing: [position, position + *known) are there and the same, or *known is 0 and none of the first bytes is.
  Match Compare(int64_t position, absl::string_view bytes, size_t* known) const;
  void Clear();

  size_t cost() const { return bytes_.capacity(); }

 private:
  const size_t bytes_max_;
  int64_t begin_ = 0;
  size_t skipped_ = 0;  // Of bytes_: forgotten, and still there.
  std::string bytes_;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_STREAM_BYTES_H_
