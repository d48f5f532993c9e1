#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "common/codec/block_format.h"
#include "common/codec/checkpoint_decoder.h"
#include "common/codec/checkpoint_encoder.h"
#include "common/codec/scripted_guest.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

constexpr uint64_t kCache = 4 << 20;

using Blocks = std::vector<std::string>;

Blocks EncodeWith(CheckpointEncoder* encoder, uint64_t epoch, const std::string& stream, size_t piece) {
  Blocks blocks;
  encoder->BeginCheckpoint(epoch);
  for (size_t at = 0; at < stream.size(); at += piece) {
    const size_t size = std::min(piece, stream.size() - at);
    const absl::Span<const char> block =
        encoder->Encode(absl::MakeConstSpan(stream.data() + at, size), at + size == stream.size());
    if (!block.empty()) blocks.emplace_back(block.data(), block.size());
  }
  return blocks;
}

absl::StatusOr<std::string> DecodeWith(CheckpointDecoder* decoder, const Blocks& blocks) {
  std::string stream;
  for (const std::string& block : blocks) {
    const absl::StatusOr<uint32_t> size = CheckpointDecoder::RawBytes(block);
    if (!size.ok()) return size.status();
    std::string bytes(*size, '?');
    const absl::Status status = decoder->Decode(block, absl::MakeSpan(bytes));
    if (!status.ok()) return status;
    stream += bytes;
  }
  return stream;
}

size_t Total(const Blocks& blocks) {
  size_t total = 0;
  for (const std::string& block : blocks) total += block.size();
  return total;
}

TEST(CheckpointCodec, GivesBackTheExactBytes) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    // Caches that hold everything, next to nothing, nothing.
    for (const uint64_t cache : {kCache, uint64_t{40 * 4096}, uint64_t{5000}, uint64_t{0}}) {
      for (const size_t piece : {size_t{100'003}, size_t{777}, size_t{1} << 20}) {
        ScriptedGuest guest(seed, 150);
        CheckpointEncoder encoder({.cache_bytes_max = cache});
        CheckpointDecoder decoder({cache});
        for (int i = 0; i < 6; ++i) {
          const std::string stream = guest.NextCheckpoint();
          const absl::StatusOr<std::string> decoded =
              DecodeWith(&decoder, EncodeWith(&encoder, guest.epoch(), stream, piece));
          ASSERT_TRUE(decoded.ok()) << decoded.status();
          ASSERT_TRUE(*decoded == stream) << "seed " << seed << " cache " << cache << " piece " << piece;
        }
        EXPECT_LE(encoder.cache_bytes(), cache + cache / 100 + 65536);
        EXPECT_EQ(encoder.cache_bytes(), decoder.cache_bytes());
      }
    }
  }
}

TEST(CheckpointCodec, EncodesAnyBytes) {
  ScriptedGuest guest(1);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  CheckpointDecoder decoder({kCache});
  for (uint64_t epoch = 1; epoch < 60; ++epoch) {
    std::string bytes = epoch % 3 == 0 ? guest.RandomBytes(1 + epoch * 977) : guest.NextCheckpoint();
    if (epoch % 2 == 0) bytes.resize(bytes.size() * 2 / 3);
    const absl::StatusOr<std::string> decoded = DecodeWith(&decoder, EncodeWith(&encoder, epoch, bytes, 50'000));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(*decoded == bytes);
  }
}

TEST(CheckpointCodec, CompressesOnOtherThreadsInAnyOrder) {
  ScriptedGuest guest(2);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  CheckpointDecoder decoder({kCache});
  Compressor one;
  Compressor other;
  for (int i = 0; i < 5; ++i) {
    const std::string stream = guest.NextCheckpoint();
    encoder.BeginCheckpoint(guest.epoch());
    std::vector<std::unique_ptr<EncodingBatch>> batches;
    for (size_t at = 0; at < stream.size(); at += 60'000) {
      const size_t size = std::min<size_t>(60'000, stream.size() - at);
      batches.push_back(encoder.Plan(absl::MakeConstSpan(stream.data() + at, size), at + size == stream.size()));
    }
    for (size_t k = batches.size(); k-- > 0;) encoder.Compress(batches[k].get(), k % 2 == 0 ? &one : &other);
    Blocks blocks;
    for (auto& batch : batches) {
      blocks.emplace_back(batch->block().data(), batch->block().size());
      encoder.Finish(std::move(batch));
    }
    const absl::StatusOr<std::string> decoded = DecodeWith(&decoder, blocks);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(*decoded == stream);
  }
}

TEST(CheckpointCodec, EncodesEachKindOfPageAsSmallAsItCanBe) {
  ScriptedGuest guest(3);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  const std::string text = guest.Text(4096);
  const std::string random = guest.RandomBytes(4096);
  const auto Checkpoint = [](std::vector<SyntheticStream::Page> pages, bool first) {
    SyntheticStream stream;
    if (first) stream.Preamble();
    stream.PageData(pages).EndCheckpoint();
    return stream.bytes();
  };
  EncodeWith(&encoder, 1, Checkpoint({{1, 0, ""}, {2, 0, text}, {3, 0, random}, {4, 0, "few"}}, true), 1 << 20);
  EXPECT_EQ(encoder.counts().zero_pages, 1);
  EXPECT_EQ(encoder.counts().literal_pages, 2);
  EXPECT_EQ(encoder.counts().sparse_pages, 1);
  std::string changed = random;
  changed[1000] ^= 1;
  const Blocks blocks =
      EncodeWith(&encoder, 2, Checkpoint({{1, 0, ""}, {2, 0, text}, {3, 0, changed}, {4, 0, ""}}, false), 1 << 20);
  EXPECT_EQ(encoder.counts().zero_pages, 3);
  EXPECT_EQ(encoder.counts().unchanged_pages, 1);
  EXPECT_EQ(encoder.counts().patched_pages, 1);
  EXPECT_EQ(encoder.counts().literal_pages, 2);
  EXPECT_LT(Total(blocks), 150);
}

TEST(CheckpointCodec, RandomBytesCostNextToNothingMoreThanRaw) {
  ScriptedGuest guest(4);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  std::vector<SyntheticStream::Page> pages;
  for (uint64_t frame = 0; frame < 500; ++frame) pages.push_back({frame, 0, guest.RandomBytes(4096)});
  SyntheticStream stream;
  stream.Preamble().PageData(pages).EndCheckpoint();
  EXPECT_LT(Total(EncodeWith(&encoder, 1, stream.bytes(), 1 << 20)), stream.bytes().size() * 1.002);
}

TEST(CheckpointCodec, TheFirstCheckpointRefersToNothing) {
  ScriptedGuest guest(5);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  // Twice the same page, as in two live rounds.
  const std::string page = guest.RandomBytes(4096);
  SyntheticStream stream;
  stream.Preamble().PageData({{1, 0, page}}).PageData({{1, 0, page}}).State(guest.Text(5000)).EndCheckpoint();
  const Blocks blocks = EncodeWith(&encoder, 1, stream.bytes(), 4000);
  EXPECT_EQ(encoder.counts().unchanged_pages, 0);
  EXPECT_EQ(encoder.counts().literal_pages, 2);
  CheckpointDecoder decoder({kCache});
  EXPECT_TRUE(*DecodeWith(&decoder, blocks) == stream.bytes());
}

class DesynchronisedCache : public testing::Test {
 protected:
  DesynchronisedCache() : guest_(6), encoder_({.cache_bytes_max = kCache}), decoder_({kCache}) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(DecodeWith(&decoder_, Next()).ok());
  }
  Blocks Next() {
    stream_ = guest_.NextCheckpoint();
    return EncodeWith(&encoder_, guest_.epoch(), stream_, 1 << 20);
  }
  // As the link does: the same checkpoint once more, with an empty cache.
  void ExpectHeals() {
    encoder_.ResetCache();
    const absl::StatusOr<std::string> decoded =
        DecodeWith(&decoder_, EncodeWith(&encoder_, guest_.epoch(), stream_, 1 << 20));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(*decoded == stream_);
    for (int i = 0; i < 3; ++i) {
      const absl::StatusOr<std::string> later = DecodeWith(&decoder_, Next());
      ASSERT_TRUE(later.ok()) << later.status();
      EXPECT_TRUE(*later == stream_);
    }
  }

  ScriptedGuest guest_;
  std::string stream_;
  CheckpointEncoder encoder_;
  CheckpointDecoder decoder_;
};

// The digest of what was decoded is the link's to compare (//common/link:encoded_link_test).
TEST_F(DesynchronisedCache, GivesOtherBytesWhenPagesDifferAndHeals) {
  const std::string other = guest_.RandomBytes(4096);
  for (uint32_t slot = 0; slot < 300; ++slot) {
    if (decoder_.slots_for_test()->Holds(slot)) decoder_.slots_for_test()->Store(slot, other.data());
  }
  const absl::StatusOr<std::string> decoded = DecodeWith(&decoder_, Next());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->size(), stream_.size());
  EXPECT_FALSE(*decoded == stream_);
  ExpectHeals();
}

TEST_F(DesynchronisedCache, IsNoticedWhenPagesAreMissingAndHeals) {
  decoder_.slots_for_test()->Clear();
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeWith(&decoder_, Next()).status()));
  // It stays so, whatever of that generation comes.
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeWith(&decoder_, Next()).status()));
  ExpectHeals();
}

TEST_F(DesynchronisedCache, GivesOtherBytesWhenACheckpointIsMissingAndHeals) {
  Next();
  bool differs = false;
  // The pages that the two have in common tell.
  for (int i = 0; i < 3 && !differs; ++i) {
    const absl::StatusOr<std::string> decoded = DecodeWith(&decoder_, Next());
    differs = !decoded.ok() || *decoded != stream_;
  }
  EXPECT_TRUE(differs);
  ExpectHeals();
}

TEST_F(DesynchronisedCache, BlocksOfAnOlderGenerationAreRefused) {
  const Blocks old = Next();
  ExpectHeals();
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeWith(&decoder_, old).status()));
  ExpectHeals();
}

TEST(CheckpointDecoder, RefusesSlotsBeyondItsBound) {
  ScriptedGuest guest(7);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  CheckpointDecoder decoder({10 * 4096});
  const absl::Status status = DecodeWith(&decoder, EncodeWith(&encoder, 1, guest.NextCheckpoint(), 1 << 20)).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_LE(decoder.cache_bytes(), 10 * 4096 + 4096);
}

TEST(CheckpointDecoder, RefusesEachByteThatIsChangedOrLeavesItHarmless) {
  ScriptedGuest guest(8, 40);
  CheckpointEncoder encoder({.cache_bytes_max = kCache});
  const Blocks first = EncodeWith(&encoder, 1, guest.NextCheckpoint(), 1 << 20);
  const Blocks second = EncodeWith(&encoder, 2, guest.NextCheckpoint(), 1 << 20);
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    CheckpointDecoder decoder({kCache});
    ASSERT_TRUE(DecodeWith(&decoder, first).ok());
    Blocks spoilt = second;
    std::string& block = spoilt[random() % spoilt.size()];
    const size_t at = i < block_format::kHeaderBytes * 4 ? i / 4 : random() % block.size();
    block[at] = static_cast<char>(random());
    if (random() % 4 == 0) block.resize(random() % block.size());
    (void)DecodeWith(&decoder, spoilt);
    EXPECT_LE(decoder.cache_bytes(), kCache + 65536);
  }
}

TEST(CheckpointDecoder, RefusesWhatIsNoBlock) {
  for (const std::string& block :
       {std::string(), std::string(block_format::kHeaderBytes - 1, '\2'), std::string(block_format::kHeaderBytes, '\0'),
        std::string(block_format::kHeaderBytes, '\2')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckpointDecoder::RawBytes(block).status()));
  }
}

}  // namespace
}  // namespace romulus
