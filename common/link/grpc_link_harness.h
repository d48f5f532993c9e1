#ifndef ROMULUS_COMMON_LINK_GRPC_LINK_HARNESS_H_
#define ROMULUS_COMMON_LINK_GRPC_LINK_HARNESS_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/codec/checkpoint_decoder.h"
#include "common/codec/encoding_pool.h"
#include "common/link/grpc_replication_service.h"
#include "common/link/loopback_proxy.h"
#include "common/link/replication_link_contract.h"
#include "common/loop/event_loop.h"

namespace romulus {

// The real side of the seam: gRPC over loopback TCP, on one event loop for both agents.
class GrpcLinkHarness final : public LinkHarness {
 public:
  struct Options {
    // Null: checkpoints go as they are.
    std::shared_ptr<EncodingPool> encoding_pool;
    // The secondary takes them only as they are.
    bool raw_only = false;
    // Both ends take themselves to have one processor.
    bool one_processor = false;
    std::function<void(CheckpointDecoder*)> before_decode;
  };
  GrpcLinkHarness();
  explicit GrpcLinkHarness(Options options);
  ~GrpcLinkHarness() override;

  void Listen(SessionAcceptor* acceptor) override;
  void StopListening() override;
  void ListenAsStranger(std::vector<replication::v1::SecondaryMessage> messages) override;
  std::unique_ptr<PrimaryLink> NewPrimaryLink(bool impatient) override;
  absl::Status TellSecondary(const replication::v1::PrimaryMessage& open,
                             const std::vector<replication::v1::PrimaryMessage>& messages, bool hang_up) override;
  std::unique_ptr<GrowingCheckpoint> NewGrowingCheckpoint() override;
  bool RunUntil(const std::function<bool()>& condition) override;
  void Settle() override;
  void LetArrive() override;
  void Partition(bool to_secondary, bool to_primary) override;
  void ResetConnections() override;

 private:
  // A server with a service of its own, behind a proxy.
  struct Host;
  std::unique_ptr<Host> NewHost(EventLoop* loop, SessionAcceptor* acceptor) const;
  // Sessions of their own on `loop`, from their beginning to their end.
  void RunOtherSessions(EventLoop* loop) const;

  const Options options_;
  const std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Host> host_;
  std::string address_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_GRPC_LINK_HARNESS_H_
