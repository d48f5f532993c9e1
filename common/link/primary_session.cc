#include "common/link/primary_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/checkpoint_messages.h"
#include "common/link/message_bytes.h"
#include "common/link/watch_thread.h"

namespace romulus {

using replication::v1::OpenSession;
using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

namespace {

// A checkpoint smaller than this says nothing about the link's speed: the round trip takes most of its time.
constexpr uint64_t kMeasuredBytesMin = 1 << 20;

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
  // Little comes back. Probing costs pings, and a timer's thread for each.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Without gRPC's keepalive no TCP_USER_TIMEOUT is set either: LinkMonitor is the only judge of silence.
  return grpc::CreateCustomChannel(
      options.address, options.credentials != nullptr ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments);
}

gpr_timespec Deadline(absl::Duration at) {
  if (at == absl::InfiniteDuration()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const timespec time = absl::ToTimespec(at);
  return {time.tv_sec, static_cast<int32_t>(time.tv_nsec), GPR_CLOCK_MONOTONIC};
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
  open.mutable_open_session()->clear_codecs();
  if (options_.encoding_pool != nullptr) {
    open.mutable_open_session()->add_codecs(replication::v1::PAGE_BLOCKS);
    open.mutable_open_session()->set_page_cache_bytes_max(options_.page_cache_bytes_max);
  }
  open.mutable_open_session()->add_codecs(replication::v1::RAW);
  outgoing_.PushControl(ToBytes(open));

  stub_ = std::make_unique<Stub>(NewChannel(options_));
  call_ = stub_->PrepareCall(&context_, kReplicateMethod, &queue_);
  // The metadata go with the first message, which is there already: no operation of their own, and no tag.
  context_.set_initial_metadata_corked(true);
  call_->StartCall(nullptr);
  open_ = true;
  ReadLocked();
  WriteLocked();
  sender_ = std::thread([this] { SendCheckpoints(); });
  serving_ = std::thread([this] { Serve(); });
}

void PrimarySession::Serve() {
  absl::Duration next_tick = absl::ZeroDuration();
  while (true) {
    // Looked at in each round: a queue that always has an event never gets to its deadline.
    if (const absl::Duration now = LinkNow(); now >= next_tick) next_tick = Tick(now);
    void* tag = nullptr;
    bool ok = false;
    const grpc::CompletionQueue::NextStatus next = queue_.AsyncNext(&tag, &ok, Deadline(next_tick));
    if (next == grpc::CompletionQueue::SHUTDOWN) return;
    if (next == grpc::CompletionQueue::TIMEOUT) continue;
    switch (static_cast<Operation>(reinterpret_cast<intptr_t>(tag))) {
      case Operation::kRead:
        OnReadDone(ok);
        break;
      case Operation::kWrite:
        OnWriteDone(ok);
        break;
      case Operation::kFinish:
        OnFinished();
        break;
    }
  }
}

void PrimarySession::Send(PrimaryMessage message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  message.set_generation(generation_);
  outgoing_.PushControl(ToBytes(message));
  WriteLocked();
}

bool PrimarySession::SendTraffic(PrimaryMessage message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return false;
  message.set_generation(generation_);
  if (message.has_sequence_offset()) {
    outgoing_.PushUndroppableTraffic(ToBytes(message));
  } else if (const size_t size = message.ByteSizeLong(); !outgoing_.PushTraffic(ToBytes(message), size)) {
    return false;
  }
  WriteLocked();
  return true;
}

void PrimarySession::SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                                    replication::v1::AfterCheckpoint after) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (closed_) return;
  // The commit of the one before may overtake the news that its trailer was written.
  ROMULUS_CHECK(checkpoints_.size() < 2);
  Checkpoint checkpoint{epoch, std::move(reader), tell_when_sent, after};
  if (pipeline_ != nullptr && checkpoint.reader->in_place()) {
    checkpoint.rewindable = std::make_shared<RewindableReader>(std::move(checkpoint.reader));
    checkpoint.reader = checkpoint.rewindable;
  }
  checkpoints_.push_back(std::move(checkpoint));
  AdvanceHere(lock, [this] { return outgoing_.in_flight(); });
  if (!SenderIsNeededLocked()) return;
  lock.unlock();
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
  if (sender_.joinable()) sender_.join();
  // gRPC gives up what is outstanding of a cancelled call without waiting for anybody.
  if (serving_.joinable()) serving_.join();
}

uint64_t PrimarySession::sent_bytes() const { return sent_bytes_; }

LinkEncoding PrimarySession::encoding() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  LinkEncoding encoding;
  encoding.codec = codec_;
  encoding.checkpoints_resent = resent_;
  if (pipeline_ != nullptr) {
    encoding.counts = pipeline_->counts();
    encoding.page_cache_bytes = pipeline_->cache_bytes();
  }
  return encoding;
}

void PrimarySession::OnReadDone(bool ok) {
  std::unique_lock<std::mutex> lock(mutex_);
  reading_ = false;
  if (closed_) return;
  if (!ok) {
    // The call has ended; its status says why.
    FinishLocked();
    return;
  }
  ReceiveLocked();
  ReadLocked();
  if (resend_) AdvanceHere(lock, [this] { return outgoing_.has_chunks(); });
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
      return;
    case SecondaryMessage::kSessionAccepted: {
      const absl::Status status = AcceptLocked(incoming_.session_accepted());
      if (status.ok()) break;
      CloseLocked(status);
      return;
    }
    case SecondaryMessage::kCheckpointCommit:
      CommittedLocked(incoming_.checkpoint_commit().epoch());
      break;
    case SecondaryMessage::kResendCheckpoint: {
      const absl::Status status = ResendLocked(incoming_.resend_checkpoint());
      if (!status.ok()) CloseLocked(status);
      return;
    }
    default:
      break;
  }
  ++undelivered_;
  PostLocked([self = shared_from_this(), message = std::move(incoming_)](PrimaryLink::Observer* observer) {
    if (observer != nullptr) observer->OnMessage(message);
    // The thread that has posted this still has the lock, as a rule: it is not waited for without need.
    if (self->undelivered_-- < kUndeliveredMax) return;
    const std::lock_guard<std::mutex> lock(self->mutex_);
    self->ReadLocked();
  });
  incoming_.Clear();
}

absl::Status PrimarySession::AcceptLocked(const replication::v1::SessionAccepted& accepted) {
  accepted_ = true;
  if (accepted.chunk_bytes_max() > 0) chunk_bytes_ = std::min(chunk_bytes_, accepted.chunk_bytes_max());
  if (codec_ != replication::v1::CODEC_UNSPECIFIED) return absl::OkStatus();
  // One that names none is from before CheckpointData.trailer.
  trailer_in_data_ = accepted.codec() != replication::v1::CODEC_UNSPECIFIED;
  switch (accepted.codec()) {
    case replication::v1::CODEC_UNSPECIFIED:
    case replication::v1::RAW:
      codec_ = replication::v1::RAW;
      return absl::OkStatus();
    case replication::v1::PAGE_BLOCKS:
      if (options_.encoding_pool == nullptr) break;
      if (accepted.chunk_bytes_max() < block_format::kRawBytesMaxLeast) break;
      codec_ = replication::v1::PAGE_BLOCKS;
      pipeline_ = std::make_unique<CheckpointPipeline>(
          options_.encoding_pool.get(),
          CheckpointEncoder::Options{
              .cache_bytes_max = std::min(options_.page_cache_bytes_max, accepted.page_cache_bytes()),
              .chooser = {.threads = options_.encoding_pool->threads()}});
      return absl::OkStatus();
    default:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the secondary at ", options_.address,
                   " chose an encoding that it was not offered, or takes no chunk that is large enough "
                   "for it: ",
                   accepted.codec(), ", chunks of ", accepted.chunk_bytes_max()));
}

void PrimarySession::CommittedLocked(uint64_t epoch) {
  committed_ = std::max(committed_, epoch);
  if (!uncommitted_.has_value() || uncommitted_->epoch != epoch) return;
  // Less than the link could carry, if anything: the encoder's time is taken out, but not the secondary's.
  const absl::Duration took = LinkNow() - uncommitted_->begun_at - uncommitted_->waited_for_encoder;
  if (uncommitted_->sent_bytes >= kMeasuredBytesMin && took > absl::ZeroDuration()) {
    link_bytes_per_second_ =
        static_cast<uint64_t>(static_cast<double>(uncommitted_->sent_bytes) / absl::ToDoubleSeconds(took));
  }
}

absl::Status PrimarySession::ResendLocked(const replication::v1::ResendCheckpoint& resend) {
  const std::string who =
      absl::StrCat("checkpoint ", resend.epoch(), " is not as captured at the secondary at ", options_.address);
  if (!uncommitted_.has_value() || uncommitted_->epoch != resend.epoch() || uncommitted_->epoch <= committed_ ||
      uncommitted_->attempt > 0 || resend_ || uncommitted_->rewindable == nullptr || resend.epoch() == 1) {
    return absl::DataLossError(absl::StrCat(who, " (", resend.reason(), "), and can't be sent again"));
  }
  LogWarning(who, " (", resend.reason(), "): it is sent again, with an empty page cache");
  resend_ = true;
  ++resent_;
  changed_.notify_all();
  return absl::OkStatus();
}

void PrimarySession::OnWriteDone(bool ok) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool had_room = outgoing_.TakesChunk();
  if (outgoing_.Done() == OutgoingQueue<grpc::ByteBuffer>::Kind::kChunk) {
    if (ok && last_chunk_of_.has_value() && !outgoing_.has_chunks()) {
      PostLocked([epoch = *std::exchange(last_chunk_of_, std::nullopt)](PrimaryLink::Observer* observer) {
        if (observer != nullptr) observer->OnCheckpointSent(epoch);
      });
    }
  }
  // If not ok, the call is over: OnReadDone and OnFinished follow.
  if (ok) WriteLocked();
  AdvanceHere(lock, [this] { return outgoing_.has_chunks(); });
  const bool wake = !had_room && SenderIsNeededLocked();
  lock.unlock();
  // Only a sender that waits for room. Woken for nothing, or to wait for the lock, it would cost every small checkpoint
  // a switch of threads.
  if (wake) changed_.notify_all();
}

void PrimarySession::OnFinished() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    CloseLocked(Explain(call_status_));
  }
  // What is still outstanding comes first.
  queue_.Shutdown();
}

absl::Duration PrimarySession::Tick(absl::Duration now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return absl::InfiniteDuration();
  const absl::Status times = CheckTimesLocked(now);
  if (!times.ok()) {
    CloseLocked(times);
    return absl::InfiniteDuration();
  }
  if (monitor_->TakeDueHeartbeat(now)) {
    PrimaryMessage message;
    message.set_generation(generation_);
    message.mutable_heartbeat();
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
    changed_.wait(lock, [this] { return closed_ ? !advancing_ : SenderIsNeededLocked(); });
    if (closed_) break;
    Advance(lock, [] { return false; });
  }
  if (sending_.has_value()) EndSending(lock);
}

bool PrimarySession::CanAdvanceLocked() const {
  if (closed_) return false;
  if (!sending_.has_value()) return resend_ || !checkpoints_.empty();
  return resend_ || !sending_->message.has_value() || outgoing_.TakesChunk();
}

bool PrimarySession::IsForSenderLocked() const {
  if (!options_.one_processor || options_.bandwidth != nullptr) return true;
  const Checkpoint& next = sending_.has_value() ? sending_->checkpoint : resend_ ? *uncommitted_ : checkpoints_.front();
  return !next.reader->in_place();
}

void PrimarySession::Advance(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough) {
  if (advancing_) return;
  advancing_ = true;
  const bool for_sender = IsForSenderLocked();
  while (CanAdvanceLocked() && IsForSenderLocked() == for_sender && !enough()) {
    if (!sending_.has_value()) {
      Begin(lock);
    } else if (resend_) {
      EndSending(lock);
    } else if (!sending_->message.has_value()) {
      MakeMessage(lock);
    } else {
      QueueMessage(lock);
    }
  }
  advancing_ = false;
  if (closed_ || SenderIsNeededLocked()) changed_.notify_all();
}

void PrimarySession::AdvanceHere(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough) {
  if (CanAdvanceLocked() && !IsForSenderLocked()) Advance(lock, enough);
}

void PrimarySession::Begin(std::unique_lock<std::mutex>& lock) {
  // Readers go without the lock: what lies behind them is another's.
  std::optional<Checkpoint> done;
  if (uncommitted_.has_value() && uncommitted_->epoch <= committed_) {
    // What was committed goes now: for that alone no thread is woken. Nobody asks for it again.
    done = std::exchange(uncommitted_, std::nullopt);
    resend_ = false;
  }
  if (!resend_ && checkpoints_.empty()) return;
  Sending& sending = sending_.emplace();
  sending.again = std::exchange(resend_, false);
  Checkpoint& checkpoint = sending.checkpoint = sending.again ? *uncommitted_ : checkpoints_.front();
  checkpoint.begun_at = LinkNow();
  checkpoint.attempt += sending.again;
  checkpoint.sent_bytes = 0;
  if (pipeline_ != nullptr) {
    uncommitted_ = checkpoint;
    if (checkpoint.rewindable == nullptr) uncommitted_->reader.reset();
  }
  const CheckpointMessages::Which which{generation_, checkpoint.epoch, checkpoint.attempt, trailer_in_data_,
                                        checkpoint.after};
  const uint32_t chunk_bytes = chunk_bytes_;
  const uint64_t link_bytes_per_second = link_bytes_per_second_;
  lock.unlock();
  done.reset();
  if (pipeline_ != nullptr) pipeline_->set_link_bytes_per_second(link_bytes_per_second);
  if (sending.again) {
    checkpoint.rewindable->Rewind();
    pipeline_->ResetCache();
  }
  sending.messages = std::make_unique<CheckpointMessages>(
      which, checkpoint.reader,
      options_.bandwidth != nullptr ? options_.bandwidth->ChunkBytes(chunk_bytes) : chunk_bytes, pipeline_.get());
  lock.lock();
}

void PrimarySession::MakeMessage(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  absl::StatusOr<CheckpointMessages::Message> message = sending_->messages->Next();
  const bool may_go = options_.bandwidth == nullptr || !message.ok() || message->payload_bytes == 0 ||
                      options_.bandwidth->Await(message->payload_bytes, stopped_);
  lock.lock();
  if (!may_go || closed_ || resend_) return;
  if (message.ok()) {
    sending_->message = *std::move(message);
    return;
  }
  // A reader's owner knows of its error; of a malformed checkpoint nobody else does.
  if (sending_->messages->malformed()) CloseLocked(message.status());
  EndSending(lock);
}

void PrimarySession::QueueMessage(std::unique_lock<std::mutex>& lock) {
  CheckpointMessages::Message message = *std::exchange(sending_->message, std::nullopt);
  sent_bytes_ += message.payload_bytes;
  if (uncommitted_.has_value()) {
    uncommitted_->sent_bytes += message.payload_bytes;
    uncommitted_->waited_for_encoder = sending_->messages->waited_for_encoder();
  }
  outgoing_.PushChunk(std::move(message.bytes));
  if (message.is_last && sending_->checkpoint.tell_when_sent) last_chunk_of_ = sending_->checkpoint.epoch;
  WriteLocked();
  if (message.is_last) EndSending(lock);
}

void PrimarySession::EndSending(std::unique_lock<std::mutex>& lock) {
  std::optional<Sending> ended = std::exchange(sending_, std::nullopt);
  std::optional<Checkpoint> first;
  if (!ended->again && !checkpoints_.empty()) {
    first = std::move(checkpoints_.front());
    checkpoints_.pop_front();
  }
  lock.unlock();
  ended.reset();
  first.reset();
  lock.lock();
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
  FinishLocked();
}

void PrimarySession::PostLocked(std::function<void(PrimaryLink::Observer*)> call) {
  if (closed_) return;
  scheduler_->Post([slot = observer_, call = std::move(call)] { call(slot->ForCall()); });
}

void PrimarySession::ReadLocked() {
  if (closed_ || !open_) return;
  if (undelivered_ >= kUndeliveredMax) {
    monitor_->OnBlocked(LinkNow());
    return;
  }
  if (reading_) return;
  monitor_->OnReady(LinkNow());
  reading_ = true;
  call_->Read(&incoming_, TagOf(Operation::kRead));
}

void PrimarySession::WriteLocked() {
  if (closed_ || !open_) return;
  const grpc::ByteBuffer* message = outgoing_.StartNext();
  if (message == nullptr) return;
  monitor_->OnSent(LinkNow());
  call_->Write(*message, TagOf(Operation::kWrite));
}

void PrimarySession::FinishLocked() {
  if (std::exchange(open_, false)) call_->Finish(&call_status_, TagOf(Operation::kFinish));
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
