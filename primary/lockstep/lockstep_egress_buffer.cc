#include "primary/lockstep/lockstep_egress_buffer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/packet/frame.h"

namespace romulus::lockstep {
namespace {

// What the frame will be on the wire: of a GSO frame, each further segment has headers of its own, as the kernel
// counts.
uint64_t WireBytes(const GuestFrame& frame) {
  const uint64_t bytes = frame.contents.size();
  if (frame.segment_bytes == 0) return bytes;
  const packet::Frame parsed = packet::Parse(frame.contents);
  const bool known = parsed.kind == packet::Kind::kTcp || parsed.kind == packet::Kind::kUdp;
  if (!known || parsed.payload_size() <= frame.segment_bytes) return bytes;
  const uint64_t segments = (parsed.payload_size() + frame.segment_bytes - 1) / frame.segment_bytes;
  return bytes + (segments - 1) * parsed.payload_at;
}

}  // namespace

LockstepEgressBuffer::LockstepEgressBuffer(std::shared_ptr<GuestTraffic> traffic, Observer* observer, Options options)
    : traffic_(std::move(traffic)),
      observer_(observer),
      options_(std::move(options)),
      comparison_(options_.comparison),
      counters_(options_.vifs.size()) {
  ROMULUS_CHECK(options_.now != nullptr);
  ROMULUS_CHECK(options_.limits_bytes.empty() || options_.limits_bytes.size() == options_.vifs.size());
  for (size_t i = 0; i < options_.vifs.size(); ++i) ROMULUS_CHECK(LimitOf(i) > 0);
}

LockstepEgressBuffer::~LockstepEgressBuffer() {
  if (state_ != State::kDetached) traffic_->SetObserver(nullptr);
}

absl::Status LockstepEgressBuffer::Attach() {
  ROMULUS_CHECK(state_ == State::kDetached);
  adopted_ = false;
  traffic_->SetObserver(this);
  state_ = State::kPassing;
  std::vector<Vif> fresh;
  for (const Vif& vif : options_.vifs) {
    const absl::StatusOr<GuestTraffic::Diverted> diverted = traffic_->Divert(vif, options_.protection);
    if (!diverted.ok()) {
      for (const Vif& done : fresh) traffic_->Restore(done, options_.protection).IgnoreError();
      traffic_->SetObserver(nullptr);
      state_ = State::kDetached;
      adopted_ = false;
      return diverted.status();
    }
    if (*diverted == GuestTraffic::Diverted::kAdopted) {
      adopted_ = true;
      state_ = State::kAdopted;
    } else {
      fresh.push_back(vif);
    }
  }
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::OpenEpoch() {
  ROMULUS_CHECK_MESSAGE(state_ != State::kUnreleased, "OpenEpoch while the epoch before is unreleased");
  if (state_ != State::kPassing && state_ != State::kHolding) return Refuse("OpenEpoch");
  OnStandbyStopping();
  // What the guest sent before it was suspended is of the epoch that ends.
  for (const Vif& vif : options_.vifs) {
    if (absl::Status status = traffic_->Collect(vif); !status.ok()) {
      state_ = State::kFailed;
      return status;
    }
  }
  comparison_.OnEpochEnd(options_.now());
  mark_ = next_id_;
  state_ = State::kUnreleased;
  ++epochs_;
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::ReleaseEpoch() {
  if (state_ != State::kUnreleased) return Refuse("ReleaseEpoch");
  comparison_.OnCommit();
  ReleaseUpTo(mark_);
  state_ = State::kHolding;
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::PassThrough() {
  if (state_ == State::kDetached) return Refuse("PassThrough");
  standby_epoch_.reset();
  comparison_.OnAllLeft();
  ReleaseUpTo(next_id_);
  state_ = State::kPassing;
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::Discard() {
  if (state_ == State::kDetached) return Refuse("Discard");
  DropAll();
  state_ = State::kHolding;
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::Detach() {
  if (state_ != State::kPassing) DropAll();
  absl::Status first;
  for (const Vif& vif : options_.vifs) first.Update(traffic_->Restore(vif, options_.protection));
  if (!first.ok()) {
    if (state_ != State::kDetached) state_ = State::kFailed;
    return first;
  }
  // What was still under way while the vifs were restored.
  DropAll();
  if (state_ != State::kDetached) traffic_->SetObserver(nullptr);
  state_ = State::kDetached;
  adopted_ = false;
  return absl::OkStatus();
}

absl::Status LockstepEgressBuffer::ReadStatistics(Statistics& statistics) {
  statistics = Statistics();
  for (size_t i = 0; i < options_.vifs.size(); ++i) {
    const Counters& counters = counters_[i];
    const RecentSpread::Spread held = counters.times_held_ns.spread();
    statistics.vifs.push_back(
        {.vif = options_.vifs[i].name,
         .device = traffic_->DeviceName(options_.vifs[i]),
         .limit_bytes = LimitOf(i),
         .held_packets = counters.held_packets,
         .held_bytes = counters.held_bytes,
         .sent_packets = counters.sent_packets,
         .sent_bytes = counters.sent_bytes,
         .dropped_packets = counters.dropped_packets,
         .epochs = epochs_,
         .time_held = HoldTimeMeter::Spread{absl::Nanoseconds(held.p50), absl::Nanoseconds(held.p99),
                                            absl::Nanoseconds(held.max)}});
    statistics.held_packets += counters.held_packets;
    statistics.held_bytes += counters.held_bytes;
    statistics.dropped_packets += counters.dropped_packets;
  }
  return absl::OkStatus();
}

std::vector<std::string> LockstepEgressBuffer::devices() const {
  std::vector<std::string> names;
  for (const Vif& vif : options_.vifs) names.push_back(traffic_->DeviceName(vif));
  return names;
}

void LockstepEgressBuffer::OnStandbyRunning(uint64_t epoch) {
  // Between two epochs, or passing: it has stopped meanwhile, or will, and nothing leaves by comparison.
  if (state_ != State::kHolding || epochs_ == 0) return;
  standby_epoch_ = epoch;
  const absl::Duration now = options_.now();
  Carry(now, comparison_.OnStandbyRunning(now));
}

void LockstepEgressBuffer::OnStandbyFrame(uint64_t epoch, uint32_t device_id, absl::string_view contents) {
  if (epoch != standby_epoch_) return;
  const absl::Duration now = options_.now();
  Carry(now, comparison_.OnStandbyFrame(now, device_id, contents));
}

void LockstepEgressBuffer::OnStandbyStopping() {
  standby_epoch_.reset();
  comparison_.OnStandbyStopped();
}

void LockstepEgressBuffer::OnTime() {
  const absl::Duration now = options_.now();
  Carry(now, comparison_.OnTime(now));
}

void LockstepEgressBuffer::OnGuestFrame(absl::Duration now, const std::string& vif, GuestFrame frame) {
  const auto same = [&](const Vif& candidate) { return candidate.name == vif; };
  const auto found = std::find_if(options_.vifs.begin(), options_.vifs.end(), same);
  if (found == options_.vifs.end()) return;
  const size_t index = found - options_.vifs.begin();
  Counters& counters = counters_[index];
  const uint64_t wire_bytes = WireBytes(frame);
  // As the kernel's plug compares: with what the frame is in memory, not on the wire.
  if (state_ != State::kPassing && counters.held_bytes + frame.contents.size() > LimitOf(index)) {
    ++counters.dropped_packets;
    return;
  }
  Held held{index, std::make_shared<const GuestFrame>(std::move(frame)), wire_bytes, now};
  if (state_ == State::kPassing) {
    CountSent(held);
    traffic_->WriteOut(*found, *held.frame);
    return;
  }
  ++counters.held_packets;
  counters.held_bytes += wire_bytes;
  const comparison::FrameId id = next_id_++;
  const std::shared_ptr<const std::string> contents(held.frame, &held.frame->contents);
  held_.emplace_hint(held_.end(), id, std::move(held));
  Carry(now, comparison_.OnPrimaryFrame(now, id, found->device_id, contents));
}

void LockstepEgressBuffer::Carry(absl::Duration now, comparison::Actions actions) {
  for (const packet::SequenceOffset& offset : actions.offsets) observer_->SendSequenceOffset(*standby_epoch_, offset);
  for (const comparison::FrameId id : actions.release) {
    const auto held = held_.find(id);
    ROMULUS_CHECK(held != held_.end() && id >= mark_ && state_ == State::kHolding);
    Release(now, held);
  }
  for (const comparison::Difference& difference : actions.differences) observer_->OnDifference(difference);
}

void LockstepEgressBuffer::Release(absl::Duration now, std::map<comparison::FrameId, Held>::iterator held) {
  const Held leaving = std::move(held->second);
  held_.erase(held);
  --counters_[leaving.vif].held_packets;
  counters_[leaving.vif].held_bytes -= leaving.wire_bytes;
  counters_[leaving.vif].times_held_ns.Add(absl::ToInt64Nanoseconds(now - leaving.came));
  CountSent(leaving);
  traffic_->WriteOut(options_.vifs[leaving.vif], *leaving.frame);
}

void LockstepEgressBuffer::CountSent(const Held& frame) {
  Counters& counters = counters_[frame.vif];
  if (frame.frame->segment_bytes == 0) ++counters.sent_packets;
  counters.sent_bytes += frame.wire_bytes;
}

void LockstepEgressBuffer::ReleaseUpTo(comparison::FrameId end) {
  const absl::Duration now = options_.now();
  while (!held_.empty() && held_.begin()->first < end) Release(now, held_.begin());
}

void LockstepEgressBuffer::DropAll() {
  standby_epoch_.reset();
  comparison_.OnAllDropped();
  held_.clear();
  mark_ = next_id_;
  for (Counters& counters : counters_) counters.held_packets = counters.held_bytes = 0;
}

uint32_t LockstepEgressBuffer::LimitOf(size_t vif) const {
  return options_.limits_bytes.empty() ? options_.limit_bytes : options_.limits_bytes[vif];
}

absl::Status LockstepEgressBuffer::Refuse(const char* call) const {
  const char* why = "there is no unreleased epoch";
  if (state_ == State::kDetached) why = "the egress buffer is not attached";
  if (state_ == State::kAdopted) why = "the buffer is a predecessor's: PassThrough or Discard first";
  if (state_ == State::kFailed) why = "an operation before it failed: PassThrough, Discard or Detach first";
  return absl::FailedPreconditionError(absl::StrCat(options_.protection, ": ", call, " refused: ", why));
}

}  // namespace romulus::lockstep
