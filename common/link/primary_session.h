#ifndef ROMULUS_COMMON_LINK_PRIMARY_SESSION_H_
#define ROMULUS_COMMON_LINK_PRIMARY_SESSION_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "common/codec/checkpoint_pipeline.h"
#include "common/codec/rewindable_reader.h"
#include "common/link/checkpoint_messages.h"
#include "common/link/grpc_primary_link.h"
#include "common/link/link_monitor.h"
#include "common/link/observer_slot.h"
#include "common/link/outgoing_queue.h"
#include "common/stream/checkpoint_reader.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The gRPC call behind a GrpcPrimaryLink. Nothing reaches the observer or the scheduler once the link has let go
// (Abandon), and gRPC is done with it by then. It has a completion queue of its own, and one thread (Serve) that is all
// that works for gRPC here: it reads, writes what a full socket has left over, beats and watches for silence. It never
// blocks elsewhere. Checkpoints are made into messages by one thread at a time (Advance): the sender, or without a
// switch of threads whoever finds that one can be made (Options::one_processor). mutex_ guards everything that is not
// const, except what belongs to that one thread.
class PrimarySession final : public std::enable_shared_from_this<PrimarySession> {
 public:
  PrimarySession(Scheduler* scheduler, GrpcPrimaryLink::Options options, uint64_t generation,
                 PrimaryLink::Observer* observer);
  ~PrimarySession() = default;

  // From the scheduler's thread:
  void Start(const replication::v1::OpenSession& open_session);
  void Send(replication::v1::PrimaryMessage message);
  bool SendTraffic(replication::v1::PrimaryMessage message);
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                      replication::v1::AfterCheckpoint after);
  void Close();
  // No callback from here on. Joins the link's threads.
  void Abandon();
  uint64_t sent_bytes() const;
  LinkEncoding encoding() const;

 private:
  struct Checkpoint {
    uint64_t epoch = 0;
    std::shared_ptr<CheckpointReader> reader;
    bool tell_when_sent = false;
    replication::v1::AfterCheckpoint after = replication::v1::AFTER_CHECKPOINT_UNSPECIFIED;
    // Of an encoded checkpoint: reader, if it can be read again.
    std::shared_ptr<RewindableReader> rewindable;
    uint32_t attempt = 0;
    absl::Duration begun_at;
    uint64_t sent_bytes = 0;
    absl::Duration waited_for_encoder;
  };
  // The checkpoint that is being made into messages. Its advancer's own, but for message.
  struct Sending {
    Checkpoint checkpoint;
    bool again = false;  // The secondary has asked for it.
    std::unique_ptr<CheckpointMessages> messages;
    std::optional<CheckpointMessages::Message> message;  // The next one, once it is made.
  };
  // Takes messages as bytes (message_bytes.h), gives them parsed.
  using Stub = grpc::TemplatedGenericStub<grpc::ByteBuffer, replication::v1::SecondaryMessage>;

  // More than this many messages that the observer has not taken: no further one is read.
  static constexpr int kUndeliveredMax = 64;

  // The operations that a call can have outstanding, one of each; their tags in the completion queue.
  enum class Operation : intptr_t { kRead, kWrite, kFinish };

  static void* TagOf(Operation operation) { return reinterpret_cast<void*>(static_cast<intptr_t>(operation)); }

  // The serving thread.
  void Serve();
  void OnReadDone(bool ok);
  void OnWriteDone(bool ok);
  void OnFinished();
  absl::Duration Tick(absl::Duration now);
  // The sender thread.
  void SendCheckpoints();
  // Makes messages and queues them until nothing can be done or `enough` holds; none, if another thread is at it, which
  // then goes on. mutex_ is held by `lock`, and let go meanwhile.
  void Advance(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough);
  // If what is next is not for the sender. From the scheduler's thread, which other links wait for, until something is
  // in flight; from the serving one, which gRPC waits for, until a message waits beside that.
  void AdvanceHere(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough);
  // Advance's steps, each with the lock held at its begin and end:
  void Begin(std::unique_lock<std::mutex>& lock);
  void MakeMessage(std::unique_lock<std::mutex>& lock);
  void QueueMessage(std::unique_lock<std::mutex>& lock);
  void EndSending(std::unique_lock<std::mutex>& lock);
  // With mutex_ held:
  bool CanAdvanceLocked() const;
  // What can be advanced is the sender thread's: it may block, or another processor can do it.
  bool IsForSenderLocked() const;
  bool SenderIsNeededLocked() const { return !advancing_ && CanAdvanceLocked() && IsForSenderLocked(); }
  void CloseLocked(absl::Status status);
  void ReceiveLocked();
  absl::Status AcceptLocked(const replication::v1::SessionAccepted& accepted);
  void CommittedLocked(uint64_t epoch);
  absl::Status ResendLocked(const replication::v1::ResendCheckpoint& resend);
  void PostLocked(std::function<void(PrimaryLink::Observer*)> call);
  void ReadLocked();
  void WriteLocked();
  void FinishLocked();
  absl::Status CheckTimesLocked(absl::Duration now);
  absl::Status Explain(const grpc::Status& status) const;

  Scheduler* const scheduler_;
  const GrpcPrimaryLink::Options options_;
  const uint64_t generation_;
  const std::shared_ptr<ObserverSlot<PrimaryLink::Observer>> observer_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<grpc::ByteBuffer, replication::v1::SecondaryMessage>> call_;
  grpc::Status call_status_;  // gRPC's until the call is finished.
  std::optional<LinkMonitor> monitor_;
  absl::Duration opened_at_;
  bool closed_ = false;               // OnClosed was posted, or the link has gone.
  std::atomic<bool> stopped_{false};  // closed_, for who may not wait for mutex_.
  bool reading_ = false;              // A read is outstanding.
  bool open_ = false;                 // Reads and writes may be started: from Start until Finish was.
  bool heard_ = false;                // Anything from the peer.
  bool accepted_ = false;             // SessionAccepted came.
  std::atomic<int> undelivered_{0};   // Messages; grows under mutex_, falls on the loop's thread.
  replication::v1::SecondaryMessage incoming_;
  OutgoingQueue<grpc::ByteBuffer> outgoing_;
  // The checkpoint whose last chunk is the last in outgoing_, if the observer is to be told when that is written.
  std::optional<uint64_t> last_chunk_of_;
  std::deque<Checkpoint> checkpoints_;  // The first is being sent.
  std::optional<Sending> sending_;
  bool advancing_ = false;  // A thread is in Advance.
  // Of an encoded session: the one that was begun last, until it is committed.
  std::optional<Checkpoint> uncommitted_;
  bool resend_ = false;  // It is to be sent again.
  uint64_t committed_ = 0;
  uint64_t resent_ = 0;
  uint64_t link_bytes_per_second_ = 0;  // Measured; 0: not yet.
  replication::v1::Codec codec_ = replication::v1::CODEC_UNSPECIFIED;
  bool trailer_in_data_ = false;                  // The secondary knows CheckpointData.trailer.
  std::unique_ptr<CheckpointPipeline> pipeline_;  // Once PAGE_BLOCKS was accepted; stays.
  uint32_t chunk_bytes_;
  std::atomic<uint64_t> sent_bytes_{0};  // Grows under mutex_.
  std::thread sender_;
  std::thread serving_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_PRIMARY_SESSION_H_
