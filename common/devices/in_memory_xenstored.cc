#include "common/devices/in_memory_xenstored.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

extern "C" {
#include <xen/io/xs_wire.h>
}

namespace romulus {
namespace {

// The NUL-terminated string at `at`, which is moved behind it.
std::string TakeString(const std::string& body, size_t& at) {
  const size_t end = std::min(body.find('\0', at), body.size());
  std::string text = body.substr(at, end - at);
  at = end + 1;
  return text;
}

bool IsBelow(const std::string& path, const std::string& above) {
  return path == above || (path.compare(0, above.size(), above) == 0 && path[above.size()] == '/');
}

}  // namespace

InMemoryXenstored::InMemoryXenstored(uint32_t self) : home_(absl::StrCat("/local/domain/", self)) {
  // Not the test's own folder: its name is too long for a socket.
  socket_path_ = absl::StrCat("/tmp/romulus-in-memory-xenstored.", getpid());
  unlink(socket_path_.c_str());
  listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, socket_path_.c_str(), sizeof(address.sun_path) - 1);
  ROMULUS_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  ROMULUS_CHECK(listen(listener_.get(), 16) == 0);
  setenv("XENSTORED_PATH", socket_path_.c_str(), 1);
  acceptor_ = std::thread([this] { Accept(); });
}

InMemoryXenstored::~InMemoryXenstored() {
  shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  for (Connection& connection : connections_) {
    shutdown(connection.socket.get(), SHUT_RDWR);
    connection.thread.join();
  }
  unlink(socket_path_.c_str());
}

void InMemoryXenstored::Accept() {
  while (true) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.valid()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    connection.thread = std::thread([this, &connection] { Serve(connection); });
  }
}

void InMemoryXenstored::Serve(Connection& connection) {
  xsd_sockmsg header{};
  while (recv(connection.socket.get(), &header, sizeof(header), MSG_WAITALL) == sizeof(header)) {
    std::string body(header.len, '\0');
    if (header.len > 0) recv(connection.socket.get(), body.data(), body.size(), MSG_WAITALL);
    const std::lock_guard<std::mutex> lock(mutex_);
    Answer(connection, header.type, header.req_id, header.tx_id, body);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  connection.watches.clear();
}

void InMemoryXenstored::Send(Connection& connection, uint32_t type, uint32_t request, uint32_t transaction,
                             const std::string& body) {
  xsd_sockmsg header{};
  header.type = type;
  header.req_id = request;
  header.tx_id = transaction;
  header.len = body.size();
  const std::string bytes = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
  // A reader that is gone will not miss it.
  (void)send(connection.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void InMemoryXenstored::Answer(Connection& connection, uint32_t type, uint32_t request, uint32_t transaction,
                               const std::string& body) {
  const std::string ok("OK", 3), missing("ENOENT", 7);
  size_t at = 0;
  const std::string asked = TakeString(body, at);
  const std::string path = Absolute(asked);
  const auto reply = [&](const std::string& text) { Send(connection, type, request, transaction, text); };
  const auto fail = [&](const std::string& error) { Send(connection, XS_ERROR, request, transaction, error); };
  switch (type) {
    case XS_READ: {
      const auto found = nodes_.find(path);
      return found == nodes_.end() ? fail(missing) : reply(found->second);
    }
    case XS_WRITE:
      WriteLocked(path, body.substr(std::min(at, body.size())));
      return reply(ok);
    case XS_MKDIR:
      if (nodes_.count(path) == 0) WriteLocked(path, "");
      return reply(ok);
    case XS_RM:
      return RemoveLocked(path) ? reply(ok) : fail(missing);
    case XS_DIRECTORY: {
      if (nodes_.count(path) == 0) return fail(missing);
      std::set<std::string> names;
      for (auto node = nodes_.upper_bound(path); node != nodes_.end(); ++node) {
        if (IsBelow(node->first, path)) {
          names.insert(node->first.substr(path.size() + 1, node->first.find('/', path.size() + 1) - path.size() - 1));
        }
      }
      std::string listing;
      for (const std::string& name : names) listing += name + '\0';
      return reply(listing);
    }
    case XS_WATCH: {
      const std::string token = TakeString(body, at);
      connection.watches.emplace_back(asked, token);
      reply(ok);
      return Send(connection, XS_WATCH_EVENT, 0, 0, asked + '\0' + token + '\0');
    }
    case XS_UNWATCH: {
      const std::string token = TakeString(body, at);
      for (auto watch = connection.watches.begin(); watch != connection.watches.end(); ++watch) {
        if (watch->second == token) {
          connection.watches.erase(watch);
          break;
        }
      }
      return reply(ok);
    }
    case XS_TRANSACTION_START:
      return reply(std::string("1", 2));
    case XS_TRANSACTION_END:
    case XS_SET_PERMS:
      return reply(ok);
    default:
      return fail(std::string("ENOSYS", 7));
  }
}

std::string InMemoryXenstored::Absolute(const std::string& path) const {
  return !path.empty() && path[0] != '/' && path[0] != '@' ? absl::StrCat(home_, "/", path) : path;
}

void InMemoryXenstored::WriteLocked(const std::string& path, const std::string& value) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    nodes_.emplace(path.substr(0, slash), "");
  }
  nodes_[path] = value;
  Fire(path);
}

bool InMemoryXenstored::RemoveLocked(const std::string& path) {
  if (nodes_.count(path) == 0) return false;
  for (auto node = nodes_.lower_bound(path); node != nodes_.end();) {
    node = IsBelow(node->first, path) ? nodes_.erase(node) : std::next(node);
  }
  Fire(path);
  return true;
}

void InMemoryXenstored::Fire(const std::string& path) {
  for (Connection& connection : connections_) {
    for (const auto& [watched, token] : connection.watches) {
      const std::string absolute = Absolute(watched);
      if (!IsBelow(path, absolute)) continue;
      // Told in the terms in which it was asked for.
      Send(connection, XS_WATCH_EVENT, 0, 0, watched + path.substr(absolute.size()) + '\0' + token + '\0');
    }
  }
}

void InMemoryXenstored::Write(const std::string& path, const std::string& value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  WriteLocked(Absolute(path), value);
}

void InMemoryXenstored::Remove(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  RemoveLocked(Absolute(path));
}

std::optional<std::string> InMemoryXenstored::Read(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = nodes_.find(Absolute(path));
  if (found == nodes_.end()) return std::nullopt;
  return found->second;
}

}  // namespace romulus
