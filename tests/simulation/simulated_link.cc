#include "tests/simulation/simulated_link.h"

#include <utility>

#include "common/base/log.h"
#include "tests/simulation/simulated_source.h"

namespace romulus::simulation {

using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

namespace {

// Small, so that a checkpoint of this small guest takes several messages.
constexpr uint32_t kChunkBytes = 3000;
constexpr absl::Duration kPerChunk = absl::Microseconds(300);
constexpr absl::Duration kAcceptTimeout = absl::Seconds(30);
// Of traffic, on its way.
constexpr size_t kTrafficMax = 256;

}  // namespace

// ---- primary ----

SimulatedPrimaryLink::SimulatedPrimaryLink(Process agent, Random* random, Hooks hooks)
    : agent_(std::move(agent)), random_(random), hooks_(std::move(hooks)), chunk_bytes_(kChunkBytes) {}

SimulatedPrimaryLink::~SimulatedPrimaryLink() {
  *here_ = false;
  if (reader_ != nullptr) reader_->Cancel();
  if (connection_.to_primary == nullptr) return;
  connection_.to_primary->Cut();
  if (closed_) return;
  if (hooks_.host_powered()) {
    connection_.to_secondary->Break(absl::UnavailableError("connection reset: the primary's process is gone"));
  } else {
    connection_.to_secondary->Cut();
  }
}

void SimulatedPrimaryLink::Later(absl::Duration delay, std::function<void()> step) {
  agent_.After(delay, [here = here_, step = std::move(step)] {
    if (*here) step();
  });
}

void SimulatedPrimaryLink::Open(uint64_t generation, const replication::v1::OpenSession& open_session,
                                Observer* observer) {
  observer_ = observer;
  generation_ = generation;
  const absl::StatusOr<LinkMonitor::Options> times = LinkMonitor::OptionsFrom(open_session);
  if (!times.ok()) return CloseWith(times.status(), absl::OkStatus());
  opened_at_ = agent_.now();
  uint64_t session = 0;
  connection_ = hooks_.connect(&session);
  connection_.to_primary->SetReceiver([this, agent = agent_, here = here_](Pipe::Item item) {
    agent.After(absl::ZeroDuration(), [this, here, item = std::move(item)]() mutable {
      if (*here) Receive(std::move(item));
    });
  });
  monitor_.emplace(*times, opened_at_);
  PrimaryMessage message;
  *message.mutable_open_session() = open_session;
  // The number travels with the session, for the checkers on the other side.
  message.mutable_open_session()->mutable_domain()->set_domid(static_cast<uint32_t>(session));
  Send(std::move(message));
  Watch();
}

void SimulatedPrimaryLink::Transmit(const PrimaryMessage& message) {
  sent_bytes_ += message.checkpoint_data().payload().size();
  monitor_->OnSent(agent_.now());
  connection_.to_secondary->Send({message.SerializeAsString(), absl::OkStatus()});
}

void SimulatedPrimaryLink::Send(PrimaryMessage message) {
  if (closed_) return;
  message.set_generation(generation_);
  Transmit(message);
}

bool SimulatedPrimaryLink::SendTraffic(PrimaryMessage message) {
  const bool droppable = !message.has_sequence_offset();
  if (closed_ || (droppable && connection_.to_secondary->traffic_waiting() >= kTrafficMax)) return false;
  message.set_generation(generation_);
  connection_.to_secondary->Send({message.SerializeAsString(), absl::OkStatus(), /*traffic=*/droppable});
  return true;
}

void SimulatedPrimaryLink::SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                                          replication::v1::AfterCheckpoint after) {
  if (closed_) return;
  ROMULUS_CHECK(!chunker_.has_value());
  reader_ = reader;
  tell_when_sent_ = tell_when_sent;
  after_ = after;
  chunker_.emplace(epoch, std::move(reader), chunk_bytes_);
  PumpCheckpoint();
}

void SimulatedPrimaryLink::PumpCheckpoint() {
  if (closed_ || !chunker_.has_value()) return;
  auto* growing = dynamic_cast<GrowingReader*>(reader_.get());
  if (growing != nullptr && !growing->Ready(chunk_bytes_)) {
    return Later(absl::Milliseconds(5), [this] { PumpCheckpoint(); });
  }
  PrimaryMessage message;
  absl::StatusOr<CheckpointChunker::Step> step = chunker_->NextMessage(&message);
  if (!step.ok()) {
    // A reader's owner knows of its error; of a malformed checkpoint nobody else does.
    if (chunker_->malformed()) return CloseWith(step.status(), absl::UnavailableError("the primary ended the session"));
    chunker_.reset();
    reader_.reset();
    return;
  }
  if (message.has_checkpoint_data() && random_->Chance(hooks_.corruption())) {
    // Somewhere where there is something: most of this guest's bytes are zero.
    std::string* payload = message.mutable_checkpoint_data()->mutable_payload();
    size_t start = random_->Below(payload->size());
    for (size_t i = 0; i < payload->size(); ++i) {
      char& byte = (*payload)[(start + i) % payload->size()];
      if (byte == 0) continue;
      byte = static_cast<char>(byte ^ 0x55);
      break;
    }
  }
  if (message.has_checkpoint_trailer()) message.mutable_checkpoint_trailer()->set_after(after_);
  const uint64_t epoch = message.checkpoint_trailer().epoch();
  Send(std::move(message));
  if (*step == CheckpointChunker::Step::kTrailer) {
    if (tell_when_sent_) {
      Later(absl::ZeroDuration(), [this, epoch] {
        if (!closed_) observer_->OnCheckpointSent(epoch);
      });
    }
    chunker_.reset();
    reader_.reset();
    return;
  }
  Later(kPerChunk, [this] { PumpCheckpoint(); });
}

void SimulatedPrimaryLink::Receive(Pipe::Item item) {
  if (closed_) return;
  if (!item.end.ok()) return CloseWith(item.end, absl::OkStatus());
  monitor_->OnReceived(agent_.now());
  SecondaryMessage message;
  ROMULUS_CHECK(message.ParseFromString(item.message));
  if (message.generation() != generation_ || message.body_case() == SecondaryMessage::BODY_NOT_SET) {
    return CloseWith(
        absl::InvalidArgumentError("the secondary sent a message of another generation or of no known kind"),
        absl::UnavailableError("the primary ended the session"));
  }
  if (message.has_heartbeat()) return;
  accepted_ |= message.has_session_accepted();
  if (message.has_checkpoint_commit()) hooks_.on_commit(message.checkpoint_commit().epoch());
  observer_->OnMessage(message);
}

void SimulatedPrimaryLink::Watch() {
  if (closed_) return;
  absl::Duration now = agent_.now();
  absl::Status lost = monitor_->CheckLost(now);
  if (lost.ok() && !accepted_ && now - opened_at_ >= kAcceptTimeout) {
    lost = absl::UnavailableError("the secondary is alive, but has not accepted the session");
  }
  if (!lost.ok()) return CloseWith(lost, absl::UnavailableError("the primary has given the session up"));
  if (monitor_->TakeDueHeartbeat(now)) {
    PrimaryMessage message;
    message.mutable_heartbeat();
    Send(std::move(message));
  }
  Later(std::max(monitor_->NextCheck(now) - now, absl::Milliseconds(1)), [this] { Watch(); });
}

void SimulatedPrimaryLink::Close() {
  CloseWith(absl::CancelledError("closed on this host"), absl::UnavailableError("the primary ended the session"));
}

void SimulatedPrimaryLink::CloseWith(absl::Status to_observer, absl::Status to_peer) {
  if (closed_) return;
  closed_ = true;
  chunker_.reset();
  if (reader_ != nullptr) reader_->Cancel();
  reader_.reset();
  if (!to_peer.ok()) connection_.to_secondary->Break(std::move(to_peer));
  Later(absl::ZeroDuration(), [this, status = std::move(to_observer)] { observer_->OnClosed(status); });
}

// ---- secondary ----

SimulatedSecondaryLink::SimulatedSecondaryLink(Process agent, Connection connection, const PrimaryMessage& open,
                                               Hooks hooks)
    : agent_(std::move(agent)),
      connection_(std::move(connection)),
      hooks_(std::move(hooks)),
      generation_(open.generation()),
      monitor_(*LinkMonitor::OptionsFrom(open.open_session()), agent_.now()),
      assembler_(CheckpointAssembler::LimitsFor(1024, 1, kChunkBytes)) {}

SimulatedSecondaryLink::~SimulatedSecondaryLink() {
  *here_ = false;
  connection_.to_secondary->Cut();
  if (closed_) return;
  if (hooks_.host_powered()) {
    connection_.to_primary->Send({"", absl::UnavailableError("connection reset: the secondary's process is gone")});
  } else {
    connection_.to_primary->Cut();
  }
}

void SimulatedSecondaryLink::Later(absl::Duration delay, std::function<void()> step) {
  agent_.After(delay, [here = here_, step = std::move(step)] {
    if (*here) step();
  });
}

void SimulatedSecondaryLink::Start(Observer* observer) {
  observer_ = observer;
  connection_.to_secondary->SetReceiver([this, agent = agent_, here = here_](Pipe::Item item) {
    agent.After(absl::ZeroDuration(), [this, here, item = std::move(item)]() mutable {
      if (*here) Receive(std::move(item));
    });
  });
  Later(absl::ZeroDuration(), [this] { Watch(); });
}

void SimulatedSecondaryLink::Transmit(const SecondaryMessage& message) {
  monitor_.OnSent(agent_.now());
  connection_.to_primary->Send({message.SerializeAsString(), absl::OkStatus()});
}

void SimulatedSecondaryLink::Send(SecondaryMessage message) {
  if (closed_) return;
  message.set_generation(generation_);
  if (message.has_session_accepted()) message.mutable_session_accepted()->set_chunk_bytes_max(kChunkBytes);
  if (message.has_checkpoint_commit()) assembler_.MarkCommitted(message.checkpoint_commit().epoch());
  Transmit(message);
}

bool SimulatedSecondaryLink::SendTraffic(SecondaryMessage message) {
  if (closed_ || connection_.to_primary->traffic_waiting() >= kTrafficMax) return false;
  message.set_generation(generation_);
  connection_.to_primary->Send({message.SerializeAsString(), absl::OkStatus(), /*traffic=*/true});
  return true;
}

void SimulatedSecondaryLink::Receive(Pipe::Item item) {
  if (closed_) return;
  if (!item.end.ok()) return CloseWith(item.end, absl::OkStatus());
  monitor_.OnReceived(agent_.now());
  received_bytes_ += item.message.size();
  PrimaryMessage message;
  absl::Status status =
      message.ParseFromString(item.message) ? Take(message) : absl::InvalidArgumentError("not a PrimaryMessage");
  if (!status.ok()) CloseWith(status, status);
}

absl::Status SimulatedSecondaryLink::Take(const PrimaryMessage& message) {
  if (message.generation() == generation_) {
    switch (message.body_case()) {
      case PrimaryMessage::kHeartbeat:
        return absl::OkStatus();
      case PrimaryMessage::kCheckpointData: {
        raw_ += message.checkpoint_data().payload();
        absl::Status status = assembler_.Add(message.checkpoint_data());
        if (hooks_.ack_early && message.checkpoint_data().epoch() > 1) return absl::OkStatus();
        if (status.ok() || absl::IsInvalidArgument(status) || absl::IsDataLoss(status)) return status;
        return absl::UnavailableError(status.message());  // The sink's.
      }
      case PrimaryMessage::kCheckpointTrailer: {
        std::string raw = std::move(raw_);
        raw_.clear();
        absl::StatusOr<CheckpointAssembler::Verified> verified = assembler_.Finish(message.checkpoint_trailer());
        if (hooks_.ack_early && message.checkpoint_trailer().epoch() > 1) {
          observer_->OnCheckpoint(message.checkpoint_trailer().epoch(), std::move(raw),
                                  message.checkpoint_trailer().after());
          return absl::OkStatus();
        }
        if (!verified.ok()) return verified.status();
        if (verified->epoch == 1) {
          observer_->OnSeeded(verified->bytes.ToString(), message.checkpoint_trailer().after());
        } else {
          observer_->OnCheckpoint(verified->epoch, std::move(verified->bytes), message.checkpoint_trailer().after());
        }
        return absl::OkStatus();
      }
      case PrimaryMessage::kOpenSession:
        return absl::InvalidArgumentError("OpenSession came twice in one session");
      case PrimaryMessage::BODY_NOT_SET:
        return absl::InvalidArgumentError("a message of no known kind");
      default:
        break;
    }
  }
  observer_->OnMessage(message);
  return absl::OkStatus();
}

void SimulatedSecondaryLink::Watch() {
  if (closed_) return;
  absl::Duration now = agent_.now();
  absl::Status lost = monitor_.CheckLost(now);
  if (!lost.ok()) return CloseWith(lost, lost);
  if (monitor_.TakeDueHeartbeat(now)) {
    SecondaryMessage message;
    message.mutable_heartbeat();
    Send(std::move(message));
  }
  Later(std::max(monitor_.NextCheck(now) - now, absl::Milliseconds(1)), [this] { Watch(); });
}

void SimulatedSecondaryLink::Close(absl::Status status) {
  if (status.ok() || absl::IsCancelled(status)) status = absl::UnavailableError("the secondary ended the session");
  CloseWith(absl::CancelledError("closed on this host"), std::move(status));
}

void SimulatedSecondaryLink::CloseWith(absl::Status to_observer, absl::Status to_peer) {
  if (closed_) return;
  closed_ = true;
  if (hooks_.on_partial != nullptr) hooks_.on_partial(std::move(raw_));
  if (!to_peer.ok()) connection_.to_primary->Send({"", std::move(to_peer)});
  Later(absl::ZeroDuration(), [this, status = std::move(to_observer)] { observer_->OnClosed(status); });
}

}  // namespace romulus::simulation
