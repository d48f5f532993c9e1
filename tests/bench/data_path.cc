// The checkpoint data path on loopback: a staged checkpoint, from staging to its commit by the other side, against raw
// TCP that carries the same bytes from the same memory. Everything is in this one process, both ends; so one is also
// measured with the other's threads around. Run by tests/bench/run, which takes the JSON that this prints.

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "common/link/grpc_primary_link.h"
#include "common/link/grpc_replication_service.h"
#include "common/loop/event_loop.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/synthetic_stream.h"
#include "primary/capture/staging_file.h"
#include "primary/capture/staging_reader.h"

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

double Seconds(const timeval& time) { return time.tv_sec + time.tv_usec / 1e6; }

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return Seconds(used.ru_utime) + Seconds(used.ru_stime);
}

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Cost {
  double seconds = 0;      // Per checkpoint, median.
  double cpu_seconds = 0;  // Per checkpoint, mean, both ends.
};

// A checkpoint as the save helper leaves it.
class Staged {
 public:
  explicit Staged(const std::string& bytes) : file_(*StagingFile::New("bench")) {
    ROMULUS_CHECK(pwrite(file_.descriptor(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    view_ = *file_.View(bytes.size());
  }
  std::shared_ptr<CheckpointReader> reader() const {
    return std::make_shared<StagingReader>(view_, [] {});
  }
  absl::Span<const char> bytes() const { return *view_; }

 private:
  StagingFile file_;
  std::shared_ptr<const absl::Span<const char>> view_;
};

// Sends the next checkpoint when the one before is committed. The first one is the seeding, and not measured; so is the
// second, which finds nothing warm.
class Primary final : public PrimaryLink::Observer {
 public:
  Primary(EventLoop* loop, const std::string& address, const Staged& checkpoint, int checkpoints)
      : loop_(loop), checkpoint_(checkpoint), last_(2 + checkpoints) {
    GrpcPrimaryLink::Options options;
    options.address = address;
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
  void OnMessage(const replication::v1::SecondaryMessage&) override {
    if (epoch_ > 2) seconds_.push_back(Now() - sent_at_);
    if (epoch_ == 2) cpu_before_ = CpuSeconds();
    if (epoch_ == last_) {
      cost_ = {Median(seconds_), (CpuSeconds() - cpu_before_) / static_cast<double>(seconds_.size())};
      link_.reset();
      loop_->Quit();
      return;
    }
    sent_at_ = Now();
    ++epoch_;
    link_->SendCheckpoint(
        epoch_, epoch_ == 1 ? std::make_shared<MemoryCheckpointReader>(Checkpoint(true, 16)) : checkpoint_.reader());
  }
  void OnClosed(absl::Status status) override {
    LogError("the link closed: ", status.message());
    exit(1);
  }

  Cost cost() const { return cost_; }

 private:
  EventLoop* const loop_;
  const Staged& checkpoint_;
  const uint64_t last_;
  std::unique_ptr<GrpcPrimaryLink> link_;
  uint64_t epoch_ = 0;
  double sent_at_ = 0;
  double cpu_before_ = 0;
  std::vector<double> seconds_;
  Cost cost_;
};

Cost OverTheLink(const Staged& checkpoint, int checkpoints) {
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

  Primary primary(primary_loop.get(), absl::StrCat("127.0.0.1:", port), checkpoint, checkpoints);
  primary_loop->Post([&] { primary.Start(); });
  primary_loop->Run();

  secondary_loop->Post([&] { secondary.Drop(); });
  secondary_loop->Quit();
  secondary_thread.join();
  server->Shutdown(std::chrono::system_clock::now());
  return primary.cost();
}

// The other end reads into one small buffer, and answers each checkpoint with a byte.
Cost OverTcp(const Staged& checkpoint, int checkpoints) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ROMULUS_CHECK(bind(listener.get(), any, length) == 0 && listen(listener.get(), 1) == 0);
  ROMULUS_CHECK(getsockname(listener.get(), any, &length) == 0);
  const UniqueFd sender(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ROMULUS_CHECK(connect(sender.get(), any, length) == 0);
  const UniqueFd receiver(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));

  const size_t size = checkpoint.bytes().size();
  const int rounds = 1 + checkpoints;
  std::thread receiving([&] {
    std::vector<char> buffer(256 << 10);
    for (int i = 0; i < rounds; ++i) {
      for (size_t left = size; left > 0;) {
        const ssize_t got = recv(receiver.get(), buffer.data(), std::min(buffer.size(), left), 0);
        ROMULUS_CHECK(got > 0);
        left -= got;
      }
      ROMULUS_CHECK(send(receiver.get(), "c", 1, 0) == 1);
    }
  });
  std::vector<double> seconds;
  double cpu_before = 0;
  for (int i = 0; i < rounds; ++i) {
    if (i == 1) cpu_before = CpuSeconds();
    const double begun = Now();
    for (size_t sent = 0; sent < size;) {
      const ssize_t taken = send(sender.get(), checkpoint.bytes().data() + sent, size - sent, 0);
      ROMULUS_CHECK(taken > 0);
      sent += taken;
    }
    char committed = 0;
    ROMULUS_CHECK(recv(sender.get(), &committed, 1, 0) == 1);
    if (i > 0) seconds.push_back(Now() - begun);
  }
  const double cpu = (CpuSeconds() - cpu_before) / checkpoints;
  receiving.join();
  return {Median(seconds), cpu};
}

double MemcpySeconds(const Staged& checkpoint) {
  std::vector<char> copy(checkpoint.bytes().size());
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    const double begun = Now();
    memcpy(copy.data(), checkpoint.bytes().data(), copy.size());
    asm volatile("" : : "r"(copy.data()) : "memory");
    if (i > 0) seconds.push_back(Now() - begun);
  }
  return Median(seconds);
}

int Run() {
  const char* separator = "";
  printf("{");
  for (const int mib : {4, 64, 256}) {
    const Staged checkpoint(Checkpoint(false, mib * 256));
    const double mebibytes = static_cast<double>(checkpoint.bytes().size()) / (1 << 20);
    const int checkpoints = std::max(5, 256 / mib);
    const Cost tcp = OverTcp(checkpoint, checkpoints);
    const Cost link = OverTheLink(checkpoint, checkpoints);
    printf(
        "%s\"%d_mib\": {\"throughput_of_tcp\": %.3f, \"cpu_of_tcp\": %.3f, \"link_mib_per_s\": %.0f, "
        "\"tcp_mib_per_s\": %.0f, \"memcpy_mib_per_s\": %.0f, \"link_cpu_s_per_gib\": %.3f}",
        separator, mib, tcp.seconds / link.seconds, link.cpu_seconds / tcp.cpu_seconds, mebibytes / link.seconds,
        mebibytes / tcp.seconds, mebibytes / MemcpySeconds(checkpoint), link.cpu_seconds * 1024 / mebibytes);
    separator = ", ";
  }
  printf("}\n");
  return 0;
}

}  // namespace
}  // namespace romulus

int main() {
  romulus::KeepFreedMemory();  // As the agents do.
  return romulus::Run();
}
