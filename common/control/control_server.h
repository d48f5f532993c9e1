#ifndef ROMULUS_COMMON_CONTROL_CONTROL_SERVER_H_
#define ROMULUS_COMMON_CONTROL_CONTROL_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace romulus {

// An agent's gRPC server: its services, the standard health service (SERVING for "" and for every service), and server
// reflection, so that a client needs no .proto files.
class ControlServer {
 public:
  // Serves at once on `address` ("host:port"; port 0 picks one). The services must outlive the server.
  // FAILED_PRECONDITION if the address can't be bound.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Start(const std::string& address,
                                                              const std::vector<grpc::Service*>& services);
  // Cancels the calls that are still open.
  ~ControlServer();

  int port() const { return port_; }

 private:
  ControlServer(std::unique_ptr<grpc::Server> server, int port) : server_(std::move(server)), port_(port) {}

  std::unique_ptr<grpc::Server> server_;
  int port_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_CONTROL_SERVER_H_
