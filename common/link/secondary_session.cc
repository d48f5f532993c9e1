#include "common/link/secondary_session.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/grpc_secondary_link.h"
#include "common/link/message_bytes.h"
#include "common/link/watch_thread.h"

namespace romulus {

using replication::v1::CheckpointData;
using replication::v1::CheckpointTrailer;
using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

namespace {

constexpr size_t kProtectionNameBytesMax = 256;

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::Status CheckOpen(const PrimaryMessage& first) {
  if (!first.has_open_session()) return absl::InvalidArgumentError("the first message must be OpenSession");
  if (first.generation() == 0) return absl::InvalidArgumentError("OpenSession has no generation");
  const std::string& protection = first.open_session().protection();
  if (!absl::StartsWith(protection, "protections/") || protection.size() > kProtectionNameBytesMax) {
    return absl::InvalidArgumentError("OpenSession.protection: expected \"protections/<id>\", at most 256 bytes");
  }
  return LinkMonitor::OptionsFrom(first.open_session()).status();
}

}  // namespace

SecondarySession::SecondarySession(Scheduler* scheduler, SessionAcceptor* acceptor, Host* host, Options options)
    : scheduler_(scheduler),
      acceptor_(acceptor),
      host_(host),
      options_(options),
      tags_{{this, Operation::kAccept},
            {this, Operation::kRead},
            {this, Operation::kWrite},
            {this, Operation::kFinish},
            {this, Operation::kCall}},
      observer_(std::make_shared<ObserverSlot<SecondaryLink::Observer>>()) {
  context_.AsyncNotifyWhenDone(tag_of(Operation::kCall));
}

SecondarySession::~SecondarySession() { ROMULUS_CHECK(!receiver_.joinable()); }

void SecondarySession::Join() {
  if (receiver_.joinable()) receiver_.join();
}

void SecondarySession::Begin() {
  const std::lock_guard<std::mutex> lock(mutex_);
  begun_at_ = LinkNow();
  ReadLocked();
}

void SecondarySession::Refuse(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  CloseLocked(status, status);
}

bool SecondarySession::OnDone(Operation operation, bool ok) {
  // The host may let go of this object as soon as it has ended.
  const std::shared_ptr<SecondarySession> self = shared_from_this();
  switch (operation) {
    case Operation::kRead:
      OnReadDone(ok);
      break;
    case Operation::kWrite:
      OnWriteDone(ok);
      break;
    case Operation::kCall:
      OnCallOver();
      break;
    case Operation::kAccept:
    case Operation::kFinish:
      break;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--outstanding_ > 0) return false;
    ended_ = true;
  }
  host_->Wake();
  return true;
}

absl::Duration SecondarySession::Tick(absl::Duration now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return absl::InfiniteDuration();
  if (closed_) {
    if (now < closed_at_ + kFlushTimeout) return closed_at_ + kFlushTimeout;
    // The peer does not read: the write in flight fails, and the call finishes.
    outgoing_.Drop();
    context_.TryCancel();
    return absl::InfiniteDuration();
  }
  if (!opened_) {
    if (now < begun_at_ + options_.open_timeout) return begun_at_ + options_.open_timeout;
    const absl::Status late = absl::DeadlineExceededError(
        absl::StrCat("no OpenSession came within ", absl::FormatDuration(options_.open_timeout)));
    CloseLocked(late, late);
    return now + kFlushTimeout;
  }
  const absl::Status lost = monitor_->CheckLost(now);
  if (!lost.ok()) {
    CloseLocked(lost, absl::UnavailableError(absl::StrCat("the primary of ", protection_, ": ", lost.message())));
    return now + kFlushTimeout;
  }
  if (monitor_->TakeDueHeartbeat(now)) {
    SecondaryMessage message;
    message.set_generation(generation_);
    message.mutable_heartbeat();
    outgoing_.SetHeartbeat(ToBytes(message));
    ProceedLocked();
  }
  return monitor_->NextCheck(now);
}

bool SecondarySession::Finished() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ended_ && receiver_ended_;
}

std::string SecondarySession::open_protection() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return closed_ ? std::string() : protection_;
}

void SecondarySession::SetObserver(SecondaryLink::Observer* observer) { observer_->Set(observer); }

void SecondarySession::SetSeedSink(std::shared_ptr<CheckpointSink> sink) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!closed_) new_sink_ = std::move(sink);
}

void SecondarySession::Send(SecondaryMessage message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  message.set_generation(generation_);
  if (message.has_session_accepted()) {
    replication::v1::SessionAccepted& accepted = *message.mutable_session_accepted();
    accepted.set_chunk_bytes_max(options_.chunk_bytes_max);
    accepted.set_codec(replication::v1::RAW);
    if (blocks_offered_) {
      const uint64_t cache_bytes = std::min(cache_bytes_offered_, options_.page_cache_bytes_max);
      accepted.set_codec(replication::v1::PAGE_BLOCKS);
      accepted.set_page_cache_bytes(cache_bytes);
      new_decoder_ = std::make_unique<CheckpointDecoder>(CheckpointDecoder::Limits{cache_bytes});
    }
  }
  // Noted before it can be seen to be sent: the answer to it may come at once.
  if (message.has_checkpoint_commit()) committed_ = message.checkpoint_commit().epoch();
  outgoing_.PushControl(ToBytes(message));
  ProceedLocked();
}

bool SecondarySession::SendTraffic(SecondaryMessage message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return false;
  message.set_generation(generation_);
  const size_t size = message.ByteSizeLong();
  if (!outgoing_.PushTraffic(ToBytes(message), size)) return false;
  ProceedLocked();
  return true;
}

void SecondarySession::Close(absl::Status status) {
  observer_->Mute();
  const std::lock_guard<std::mutex> lock(mutex_);
  CloseLocked(std::move(status), absl::CancelledError("the session was closed on this host"));
}

void SecondarySession::Abandon() {
  observer_->Clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  CloseLocked(absl::UnavailableError("the secondary has given the session up"), absl::CancelledError());
}

absl::Duration SecondarySession::silence() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return monitor_.has_value() ? monitor_->SinceReceived(LinkNow()) : absl::ZeroDuration();
}

uint64_t SecondarySession::received_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return received_bytes_;
}

void SecondarySession::OnReadDone(bool ok) {
  bool first = false;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_) return;
    if (!ok) {
      // gRPC does not tell these apart; to this side all of them are a link that is gone.
      CloseLocked(absl::InvalidArgumentError(absl::StrCat(
                      "the request stream ended without StopSession, or a message could not be read (the largest "
                      "payload taken is ",
                      options_.chunk_bytes_max, " bytes)")),
                  absl::UnavailableError(absl::StrCat("the primary of ", protection_, " ended the stream or is gone")));
      return;
    }
    reading_ = false;
    first = !opened_;
    if (!first) {
      monitor_->OnReceived(LinkNow());
      received_.emplace_back();
      received_.back().Swap(&incoming_);
      ReadLocked();
      if (!IsForReceiverLocked()) {
        TakeReceived(lock);
        return;
      }
    }
  }
  // No read is outstanding: incoming_ stays as it is.
  if (first) return Open(incoming_);
  // Without the lock: the receiver would wake to wait for it.
  changed_.notify_all();
}

void SecondarySession::Open(const grpc::ByteBuffer& bytes) {
  ReceivedMessage first;
  absl::Status status =
      first.Parse(bytes) ? CheckOpen(first.message()) : absl::InvalidArgumentError("the first message can't be read");
  const PrimaryMessage& message = first.message();
  const replication::v1::OpenSession& open = message.open_session();
  if (status.ok()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      protection_ = open.protection();
    }
    status = host_->Admit(open.protection());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  if (!status.ok()) {
    CloseLocked(status, status);
    return;
  }
  opened_ = true;
  generation_ = message.generation();
  monitor_.emplace(*LinkMonitor::OptionsFrom(open), LinkNow());
  assembler_.emplace(CheckpointAssembler::LimitsFor(open.domain().memory_max_kib(), open.domain().vcpu_count(),
                                                    options_.chunk_bytes_max),
                     options_.pool);
  const bool knows_blocks = !options_.raw_only && options_.chunk_bytes_max >= block_format::kRawBytesMaxLeast;
  for (const int codec : open.codecs()) {
    blocks_offered_ = blocks_offered_ || (codec == replication::v1::PAGE_BLOCKS && knows_blocks);
  }
  cache_bytes_offered_ = open.page_cache_bytes_max();
  receiver_ended_ = false;
  receiver_ = std::thread([this] { Receive(); });
  // If the task is dropped, so is the link, which ends the session. (std::function wants something copyable.)
  const auto link =
      std::make_shared<std::unique_ptr<SecondaryLink>>(std::make_unique<GrpcSecondaryLink>(shared_from_this()));
  scheduler_->Post([acceptor = acceptor_, message, link] { acceptor->OnSession(message, std::move(*link)); });
  ReadLocked();
  host_->Wake();
}

void SecondarySession::Receive() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closed_ ? !taking_ : CanTakeLocked(); });
    if (closed_) break;
    TakeReceived(lock);
  }
  received_.clear();
  assembler_.reset();
  decoder_.reset();
  receiver_ended_ = true;
  lock.unlock();
  host_->Wake();
}

void SecondarySession::TakeReceived(std::unique_lock<std::mutex>& lock) {
  while (!closed_ && CanTakeLocked()) {
    grpc::ByteBuffer bytes;
    bytes.Swap(&received_.front());
    received_.pop_front();
    ReadLocked();
    received_bytes_ += bytes.Length();
    if (new_sink_ != nullptr) assembler_->SetSeedSink(std::move(new_sink_));
    if (new_decoder_ != nullptr) decoder_ = std::move(new_decoder_);
    assembler_->MarkCommitted(committed_);
    taking_ = true;
    lock.unlock();
    const absl::Status status = Take(bytes);
    bytes.Clear();
    lock.lock();
    taking_ = false;
    if (!status.ok()) CloseLocked(status, status);
  }
  if (closed_) changed_.notify_all();
}

absl::Status SecondarySession::Take(const grpc::ByteBuffer& bytes) {
  if (!message_.Parse(bytes)) return absl::InvalidArgumentError("a message that can't be read");
  PrimaryMessage& message = message_.message();
  // A message of another generation goes to the observer, whatever it is.
  if (message.generation() == generation_) {
    switch (message.body_case()) {
      case PrimaryMessage::kHeartbeat:
        return absl::OkStatus();
      case PrimaryMessage::kCheckpointData: {
        const absl::Status status = TakeData(message.checkpoint_data(), message_.payload());
        if (!status.ok() || !message.checkpoint_data().has_trailer()) return status;
        return TakeTrailer(message.checkpoint_data().trailer());
      }
      case PrimaryMessage::kCheckpointTrailer:
        return TakeTrailer(message.checkpoint_trailer());
      case PrimaryMessage::kOpenSession:
        return absl::InvalidArgumentError("OpenSession came twice in one session");
      case PrimaryMessage::BODY_NOT_SET:
        return absl::InvalidArgumentError("a message of no known kind");
      default:
        break;
    }
  }
  Post([message = std::move(message)](SecondaryLink::Observer* observer) { observer->OnMessage(message); });
  return absl::OkStatus();
}

absl::StatusOr<bool> SecondarySession::IsStale(uint64_t epoch, uint32_t attempt) const {
  const uint32_t asked_for = epoch == resend_epoch_ ? 1 : 0;
  if (attempt > asked_for) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", epoch, ": attempt ", attempt, ", which nobody asked for"));
  }
  return attempt < asked_for;
}

absl::Status SecondarySession::Resend(uint64_t epoch, absl::string_view reason) {
  if (epoch != assembler_->epoch() || epoch == 1 || epoch == resend_epoch_) {
    return absl::DataLossError(absl::StrCat("checkpoint ", epoch, ": ", reason));
  }
  LogWarning(protection_, ": checkpoint ", epoch, " is asked for again: ", reason);
  assembler_->Restart();
  resend_epoch_ = epoch;
  SecondaryMessage message;
  message.mutable_resend_checkpoint()->set_epoch(epoch);
  message.mutable_resend_checkpoint()->set_reason(std::string(reason));
  Send(std::move(message));
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const char>> SecondarySession::Decode(CheckpointBytes::Pieces payload) {
  absl::Span<const char> block;
  if (payload.size() == 1) {
    block = payload[0];
  } else {
    block_.clear();
    for (const absl::Span<const char> piece : payload) block_.Append(piece);
    block = block_.span();
  }
  const absl::StatusOr<uint32_t> size = CheckpointDecoder::RawBytes(block);
  if (!size.ok()) return size.status();
  decoded_.clear();
  const absl::Span<char> to(decoded_.Reserve(*size), *size);
  if (options_.before_decode_for_test != nullptr) options_.before_decode_for_test(decoder_.get());
  const absl::Status status = decoder_->Decode(block, to);
  if (!status.ok()) return status;
  return to;
}

absl::Status SecondarySession::TakeData(const CheckpointData& data, CheckpointBytes::Pieces payload) {
  const absl::StatusOr<bool> stale = IsStale(data.epoch(), data.attempt());
  if (!stale.ok() || *stale) return stale.status();
  absl::Span<const char> decoded;
  if (decoder_ != nullptr) {
    const absl::StatusOr<absl::Span<const char>> bytes = Decode(payload);
    if (absl::IsFailedPrecondition(bytes.status())) {
      return Resend(data.epoch(), absl::StrCat("at byte ", data.offset(), ": ", bytes.status().message()));
    }
    if (!bytes.ok()) return bytes.status();
    decoded = *bytes;
    payload = absl::MakeConstSpan(&decoded, 1);
  }
  CheckpointAssembler::Hold hold;
  // What was decoded is overwritten by the next block.
  if (decoder_ == nullptr) hold = [this](size_t piece) { return message_.Hold(piece); };
  const absl::Status status = assembler_->Add(data.epoch(), data.offset(), payload, hold);
  if (status.ok() || absl::IsInvalidArgument(status) || absl::IsDataLoss(status) || absl::IsResourceExhausted(status)) {
    return status;
  }
  return absl::UnavailableError(status.message());
}

absl::Status SecondarySession::TakeTrailer(const CheckpointTrailer& trailer) {
  const absl::StatusOr<bool> stale = IsStale(trailer.epoch(), trailer.attempt());
  if (!stale.ok() || *stale) return stale.status();
  absl::StatusOr<CheckpointAssembler::Verified> verified = assembler_->Finish(trailer);
  // Bytes that were decoded against a page that is not what its digest said when it was stored.
  if (absl::IsDataLoss(verified.status()) && decoder_ != nullptr) {
    return Resend(trailer.epoch(), verified.status().message());
  }
  if (!verified.ok()) return verified.status();
  // Shared, not copied: it can be as large as the guest.
  auto shared = std::make_shared<CheckpointAssembler::Verified>(*std::move(verified));
  Post([shared, after = trailer.after()](SecondaryLink::Observer* observer) {
    if (shared->epoch == 1) {
      observer->OnSeeded(shared->bytes.ToString(), after);
    } else {
      observer->OnCheckpoint(shared->epoch, std::move(shared->bytes), after);
    }
  });
  return absl::OkStatus();
}

void SecondarySession::Post(std::function<void(SecondaryLink::Observer*)> call) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    ++undelivered_;
  }
  // Without the lock: who answers it would wake to wait for it.
  scheduler_->Post([self = shared_from_this(), call = std::move(call)] {
    if (SecondaryLink::Observer* observer = self->observer_->ForCall()) call(observer);
    bool waited_for = false;
    {
      const std::lock_guard<std::mutex> lock(self->mutex_);
      waited_for = self->undelivered_-- == kUndeliveredMax;
    }
    if (waited_for) self->changed_.notify_all();
  });
}

void SecondarySession::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  outgoing_.Done();
  if (!ok) {
    outgoing_.Drop();
    const absl::Status gone =
        absl::UnavailableError(absl::StrCat("the primary of ", protection_, " can't be written to"));
    CloseLocked(gone, gone);
  }
  ProceedLocked();
}

void SecondarySession::OnCallOver() {
  const std::lock_guard<std::mutex> lock(mutex_);
  outgoing_.Drop();
  const absl::Status gone =
      absl::UnavailableError(absl::StrCat("the primary of ", protection_, " ended the session or is gone"));
  CloseLocked(gone, gone);
}

void SecondarySession::CloseLocked(absl::Status to_primary, absl::Status to_observer) {
  if (closed_) return;
  closed_ = true;
  closed_at_ = LinkNow();
  finish_status_ = ToGrpc(to_primary);
  new_sink_.reset();
  changed_.notify_all();
  if (opened_) {
    scheduler_->Post([slot = observer_, status = std::move(to_observer)] {
      if (SecondaryLink::Observer* observer = slot->ForClosed()) observer->OnClosed(status);
    });
  }
  ProceedLocked();
  host_->Wake();
}

void SecondarySession::ReadLocked() {
  if (closed_ || reading_) return;
  if (received_.size() >= kReceivedMax) {
    monitor_->OnBlocked(LinkNow());
    return;
  }
  if (monitor_.has_value()) monitor_->OnReady(LinkNow());
  reading_ = true;
  ++outstanding_;
  stream_.Read(&incoming_, tag_of(Operation::kRead));
}

void SecondarySession::ProceedLocked() {
  if (finishing_) return;
  if (const grpc::ByteBuffer* message = outgoing_.StartNext()) {
    ++outstanding_;
    monitor_->OnSent(LinkNow());
    stream_.Write(*message, tag_of(Operation::kWrite));
  } else if (closed_ && !outgoing_.in_flight()) {
    finishing_ = true;
    ++outstanding_;
    stream_.Finish(finish_status_, tag_of(Operation::kFinish));
  }
}

}  // namespace romulus
