// Any bytes as encoded blocks: the decoder neither crashes nor takes more memory than its bound, and says the same of
// the same blocks. And any bytes as a checkpoint: what is encoded decodes to exactly those.
// Input: one byte. 0 to 127: blocks follow, each a u16 length (little endian) and its bytes. 128 to 255: a checkpoint
// follows, which is encoded as three, in pieces of a size chosen by the byte.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/codec/checkpoint_decoder.h"
#include "common/codec/checkpoint_encoder.h"
#include "common/codec/scripted_guest.h"
#include "common/stream/synthetic_stream.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

constexpr uint64_t kCacheBytes = 16 * 4096;

std::vector<std::string> Encode(CheckpointEncoder* encoder, uint64_t epoch, absl::Span<const char> stream,
                                size_t piece) {
  std::vector<std::string> blocks;
  encoder->BeginCheckpoint(epoch);
  do {
    const absl::Span<const char> part = stream.subspan(0, piece);
    stream.remove_prefix(part.size());
    const absl::Span<const char> block = encoder->Encode(part, stream.empty());
    if (!block.empty()) blocks.emplace_back(block.data(), block.size());
  } while (!stream.empty());
  return blocks;
}

// Decodes until an error; what came out until then.
std::string Decode(CheckpointDecoder* decoder, const std::vector<std::string>& blocks, absl::Status* status) {
  // A block of some bytes may claim megabytes: made once, not for each.
  static std::vector<char> room(block_format::kRawBytesMax);
  std::string decoded;
  for (const std::string& block : blocks) {
    const absl::StatusOr<uint32_t> size = CheckpointDecoder::RawBytes(block);
    *status = size.status();
    if (!status->ok()) break;
    ROMULUS_CHECK(*size >= 1 && *size <= block_format::kRawBytesMax);
    *status = decoder->Decode(block, absl::MakeSpan(room).subspan(0, *size));
    if (!status->ok()) break;
    decoded.append(room.data(), *size);
  }
  // Contents, and what is kept about each slot.
  ROMULUS_CHECK(decoder->cache_bytes() <= kCacheBytes + 4096);
  return decoded;
}

void FuzzBlocks(absl::Span<const char> input) {
  std::vector<std::string> blocks;
  while (input.size() >= 2) {
    const size_t size = static_cast<unsigned char>(input[0]) | static_cast<size_t>(static_cast<unsigned char>(input[1]))
                                                                   << 8;
    input.remove_prefix(2);
    const absl::Span<const char> block = input.subspan(0, size);
    blocks.emplace_back(block.data(), block.size());
    input.remove_prefix(block.size());
  }
  CheckpointDecoder one({kCacheBytes});
  CheckpointDecoder other({kCacheBytes});
  absl::Status one_status;
  absl::Status other_status;
  ROMULUS_CHECK(Decode(&one, blocks, &one_status) == Decode(&other, blocks, &other_status));
  ROMULUS_CHECK(one_status == other_status);
  ROMULUS_CHECK(one_status.ok() || absl::IsInvalidArgument(one_status) || absl::IsFailedPrecondition(one_status));
}

void FuzzCheckpoint(size_t piece, absl::Span<const char> stream) {
  CheckpointEncoder encoder({.cache_bytes_max = kCacheBytes});
  CheckpointDecoder decoder({kCacheBytes});
  std::string bytes(stream.data(), stream.size());
  // Again with an epoch number that lets it refer to the cache, and again with a byte changed.
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    if (epoch == 3 && !bytes.empty()) bytes[bytes.size() / 2] ^= 1;
    absl::Status status;
    const std::string decoded = Decode(&decoder, Encode(&encoder, epoch, bytes, piece), &status);
    ROMULUS_CHECK(status.ok() && decoded == bytes);
  }
}

void AppendFramed(const std::string& block, std::string* out) {
  out->push_back(static_cast<char>(block.size()));
  out->push_back(static_cast<char>(block.size() >> 8));
  *out += block;
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  {
    ScriptedGuest guest(1, 6);
    CheckpointEncoder encoder({.cache_bytes_max = kCacheBytes});
    std::string blocks(1, '\0');
    for (int i = 0; i < 3; ++i) {
      const std::string stream = guest.NextCheckpoint();
      for (const std::string& block : Encode(&encoder, guest.epoch(), stream, 20'000)) AppendFramed(block, &blocks);
      if (i == 0) seeds.push_back(static_cast<char>(128 + 17) + stream);
    }
    seeds.push_back(blocks);
  }
  // Small ones are mutated at places that matter more often.
  SyntheticStream stream;
  stream.Preamble().PageData({{1, 0, "one"}, {2, 0, ""}}).State(std::string(200, 's')).EndCheckpoint();
  SyntheticStream later;
  later.PageData({{1, 0, "two"}, {2, 0, "x"}}).State(std::string(200, 't')).EndCheckpoint();
  CheckpointEncoder encoder({.cache_bytes_max = kCacheBytes});
  std::string blocks(1, '\0');
  for (const std::string& block : Encode(&encoder, 1, stream.bytes(), 1 << 20)) AppendFramed(block, &blocks);
  for (const std::string& block : Encode(&encoder, 2, later.bytes(), 1 << 20)) AppendFramed(block, &blocks);
  seeds.push_back(blocks);
  seeds.push_back(static_cast<char>(128 + 127) + later.bytes());
  return seeds;
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::Span<const char> input(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] < 128) {
    romulus::FuzzBlocks(input);
  } else {
    // At most some 30 pieces: many inputs a second find more than many pieces.
    romulus::FuzzCheckpoint(std::max<size_t>(1 + (data[0] - 128) * 131, input.size() / 30), input);
  }
  return 0;
}
