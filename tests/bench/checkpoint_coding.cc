#include "tests/bench/checkpoint_coding.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/codec/checkpoint_decoder.h"
#include "common/codec/checkpoint_encoder.h"
#include "common/codec/compressor.h"
#include "tests/bench/page_by_page.h"

namespace romulus {
namespace {

using block_format::Encoding;

// A library over the whole stream, in pieces as large as the product's blocks: the length of each and its bytes.
class Library final : public CheckpointCoding {
 public:
  explicit Library(Encoding encoding) : encoding_(encoding) {}

  void Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) override {
    while (!checkpoint.empty()) {
      const auto piece = checkpoint.subspan(0, CheckpointEncoder::kPieceBytes);
      checkpoint.remove_prefix(piece.size());
      const size_t header = wire->size();
      wire->Reserve(sizeof(uint32_t));
      wire->Commit(sizeof(uint32_t));
      ROMULUS_CHECK(compressor_.Append(encoding_, piece, 2 * piece.size() + 1024, wire));
      const auto coded = static_cast<uint32_t>(wire->size() - header - sizeof(uint32_t));
      memcpy(wire->data() + header, &coded, sizeof(coded));
    }
  }
  void Decode(absl::Span<const char> wire, absl::Span<char> to) override {
    while (!to.empty()) {
      uint32_t coded;
      memcpy(&coded, wire.data(), sizeof(coded));
      const auto piece = to.subspan(0, CheckpointEncoder::kPieceBytes);
      ROMULUS_CHECK(decompressor_.Decode(encoding_, wire.subspan(sizeof(coded), coded), piece));
      wire.remove_prefix(sizeof(coded) + coded);
      to.remove_prefix(piece.size());
    }
  }

 private:
  const Encoding encoding_;
  Compressor compressor_;
  Decompressor decompressor_;
};

// The product's. Without a budget nothing is left of it but zero pages, unchanged ones and patches.
class Product final : public CheckpointCoding {
 public:
  explicit Product(bool compresses) : encoder_(Options(compresses)), decoder_({Options(compresses).cache_bytes_max}) {}

  void Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) override {
    encoder_.BeginCheckpoint(epoch_++);
    do {
      const auto piece = checkpoint.subspan(0, CheckpointEncoder::kPieceBytes);
      checkpoint.remove_prefix(piece.size());
      const absl::Span<const char> block = encoder_.Encode(piece, checkpoint.empty());
      const auto size = static_cast<uint32_t>(block.size());
      wire->Append(absl::MakeConstSpan(reinterpret_cast<const char*>(&size), sizeof(size)));
      wire->Append(block);
    } while (!checkpoint.empty());
  }
  void Decode(absl::Span<const char> wire, absl::Span<char> to) override {
    while (!to.empty()) {
      uint32_t size;
      memcpy(&size, wire.data(), sizeof(size));
      const auto block = wire.subspan(sizeof(size), size);
      wire.remove_prefix(sizeof(size) + size);
      if (block.empty()) continue;
      const size_t raw_bytes = CheckpointDecoder::RawBytes(block).value();
      ROMULUS_CHECK(decoder_.Decode(block, to.subspan(0, raw_bytes)).ok());
      to.remove_prefix(raw_bytes);
    }
  }

 private:
  static CheckpointEncoder::Options Options(bool compresses) {
    CheckpointEncoder::Options options;
    if (!compresses) options.chooser.budget_ns_per_byte = 0;
    return options;
  }
  CheckpointEncoder encoder_;
  CheckpointDecoder decoder_;
  // The first checkpoint of a session begins with headers, which no trace has.
  uint64_t epoch_ = 2;
};

class Raw final : public CheckpointCoding {
 public:
  void Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) override { wire->Append(checkpoint); }
  void Decode(absl::Span<const char> wire, absl::Span<char> to) override { memcpy(to.data(), wire.data(), to.size()); }
};

using Coding = std::unique_ptr<CheckpointCoding>;

}  // namespace

std::vector<NamedCoding> Codings() {
  return {
      {"raw", true, []() -> Coding { return std::make_unique<Raw>(); }},
      {"zero", true, []() -> Coding { return std::make_unique<PageByPage>(false); }},
      {"xbzrle", true, []() -> Coding { return std::make_unique<PageByPage>(true); }},
      {"lz4", true, []() -> Coding { return std::make_unique<Library>(Encoding::kLz4); }},
      {"zstd", true, []() -> Coding { return std::make_unique<Library>(Encoding::kZstd); }},
      {"deltas", true, []() -> Coding { return std::make_unique<Product>(false); }},
      {"chooser", false, []() -> Coding { return std::make_unique<Product>(true); }},
  };
}

}  // namespace romulus
