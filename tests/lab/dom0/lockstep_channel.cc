#include "tests/lab/dom0/lockstep_channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "common/base/log.h"

namespace romulus::lab {
namespace {

struct Header {
  uint32_t kind;
  uint32_t length;
  uint64_t epoch;
};

bool ReadExactly(int socket, void* to, size_t length) {
  char* at = static_cast<char*>(to);
  while (length > 0) {
    const ssize_t got = read(socket, at, length);
    if (got <= 0) return false;
    at += got;
    length -= static_cast<size_t>(got);
  }
  return true;
}

sockaddr_in AddressOf(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

void NoDelay(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

UniqueFd LockstepChannel::Connect(const std::string& to, int port) {
  sockaddr_in address = AddressOf(port);
  ROMULUS_CHECK(inet_pton(AF_INET, to.c_str(), &address.sin_addr) == 1);
  for (int attempt = 0; attempt < 200; ++attempt) {
    UniqueFd end(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(end.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      NoDelay(end.get());
      return end;
    }
    usleep(100'000);
  }
  LogError("can't connect to ", to, ": ", strerror(errno));
  _exit(2);
}

UniqueFd LockstepChannel::Accept(int port) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const sockaddr_in address = AddressOf(port);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener.get(), 1) != 0) {
    LogError("can't listen on ", port, ": ", strerror(errno));
    _exit(2);
  }
  UniqueFd end(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  NoDelay(end.get());
  return end;
}

LockstepChannel::LockstepChannel(UniqueFd socket, std::function<void(Frame)> on_frame, std::function<void()> on_end)
    : socket_(std::move(socket)) {
  std::thread([this, on_frame = std::move(on_frame), on_end = std::move(on_end)] {
    Read(on_frame);
    on_end();
  }).detach();
}

void LockstepChannel::Read(const std::function<void(Frame)>& on_frame) {
  while (true) {
    Header header{};
    if (!ReadExactly(socket_.get(), &header, sizeof(header))) return;
    Frame frame{static_cast<Kind>(header.kind), header.epoch, std::string(header.length, '\0')};
    if (!ReadExactly(socket_.get(), frame.body.data(), frame.body.size())) return;
    on_frame(std::move(frame));
  }
}

void LockstepChannel::Send(Kind kind, uint64_t epoch, const void* body, size_t length) {
  const std::lock_guard<std::mutex> lock(sending_);
  const Header header{kind, static_cast<uint32_t>(length), epoch};
  const char* at = reinterpret_cast<const char*>(&header);
  for (size_t left = sizeof(header) + length; left > 0;) {
    const size_t in_header = left > length ? left - length : 0;
    const char* const from =
        in_header > 0 ? at + sizeof(header) - in_header : static_cast<const char*>(body) + (length - left);
    const ssize_t sent = send(socket_.get(), from, in_header > 0 ? in_header : left,
                              MSG_NOSIGNAL | (in_header > 0 && length > 0 ? MSG_MORE : 0));
    if (sent <= 0) return;
    left -= static_cast<size_t>(sent);
  }
}

}  // namespace romulus::lab
