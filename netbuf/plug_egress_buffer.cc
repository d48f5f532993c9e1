#include "netbuf/plug_egress_buffer.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

// How often the queue of a passing plug may be found busy while the guest is suspended: each try waits for the kernel
// once, so that a guest is not held up for longer than some milliseconds.
constexpr int kTriesUntilDrained = 50;

}  // namespace

PlugEgressBuffer::PlugEgressBuffer(std::shared_ptr<PlugKernel> kernel, Options options)
    : kernel_(std::move(kernel)), options_(std::move(options)), counters_(options_.vifs.size()) {
  ROMULUS_CHECK(options_.limits_bytes.empty() || options_.limits_bytes.size() == options_.vifs.size());
  for (size_t i = 0; i < options_.vifs.size(); ++i) ROMULUS_CHECK(LimitOf(i) > 0);
}

absl::Status PlugEgressBuffer::Attach() {
  ROMULUS_CHECK(state_ == State::kDetached);
  adopted_ = false;
  std::vector<Vif> fresh;
  for (size_t i = 0; i < options_.vifs.size(); ++i) {
    const Vif& vif = options_.vifs[i];
    absl::StatusOr<PlugKernel::Installed> installed = kernel_->Install(vif, options_.protection, LimitOf(i));
    if (!installed.ok()) {
      // An adopted one stays, holding: it was so before.
      for (const Vif& done : fresh) kernel_->Remove(done, options_.protection, PlugKernel::Held::kDrain).IgnoreError();
      adopted_ = false;
      return installed.status();
    }
    if (*installed == PlugKernel::Installed::kAdopted) {
      adopted_ = true;
    } else {
      fresh.push_back(vif);
    }
  }
  state_ = adopted_ ? State::kAdopted : State::kPassing;
  return absl::OkStatus();
}

absl::Status PlugEgressBuffer::OpenEpoch() {
  ROMULUS_CHECK_MESSAGE(state_ != State::kUnreleased, "OpenEpoch while the epoch before is unreleased");
  if (state_ != State::kPassing && state_ != State::kHolding) return Refuse("OpenEpoch");
  const absl::Status status =
      state_ == State::kPassing ? BufferFromPassThrough() : kernel_->Command(options_.vifs, PlugCommand::kBuffer);
  state_ = status.ok() ? State::kUnreleased : State::kFailed;
  if (status.ok()) ++epochs_;
  return status;
}

// A plug that passes does not count. Packets still in its queue when it starts to buffer would stand uncounted before
// the counted ones, and every later release would let that many too few out: safe, but the last answer of a guest that
// then falls silent would never leave. The guest is suspended, so the queue runs dry.
absl::Status PlugEgressBuffer::BufferFromPassThrough() {
  for (int tries = 0; tries < kTriesUntilDrained; ++tries) {
    if (absl::Status status = kernel_->Command(options_.vifs, PlugCommand::kBuffer); !status.ok()) return status;
    uint64_t held = 0;
    for (size_t i = 0; i < options_.vifs.size(); ++i) {
      if (absl::Status status = ReadCounters(i); !status.ok()) return status;
      held += counters_[i].present.held_packets;
    }
    if (held == 0) return absl::OkStatus();
    if (absl::Status status = kernel_->Command(options_.vifs, PlugCommand::kReleaseIndefinite); !status.ok()) {
      return status;
    }
    kernel_->AwaitTransmission();
  }
  return absl::UnavailableError(absl::StrCat(options_.protection, ": the egress buffer's devices do not transmit; is ",
                                             devices().front(), " down? Stop the protection and start it again"));
}

absl::Status PlugEgressBuffer::ReleaseEpoch() {
  if (state_ != State::kUnreleased) return Refuse("ReleaseEpoch");
  const absl::Status status = kernel_->Command(options_.vifs, PlugCommand::kReleaseOne);
  state_ = status.ok() ? State::kHolding : State::kFailed;
  return status;
}

absl::Status PlugEgressBuffer::PassThrough() {
  if (state_ == State::kDetached) return Refuse("PassThrough");
  const absl::Status status = kernel_->Command(options_.vifs, PlugCommand::kReleaseIndefinite);
  state_ = status.ok() ? State::kPassing : State::kFailed;
  return status;
}

absl::Status PlugEgressBuffer::Discard() {
  if (state_ == State::kDetached) return Refuse("Discard");
  absl::Status first;
  for (size_t i = 0; i < options_.vifs.size(); ++i) {
    ReadCounters(i).IgnoreError();
    const absl::Status discarded = kernel_->Discard(options_.vifs[i], LimitOf(i));
    if (discarded.ok()) counters_[i].StartAnew();
    first.Update(discarded);
  }
  // Fresh plugs count what they hold: an epoch is open.
  state_ = first.ok() ? State::kHolding : State::kFailed;
  return first;
}

absl::Status PlugEgressBuffer::Detach() {
  const PlugKernel::Held held = state_ == State::kPassing ? PlugKernel::Held::kDrain : PlugKernel::Held::kDrop;
  absl::Status first;
  for (size_t i = 0; i < options_.vifs.size(); ++i) {
    if (state_ != State::kDetached) ReadCounters(i).IgnoreError();
    const absl::Status removed = kernel_->Remove(options_.vifs[i], options_.protection, held);
    if (removed.ok()) counters_[i].StartAnew();
    first.Update(removed);
  }
  if (first.ok()) {
    state_ = State::kDetached;
    adopted_ = false;
  } else {
    state_ = State::kFailed;
  }
  return first;
}

absl::Status PlugEgressBuffer::ReadStatistics(Statistics& statistics) {
  statistics = Statistics();
  absl::Status first;
  for (size_t i = 0; i < options_.vifs.size(); ++i) {
    if (state_ != State::kDetached) first.Update(ReadCounters(i));
    const auto& [past, present] = counters_[i];
    VifStatistics vif;
    vif.vif = options_.vifs[i].name;
    vif.device = kernel_->DeviceName(options_.vifs[i]);
    vif.limit_bytes = LimitOf(i);
    vif.held_packets = present.held_packets;
    vif.held_bytes = present.held_bytes;
    vif.sent_packets = past.sent_packets + present.sent_packets;
    vif.sent_bytes = past.sent_bytes + present.sent_bytes;
    vif.dropped_packets = past.dropped_packets + present.dropped_packets;
    vif.epochs = epochs_;
    statistics.held_packets += vif.held_packets;
    statistics.held_bytes += vif.held_bytes;
    statistics.dropped_packets += vif.dropped_packets;
    statistics.vifs.push_back(std::move(vif));
  }
  return first;
}

absl::Status PlugEgressBuffer::ReadCounters(size_t vif) {
  absl::StatusOr<PlugKernel::Statistics> read = kernel_->Read(options_.vifs[vif]);
  if (!read.ok()) return read.status();
  Counters& counters = counters_[vif];
  // Another plug has taken the place of the one that was read before.
  const bool anew =
      read->sent_bytes < counters.present.sent_bytes || read->dropped_packets < counters.present.dropped_packets;
  if (anew) counters.StartAnew();
  counters.present = *read;
  return absl::OkStatus();
}

void PlugEgressBuffer::Counters::StartAnew() {
  past.sent_packets += present.sent_packets;
  past.sent_bytes += present.sent_bytes;
  past.dropped_packets += present.dropped_packets;
  present = {};
}

std::vector<std::string> PlugEgressBuffer::devices() const {
  std::vector<std::string> names;
  for (const Vif& vif : options_.vifs) names.push_back(kernel_->DeviceName(vif));
  return names;
}

uint32_t PlugEgressBuffer::LimitOf(size_t vif) const {
  return options_.limits_bytes.empty() ? options_.limit_bytes : options_.limits_bytes[vif];
}

absl::Status PlugEgressBuffer::Refuse(const char* call) const {
  const char* why = "there is no unreleased epoch";
  if (state_ == State::kDetached) why = "the egress buffer is not attached";
  if (state_ == State::kAdopted) why = "the buffer is a predecessor's: PassThrough or Discard first";
  if (state_ == State::kFailed) why = "an operation before it failed: PassThrough, Discard or Detach first";
  return absl::FailedPreconditionError(absl::StrCat(options_.protection, ": ", call, " refused: ", why));
}

}  // namespace romulus
