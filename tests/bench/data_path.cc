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
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/base/mutex_checks.h"
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
  void OnSeeded(std::string, replication::v1::AfterCheckpoint) override { Commit(1); }
  void OnCheckpoint(uint64_t epoch, CheckpointBytes, replication::v1::AfterCheckpoint) override { Commit(epoch); }
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

// One way to carry a checkpoint to its commit by the other end.
class Path {
 public:
  virtual ~Path() = default;
  // Seconds from the call to the commit.
  virtual double Send() = 0;
};

// A session over the agents' link, seeded.
class LinkPath final : public Path, private PrimaryLink::Observer {
 public:
  explicit LinkPath(const Staged& checkpoint)
      : checkpoint_(checkpoint),
        secondary_loop_(*EventLoop::New()),
        primary_loop_(*EventLoop::New()),
        service_(secondary_loop_.get(), &secondary_, {}) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    GrpcReplicationService::Configure({}, &builder);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    secondary_thread_ = std::thread([this] { secondary_loop_->Run(); });
    primary_thread_ = std::thread([this] { primary_loop_->Run(); });

    GrpcPrimaryLink::Options options;
    options.address = absl::StrCat("127.0.0.1:", port);
    link_ = std::make_unique<GrpcPrimaryLink>(primary_loop_.get(), options);
    primary_loop_->Post([this] {
      replication::v1::OpenSession open;
      open.set_protection("protections/bench");
      open.set_heartbeat_interval_ms(1000);
      open.set_link_timeout_ms(10'000);
      open.mutable_domain()->set_memory_max_kib(1 << 20);
      open.mutable_domain()->set_vcpu_count(1);
      link_->Open(1, open, this);
    });
    AwaitMessages(1);
    Carry(std::make_shared<MemoryCheckpointReader>(Checkpoint(true, 16)));
  }
  ~LinkPath() override {
    primary_loop_->Post([this] { link_.reset(); });
    primary_loop_->Quit();
    primary_thread_.join();
    secondary_loop_->Post([this] { secondary_.Drop(); });
    secondary_loop_->Quit();
    secondary_thread_.join();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  double Send() override { return Carry(checkpoint_.reader()); }

 private:
  double Carry(std::shared_ptr<CheckpointReader> reader) {
    const uint64_t epoch = ++epoch_;
    double sent_at = 0;
    primary_loop_->Post([this, epoch, reader = std::move(reader), &sent_at]() mutable {
      sent_at = Now();
      link_->SendCheckpoint(epoch, std::move(reader), /*tell_when_sent=*/false, replication::v1::STANDBY_WAITS);
    });
    return AwaitMessages(1 + epoch) - sent_at;
  }
  void OnCheckpointSent(uint64_t) override {}
  void OnMessage(const replication::v1::SecondaryMessage&) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++messages_;
    heard_at_ = Now();
    heard_.notify_all();
  }
  void OnClosed(absl::Status status) override {
    LogError("the link closed: ", status.message());
    exit(1);
  }
  // When the last of `count` came: SessionAccepted, then commits.
  double AwaitMessages(uint64_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    heard_.wait(lock, [&] { return messages_ == count; });
    return heard_at_;
  }

  const Staged& checkpoint_;
  const std::unique_ptr<EventLoop> secondary_loop_;
  const std::unique_ptr<EventLoop> primary_loop_;
  Secondary secondary_;
  GrpcReplicationService service_;
  std::unique_ptr<grpc::Server> server_;
  std::thread secondary_thread_;
  std::thread primary_thread_;
  std::unique_ptr<PrimaryLink> link_;
  uint64_t epoch_ = 0;

  std::mutex mutex_;
  std::condition_variable heard_;
  uint64_t messages_ = 0;
  double heard_at_ = 0;
};

// The other end reads into one small buffer, over and over, and answers each checkpoint with a byte: less than anything
// that has the checkpoint in the end could do.
class TcpPath final : public Path {
 public:
  explicit TcpPath(const Staged& checkpoint) : checkpoint_(checkpoint) {
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    ROMULUS_CHECK(bind(listener.get(), any, length) == 0 && listen(listener.get(), 1) == 0);
    ROMULUS_CHECK(getsockname(listener.get(), any, &length) == 0);
    sender_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ROMULUS_CHECK(connect(sender_.get(), any, length) == 0);
    receiver_.Reset(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    receiving_ = std::thread([this] { Receive(); });
  }
  ~TcpPath() override {
    sender_.Reset();
    receiving_.join();
  }

  double Send() override {
    const absl::Span<const char> bytes = checkpoint_.bytes();
    const double begun = Now();
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t taken = send(sender_.get(), bytes.data() + sent, bytes.size() - sent, 0);
      ROMULUS_CHECK(taken > 0);
      sent += taken;
    }
    char committed = 0;
    ROMULUS_CHECK(recv(sender_.get(), &committed, 1, 0) == 1);
    return Now() - begun;
  }

 private:
  void Receive() {
    std::vector<char> buffer(256 << 10);
    while (true) {
      for (size_t left = checkpoint_.bytes().size(); left > 0;) {
        const ssize_t got = recv(receiver_.get(), buffer.data(), std::min(buffer.size(), left), 0);
        if (got == 0) return;
        ROMULUS_CHECK(got > 0);
        left -= got;
      }
      ROMULUS_CHECK(send(receiver_.get(), "c", 1, 0) == 1);
    }
  }

  const Staged& checkpoint_;
  UniqueFd sender_;
  UniqueFd receiver_;
  std::thread receiving_;
};

// In turns, so that whatever else the machine does meets both alike. The first round finds nothing warm, and is not
// counted.
void Measure(const std::vector<Path*>& paths, int rounds, std::vector<Cost>* costs) {
  std::vector<std::vector<double>> seconds(paths.size());
  costs->assign(paths.size(), {});
  for (int round = 0; round <= rounds; ++round) {
    for (size_t i = 0; i < paths.size(); ++i) {
      const double cpu_before = CpuSeconds();
      const double took = paths[i]->Send();
      if (round == 0) continue;
      seconds[i].push_back(took);
      (*costs)[i].cpu_seconds += (CpuSeconds() - cpu_before) / rounds;
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) (*costs)[i].seconds = Median(seconds[i]);
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
    LinkPath link_path(checkpoint);
    TcpPath tcp_path(checkpoint);
    std::vector<Cost> costs;
    Measure({&link_path, &tcp_path}, std::max(15, 512 / mib), &costs);
    const Cost link = costs[0];
    const Cost tcp = costs[1];
    printf(
        "%s\"%d_mib\": {\"throughput_of_tcp\": %.3f, \"cpu_of_tcp\": %.3f, \"link_mib_per_s\": %.0f, "
        "\"tcp_mib_per_s\": %.0f, \"memcpy_mib_per_s\": %.0f, \"link_cpu_s_per_gib\": %.3f, \"tcp_cpu_s_per_gib\": "
        "%.3f}",
        separator, mib, tcp.seconds / link.seconds, link.cpu_seconds / tcp.cpu_seconds, mebibytes / link.seconds,
        mebibytes / tcp.seconds, mebibytes / MemcpySeconds(checkpoint), link.cpu_seconds * 1024 / mebibytes,
        tcp.cpu_seconds * 1024 / mebibytes);
    separator = ", ";
  }
  printf("}\n");
  return 0;
}

}  // namespace
}  // namespace romulus

int main() {
  romulus::KeepFreedMemory();  // As the agents do.
  romulus::SkipMutexChecks();
  return romulus::Run();
}
