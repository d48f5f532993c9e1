#ifndef ROMULUS_COMMON_DEVICES_IN_MEMORY_XENSTORED_H_
#define ROMULUS_COMMON_DEVICES_IN_MEMORY_XENSTORED_H_

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"

namespace romulus {

// A xenstored for tests, by its wire protocol (docs/misc/xenstore.txt): nodes, watches, and transactions that neither
// isolate nor fail. No permissions. While it lives, Xenstore::Open() of this process connects to it.
class InMemoryXenstored {
 public:
  // `self`: whose relative paths they are.
  explicit InMemoryXenstored(uint32_t self);
  ~InMemoryXenstored();
  InMemoryXenstored(const InMemoryXenstored&) = delete;
  InMemoryXenstored& operator=(const InMemoryXenstored&) = delete;

  void Write(const std::string& path, const std::string& value);
  void Remove(const std::string& path);
  std::optional<std::string> Read(const std::string& path);

 private:
  struct Connection {
    UniqueFd socket;
    std::thread thread;
    std::vector<std::pair<std::string, std::string>> watches;  // As asked for: path, token.
  };
  void Accept();
  void Serve(Connection& connection);
  void Answer(Connection& connection, uint32_t type, uint32_t request, uint32_t transaction, const std::string& body);
  void Send(Connection& connection, uint32_t type, uint32_t request, uint32_t transaction, const std::string& body);
  std::string Absolute(const std::string& path) const;
  void WriteLocked(const std::string& path, const std::string& value);
  bool RemoveLocked(const std::string& path);
  void Fire(const std::string& path);

  const std::string home_;
  std::string socket_path_;
  UniqueFd listener_;
  std::thread acceptor_;
  std::mutex mutex_;
  std::map<std::string, std::string> nodes_;  // Guarded by mutex_, as what follows.
  std::list<Connection> connections_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_IN_MEMORY_XENSTORED_H_
