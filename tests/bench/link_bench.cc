// What the link costs per checkpoint, on loopback: time from the first byte to the commit, context switches and
// processor time. Everything is in this one process, both ends. usage: link_bench [pages] [checkpoints] [chunk_bytes]

#include <grpcpp/grpcpp.h>
#include <stdio.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/grpc_primary_link.h"
#include "common/link/grpc_replication_service.h"
#include "common/loop/event_loop.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

std::string Checkpoint(bool first, int pages) {
  SyntheticStream stream;
  if (first) stream.Preamble();
  std::vector<SyntheticStream::Page> batch;
  for (int i = 0; i < pages; ++i) {
    batch.push_back({static_cast<uint64_t>(i), 0, absl::StrCat("page ", i)});
    if (batch.size() == 1024 || i + 1 == pages) {
      stream.PageData(batch);
      batch.clear();
    }
  }
  return stream.State("registers").EndCheckpoint().bytes();
}

// Commits everything at once.
class Secondary final : public SessionAcceptor, public SecondaryLink::Observer {
 public:
  void OnSession(const replication::v1::PrimaryMessage&, std::unique_ptr<SecondaryLink> link) override {
    link_ = std::move(link);
    link_->Start(this);
    link_->SetSeedSink(std::make_shared<MemoryCheckpointSink>());
    replication::v1::SecondaryMessage accepted;
    accepted.mutable_session_accepted();
    link_->Send(accepted);
  }
  void OnMessage(const replication::v1::PrimaryMessage&) override {}
  void OnSeeded(std::string) override { Commit(1); }
  void OnCheckpoint(uint64_t epoch, std::string) override { Commit(epoch); }
  void OnClosed(absl::Status) override {}

  void Drop() { link_.reset(); }

 private:
  void Commit(uint64_t epoch) {
    replication::v1::SecondaryMessage commit;
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    link_->Send(commit);
  }
  std::unique_ptr<SecondaryLink> link_;
};

// Sends the next checkpoint when the one before is committed.
class Primary final : public PrimaryLink::Observer {
 public:
  Primary(EventLoop* loop, const GrpcPrimaryLink::Options& options, int pages, uint64_t checkpoints)
      : loop_(loop), first_(Checkpoint(true, 16)), next_(Checkpoint(false, pages)), checkpoints_(checkpoints) {
    link_ = std::make_unique<GrpcPrimaryLink>(loop, options);
  }
  void Start() {
    replication::v1::OpenSession open;
    open.set_protection("protections/bench");
    open.set_heartbeat_interval_ms(1000);
    open.set_link_timeout_ms(10'000);
    open.mutable_domain()->set_memory_max_kib(1 << 20);
    open.mutable_domain()->set_vcpu_count(1);
    link_->Open(1, open, this);
  }
  void OnMessage(const replication::v1::SecondaryMessage& message) override {
    if (message.has_checkpoint_commit()) commits_ms_.push_back(absl::ToDoubleMilliseconds(loop_->Now() - sent_at_));
    if (commits_ms_.size() == 1) getrusage(RUSAGE_SELF, &before_);
    if (++epoch_ > checkpoints_) return Report();
    sent_at_ = loop_->Now();
    const std::string& bytes = epoch_ == 1 ? first_ : next_;
    link_->SendCheckpoint(epoch_, std::make_shared<MemoryCheckpointReader>(bytes, bytes.size(), /*in_place=*/true));
  }
  void OnClosed(absl::Status status) override {
    LogError("the link closed: ", status.message());
    loop_->Quit();
  }

 private:
  void Report() {
    rusage after{};
    getrusage(RUSAGE_SELF, &after);
    std::vector<double> sorted(commits_ms_.begin() + 1, commits_ms_.end());
    std::sort(sorted.begin(), sorted.end());
    const double count = static_cast<double>(sorted.size());
    const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec / 1e6; };
    const double cpu = seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before_.ru_utime) -
                       seconds(before_.ru_stime);
    const long switches = after.ru_nvcsw + after.ru_nivcsw - before_.ru_nvcsw - before_.ru_nivcsw;
    printf("%zu bytes per checkpoint: commit p50 %.2f ms, p99 %.2f ms; %.1f context switches, %.2f ms of CPU each\n",
           next_.size(), sorted[sorted.size() / 2], sorted[sorted.size() * 99 / 100], switches / count,
           cpu * 1e3 / count);
    link_.reset();
    loop_->Quit();
  }

  EventLoop* const loop_;
  const std::string first_;
  const std::string next_;
  const uint64_t checkpoints_;
  std::unique_ptr<GrpcPrimaryLink> link_;
  uint64_t epoch_ = 0;
  absl::Duration sent_at_;
  std::vector<double> commits_ms_;
  rusage before_{};
};

int Run(int pages, uint64_t checkpoints, uint32_t chunk_bytes) {
  const auto secondary_loop = *EventLoop::New();
  const auto primary_loop = *EventLoop::New();
  Secondary secondary;
  GrpcReplicationService::Options service_options;
  GrpcReplicationService service(secondary_loop.get(), &secondary, service_options);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  GrpcReplicationService::Configure(service_options, &builder);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  std::thread secondary_thread([&] { secondary_loop->Run(); });

  GrpcPrimaryLink::Options options;
  options.address = absl::StrCat("127.0.0.1:", port);
  options.chunk_bytes = chunk_bytes;
  Primary primary(primary_loop.get(), options, pages, checkpoints);
  primary_loop->Post([&] { primary.Start(); });
  primary_loop->Run();

  secondary_loop->Post([&] { secondary.Drop(); });
  secondary_loop->Quit();
  secondary_thread.join();
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  return romulus::Run(argc > 1 ? atoi(argv[1]) : 420, argc > 2 ? atoi(argv[2]) : 300,
                      argc > 3 ? atoi(argv[3]) : 256 << 10);
}
