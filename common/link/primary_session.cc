#include "common/link/primary_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/message_bytes.h"

namespace romulus {

using replication::v1::OpenSession;
using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

namespace {

// The largest message that a secondary sends: a DirtyPageList.
constexpr int kIncomingBytesMax = 1 << 20;
constexpr char kReplicateMethod[] = "/romulus.replication.v1.ReplicationService/Replicate";

std::shared_ptr<grpc::Channel> NewChannel(const GrpcPrimaryLink::Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kIncomingBytesMax);
  // A session is never resumed, and a message never sent twice.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Each session has its own connection, and no back-off from an earlier one.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Without gRPC's keepalive no TCP_USER_TIMEOUT is set either: LinkMonitor is the only judge of silence.
  return grpc::CreateCustomChannel(
      options.address, options.credentials != nullptr ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments);
}

}  // namespace

PrimarySession::PrimarySession(Scheduler* scheduler, GrpcPrimaryLink::Options options, uint64_t generation,
                               PrimaryLink::Observer* observer)
    : scheduler_(scheduler),
      options_(std::move(options)),
      generation_(generation),
      observer_(std::make_shared<ObserverSlot<PrimaryLink::Observer>>()),
      chunk_bytes_(options_.chunk_bytes) {
  observer_->Set(observer);
}

void PrimarySession::Start(const OpenSession& open_session) {
  const absl::StatusOr<LinkMonitor::Options> times = LinkMonitor::OptionsFrom(open_session);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!times.ok()) {
    CloseLocked(times.status());
    return;
  }
  opened_at_ = LinkNow();
  monitor_.emplace(*times, opened_at_);
  PrimaryMessage open;
  open.set_generation(generation_);
  *open.mutable_open_session() = open_session;
  outgoing_.PushControl(ToBytes(open));

  stub_ = std::make_unique<Stub>(NewChannel(options_));
  stub_->PrepareBidiStreamingCall(&context_, kReplicateMethod, {}, this);
  self_ = shared_from_this();
  AddHold();
  hold_ = true;
  ReadLocked();
  WriteLocked();
  StartCall();
  sender_ = std::thread([this] { SendCheckpoints(); });
  watch_ = std::make_unique<WatchThread>([this](absl::Duration now) { return Tick(now); });
}

void PrimarySession::Send(PrimaryMessage message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  message.set_generation(generation_);
  outgoing_.PushControl(ToBytes(message));
  WriteLocked();
}

void PrimarySession::SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  // The commit of the one before may overtake the news that its trailer was written.
  ROMULUS_CHECK(checkpoints_.size() < 2);
  checkpoints_.push_back({epoch, std::move(reader)});
  changed_.notify_all();
}

void PrimarySession::Close() {
  observer_->Mute();
  const std::lock_guard<std::mutex> lock(mutex_);
  CloseLocked(absl::CancelledError("the session was closed on this host"));
}

void PrimarySession::Abandon() {
  observer_->Clear();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    CloseLocked(absl::CancelledError("the session was abandoned on this host"));
  }
  watch_.reset();
  if (sender_.joinable()) sender_.join();
}

uint64_t PrimarySession::sent_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sent_bytes_;
}

void PrimarySession::OnReadDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  reading_ = false;
  if (closed_) return;
  if (!ok) {
    // The call has ended; OnDone brings why.
    ReleaseHoldLocked();
    return;
  }
  ReceiveLocked();
  ReadLocked();
}

void PrimarySession::ReceiveLocked() {
  const absl::Duration now = LinkNow();
  monitor_->OnReceived(now);
  heard_ = true;
  if (incoming_.generation() != generation_) {
    CloseLocked(
        absl::InvalidArgumentError(absl::StrCat("the secondary at ", options_.address, " sent a message of generation ",
                                                incoming_.generation(), " in a session of generation ", generation_)));
    return;
  }
  switch (incoming_.body_case()) {
    case SecondaryMessage::BODY_NOT_SET:
      CloseLocked(absl::InvalidArgumentError(
          absl::StrCat("the secondary at ", options_.address, " sent a message of no known kind")));
      return;
    case SecondaryMessage::kHeartbeat:
      monitor_->OnHeartbeat(incoming_.heartbeat(), now);
      return;
    case SecondaryMessage::kSessionAccepted:
      accepted_ = true;
      if (incoming_.session_accepted().chunk_bytes_max() > 0) {
        chunk_bytes_ = std::min(chunk_bytes_, incoming_.session_accepted().chunk_bytes_max());
      }
      break;
    default:
      break;
  }
  ++undelivered_;
  PostLocked([self = shared_from_this(), message = std::move(incoming_)](PrimaryLink::Observer* observer) {
    if (observer != nullptr) observer->OnMessage(message);
    const std::lock_guard<std::mutex> lock(self->mutex_);
    --self->undelivered_;
    self->ReadLocked();
  });
  incoming_.Clear();
}

void PrimarySession::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (outgoing_.Done() == OutgoingQueue<grpc::ByteBuffer>::Kind::kChunk) changed_.notify_all();
  // If not ok, the call is over: OnReadDone and OnDone follow.
  if (ok) WriteLocked();
}

void PrimarySession::OnDone(const grpc::Status& status) {
  std::shared_ptr<PrimarySession> self;  // Goes after the lock.
  const std::lock_guard<std::mutex> lock(mutex_);
  self = std::move(self_);
  CloseLocked(Explain(status));
}

absl::Duration PrimarySession::Tick(absl::Duration now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return absl::InfiniteDuration();
  const absl::Status times = CheckTimesLocked(now);
  if (!times.ok()) {
    CloseLocked(times);
    return absl::InfiniteDuration();
  }
  if (std::optional<replication::v1::Heartbeat> heartbeat = monitor_->TakeDueHeartbeat(now)) {
    PrimaryMessage message;
    message.set_generation(generation_);
    *message.mutable_heartbeat() = std::move(*heartbeat);
    outgoing_.SetHeartbeat(ToBytes(message));
    WriteLocked();
  }
  return monitor_->NextCheck(now);
}

absl::Status PrimarySession::CheckTimesLocked(absl::Duration now) {
  const absl::Status lost = monitor_->CheckLost(now);
  if (!lost.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "the secondary at ", options_.address, ": ", lost.message(),
        heard_ ? "" : ": it never answered; check the address, the network, and that romulus-secondary runs there"));
  }
  if (!accepted_ && now - opened_at_ >= options_.accept_timeout) {
    return absl::UnavailableError(absl::StrCat("the secondary at ", options_.address,
                                               " is alive, but has not accepted the session within ",
                                               absl::FormatDuration(options_.accept_timeout), ": see its log"));
  }
  return absl::OkStatus();
}

void PrimarySession::SendCheckpoints() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closed_ || !checkpoints_.empty(); });
    if (closed_) return;
    {
      const Checkpoint checkpoint = checkpoints_.front();
      lock.unlock();
      SendOne(checkpoint);
    }
    lock.lock();
    if (closed_) return;
    checkpoints_.pop_front();
  }
}

void PrimarySession::SendOne(const Checkpoint& checkpoint) {
  size_t chunk_bytes = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    chunk_bytes = chunk_bytes_;
  }
  BandwidthShare::Flow* const bandwidth = options_.bandwidth.get();
  if (bandwidth != nullptr) chunk_bytes = bandwidth->ChunkBytes(chunk_bytes);
  CheckpointChunker chunker(checkpoint.epoch, checkpoint.reader, chunk_bytes);
  for (bool is_trailer = false; !is_trailer;) {
    // Made while those before are on their way.
    absl::StatusOr<Piece> piece = NextPiece(checkpoint, chunker, chunk_bytes);
    if (bandwidth != nullptr && piece.ok() && piece->payload_bytes > 0 &&
        !bandwidth->Await(piece->payload_bytes, stopped_)) {
      return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || outgoing_.TakesChunk(); });
    if (closed_) return;
    if (!piece.ok()) {
      // A reader's owner knows of its error; of a malformed checkpoint nobody else does.
      if (chunker.malformed()) CloseLocked(piece.status());
      return;
    }
    is_trailer = piece->payload_bytes == 0;
    sent_bytes_ += piece->payload_bytes;
    outgoing_.PushChunk(std::move(piece->message));
    WriteLocked();
  }
}

absl::StatusOr<PrimarySession::Piece> PrimarySession::NextPiece(const Checkpoint& checkpoint,
                                                                CheckpointChunker& chunker, size_t chunk_bytes) {
  const bool in_place = checkpoint.reader->in_place();
  // What does not lie in memory is read to where gRPC takes it from.
  grpc::Slice buffer(grpc_slice_malloc(in_place ? 0 : chunk_bytes), grpc::Slice::STEAL_REF);
  const auto piece =
      chunker.Next(absl::MakeSpan(const_cast<char*>(reinterpret_cast<const char*>(buffer.begin())), buffer.size()));
  if (!piece.ok()) return piece.status();
  if (piece->bytes.empty()) {
    PrimaryMessage trailer;
    trailer.set_generation(generation_);
    *trailer.mutable_checkpoint_trailer() = chunker.Trailer();
    return Piece{ToBytes(trailer)};
  }
  const size_t size = piece->bytes.size();
  grpc::Slice payload = in_place ? SliceOf(piece->bytes, checkpoint.reader) : buffer.sub(0, size);
  return Piece{CheckpointDataToBytes(generation_, checkpoint.epoch, piece->offset, std::move(payload)), size};
}

void PrimarySession::CloseLocked(absl::Status status) {
  if (closed_) return;
  closed_ = true;
  stopped_ = true;
  if (options_.bandwidth != nullptr) options_.bandwidth->Wake();
  scheduler_->Post([slot = observer_, status = std::move(status)] {
    if (PrimaryLink::Observer* observer = slot->ForClosed()) observer->OnClosed(status);
  });
  outgoing_.Drop();
  for (const Checkpoint& checkpoint : checkpoints_) checkpoint.reader->Cancel();
  changed_.notify_all();
  context_.TryCancel();
  ReleaseHoldLocked();
}

void PrimarySession::PostLocked(std::function<void(PrimaryLink::Observer*)> call) {
  if (closed_) return;
  scheduler_->Post([slot = observer_, call = std::move(call)] { call(slot->ForCall()); });
}

void PrimarySession::ReadLocked() {
  if (closed_ || !hold_) return;
  if (undelivered_ >= kUndeliveredMax) {
    monitor_->OnBlocked(LinkNow());
    return;
  }
  if (reading_) return;
  monitor_->OnReady(LinkNow());
  reading_ = true;
  StartRead(&incoming_);
}

void PrimarySession::WriteLocked() {
  if (closed_ || !hold_) return;
  if (const grpc::ByteBuffer* message = outgoing_.StartNext()) StartWrite(message);
}

void PrimarySession::ReleaseHoldLocked() {
  if (!std::exchange(hold_, false)) return;
  RemoveHold();
}

absl::Status PrimarySession::Explain(const grpc::Status& status) const {
  const std::string who = absl::StrCat("the secondary at ", options_.address);
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
    case grpc::StatusCode::CANCELLED:
      return absl::UnavailableError(absl::StrCat(who, " ended the session"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::FailedPreconditionError(
          absl::StrCat(who, " is no romulus-secondary of this protocol version: ", status.error_message()));
    case grpc::StatusCode::UNAVAILABLE:
      if (heard_) break;
      return absl::UnavailableError(absl::StrCat(
          "can't reach ", who, ": ", status.error_message(),
          ". Check that romulus-secondary runs there and listens on that address, and that no firewall is between"));
    default:
      break;
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(who, ": ", status.error_message()));
}

}  // namespace romulus
