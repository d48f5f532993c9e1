#ifndef ROMULUS_COMMON_LINK_LOOPBACK_PROXY_H_
#define ROMULUS_COMMON_LINK_LOOPBACK_PROXY_H_

#include <array>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"

namespace romulus {

// The network between two TCP peers on this machine, for tests: passes bytes on, or holds them back, each way, or cuts
// the connections. A thread of its own; thread safe.
class LoopbackProxy {
 public:
  // Connects to 127.0.0.1:`target_port` whatever connects to it.
  explicit LoopbackProxy(int target_port);
  ~LoopbackProxy();

  int port() const { return port_; }
  // Holds back what the connecting side says, and what it is told.
  void Hold(bool from_client, bool to_client);
  // Both ends of every connection are reset.
  void Reset();

 private:
  static constexpr int kWays = 2;
  struct Connection {
    // By which way reads from it.
    std::array<UniqueFd, kWays> ends;
    std::array<bool, kWays> ended = {false, false};
  };

  void Run();
  void Accept();
  // False: the connection is over.
  bool Pass(Connection& connection, int way);
  void Wake();

  const int target_port_;
  UniqueFd listener_;
  UniqueFd wake_;
  int port_ = 0;
  std::mutex mutex_;
  std::array<bool, kWays> held_ = {false, false};  // Guarded by mutex_, as the next two.
  bool reset_ = false;
  bool stopped_ = false;
  std::vector<Connection> connections_;  // The thread's own.
  std::thread thread_;                   // Last: it uses the others.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_LOOPBACK_PROXY_H_
