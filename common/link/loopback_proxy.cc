#include "common/link/loopback_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "common/base/log.h"

namespace romulus {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// Closing it sends RST.
void MakeAbortive(int fd) {
  const linger abortive{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
}

}  // namespace

LoopbackProxy::LoopbackProxy(int target_port)
    : target_port_(target_port), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), wake_(eventfd(0, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  ROMULUS_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  ROMULUS_CHECK(listen(listener_.get(), 64) == 0);
  ROMULUS_CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

LoopbackProxy::~LoopbackProxy() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  Wake();
  thread_.join();
}

void LoopbackProxy::Hold(bool from_client, bool to_client) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ = {from_client, to_client};
  }
  Wake();
}

void LoopbackProxy::Reset() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reset_ = true;
  }
  Wake();
}

void LoopbackProxy::Wake() {
  const uint64_t one = 1;
  ROMULUS_CHECK(write(wake_.get(), &one, sizeof one) == sizeof one);
}

void LoopbackProxy::Run() {
  while (true) {
    std::array<bool, kWays> held;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopped_) return;
      held = held_;
      if (std::exchange(reset_, false)) {
        for (const Connection& connection : connections_) {
          for (const UniqueFd& end : connection.ends) MakeAbortive(end.get());
        }
        connections_.clear();
      }
    }
    std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Connection& connection : connections_) {
      for (int way = 0; way < kWays; ++way) {
        // A negative descriptor is not looked at.
        const bool wanted = !held[way] && !connection.ended[way];
        fds.push_back({wanted ? connection.ends[way].get() : -1, POLLIN, 0});
      }
    }
    ROMULUS_CHECK(poll(fds.data(), fds.size(), -1) > 0);
    for (size_t i = connections_.size(); i-- > 0;) {
      bool alive = true;
      for (int way = 0; way < kWays && alive; ++way) {
        if (fds[2 + i * kWays + way].revents != 0) alive = Pass(connections_[i], way);
      }
      if (!alive) connections_.erase(connections_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (fds[1].revents != 0) Accept();
    if (fds[0].revents != 0) {
      uint64_t count = 0;
      ROMULUS_CHECK(read(wake_.get(), &count, sizeof count) == sizeof count);
    }
  }
}

void LoopbackProxy::Accept() {
  Connection connection;
  connection.ends[0] = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection.ends[0].valid()) return;
  connection.ends[1] = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in target = Loopback(target_port_);
  if (connect(connection.ends[1].get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
    MakeAbortive(connection.ends[0].get());
    return;
  }
  for (const UniqueFd& end : connection.ends) {
    const int on = 1;
    setsockopt(end.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  connections_.push_back(std::move(connection));
}

bool LoopbackProxy::Pass(Connection& connection, int way) {
  char buffer[64 << 10];
  const int from = connection.ends[way].get();
  const int to = connection.ends[1 - way].get();
  const ssize_t count = recv(from, buffer, sizeof buffer, 0);
  if (count < 0) return false;
  if (count == 0) {
    connection.ended[way] = true;
    shutdown(to, SHUT_WR);
    return !(connection.ended[0] && connection.ended[1]);
  }
  for (ssize_t sent = 0; sent < count;) {
    // Both peers read all the time; if one does not, the other waits too, as over any network.
    const ssize_t part = send(to, buffer + sent, static_cast<size_t>(count - sent), MSG_NOSIGNAL);
    if (part <= 0) return false;
    sent += part;
  }
  return true;
}

}  // namespace romulus
