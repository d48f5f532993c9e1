#include "common/stream/checkpoint_assembler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/stream/stream_format.h"

namespace romulus {

using replication::v1::CheckpointData;
using replication::v1::CheckpointTrailer;

namespace {

// Digested, then copied: the second finds in the cache what the first has brought there.
constexpr size_t kCachedBytes = 64 << 10;

}  // namespace

CheckpointAssembler::Limits CheckpointAssembler::LimitsFor(uint64_t memory_max_kib, uint32_t vcpu_count,
                                                           uint32_t chunk_bytes_max) {
  // Contents, frame numbers and record headers of every page: less than 1/256 more than the memory. A vCPU's state is
  // mostly its XSAVE area (at most 11 KiB today) and local APIC page. The special pages above the guest's memory and
  // the policies are the rest.
  constexpr uint64_t kPerVcpu = 64 << 10;
  constexpr uint64_t kSlack = 16 << 20;
  // Libxc's default is 5 live rounds and the final one; a policy of our own may allow more.
  constexpr uint64_t kRounds = 32;
  const uint64_t memory = std::min<uint64_t>(memory_max_kib, uint64_t{1} << 40) * 1024;
  Limits limits;
  limits.checkpoint_bytes_max = memory + memory / 128 + vcpu_count * kPerVcpu + kSlack;
  limits.seed_bytes_max = limits.checkpoint_bytes_max * kRounds;
  limits.chunk_bytes_max = chunk_bytes_max;
  return limits;
}

CheckpointAssembler::CheckpointAssembler(Limits limits, std::shared_ptr<BlockPool> pool)
    : limits_(limits),
      pool_(pool != nullptr ? std::move(pool) : BlockPool::New()),
      scanner_(std::in_place, RecordScanner::Checkpoint::kFirst),
      digest_(std::in_place) {}

void CheckpointAssembler::SetSeedSink(std::shared_ptr<CheckpointSink> sink) { sink_ = std::move(sink); }

void CheckpointAssembler::MarkCommitted(uint64_t epoch) { committed_ = std::max(committed_, epoch); }

absl::Status CheckpointAssembler::Add(const CheckpointData& data) {
  const absl::Span<const char> payload(data.payload());
  return Add(data.epoch(), data.offset(), {payload});
}

absl::Status CheckpointAssembler::Add(uint64_t epoch, uint64_t offset, CheckpointBytes::Pieces payload,
                                      const Hold& hold) {
  if (!failure_.ok()) return failure_;
  uint64_t size = 0;
  for (const absl::Span<const char> piece : payload) size += piece.size();
  absl::Status status = CheckData(epoch, offset, size);
  for (size_t i = 0; i < payload.size() && status.ok(); ++i) {
    const bool holds = epoch_ > 1 && hold != nullptr && payload[i].size() >= kHeldBytesMin;
    status = Take(payload[i], holds ? hold(i) : nullptr);
  }
  return status.ok() ? status : Fail(std::move(status));
}

absl::Status CheckpointAssembler::Take(absl::Span<const char> bytes, std::shared_ptr<const void> holder) {
  if (holder == nullptr) return Copy(bytes);
  const absl::Status status = Check(bytes);
  if (status.ok()) held_.AppendHeld(bytes, std::move(holder));
  return status;
}

absl::Status CheckpointAssembler::Copy(absl::Span<const char> bytes) {
  while (!bytes.empty()) {
    const absl::Span<const char> part = bytes.subspan(0, kCachedBytes);
    absl::Status status = Check(part);
    if (status.ok()) status = epoch_ > 1 ? held_.Append(part) : PassOn(part);
    if (!status.ok()) return status;
    bytes.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status CheckpointAssembler::Check(absl::Span<const char> bytes) {
  // Scanned before anything of it is passed on: the sink never sees a byte of a record that is refused.
  const absl::Status status = scanner_->Feed(bytes);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", epoch_, ": ", status.message()));
  }
  digest_->Add(bytes);
  return absl::OkStatus();
}

absl::Status CheckpointAssembler::PassOn(absl::Span<const char> bytes) {
  const uint64_t count = scanner_->offset_before_checkpoint_record() - passed_on_;
  const size_t from_tail = static_cast<size_t>(std::min<uint64_t>(count, tail_.size()));
  const size_t from_bytes = static_cast<size_t>(count - from_tail);
  for (const absl::Span<const char> part :
       {absl::MakeConstSpan(tail_.data(), from_tail), absl::MakeConstSpan(bytes.data(), from_bytes)}) {
    if (part.empty()) continue;
    const absl::Status status = sink_->Write(part);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("checkpoint 1, at byte ", passed_on_,
                                                      ": the standby did not take it: ", status.message()));
    }
    passed_on_ += part.size();
  }
  tail_.erase(0, from_tail);
  tail_.append(bytes.data() + from_bytes, bytes.size() - from_bytes);
  return absl::OkStatus();
}

absl::StatusOr<CheckpointAssembler::Verified> CheckpointAssembler::Finish(const CheckpointTrailer& trailer) {
  if (!failure_.ok()) return failure_;
  absl::Status status = CheckTrailer(trailer);
  if (!status.ok()) return Fail(std::move(status));
  Verified verified{epoch_, epoch_ == 1 ? CheckpointBytes(std::move(tail_)) : std::move(held_)};
  if (epoch_ == 1) sink_.reset();
  ++epoch_;
  scanner_.emplace(RecordScanner::Checkpoint::kLater);
  digest_.emplace();
  held_ = CheckpointBytes(pool_);
  return verified;
}

void CheckpointAssembler::Restart() {
  ROMULUS_CHECK(epoch_ > 1 && (failure_.ok() || absl::IsDataLoss(failure_)));
  failure_ = absl::OkStatus();
  held_ = CheckpointBytes(pool_);
  scanner_.emplace(RecordScanner::Checkpoint::kLater);
  digest_.emplace();
}

absl::Status CheckpointAssembler::CheckEpoch(uint64_t epoch) const {
  if (epoch != epoch_) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", epoch, " out of order: expected ", epoch_));
  }
  if (committed_ + 1 < epoch) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", epoch, " came before checkpoint ", epoch - 1, " was committed"));
  }
  if (epoch == 1 && sink_ == nullptr) {
    return absl::InvalidArgumentError("checkpoint 1 came before the session was accepted");
  }
  return absl::OkStatus();
}

absl::Status CheckpointAssembler::CheckData(uint64_t epoch, uint64_t offset, uint64_t size) const {
  const absl::Status status = CheckEpoch(epoch);
  if (!status.ok()) return status;
  if (offset != scanner_->offset()) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", epoch_, ": data at byte ", offset, ", expected byte ", scanner_->offset()));
  }
  if (size == 0 || size > limits_.chunk_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", epoch_, ", at byte ", offset, ": a chunk of ", size,
                                                   " bytes, allowed are 1 to ", limits_.chunk_bytes_max));
  }
  const uint64_t limit = epoch_ == 1 ? limits_.seed_bytes_max : limits_.checkpoint_bytes_max;
  if (size > limit - scanner_->offset()) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", epoch_, " is larger than this guest can need: more than ", limit, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status CheckpointAssembler::CheckTrailer(const CheckpointTrailer& trailer) const {
  const absl::Status status = CheckEpoch(trailer.epoch());
  if (!status.ok()) return status;
  if (trailer.length() != scanner_->offset()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", epoch_, ": ", scanner_->offset(),
                                            " bytes arrived, its trailer says ", trailer.length()));
  }
  if (trailer.digest_xxh3() != digest_->value()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", epoch_, ": digest ", absl::Hex(digest_->value()),
                                            ", its trailer says ", absl::Hex(trailer.digest_xxh3())));
  }
  if (!scanner_->complete()) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", epoch_, " ends at byte ", scanner_->offset(), " without a CHECKPOINT record"));
  }
  if (trailer.page_count() != scanner_->page_count()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", epoch_, ": ", scanner_->page_count(),
                                            " pages arrived, its trailer says ", trailer.page_count()));
  }
  return absl::OkStatus();
}

absl::Status CheckpointAssembler::Fail(absl::Status status) {
  failure_ = std::move(status);
  held_ = CheckpointBytes();
  tail_ = std::string();
  sink_.reset();
  return failure_;
}

}  // namespace romulus
