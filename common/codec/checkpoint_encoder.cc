#include "common/codec/checkpoint_encoder.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "common/base/log.h"
#include "common/codec/varint.h"

namespace romulus {
namespace {

using namespace block_format;  // NOLINT: this file is about nothing else.
using Method = EncodingChooser::Method;

// Of 256 random bytes about 162 differ, with a deviation of 6.
constexpr int kDenseValuesMin = 135;
// Smaller streams gain nothing that is worth the call.
constexpr size_t kCompressBytesMin = 64;
// What a compressed stream must save, for the time that the decoder takes.
constexpr size_t kSavedFraction = 32;
// A run of operations, and what decoding it takes in bytes: a slot's and two lengths' varints.
constexpr double kRunBytes = 2;
constexpr double kOperationBytes = 2;
constexpr int kZstdLevel = 1;
constexpr int kZstdFastLevel = -3;
constexpr size_t kSpareMax = 8;

uint64_t ThreadCpuTime() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

CheckpointEncoder::Options WithClock(CheckpointEncoder::Options options) {
  if (options.cpu_time_ns == nullptr) options.cpu_time_ns = ThreadCpuTime;
  return options;
}

Encoding EncodingOf(Method method) {
  switch (method) {
    case Method::kRaw:
      return Encoding::kRaw;
    case Method::kLz4:
      return Encoding::kLz4;
    case Method::kZstdFast:
    case Method::kZstd:
      return Encoding::kZstd;
  }
  CheckFailed(__FILE__, __LINE__, "method");
}

template <typename Number>
char* PutNumber(Number number, char* to) {
  memcpy(to, &number, sizeof(number));
  return to + sizeof(number);
}

}  // namespace

CheckpointEncoder::CheckpointEncoder(Options options)
    : options_(WithClock(options)),
      chooser_(options.chooser),
      slots_(options.cache_bytes_max),
      index_(slots_.slots_max()) {}

void CheckpointEncoder::BeginCheckpoint(uint64_t epoch, bool may_refer) {
  first_ = epoch == 1;
  may_refer_ = may_refer && !first_;
  units_.emplace(first_);
  index_.BeginEpoch();
  carry_.clear();
}

void CheckpointEncoder::ResetCache() {
  index_.Clear();
  slots_.Clear();
  ++cache_generation_;
  ++counts_.cache_resets;
}

std::unique_ptr<EncodingBatch> CheckpointEncoder::NewBatch() {
  std::unique_ptr<EncodingBatch> batch;
  if (spare_.empty()) {
    batch = std::make_unique<EncodingBatch>();
  } else {
    batch = std::move(spare_.back());
    spare_.pop_back();
  }
  batch->raw_bytes_ = 0;
  batch->spent_ns_ = 0;
  batch->cache_generation_ = cache_generation_;
  batch->block_.clear();
  for (EncodingBatch::StreamPlan& stream : batch->streams_) stream.bytes.clear();
  last_slot_ = ~uint32_t{0};
  last_frame_ = ~uint64_t{0};
  run_operation_ = kOperationEnd;
  return batch;
}

std::unique_ptr<EncodingBatch> CheckpointEncoder::Plan(absl::Span<const char> piece, bool last) {
  ROMULUS_CHECK(units_.has_value() && piece.size() <= kPieceBytesMax);
  const uint64_t started = options_.cpu_time_ns();
  std::unique_ptr<EncodingBatch> batch = NewBatch();
  if (!carry_.empty() && CompleteCarry(&piece)) {
    absl::Span<const char> unit = carry_.span();
    PlanUnit(units_->Take(&unit), batch.get());
    ROMULUS_CHECK(unit.empty());
    carry_.clear();
  }
  while (piece.size() >= units_->needed() || (last && !piece.empty())) {
    PlanUnit(units_->Take(&piece), batch.get());
  }
  carry_.Append(piece);
  if (last && !carry_.empty()) {
    absl::Span<const char> unit = carry_.span();
    PlanUnit(units_->Take(&unit), batch.get());
    carry_.clear();
  }
  const uint64_t spent = options_.cpu_time_ns() - started;
  counts_.encode_ns += spent;
  chooser_.Earn(batch->raw_bytes_, spent);
  for (size_t i = 0; i < kStreams; ++i) {
    EncodingBatch::StreamPlan& stream = batch->streams_[i];
    const size_t size = stream.bytes.size();
    stream.method = size < kCompressBytesMin ? Method::kRaw : chooser_.Choose(static_cast<Stream>(i), size);
  }
  return batch;
}

bool CheckpointEncoder::CompleteCarry(absl::Span<const char>* piece) {
  const size_t missing = units_->needed() - carry_.size();
  const size_t taken = std::min(missing, piece->size());
  carry_.Append(piece->subspan(0, taken));
  piece->remove_prefix(taken);
  return taken == missing;
}

void CheckpointEncoder::PlanUnit(const StreamUnits::Unit& unit, EncodingBatch* batch) {
  batch->raw_bytes_ += static_cast<uint32_t>(unit.bytes.size());
  switch (unit.kind) {
    case StreamUnits::Kind::kBytes:
      PlanBytes(unit.bytes, batch);
      return;
    case StreamUnits::Kind::kFrames:
      PlanFrames(unit.bytes, batch);
      return;
    case StreamUnits::Kind::kPage:
      PlanPage(unit.key, unit.bytes.data(), batch);
      return;
    case StreamUnits::Kind::kState:
      PlanState(unit.key, unit.bytes, batch);
      return;
  }
}

void CheckpointEncoder::PlanPage(uint64_t key, const char* page, EncodingBatch* batch) {
  if (IsZeroPage(page)) {
    AppendOperation(kZeroPage, batch);
    ++counts_.zero_pages;
    // The next contents are better made from zeros than from what was here before.
    index_.Erase(key);
    return;
  }
  const std::optional<uint32_t> slot = may_refer_ ? index_.Find(key) : std::nullopt;
  if (slot.has_value()) {
    const PageDifference difference = Compare(slots_.Contents(*slot), page);
    if (difference.changed_bytes == 0) {
      AppendOperation(kUnchanged, batch);
      AppendSlot(*slot, batch);
      ++counts_.unchanged_pages;
      return;
    }
    if (PatchPays(difference, page)) {
      AppendOperation(kPatched, batch);
      AppendSlot(*slot, batch);
      AppendPatch(difference, page, &batch->streams_[kOperations].bytes, &batch->streams_[kPatches].bytes);
      slots_.Store(*slot, page);
      ++counts_.patched_pages;
      return;
    }
  }
  PlanLiteral(key, page, batch);
}

void CheckpointEncoder::PlanLiteral(uint64_t key, const char* page, EncodingBatch* batch) {
  std::optional<uint32_t> slot = index_.Find(key);
  if (!slot.has_value()) slot = NewSlot(key);
  PageDifference difference;
  if (LooksSparse(page)) difference = CompareWithZero(page);
  if (difference.changed_bytes > 0 && PatchPays(difference, page)) {
    AppendOperation(slot.has_value() ? kSparseStored : kSparse, batch);
    if (slot.has_value()) AppendSlot(*slot, batch);
    AppendPatch(difference, page, &batch->streams_[kOperations].bytes, &batch->streams_[kPatches].bytes);
    ++counts_.sparse_pages;
  } else {
    const bool dense = SampledByteValues(page) >= kDenseValuesMin;
    AppendOperation(slot.has_value() ? (dense ? kDensePageStored : kPageStored) : (dense ? kDensePage : kPage), batch);
    if (slot.has_value()) AppendSlot(*slot, batch);
    batch->streams_[dense ? kDense : kPages].bytes.Append(absl::MakeConstSpan(page, kUnitBytes));
    ++counts_.literal_pages;
  }
  if (slot.has_value()) slots_.Store(*slot, page);
}

void CheckpointEncoder::PlanState(uint64_t key, absl::Span<const char> bytes, EncodingBatch* batch) {
  std::array<char, kUnitBytes> page{};
  memcpy(page.data(), bytes.data(), bytes.size());
  std::optional<uint32_t> slot = index_.Find(key);
  if (slot.has_value() && may_refer_) {
    AppendOperation(kStatePatched, batch);
    AppendVarint(bytes.size(), &batch->streams_[kOperations].bytes);
    AppendSlot(*slot, batch);
    AppendPatch(Compare(slots_.Contents(*slot), page.data()), page.data(), &batch->streams_[kOperations].bytes,
                &batch->streams_[kPatches].bytes);
    slots_.Store(*slot, page.data());
    return;
  }
  if (!slot.has_value()) slot = NewSlot(key);
  if (!slot.has_value()) {
    PlanBytes(bytes, batch);
    return;
  }
  AppendOperation(kStateStored, batch);
  AppendVarint(bytes.size(), &batch->streams_[kOperations].bytes);
  AppendSlot(*slot, batch);
  batch->streams_[kPatches].bytes.Append(bytes);
  slots_.Store(*slot, page.data());
}

void CheckpointEncoder::PlanFrames(absl::Span<const char> bytes, EncodingBatch* batch) {
  AppendCounted(kFrames, bytes.size() / sizeof(uint64_t), batch);
  GrowableBytes& operations = batch->streams_[kOperations].bytes;
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
    uint64_t frame;
    memcpy(&frame, bytes.data() + at, sizeof(frame));
    AppendVarint(ZigZag(frame - (last_frame_ + 1)), &operations);
    last_frame_ = frame;
  }
}

void CheckpointEncoder::PlanBytes(absl::Span<const char> bytes, EncodingBatch* batch) {
  AppendCounted(kBytes, bytes.size(), batch);
  batch->streams_[kPatches].bytes.Append(bytes);
}

bool CheckpointEncoder::PatchPays(const PageDifference& difference, const char* page) const {
  // Whatever the ratios were lately: a block is never much larger than what it is made from.
  if (difference.changed_bytes + 4 * difference.runs > kUnitBytes * 3 / 4) return false;
  const double control = kOperationBytes + difference.runs * kRunBytes * chooser_.ratio(kOperations);
  if (control + difference.changed_bytes * chooser_.ratio(kPatches) < kUnitBytes * chooser_.ratio(kPages)) return true;
  // The new bytes of a page that can't be compressed can't be either.
  return control + difference.changed_bytes < kUnitBytes * chooser_.ratio(kDense) &&
         SampledByteValues(page) >= kDenseValuesMin;
}

std::optional<uint32_t> CheckpointEncoder::NewSlot(uint64_t key) {
  // The first copy passes every page by: it may fill the cache, but not turn it over.
  return index_.Insert(key, !first_);
}

void CheckpointEncoder::AppendOperation(Operation operation, EncodingBatch* batch) {
  GrowableBytes& operations = batch->streams_[kOperations].bytes;
  if (operation != run_operation_ || run_count_ == kCountExtended) {
    run_operation_ = operation;
    run_count_ = 0;
    run_at_ = operations.size();
    operations.Reserve(1);
    operations.Commit(1);
  }
  operations.data()[run_at_] = static_cast<char>(operation | run_count_ << 4);
  ++run_count_;
}

void CheckpointEncoder::AppendCounted(Operation operation, uint64_t count, EncodingBatch* batch) {
  GrowableBytes& operations = batch->streams_[kOperations].bytes;
  run_operation_ = kOperationEnd;
  const uint64_t nibble = std::min<uint64_t>(count - 1, kCountExtended);
  *operations.Reserve(1) = static_cast<char>(operation | nibble << 4);
  operations.Commit(1);
  if (nibble == kCountExtended) AppendVarint(count - 1 - kCountExtended, &operations);
}

void CheckpointEncoder::AppendSlot(uint32_t slot, EncodingBatch* batch) {
  AppendVarint(ZigZag(static_cast<uint64_t>(slot) - static_cast<uint32_t>(last_slot_ + 1)),
               &batch->streams_[kOperations].bytes);
  last_slot_ = slot;
}

void CheckpointEncoder::Compress(EncodingBatch* batch, Compressor* compressor) const {
  if (batch->raw_bytes_ == 0) return;
  // Each look at the clock is a system call: one stream's end is the next one's start, unless bytes were copied
  // between.
  const uint64_t started = options_.cpu_time_ns();
  std::optional<uint64_t> now = started;  // Empty: time has passed since the last look.
  GrowableBytes& block = batch->block_;
  block.clear();
  size_t room = kHeaderBytes;
  for (const EncodingBatch::StreamPlan& stream : batch->streams_) room += stream.bytes.size();
  block.Reserve(room);
  block.Commit(kHeaderBytes);
  unsigned encodings = 0;
  for (size_t i = 0; i < kStreams; ++i) {
    EncodingBatch::StreamPlan& stream = batch->streams_[i];
    const size_t size = stream.bytes.size();
    const size_t before = block.size();
    stream.encoding = EncodingOf(stream.method);
    stream.spent_ns = 0;
    if (stream.encoding != Encoding::kRaw) {
      const uint64_t stream_started = now.has_value() ? *now : options_.cpu_time_ns();
      if (!compressor->Append(stream.encoding, stream.bytes.span(), size - size / kSavedFraction - 1, &block,
                              stream.method == Method::kZstd ? kZstdLevel : kZstdFastLevel)) {
        stream.encoding = Encoding::kRaw;
      }
      now = options_.cpu_time_ns();
      stream.spent_ns = *now - stream_started;
    }
    if (stream.encoding == Encoding::kRaw && size > 0) {
      block.Append(stream.bytes.span());
      now.reset();
    }
    stream.coded_bytes = block.size() - before;
    encodings |= static_cast<unsigned>(stream.encoding) << (2 * i);
  }
  char* to = block.data();
  to = PutNumber(kVersion, to);
  to = PutNumber(static_cast<uint8_t>(encodings), to);
  to = PutNumber(uint16_t{0}, to);
  to = PutNumber(batch->raw_bytes_, to);
  to = PutNumber(batch->cache_generation_, to);
  to = PutNumber(uint32_t{0}, to);
  for (const EncodingBatch::StreamPlan& stream : batch->streams_) {
    to = PutNumber(static_cast<uint32_t>(stream.bytes.size()), to);
    to = PutNumber(static_cast<uint32_t>(stream.coded_bytes), to);
  }
  batch->spent_ns_ = (now.has_value() ? *now : options_.cpu_time_ns()) - started;
}

void CheckpointEncoder::Finish(std::unique_ptr<EncodingBatch> batch) {
  Count(*batch);
  Recycle(std::move(batch));
}

void CheckpointEncoder::Count(const EncodingBatch& batch) {
  if (batch.raw_bytes_ == 0) return;
  counts_.raw_bytes += batch.raw_bytes_;
  counts_.encoded_bytes += batch.block_.size();
  counts_.encode_ns += batch.spent_ns_;
  for (size_t i = 0; i < kStreams; ++i) {
    const EncodingBatch::StreamPlan& stream = batch.streams_[i];
    EncodingCounts::Compressed& by_encoding = counts_.by_encoding[static_cast<size_t>(stream.encoding)];
    by_encoding.bytes += stream.bytes.size();
    by_encoding.coded_bytes += stream.coded_bytes;
    if (stream.bytes.size() < kCompressBytesMin) continue;
    chooser_.Learn(static_cast<Stream>(i), stream.method, stream.bytes.size(), stream.coded_bytes, stream.spent_ns);
  }
}

void CheckpointEncoder::Recycle(std::unique_ptr<EncodingBatch> batch) {
  if (spare_.size() < kSpareMax) spare_.push_back(std::move(batch));
}

absl::Span<const char> CheckpointEncoder::Encode(absl::Span<const char> piece, bool last) {
  if (encoded_ != nullptr) Recycle(std::move(encoded_));
  encoded_ = Plan(piece, last);
  Compress(encoded_.get(), &compressor_);
  Count(*encoded_);
  return encoded_->block();
}

}  // namespace romulus
