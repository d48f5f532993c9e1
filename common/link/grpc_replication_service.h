#ifndef ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_
#define ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/one_processor.h"
#include "common/link/secondary_session.h"
#include "common/link/session_acceptor.h"
#include "common/link/watch_thread.h"
#include "common/loop/scheduler.h"
#include "common/stream/block_pool.h"
#include "proto/replication/v1/replication.grpc.pb.h"

namespace romulus {

// Takes Replicate calls, with a server of its own, and hands each, once its OpenSession has come, to the acceptor on
// the scheduler's thread. A session costs a thread and a chunk from OpenSession on, and up to 4 MiB that its peer has
// sent and nobody taken; how many there can be, and for how long one may stay without OpenSession, is bounded: what is
// too much is refused with RESOURCE_EXHAUSTED. One thread does all of gRPC's work for all sessions: it reads, writes
// what a full socket has left over, and blocks nowhere else.
class GrpcReplicationService final : private SecondarySession::Host {
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
    // Once a session's seed is committed its messages are taken by the thread that serves gRPC, not by one of its own.
    bool one_processor = OneProcessor();
    // For tests, which spoil the page cache; on the thread that takes a session's messages.
    std::function<void(CheckpointDecoder*)> before_decode_for_test;
  };

  // Scheduler and acceptor outlive the service. Sessions reach the acceptor from the server's start on.
  GrpcReplicationService(Scheduler* scheduler, SessionAcceptor* acceptor, Options options);
  // Shuts down, and waits for the sessions' threads: no seed sink may block any more.
  ~GrpcReplicationService();

  // Starts the server: with the addresses of `builder`, and with bounds on message size, buffers, dead and idle
  // connections. False: gRPC has logged why it does not start. Once.
  bool Start(grpc::ServerBuilder* builder);
  // Takes no calls any more, and ends the sessions. May be called again.
  void Shutdown();

 private:
  // Messages as bytes: received_message.h, message_bytes.h.
  using Service =
      replication::v1::ReplicationService::WithRawMethod_Replicate<replication::v1::ReplicationService::Service>;

  // The serving thread: all that works for gRPC here, for all sessions.
  void Serve();
  void AwaitCall();
  void TakeCall();
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
  Service service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;  // Before the queue is empty it may not go.
  // The serving thread's own:
  std::shared_ptr<SecondarySession> awaited_;  // For the next call; null once there will be none.
  int calls_ = 0;                              // That gRPC is not done with.
  std::thread serving_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_GRPC_REPLICATION_SERVICE_H_
