#include "common/link/grpc_link_harness.h"

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/grpc_primary_link.h"
#include "common/link/stranger.h"
#include "common/loop/run_until.h"

namespace romulus {

using replication::v1::PrimaryMessage;
using replication::v1::ReplicationService;
using replication::v1::SecondaryMessage;

namespace {

// Only against a hang: no test expects time to pass.
constexpr absl::Duration kHang = absl::Seconds(60);
// Small, so that a checkpoint takes many messages.
constexpr uint32_t kChunkBytes = 3000;
constexpr uint32_t kEncodedChunkBytes = 20'000;

class PipedCheckpoint final : public GrowingCheckpoint {
 public:
  std::shared_ptr<CheckpointReader> reader() override { return pipe_; }
  void Append(const std::string& bytes) override {
    const std::lock_guard<std::mutex> lock(pipe_->mutex);
    pipe_->bytes += bytes;
    pipe_->changed.notify_all();
  }
  void Finish() override {
    const std::lock_guard<std::mutex> lock(pipe_->mutex);
    pipe_->whole = true;
    pipe_->changed.notify_all();
  }
  bool cancelled() const override {
    const std::lock_guard<std::mutex> lock(pipe_->mutex);
    return pipe_->cancelled;
  }

 private:
  struct Pipe final : public CheckpointReader {
    absl::StatusOr<size_t> Read(absl::Span<char> buffer) override {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [this] { return cancelled || whole || !bytes.empty(); });
      if (cancelled) return absl::CancelledError("the reader was cancelled");
      const size_t count = bytes.copy(buffer.data(), buffer.size());
      bytes.erase(0, count);
      return count;
    }
    void Cancel() override {
      const std::lock_guard<std::mutex> lock(mutex);
      cancelled = true;
      changed.notify_all();
    }
    mutable std::mutex mutex;
    std::condition_variable changed;
    std::string bytes;
    bool whole = false;
    bool cancelled = false;
  };
  const std::shared_ptr<Pipe> pipe_ = std::make_shared<Pipe>();
};

}  // namespace

struct GrpcLinkHarness::Host {
  ~Host() {
    proxy.reset();
    if (stranger_server != nullptr) stranger_server->Shutdown(std::chrono::system_clock::now());
  }
  // `start`: with a builder that has an address, starts a server.
  void Start(const std::function<bool(grpc::ServerBuilder*)>& start) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    ROMULUS_CHECK(start(&builder));
    address = absl::StrCat("127.0.0.1:", port);
    proxy = std::make_unique<LoopbackProxy>(port);
  }
  std::string proxied_address() const { return absl::StrCat("127.0.0.1:", proxy->port()); }

  std::unique_ptr<GrpcReplicationService> replication;
  std::unique_ptr<grpc::Service> stranger;
  std::unique_ptr<grpc::Server> stranger_server;
  std::unique_ptr<LoopbackProxy> proxy;
  std::string address;
};

GrpcLinkHarness::GrpcLinkHarness() : GrpcLinkHarness(Options{}) {}
GrpcLinkHarness::GrpcLinkHarness(Options options) : options_(std::move(options)), loop_(*EventLoop::New()) {}
GrpcLinkHarness::~GrpcLinkHarness() = default;

std::unique_ptr<GrpcLinkHarness::Host> GrpcLinkHarness::NewHost(EventLoop* loop, SessionAcceptor* acceptor) const {
  auto host = std::make_unique<Host>();
  GrpcReplicationService::Options options;
  options.chunk_bytes_max = options_.encoding_pool == nullptr ? kChunkBytes : kEncodedChunkBytes;
  options.raw_only = options_.raw_only;
  options.one_processor = options_.one_processor;
  options.before_decode_for_test = options_.before_decode;
  host->replication = std::make_unique<GrpcReplicationService>(loop, acceptor, options);
  host->Start([&](grpc::ServerBuilder* builder) { return host->replication->Start(builder); });
  return host;
}

void GrpcLinkHarness::Listen(SessionAcceptor* acceptor) {
  host_ = NewHost(loop_.get(), acceptor);
  address_ = host_->proxied_address();
}

void GrpcLinkHarness::StopListening() { host_.reset(); }

void GrpcLinkHarness::ListenAsStranger(std::vector<SecondaryMessage> messages) {
  host_ = std::make_unique<Host>();
  host_->stranger = std::make_unique<Stranger>([messages = std::move(messages)](const PrimaryMessage& message) {
    return message.has_open_session() ? messages : std::vector<SecondaryMessage>();
  });
  host_->Start([&](grpc::ServerBuilder* builder) {
    builder->RegisterService(host_->stranger.get());
    host_->stranger_server = builder->BuildAndStart();
    return host_->stranger_server != nullptr;
  });
  address_ = host_->proxied_address();
}

std::unique_ptr<PrimaryLink> GrpcLinkHarness::NewPrimaryLink(bool impatient) {
  GrpcPrimaryLink::Options options;
  options.address = address_;
  options.encoding_pool = options_.encoding_pool;
  options.one_processor = options_.one_processor;
  if (impatient) options.accept_timeout = absl::Milliseconds(200);
  return std::make_unique<GrpcPrimaryLink>(loop_.get(), options);
}

absl::Status GrpcLinkHarness::TellSecondary(const PrimaryMessage& open, const std::vector<PrimaryMessage>& messages,
                                            bool hang_up) {
  const auto stub =
      ReplicationService::NewStub(grpc::CreateChannel(host_->address, grpc::InsecureChannelCredentials()));
  auto result = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(kHang));
    auto stream = stub->Replicate(&context);
    stream->Write(open);
    SecondaryMessage reply;
    while (stream->Read(&reply) && !reply.has_session_accepted()) continue;
    for (const PrimaryMessage& message : messages) stream->Write(message);
    if (hang_up) context.TryCancel();
    while (stream->Read(&reply)) continue;
    return stream->Finish();
  });
  ROMULUS_CHECK(RunUntil([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  const grpc::Status status = result.get();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::unique_ptr<GrowingCheckpoint> GrpcLinkHarness::NewGrowingCheckpoint() {
  return std::make_unique<PipedCheckpoint>();
}

bool GrpcLinkHarness::RunUntil(const std::function<bool()>& condition) {
  return romulus::RunUntil(loop_.get(), condition, kHang);
}

// What was under way before they began has come by their end.
void GrpcLinkHarness::Settle() { RunOtherSessions(loop_.get()); }

void GrpcLinkHarness::LetArrive() {
  const std::unique_ptr<EventLoop> other = *EventLoop::New();
  RunOtherSessions(other.get());
}

void GrpcLinkHarness::RunOtherSessions(EventLoop* loop) const {
  struct Other final : public SessionAcceptor, public PrimaryLink::Observer, public SecondaryLink::Observer {
    void OnSession(const PrimaryMessage&, std::unique_ptr<SecondaryLink> new_link) override {
      link = std::move(new_link);
      link->Start(this);
      SecondaryMessage accepted;
      accepted.mutable_session_accepted();
      link->Send(std::move(accepted));
    }
    void OnMessage(const SecondaryMessage&) override { primary->Close(); }
    void OnCheckpointSent(uint64_t) override {}
    void OnMessage(const PrimaryMessage&) override {}
    void OnSeeded(std::string, replication::v1::AfterCheckpoint) override {}
    void OnCheckpoint(uint64_t, CheckpointBytes, replication::v1::AfterCheckpoint) override {}
    void OnClosed(absl::Status) override { ++closed; }

    int closed = 0;
    std::unique_ptr<PrimaryLink> primary;
    std::unique_ptr<SecondaryLink> link;
  };
  Other other;
  const std::unique_ptr<Host> host = NewHost(loop, &other);
  for (int round = 0; round < 2; ++round) {
    GrpcPrimaryLink::Options options;
    options.address = host->address;
    options.encoding_pool = options_.encoding_pool;
    options.one_processor = options_.one_processor;
    other.primary = std::make_unique<GrpcPrimaryLink>(loop, options);
    replication::v1::OpenSession open;
    open.set_protection("protections/settle");
    open.set_heartbeat_interval_ms(1000);
    open.set_link_timeout_ms(60'000);
    other.closed = 0;
    other.primary->Open(1, open, &other);
    ROMULUS_CHECK(romulus::RunUntil(
        loop, [&] { return other.closed == 2; }, kHang));
    other.primary.reset();
    other.link.reset();
  }
}

void GrpcLinkHarness::Partition(bool to_secondary, bool to_primary) { host_->proxy->Hold(to_secondary, to_primary); }

void GrpcLinkHarness::ResetConnections() { host_->proxy->Reset(); }

}  // namespace romulus
