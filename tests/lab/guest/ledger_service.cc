// The workload that the lab protects: a service whose whole state is in memory. It answers numbered requests over TCP
// and UDP with a counter that only grows and a chain value over all it has answered, be it in all or for one client
// (tests/lab/ledger/protocol.h), remembers its last answers and shows any range of them. On request it also dirties
// memory at a given rate.
//
// One thread, one epoll loop. Runs in the guest's initramfs, statically linked; it never exits.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "tests/lab/guest/memory_dirtier.h"
#include "tests/lab/ledger/protocol.h"

namespace romulus::lab {
namespace {

[[noreturn]] void Die(const char* what) {
  perror(what);
  // An init that ends panics the guest, which is what should be seen on its console.
  exit(1);
}

class Ledger {
 public:
  explicit Ledger(uint64_t capacity) : capacity_(capacity) {}

  Message Answer(const Message& request) {
    ++last_counter_;
    chain_ = NextChain(chain_, last_counter_, request.client_id, request.request_id);
    if (entries_.size() == capacity_) entries_.pop_front();
    entries_.push_back({last_counter_, request.client_id, request.request_id, chain_});
    Message reply = request;
    reply.counter = last_counter_;
    reply.chain = chain_;
    return reply;
  }

  uint64_t last_counter() const { return last_counter_; }
  uint64_t first_remembered() const { return last_counter_ - entries_.size() + 1; }

  void AppendRange(const Message& request, std::string& out) const {
    const uint64_t first = std::max(request.counter, first_remembered());
    const uint64_t most = request.chain;
    const uint64_t count = first > last_counter_ ? 0 : std::min(most, last_counter_ - first + 1);
    Message header{kLedgerMagic, kLedgerVersion, request.kind, request.client_id, 0, first, count};
    out.append(reinterpret_cast<const char*>(&header), sizeof(header));
    for (uint64_t counter = first; counter < first + count; ++counter) {
      out.append(reinterpret_cast<const char*>(&entries_[counter - first_remembered()]), sizeof(HistoryEntry));
    }
  }

 private:
  const uint64_t capacity_;
  uint64_t last_counter_ = 0;
  uint64_t chain_ = 0;
  std::deque<HistoryEntry> entries_;
};

struct Connection {
  std::string in;
  std::string out;
};

class Service {
 public:
  void Run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    tcp_ = Listen(SOCK_STREAM);
    udp_ = Listen(SOCK_DGRAM);
    Watch(tcp_, EPOLLIN);
    Watch(udp_, EPOLLIN);
    Watch(dirtier_.timer(), EPOLLIN);
    printf("ledger: serving on port %d\n", kLedgerPort);
    fflush(stdout);
    for (;;) {
      epoll_event events[64];
      int count = epoll_wait(epoll_, events, 64, -1);
      if (count < 0 && errno != EINTR) Die("epoll_wait");
      for (int i = 0; i < count; ++i) {
        int fd = events[i].data.fd;
        if (fd == tcp_) {
          Accept();
        } else if (fd == udp_) {
          ServeDatagrams();
        } else if (fd == dirtier_.timer()) {
          dirtier_.Tick();
        } else {
          ServeConnection(fd, events[i].events);
        }
      }
    }
  }

 private:
  int Listen(int type) {
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    // Datagrams of a minute find room: what the network delivers, the service answers, however long it could not run.
    int room = 4 << 20;
    if (type == SOCK_DGRAM) setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kLedgerPort);
    if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die("bind");
    if (type == SOCK_STREAM && listen(fd, 64) != 0) Die("listen");
    return fd;
  }

  void Watch(int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) Die("epoll_ctl");
  }

  void Accept() {
    int fd;
    while ((fd = accept4(tcp_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      Watch(fd, EPOLLIN);
      connections_[fd] = Connection{};
    }
  }

  static uint64_t Microseconds() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1'000'000u + now.tv_nsec / 1000;
  }

  bool Valid(const Message& message) const {
    return message.magic == kLedgerMagic && message.version == kLedgerVersion;
  }

  // Nullptr: one more than there may be.
  Ledger* Account(uint64_t client_id) {
    auto found = accounts_.find(client_id);
    if (found != accounts_.end()) return &found->second;
    if (accounts_.size() == kMostAccounts) return nullptr;
    return &accounts_.try_emplace(client_id, kAccountHistoryCapacity).first->second;
  }

  void Handle(const Message& request, bool stream, std::string& out) {
    Message reply = request;
    switch (request.kind) {
      case MessageKind::kAsk:
        reply = ledger_.Answer(request);
        break;
      case MessageKind::kHistory:
        if (stream) ledger_.AppendRange(request, out);
        return;
      case MessageKind::kAskAccount: {
        Ledger* const account = Account(request.client_id);
        if (account == nullptr) return;
        reply = account->Answer(request);
        break;
      }
      case MessageKind::kAccountHistory: {
        const Ledger* const account = Account(request.client_id);
        if (stream && account != nullptr) account->AppendRange(request, out);
        return;
      }
      case MessageKind::kStatus:
        reply.counter = ledger_.last_counter();
        reply.chain = ledger_.first_remembered();
        break;
      case MessageKind::kDrops:
        reply.counter = DatagramsDropped();
        reply.chain = datagrams_not_sent_;
        break;
      case MessageKind::kDirty:
        if (!dirtier_.Set(request.counter, request.chain)) reply.counter = reply.chain = 0;
        break;
      case MessageKind::kDirtied:
        reply.counter = dirtier_.pages_written();
        reply.chain = Microseconds();
        break;
      default:
        return;
    }
    out.append(reinterpret_cast<const char*>(&reply), sizeof(reply));
  }

  uint64_t DatagramsDropped() const {
    uint32_t memory[SK_MEMINFO_VARS] = {};
    socklen_t size = sizeof(memory);
    if (getsockopt(udp_, SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) Die("SO_MEMINFO");
    return memory[SK_MEMINFO_DROPS];
  }

  void ServeDatagrams() {
    Message request;
    sockaddr_in peer{};
    socklen_t peer_size = sizeof(peer);
    while (recvfrom(udp_, &request, sizeof(request), 0, reinterpret_cast<sockaddr*>(&peer), &peer_size) ==
           sizeof(request)) {
      if (!Valid(request)) continue;
      std::string out;
      Handle(request, /*stream=*/false, out);
      if (sendto(udp_, out.data(), out.size(), 0, reinterpret_cast<sockaddr*>(&peer), peer_size) < 0) {
        ++datagrams_not_sent_;
      }
      peer_size = sizeof(peer);
    }
  }

  void ServeConnection(int fd, uint32_t events) {
    auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    bool open = (events & (EPOLLERR | EPOLLHUP)) == 0;
    if (open && (events & EPOLLIN)) {
      char buffer[16384];
      ssize_t got;
      while ((got = read(fd, buffer, sizeof(buffer))) > 0) connection.in.append(buffer, got);
      if (got == 0 || (got < 0 && errno != EAGAIN)) open = false;
      size_t used = 0;
      while (open && connection.in.size() - used >= sizeof(Message)) {
        Message request;
        memcpy(&request, connection.in.data() + used, sizeof(request));
        used += sizeof(request);
        if (!Valid(request)) open = false;
        else Handle(request, /*stream=*/true, connection.out);
      }
      connection.in.erase(0, used);
    }
    while (open && !connection.out.empty()) {
      ssize_t sent = send(fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) open = false;
        break;
      }
      connection.out.erase(0, sent);
    }
    if (!open) {
      close(fd);
      connections_.erase(found);
      return;
    }
    epoll_event event{};
    event.events = EPOLLIN | (connection.out.empty() ? 0u : static_cast<uint32_t>(EPOLLOUT));
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }

  int epoll_ = -1;
  int tcp_ = -1;
  int udp_ = -1;
  uint64_t datagrams_not_sent_ = 0;
  Ledger ledger_{kHistoryCapacity};
  std::unordered_map<uint64_t, Ledger> accounts_;  // By client_id.
  MemoryDirtier dirtier_;
  std::unordered_map<int, Connection> connections_;
};

}  // namespace
}  // namespace romulus::lab

int main() {
  signal(SIGPIPE, SIG_IGN);
  romulus::lab::Service().Run();
}
