#include "common/link/grpc_replication_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {

GrpcReplicationService::GrpcReplicationService(Scheduler* scheduler, SessionAcceptor* acceptor, Options options)
    : scheduler_(scheduler),
      acceptor_(acceptor),
      options_(options),
      watch_([this](absl::Duration now) { return Tick(now); }) {}

GrpcReplicationService::~GrpcReplicationService() {
  Shutdown();
  if (serving_.joinable()) serving_.join();
  std::vector<std::shared_ptr<SecondarySession>> sessions;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sessions.swap(sessions_);
  }
  // They wake the watch thread at their end: before it goes.
  for (const std::shared_ptr<SecondarySession>& session : sessions) session->Join();
}

bool GrpcReplicationService::Start(grpc::ServerBuilder* builder) {
  // Besides a chunk's payload: OpenSession with a domain's libxl-json.
  constexpr int kMessageOverhead = 256 << 10;
  const int message_bytes_max = static_cast<int>(options_.chunk_bytes_max) + kMessageOverhead;
  builder->SetMaxReceiveMessageSize(message_bytes_max);
  // A message's bytes in as few frames as the window allows. In frames of 16 KiB, the default, each is cut into slices
  // of that size: none would be large enough to be kept where it lies (CheckpointAssembler::kHeldBytesMin).
  constexpr int kFrameBytesMost = (1 << 24) - 1;  // RFC 9113, 4.2.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, std::min(message_bytes_max, kFrameBytesMost));
  // What a connection may send that nobody has read: 4 MiB, from its start, as long as gRPC has no bound on memory to
  // keep to (TransportFlowControl of gRPC 1.51). Without the probe it is HTTP/2's 64 KiB, and the rest of a message
  // only once its beginning has come and word of that is back: a round trip for each message, in which one end waits,
  // then the other. (GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES widens the streams' windows, not the connection's.)
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 1);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.sessions_max);
  // Connections that carry no session, or whose host has vanished (sessions have heartbeats of their own).
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 60'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 60'000);
  builder->RegisterService(&service_);
  queue_ = builder->AddCompletionQueue();
  server_ = builder->BuildAndStart();
  if (server_ == nullptr) return false;
  AwaitCall();
  serving_ = std::thread([this] { Serve(); });
  return true;
}

void GrpcReplicationService::Shutdown() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

void GrpcReplicationService::Serve() {
  void* next = nullptr;
  bool ok = false;
  while (queue_->Next(&next, &ok)) {
    const SecondarySession::Tag tag = *static_cast<SecondarySession::Tag*>(next);
    if (tag.operation != SecondarySession::Operation::kAccept) {
      calls_ -= tag.session->OnDone(tag.operation, ok);
    } else if (ok) {
      TakeCall();
    } else {
      awaited_.reset();  // The server has been shut down.
    }
    if (awaited_ == nullptr && calls_ == 0) queue_->Shutdown();
  }
}

void GrpcReplicationService::AwaitCall() {
  SecondarySession::Host* const host = this;
  awaited_ = std::make_shared<SecondarySession>(
      scheduler_, acceptor_, host,
      SecondarySession::Options{options_.chunk_bytes_max, pool_, options_.open_timeout, options_.page_cache_bytes_max,
                                options_.raw_only, options_.one_processor, options_.before_decode_for_test});
  service_.RequestReplicate(awaited_->context(), awaited_->stream(), queue_.get(), queue_.get(),
                            awaited_->tag_of(SecondarySession::Operation::kAccept));
}

void GrpcReplicationService::TakeCall() {
  const std::shared_ptr<SecondarySession> session = std::move(awaited_);
  AwaitCall();
  ++calls_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (sessions_.size() >= static_cast<size_t>(options_.sessions_max)) {
    session->Refuse(absl::ResourceExhaustedError(absl::StrCat(
        "this secondary has ", sessions_.size(), " sessions, which is all that it takes; try again later")));
  } else {
    session->Begin();
  }
  sessions_.push_back(session);
  watch_.Kick();
}

absl::Status GrpcReplicationService::Admit(const std::string& protection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto open = std::count_if(sessions_.begin(), sessions_.end(),
                                  [&](const auto& session) { return session->open_protection() == protection; });
  if (open <= options_.sessions_per_protection_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(protection, " has ", open - 1, " open sessions here; wait until the older ones have ended"));
}

void GrpcReplicationService::Wake() { watch_.Kick(); }

absl::Duration GrpcReplicationService::Tick(absl::Duration now) {
  std::vector<std::shared_ptr<SecondarySession>> sessions;
  std::vector<std::shared_ptr<SecondarySession>> finished;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto first_finished =
        std::partition(sessions_.begin(), sessions_.end(), [](const auto& session) { return !session->Finished(); });
    finished.assign(first_finished, sessions_.end());
    sessions_.erase(first_finished, sessions_.end());
    sessions = sessions_;
    if (sessions.empty() && !finished.empty()) pool_->Trim();
  }
  for (const std::shared_ptr<SecondarySession>& session : finished) session->Join();
  absl::Duration next = absl::InfiniteDuration();
  for (const std::shared_ptr<SecondarySession>& session : sessions) next = std::min(next, session->Tick(now));
  return next;
}

}  // namespace romulus
