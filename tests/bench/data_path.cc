// The checkpoint data path on loopback: a staged checkpoint, from staging to its commit by the other side, against raw
// TCP that carries the same bytes from the same memory. The other side is a process of its own, as the agents are: gRPC
// shares its polling, and malloc its memory, between all that is in one process. Both ways are measured with the
// other's threads around. Run by tests/bench/run, which takes the JSON that this prints.

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
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
#include "common/base/grpc_process.h"
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
  void OnSeeded(std::string, replication::v1::AfterCheckpoint) override { Commit(1); }
  void OnCheckpoint(uint64_t epoch, CheckpointBytes, replication::v1::AfterCheckpoint) override { Commit(epoch); }
  void OnClosed(absl::Status) override {}

 private:
  void Commit(uint64_t epoch) {
    replication::v1::SecondaryMessage commit;
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    link_->Send(commit);
  }
  std::unique_ptr<SecondaryLink> link_;
};

double ReadClock(clockid_t clock) {
  timespec now{};
  ROMULUS_CHECK(clock_gettime(clock, &now) == 0);
  return now.tv_sec + now.tv_nsec / 1e9;
}

double Now() { return ReadClock(CLOCK_MONOTONIC); }

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
  LinkPath(int port, const Staged& checkpoint) : checkpoint_(checkpoint), loop_(*EventLoop::New()) {
    loop_thread_ = std::thread([this] { loop_->Run(); });
    GrpcPrimaryLink::Options options;
    options.address = absl::StrCat("127.0.0.1:", port);
    link_ = std::make_unique<GrpcPrimaryLink>(loop_.get(), options);
    loop_->Post([this] {
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
    loop_->Post([this] { link_.reset(); });
    loop_->Quit();
    loop_thread_.join();
  }

  double Send() override { return Carry(checkpoint_.reader()); }

 private:
  double Carry(std::shared_ptr<CheckpointReader> reader) {
    const uint64_t epoch = ++epoch_;
    double sent_at = 0;
    loop_->Post([this, epoch, reader = std::move(reader), &sent_at]() mutable {
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
  const std::unique_ptr<EventLoop> loop_;
  std::thread loop_thread_;
  std::unique_ptr<PrimaryLink> link_;
  uint64_t epoch_ = 0;

  std::mutex mutex_;
  std::condition_variable heard_;
  uint64_t messages_ = 0;
  double heard_at_ = 0;
};

void SendAll(int socket, absl::Span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t taken = send(socket, bytes.data(), bytes.size(), 0);
    ROMULUS_CHECK(taken > 0);
    bytes.remove_prefix(taken);
  }
}

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Bytes over a socket, behind their number, to a TcpServer.
class TcpPath final : public Path {
 public:
  TcpPath(int port, const Staged& checkpoint)
      : checkpoint_(checkpoint), socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_in address = Loopback(port);
    ROMULUS_CHECK(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    const uint64_t size = checkpoint_.bytes().size();
    SendAll(socket_.get(), {reinterpret_cast<const char*>(&size), sizeof(size)});
  }

  double Send() override {
    const double begun = Now();
    SendAll(socket_.get(), checkpoint_.bytes());
    char committed = 0;
    ROMULUS_CHECK(recv(socket_.get(), &committed, 1, 0) == 1);
    return Now() - begun;
  }

 private:
  const Staged& checkpoint_;
  const UniqueFd socket_;
};

// Reads into one small buffer, over and over, and answers each checkpoint with a byte: less than anything that has the
// checkpoint in the end could do. A connection at a time, until the process ends.
class TcpServer {
 public:
  TcpServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    ROMULUS_CHECK(bind(listener_.get(), any, length) == 0 && listen(listener_.get(), 1) == 0);
    ROMULUS_CHECK(getsockname(listener_.get(), any, &length) == 0);
    port_ = ntohs(address.sin_port);
    std::thread([this] {
      while (true) Receive(UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }).detach();
  }
  int port() const { return port_; }

 private:
  static void Receive(const UniqueFd& socket) {
    uint64_t size = 0;
    ROMULUS_CHECK(recv(socket.get(), &size, sizeof(size), MSG_WAITALL) == sizeof(size));
    std::vector<char> buffer(256 << 10);
    while (true) {
      for (size_t left = size; left > 0;) {
        const ssize_t got = recv(socket.get(), buffer.data(), std::min(buffer.size(), left), 0);
        if (got == 0) return;
        ROMULUS_CHECK(got > 0);
        left -= got;
      }
      ROMULUS_CHECK(send(socket.get(), "c", 1, 0) == 1);
    }
  }

  UniqueFd listener_;
  int port_ = 0;
};

struct Ports {
  int link = 0;
  int tcp = 0;
};

// The other side's process. Says where it listens, and ends when nobody holds the other end of `alive` any more.
[[noreturn]] void ServeOtherSide(int say, int alive) {
  const std::unique_ptr<EventLoop> loop = *EventLoop::New();
  Secondary secondary;
  GrpcReplicationService service(loop.get(), &secondary, {});
  Ports ports;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &ports.link);
  ROMULUS_CHECK(service.Start(&builder));
  std::thread([&] { loop->Run(); }).detach();
  const TcpServer tcp;
  ports.tcp = tcp.port();
  ROMULUS_CHECK(write(say, &ports, sizeof(ports)) == sizeof(ports));
  char none = 0;
  ROMULUS_CHECK(read(alive, &none, 1) == 0);
  _exit(0);  // What waits in it waits for ever.
}

// From here on this process and its threads run on one half of the processors that it has: each side has its own, as on
// two hosts. The kernel would see that the two wake each other and put both on one, where neither goes on while the
// other does.
void TakeProcessors(bool first_half) {
  cpu_set_t all;
  ROMULUS_CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  const int count = CPU_COUNT(&all);
  if (count < 2) return;
  cpu_set_t half;
  CPU_ZERO(&half);
  for (int cpu = 0, seen = 0; seen < count; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    if ((seen++ < count / 2) == first_half) CPU_SET(cpu, &half);
  }
  ROMULUS_CHECK(sched_setaffinity(0, sizeof(half), &half) == 0);
}

// The process of the other side, while this lives.
class OtherSide {
 public:
  // Before anything in this process has threads.
  OtherSide() {
    int says[2];
    int alive[2];
    ROMULUS_CHECK(pipe(says) == 0 && pipe(alive) == 0);
    process_ = fork();
    ROMULUS_CHECK(process_ >= 0);
    if (process_ == 0) {
      close(alive[1]);
      TakeProcessors(/*first_half=*/false);
      ServeOtherSide(says[1], alive[0]);
    }
    TakeProcessors(/*first_half=*/true);
    close(says[1]);
    close(alive[0]);
    alive_.Reset(alive[1]);
    const UniqueFd hears(says[0]);
    ROMULUS_CHECK(read(hears.get(), &ports_, sizeof(ports_)) == sizeof(ports_));
    ROMULUS_CHECK(clock_getcpuclockid(process_, &cpu_clock_) == 0);
  }
  ~OtherSide() {
    alive_.Reset();
    waitpid(process_, nullptr, 0);
  }
  const Ports& ports() const { return ports_; }
  double CpuSeconds() const { return ReadClock(cpu_clock_); }

 private:
  pid_t process_;
  UniqueFd alive_;
  Ports ports_;
  clockid_t cpu_clock_;
};

// In turns, so that whatever else the machine does meets both alike. The first round finds nothing warm, and is not
// counted.
void Measure(const OtherSide& other, const std::vector<Path*>& paths, int rounds, std::vector<Cost>* costs) {
  const auto CpuSeconds = [&] { return ReadClock(CLOCK_PROCESS_CPUTIME_ID) + other.CpuSeconds(); };
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

int Run(const OtherSide& other) {
  const char* separator = "";
  printf("{");
  for (const int mib : {4, 64, 256}) {
    const Staged checkpoint(Checkpoint(false, mib * 256));
    const double mebibytes = static_cast<double>(checkpoint.bytes().size()) / (1 << 20);
    LinkPath link_path(other.ports().link, checkpoint);
    TcpPath tcp_path(other.ports().tcp, checkpoint);
    std::vector<Cost> costs;
    Measure(other, {&link_path, &tcp_path}, std::max(15, 512 / mib), &costs);
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
  romulus::PrepareGrpc();
  return romulus::Run(romulus::OtherSide());
}
