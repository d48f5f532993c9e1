#ifndef ROMULUS_COMMON_LINK_SECONDARY_SESSION_H_
#define ROMULUS_COMMON_LINK_SECONDARY_SESSION_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/codec/checkpoint_decoder.h"
#include "common/codec/growable_bytes.h"
#include "common/link/link_monitor.h"
#include "common/link/observer_slot.h"
#include "common/link/outgoing_queue.h"
#include "common/link/received_message.h"
#include "common/link/replication_link.h"
#include "common/link/session_acceptor.h"
#include "common/loop/scheduler.h"
#include "common/stream/block_pool.h"
#include "common/stream/checkpoint_assembler.h"
#include "common/stream/checkpoint_bytes.h"
#include "proto/replication/v1/replication.grpc.pb.h"

namespace romulus {

// One Replicate call on the secondary, from its acceptance until gRPC and the session's thread are both done with it.
// What gRPC has done comes through OnDone, on the thread that serves its completion queue, and never blocks here; the
// receiver thread exists from OpenSession on; mutex_ guards everything that is not const, except what is the receiver's
// own: the thread's that takes messages (taking_).
class SecondarySession final : public std::enable_shared_from_this<SecondarySession> {
 public:
  using Stream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;
  // What a call can have outstanding, one of each.
  enum class Operation { kAccept, kRead, kWrite, kFinish, kCall };
  // A tag in the completion queue.
  struct Tag {
    SecondarySession* session;
    Operation operation;
  };
  struct Options {
    uint32_t chunk_bytes_max = 0;
    // Where checkpoints are held.
    std::shared_ptr<BlockPool> pool;
    // For the first message to come.
    absl::Duration open_timeout;
    // For what a primary encodes against; 0: no cache.
    uint64_t page_cache_bytes_max = 0;
    // Takes no encoded checkpoints.
    bool raw_only = false;
    // Nothing is won by handing messages to the receiver thread, unless they may block: the thread that serves gRPC
    // takes them itself once the seed is committed.
    bool one_processor = false;
    // For tests, which spoil the page cache; on the thread that takes a session's messages.
    std::function<void(CheckpointDecoder*)> before_decode_for_test;
  };
  class Host {
   public:
    virtual ~Host() = default;
    // The session's first message is valid: may it go on? It counts already. From OnDone.
    virtual absl::Status Admit(const std::string& protection) = 0;
    // Calls Tick soon. Any thread.
    virtual void Wake() = 0;
  };

  // `host` and `scheduler` outlive gRPC's and the receiver thread's use of this object.
  SecondarySession(Scheduler* scheduler, SessionAcceptor* acceptor, Host* host, Options options);
  ~SecondarySession();

  // For the call to come, which tag_of(kAccept) announces.
  grpc::ServerContext* context() { return &context_; }
  Stream* stream() { return &stream_; }
  void* tag_of(Operation operation) { return &tags_[static_cast<size_t>(operation)]; }

  // The call has come. Begins to read; the object is owned by a shared_ptr by now.
  void Begin();
  // The call has come, and is ended with `status`.
  void Refuse(const absl::Status& status);
  // `operation`, not kAccept, is over. Returns whether it was the call's last. On the thread that serves the queue.
  bool OnDone(Operation operation, bool ok);
  // From the host's watch thread; returns when to call again.
  absl::Duration Tick(absl::Duration now);
  // Neither gRPC nor the receiver thread uses this object any more.
  bool Finished() const;
  // Waits for the receiver thread. Once, by the host, when Finished or when no sink can block any more.
  void Join();
  // From a valid OpenSession on; empty before and once the session is closed.
  std::string open_protection() const;

  // For GrpcSecondaryLink, on the scheduler's thread:
  void SetObserver(SecondaryLink::Observer* observer);
  void SetSeedSink(std::shared_ptr<CheckpointSink> sink);
  void Send(replication::v1::SecondaryMessage message);
  bool SendTraffic(replication::v1::SecondaryMessage message);
  void Close(absl::Status status);
  // No callback from here on.
  void Abandon();
  absl::Duration silence() const;
  uint64_t received_bytes() const;

 private:
  // How long the peer may take to read our last messages.
  static constexpr absl::Duration kFlushTimeout = absl::Seconds(1);
  // More than this many callbacks that the observer has not taken: the receiver waits.
  static constexpr int kUndeliveredMax = 16;
  // Messages that gRPC has given and the receiver has not taken yet: so many, it reads no more.
  static constexpr size_t kReceivedMax = 2;

  void OnReadDone(bool ok);
  void OnWriteDone(bool ok);
  void OnCallOver();

  // The session's first message.
  void Open(const grpc::ByteBuffer& bytes);
  void Receive();
  // Takes the messages that are there. mutex_ is held by `lock`, and let go meanwhile.
  void TakeReceived(std::unique_lock<std::mutex>& lock);
  bool CanTakeLocked() const { return !taking_ && !received_.empty() && undelivered_ < kUndeliveredMax; }
  // It may block: the seed goes to where the standby is made.
  bool IsForReceiverLocked() const { return !options_.one_processor || committed_ == 0; }
  // On the thread that takes messages, without mutex_.
  absl::Status Take(const grpc::ByteBuffer& bytes);
  absl::Status TakeData(const replication::v1::CheckpointData& data, CheckpointBytes::Pieces payload);
  absl::Status TakeTrailer(const replication::v1::CheckpointTrailer& trailer);
  absl::StatusOr<absl::Span<const char>> Decode(CheckpointBytes::Pieces payload);
  // Whether this attempt is over; an error: it was never asked for.
  absl::StatusOr<bool> IsStale(uint64_t epoch, uint32_t attempt) const;
  // Asks for the checkpoint once more, if it can be; else DATA_LOSS.
  absl::Status Resend(uint64_t epoch, absl::string_view reason);
  void Post(std::function<void(SecondaryLink::Observer*)> call);

  // With mutex_ held:
  void CloseLocked(absl::Status to_primary, absl::Status to_observer);
  void ReadLocked();
  // Writes what is next; once closed and all is written, finishes the call.
  void ProceedLocked();

  Scheduler* const scheduler_;
  SessionAcceptor* const acceptor_;
  Host* const host_;
  const Options options_;
  Tag tags_[5];
  const std::shared_ptr<ObserverSlot<SecondaryLink::Observer>> observer_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  grpc::ServerContext context_;
  Stream stream_{&context_};
  int outstanding_ = 1;  // Operations; from the first, the call itself.
  bool ended_ = false;   // gRPC is done with this object.
  absl::Duration begun_at_;
  absl::Duration closed_at_;
  bool opened_ = false;
  bool closed_ = false;     // OnClosed was posted.
  bool finishing_ = false;  // Finish was called.
  bool reading_ = false;    // A read is outstanding.
  bool receiver_ended_ = true;
  bool taking_ = false;  // A thread takes messages.
  int undelivered_ = 0;
  grpc::Status finish_status_;
  grpc::ByteBuffer incoming_;              // gRPC's while reading_.
  std::deque<grpc::ByteBuffer> received_;  // For the receiver thread.
  OutgoingQueue<grpc::ByteBuffer> outgoing_;
  uint64_t generation_ = 0;
  std::string protection_;
  std::optional<LinkMonitor> monitor_;
  std::shared_ptr<CheckpointSink> new_sink_;  // On its way to the assembler.
  bool blocks_offered_ = false;               // OpenSession has PAGE_BLOCKS.
  uint64_t cache_bytes_offered_ = 0;
  std::unique_ptr<CheckpointDecoder> new_decoder_;  // On its way to the receiver.
  uint64_t committed_ = 0;
  uint64_t received_bytes_ = 0;

  // The receiver's own.
  ReceivedMessage message_;
  std::optional<CheckpointAssembler> assembler_;
  std::unique_ptr<CheckpointDecoder> decoder_;  // Null: checkpoints come as they are.
  GrowableBytes block_;                         // A block that came in pieces.
  GrowableBytes decoded_;
  uint64_t resend_epoch_ = 0;  // The last that was asked for again.
  std::thread receiver_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_SECONDARY_SESSION_H_
