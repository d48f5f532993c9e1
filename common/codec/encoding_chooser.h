#ifndef ROMULUS_COMMON_CODEC_ENCODING_CHOOSER_H_
#define ROMULUS_COMMON_CODEC_ENCODING_CHOOSER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/codec/block_format.h"

namespace romulus {

// Decides by what it has measured how each of a block's streams is compressed. Pure; not thread safe.
//
// The fewest bytes win, under two conditions:
// - Processor time. Every byte of a checkpoint earns a budget, everything that is done spends of it, and what can't be
//   afforded is not chosen.
// - The link. What takes longer than sending the bytes that it saves is not chosen: a link that is faster than the
//   compressor is given them as they are.
// What was not tried for some time is tried again on one block: contents change.
class EncodingChooser {
 public:
  struct Options {
    // Of processor time, for each byte of the checkpoint as captured. What a guest writes is mostly pages that the
    // cache knows, which take a third of a nanosecond for each byte; the rest is for zstd on what is left. 4.0 bounds a
    // checkpoint of nothing but fresh pages to 250 MB/s on one core, about what zstd -1 takes for them: fewer bytes
    // come before less time, where the link is not known to be faster.
    double budget_ns_per_byte = 4.0;
    // What the link can carry. 0: not known, taken as slow.
    uint64_t link_bytes_per_second = 0;
    // How many threads compress at the same time for one link.
    unsigned threads = 1;
  };
  // One of Encoding, or a variant of it.
  enum class Method : uint8_t { kRaw, kLz4, kZstdFast, kZstd };
  static constexpr size_t kMethods = 4;

  explicit EncodingChooser(Options options);

  void set_link_bytes_per_second(uint64_t value) { options_.link_bytes_per_second = value; }

  // `bytes` of a checkpoint were looked at, which took this long.
  void Earn(size_t bytes, uint64_t spent_ns);
  Method Choose(block_format::Stream stream, size_t bytes);
  void Learn(block_format::Stream stream, Method method, size_t bytes, size_t coded_bytes, uint64_t spent_ns);

  // Coded bytes for each byte of this stream, lately.
  double ratio(block_format::Stream stream) const;

 private:
  struct Measured {
    double ratio = 0;
    double ns_per_byte = 0;
    uint32_t age = 0;         // Choices since.
    bool after_long = false;  // The next measurement is the first for long.
  };
  struct StreamState {
    std::array<Measured, kMethods> methods;
    double ratio = 1;
  };

  bool Pays(const Measured& measured) const;

  Options options_;
  double budget_ns_ = 0;
  std::array<StreamState, block_format::kStreams> streams_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_ENCODING_CHOOSER_H_
