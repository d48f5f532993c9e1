#ifndef ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_
#define ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/link/secondary_session.h"
#include "common/link/session_acceptor.h"
#include "common/link/watch_thread.h"
#include "common/loop/scheduler.h"
#include "common/stream/block_pool.h"
#include "proto/replication/v1/replication.grpc.pb.h"

namespace romulus {

// Takes Replicate calls and hands each, once its OpenSession has come, to the acceptor on the scheduler's thread.
// A session costs a thread and a chunk from OpenSession on; how many there can be, and for how long one may stay
// without OpenSession, is bounded: what is too much is refused with RESOURCE_EXHAUSTED.
class GrpcReplicationService final : public replication::v1::ReplicationService::WithRawCallbackMethod_Replicate<
                                         replication::v1::ReplicationService::Service>,
                                     private SecondarySession::Host {
 public:
  struct Options {
    int sessions_max = 64;
    // One that is alive, and those that a broken network has left until their silence is noticed.
    int sessions_per_protection_max = 4;
    uint32_t chunk_bytes_max = 1 << 20;
    absl::Duration open_timeout = absl::Seconds(5);
    // What a session may take of this host's memory for the page cache that checkpoints are encoded against.
    uint64_t page_cache_bytes_max = uint64_t{256} << 20;
    // Takes checkpoints only as they are: each session's choice is RAW.
    bool raw_only = false;
    // For tests, which spoil the page cache; on a receiver's thread.
    std::function<void(CheckpointDecoder*)> before_decode_for_test;
  };

  // Scheduler and acceptor outlive the service. Sessions reach the acceptor from the server's start on.
  GrpcReplicationService(Scheduler* scheduler, SessionAcceptor* acceptor, Options options);
  // After the server's Shutdown. Waits for the sessions' threads: no seed sink may block any more.
  ~GrpcReplicationService() override;

  // Bounds for the server that this service is registered with: message size, buffers, dead and idle connections.
  static void Configure(const Options& options, grpc::ServerBuilder* builder);

  // Messages as bytes: received_message.h, message_bytes.h.
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Replicate(grpc::CallbackServerContext* context) override;

 private:
  absl::Status Admit(const std::string& protection) override;
  void Wake() override;
  absl::Duration Tick(absl::Duration now);

  Scheduler* const scheduler_;
  SessionAcceptor* const acceptor_;
  const Options options_;
  const std::shared_ptr<BlockPool> pool_ = BlockPool::New();
  std::mutex mutex_;
  std::vector<std::shared_ptr<SecondarySession>> sessions_;  // Guarded by mutex_.
  WatchThread watch_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_
