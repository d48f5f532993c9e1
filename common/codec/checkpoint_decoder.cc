#include "common/codec/checkpoint_decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/codec/page_delta.h"
#include "common/codec/varint.h"

namespace romulus {
namespace {

using namespace block_format;  // NOLINT: this file is about nothing else.

absl::Status Malformed(const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("an encoded block is malformed: ", what));
}

template <typename Number>
Number TakeNumber(absl::Span<const char>* from) {
  Number number;
  memcpy(&number, from->data(), sizeof(number));
  from->remove_prefix(sizeof(number));
  return number;
}

struct Header {
  unsigned encodings = 0;
  uint32_t raw_bytes = 0;
  uint32_t cache_generation = 0;
  struct {
    uint32_t bytes = 0;
    uint32_t coded_bytes = 0;
  } streams[kStreams];
};

absl::StatusOr<Header> TakeHeader(absl::Span<const char>* block) {
  if (block->size() < kHeaderBytes) return Malformed("it is shorter than its header");
  Header header;
  const uint8_t version = TakeNumber<uint8_t>(block);
  if (version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("an encoded block of version ", version, ", known is ", kVersion));
  }
  header.encodings = TakeNumber<uint8_t>(block);
  if (TakeNumber<uint16_t>(block) != 0) return Malformed("a reserved field is not 0");
  header.raw_bytes = TakeNumber<uint32_t>(block);
  header.cache_generation = TakeNumber<uint32_t>(block);
  if (TakeNumber<uint32_t>(block) != 0) return Malformed("a reserved field is not 0");
  uint64_t coded_bytes = 0;
  for (auto& stream : header.streams) {
    stream.bytes = TakeNumber<uint32_t>(block);
    stream.coded_bytes = TakeNumber<uint32_t>(block);
    if (stream.bytes > kStreamBytesMax) return Malformed("a stream is too large");
    coded_bytes += stream.coded_bytes;
  }
  if (header.raw_bytes == 0 || header.raw_bytes > kRawBytesMax) return Malformed("its decoded size is out of bounds");
  if (coded_bytes != block->size()) return Malformed("its streams are not as long as it is");
  return header;
}

}  // namespace

// Carries out a block's operations.
class CheckpointDecoder::Operations {
 public:
  Operations(CheckpointDecoder* decoder, absl::Span<char> to)
      : slots_(decoder->slots_), streams_(decoder->streams_), to_(to) {}

  absl::Status Run() {
    while (!streams_[kOperations].empty()) {
      const unsigned char byte = static_cast<unsigned char>(streams_[kOperations][0]);
      streams_[kOperations].remove_prefix(1);
      const unsigned operation = byte & 0xf;
      uint64_t count = (byte >> 4) + 1;
      if (operation == kBytes || operation == kFrames) {
        uint64_t more = 0;
        if (count > kCountExtended && !TakeVarint(&streams_[kOperations], &more))
          return Malformed("a count is cut off");
        // Each of them makes a byte at least.
        if (more > to_.size()) return Malformed("more bytes than it is said to have");
        const absl::Status status = operation == kBytes ? Bytes(count + more) : Frames(count + more);
        if (!status.ok()) return status;
        continue;
      }
      for (; count > 0; --count) {
        const absl::Status status =
            operation == kStatePatched || operation == kStateStored ? State(operation) : Page(operation);
        if (!status.ok()) return status;
      }
    }
    if (!to_.empty()) return Malformed("fewer bytes than it is said to have");
    // Each byte of each stream is part of the result.
    for (const absl::Span<const char> stream : streams_) {
      if (!stream.empty()) return Malformed("a stream is longer than what is made of it");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Page(unsigned operation) {
    if (to_.size() < kUnitBytes) return Malformed("more bytes than it is said to have");
    char* const page = to_.data();
    to_.remove_prefix(kUnitBytes);
    uint32_t slot = 0;
    switch (operation) {
      case kZeroPage:
        memset(page, 0, kUnitBytes);
        return absl::OkStatus();
      case kUnchanged: {
        const absl::Status status = TakeReference(&slot);
        if (status.ok()) memcpy(page, slots_.Contents(slot), kUnitBytes);
        return status;
      }
      case kPatched: {
        const absl::Status status = TakeReference(&slot);
        if (!status.ok()) return status;
        char* const kept = slots_.MutableContents(slot);
        if (!ApplyPatch(&streams_[kOperations], &streams_[kPatches], kept)) return Malformed("a patch is not one");
        memcpy(page, kept, kUnitBytes);
        return absl::OkStatus();
      }
      case kSparseStored:
      case kPageStored:
      case kDensePageStored:
        if (!TakeSlot(&slot)) return Malformed("a slot that does not exist");
        break;
      case kSparse:
      case kPage:
      case kDensePage:
        break;
      default:
        return Malformed("an unknown operation");
    }
    if (operation == kSparse || operation == kSparseStored) {
      memset(page, 0, kUnitBytes);
      if (!ApplyPatch(&streams_[kOperations], &streams_[kPatches], page)) return Malformed("a patch is not one");
    } else {
      absl::Span<const char>& pages = streams_[operation == kPage || operation == kPageStored ? kPages : kDense];
      if (pages.size() < kUnitBytes) return Malformed("fewer pages than are used");
      memcpy(page, pages.data(), kUnitBytes);
      pages.remove_prefix(kUnitBytes);
    }
    if (operation == kSparseStored || operation == kPageStored || operation == kDensePageStored) {
      slots_.Store(slot, page);
    }
    return absl::OkStatus();
  }

  absl::Status State(unsigned operation) {
    uint64_t length = 0;
    uint32_t slot = 0;
    if (!TakeVarint(&streams_[kOperations], &length) || length < kStateBytesMin ||
        length > std::min(kUnitBytes, to_.size())) {
      return Malformed("a length is out of bounds");
    }
    if (operation == kStatePatched) {
      const absl::Status status = TakeReference(&slot);
      if (!status.ok()) return status;
      char* const kept = slots_.MutableContents(slot);
      if (!ApplyPatch(&streams_[kOperations], &streams_[kPatches], kept)) return Malformed("a patch is not one");
    } else {
      if (!TakeSlot(&slot)) return Malformed("a slot that does not exist");
      if (streams_[kPatches].size() < length) return Malformed("fewer bytes than are used");
      std::array<char, kUnitBytes> page{};
      memcpy(page.data(), streams_[kPatches].data(), length);
      streams_[kPatches].remove_prefix(length);
      slots_.Store(slot, page.data());
    }
    memcpy(to_.data(), slots_.Contents(slot), length);
    to_.remove_prefix(length);
    return absl::OkStatus();
  }

  absl::Status Bytes(uint64_t count) {
    if (count > to_.size()) return Malformed("more bytes than it is said to have");
    if (count > streams_[kPatches].size()) return Malformed("fewer bytes than are used");
    memcpy(to_.data(), streams_[kPatches].data(), count);
    to_.remove_prefix(count);
    streams_[kPatches].remove_prefix(count);
    return absl::OkStatus();
  }

  absl::Status Frames(uint64_t count) {
    if (count > to_.size() / sizeof(uint64_t)) return Malformed("more bytes than it is said to have");
    for (; count > 0; --count) {
      uint64_t value = 0;
      if (!TakeVarint(&streams_[kOperations], &value)) return Malformed("a frame number is cut off");
      last_frame_ += 1 + UnZigZag(value);
      memcpy(to_.data(), &last_frame_, sizeof(last_frame_));
      to_.remove_prefix(sizeof(last_frame_));
    }
    return absl::OkStatus();
  }

  bool TakeSlot(uint32_t* slot) {
    uint64_t value = 0;
    if (!TakeVarint(&streams_[kOperations], &value)) return false;
    const uint64_t number = static_cast<uint32_t>(last_slot_ + 1) + UnZigZag(value);
    if (number >= slots_.slots_max()) return false;
    *slot = last_slot_ = static_cast<uint32_t>(number);
    return true;
  }

  absl::Status TakeReference(uint32_t* slot) {
    if (!TakeSlot(slot)) return Malformed("a slot that does not exist");
    if (!slots_.Holds(*slot)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the page cache is not the sender's: nothing is in slot ", *slot));
    }
    return absl::OkStatus();
  }

  PageSlots& slots_;
  std::array<absl::Span<const char>, kStreams> streams_;
  absl::Span<char> to_;
  uint32_t last_slot_ = ~uint32_t{0};
  uint64_t last_frame_ = ~uint64_t{0};
};

CheckpointDecoder::CheckpointDecoder(Limits limits) : slots_(limits.cache_bytes_max) {}

absl::StatusOr<uint32_t> CheckpointDecoder::RawBytes(absl::Span<const char> block) {
  const absl::StatusOr<Header> header = TakeHeader(&block);
  if (!header.ok()) return header.status();
  return header->raw_bytes;
}

absl::Status CheckpointDecoder::Decode(absl::Span<const char> block, absl::Span<char> to) {
  const absl::StatusOr<Header> header = TakeHeader(&block);
  absl::Status status = header.status();
  if (status.ok()) {
    ROMULUS_CHECK(to.size() == header->raw_bytes);
    if (header->cache_generation > cache_generation_) {
      slots_.Clear();
      cache_generation_ = header->cache_generation;
      failure_ = absl::OkStatus();
    }
    if (!failure_.ok()) return failure_;
    if (header->cache_generation < cache_generation_) status = Malformed("its cache generation is over");
  }
  for (size_t i = 0; i < kStreams && status.ok(); ++i) {
    const auto& stream = header->streams[i];
    const Encoding encoding = static_cast<Encoding>(header->encodings >> (2 * i) & 3);
    const absl::Span<const char> coded = block.subspan(0, stream.coded_bytes);
    block.remove_prefix(stream.coded_bytes);
    if (encoding == Encoding::kRaw && stream.bytes == stream.coded_bytes) {
      streams_[i] = coded;
      continue;
    }
    buffers_[i].clear();
    char* const bytes = buffers_[i].Reserve(stream.bytes);
    if (!decompressor_.Decode(encoding, coded, absl::MakeSpan(bytes, stream.bytes))) {
      status = Malformed("a stream can't be decompressed");
    }
    buffers_[i].Commit(stream.bytes);
    streams_[i] = buffers_[i].span();
  }
  if (status.ok()) status = Operations(this, to).Run();
  failure_ = status;
  return status;
}

}  // namespace romulus
