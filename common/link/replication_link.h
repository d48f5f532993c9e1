#ifndef ROMULUS_COMMON_LINK_REPLICATION_LINK_H_
#define ROMULUS_COMMON_LINK_REPLICATION_LINK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/stream/checkpoint_bytes.h"
#include "common/codec/encoding_counts.h"
#include "common/stream/checkpoint_reader.h"
#include "common/stream/checkpoint_sink.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The seam for the link between the agents: one session of one protection, on either side.
// Real side: a gRPC bidi stream (GrpcPrimaryLink, GrpcSecondaryLink). Simulated side: an ordered, lossy, delayed,
// partitioned one on the virtual clock, which carries the same serialized messages. Both pass the contract suite of
// replication_link_contract.h.
//
// Heartbeats and the watch for silence live inside the link (LinkMonitor, a pure class that both sides of the seam
// use): a link that is silent for link_timeout closes itself with UNAVAILABLE.
// All calls and callbacks are on the scheduler's thread; callbacks never come from within a call. Calls may be made
// from within callbacks, but an end is not destroyed by one of its own. OnClosed comes exactly once, and nothing after
// it; after Close, only OnClosed comes. Calls after either have no effect. An end that is destroyed calls nobody any
// more; if it was open, it is UNAVAILABLE to its peer. The link stamps every message with the session's generation.

// How a session's checkpoints go over the wire.
struct LinkEncoding {
  // Unspecified until the secondary has accepted.
  replication::v1::Codec codec = replication::v1::CODEC_UNSPECIFIED;
  // With PAGE_BLOCKS:
  EncodingCounts counts;
  uint64_t page_cache_bytes = 0;  // Memory in use for it, here.
  uint64_t checkpoints_resent = 0;
};

// The primary's end.
class PrimaryLink {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // Everything but heartbeats.
    virtual void OnMessage(const replication::v1::SecondaryMessage& message) = 0;
    // All of checkpoint `epoch`, with tell_when_sent, was given to the network. Its commit may overtake this; a
    // checkpoint that the secondary asks for again is sent again.
    virtual void OnCheckpointSent(uint64_t epoch) = 0;
    // Codes as in replication.proto, of what ended it first. A secondary that closes with OK or CANCELLED is
    // UNAVAILABLE, too. INVALID_ARGUMENT also: open_session's times are out of bounds, or the secondary sent a message
    // of another generation or of no known kind. INTERNAL: a reader gave something that is no checkpoint. CANCELLED:
    // Close.
    virtual void OnClosed(absl::Status status) = 0;
  };

  virtual ~PrimaryLink() = default;

  // Connects and sends OpenSession; SessionAccepted or OnClosed follows. A peer that can't be reached or says nothing
  // costs link_timeout; one that is alive (it heartbeats while it makes the domain) has 30 s to accept.
  virtual void Open(uint64_t generation, const replication::v1::OpenSession& open_session, Observer* observer) = 0;

  // Sends checkpoint `epoch`: data in chunks as `reader` gives it, then the trailer. One at a time, in order, after
  // SessionAccepted and the commit of the one before. If the reader fails, the trailer is never sent and the link stays
  // open; whoever owns the reader knows why. At its end the link cancels the reader that it still has.
  // tell_when_sent: OnCheckpointSent follows, which takes a turn of the scheduler.
  // after: what the standby does then, said in the trailer.
  virtual void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                              replication::v1::AfterCheckpoint after) = 0;

  // Sends a message between two chunks. `message.generation` is set by the link.
  virtual void Send(replication::v1::PrimaryMessage message) = 0;

  // Copies of the guest's frames and what belongs to them (StandbyInput, SequenceOffset): in order among themselves, as
  // such messages are sent, but behind every message of Send that waits, and in turn with a checkpoint's chunks. Never
  // waits. False: more wait already than the link keeps (some MiB), and this one is dropped, or the link is closed. A
  // SequenceOffset is not dropped: who sends them bounds their number (comparison::Settings::offsets_per_epoch_max).
  [[nodiscard]] virtual bool SendTraffic(replication::v1::PrimaryMessage message) = 0;

  // Ends the session without a word; OnClosed(CANCELLED) follows. What was sent just before may not arrive.
  virtual void Close() = 0;

  // Of checkpoints.
  virtual uint64_t sent_bytes() const = 0;
  virtual LinkEncoding encoding() const { return {}; }
};

// The secondary's end. Assembles and verifies checkpoints (CheckpointAssembler).
class SecondaryLink {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // Everything but heartbeats, checkpoint data and trailers. Also a message with another generation than the
    // session's: the receiver of it decides. Without a checkpoint's payload.
    virtual void OnMessage(const replication::v1::PrimaryMessage& message) = 0;
    // Checkpoint 1 has arrived and verified; all of it but `tail` went into the seed sink. `after` as its trailer says,
    // here and below; it may be a value that nobody knows.
    virtual void OnSeeded(std::string tail, replication::v1::AfterCheckpoint after) = 0;
    // Checkpoint `epoch` has arrived and verified.
    virtual void OnCheckpoint(uint64_t epoch, CheckpointBytes bytes, replication::v1::AfterCheckpoint after) = 0;
    // The link is gone: UNAVAILABLE (peer, network, or a seed sink that has failed), DATA_LOSS (a checkpoint did not
    // verify), INVALID_ARGUMENT (protocol broken, the message says how), CANCELLED (after Close). The primary is told
    // the same, but for the last. What came just before may not have been told.
    virtual void OnClosed(absl::Status status) = 0;
  };

  virtual ~SecondaryLink() = default;

  // Once, first, from within SessionAcceptor::OnSession (session_acceptor.h), which hands the link over.
  virtual void Start(Observer* observer) = 0;
  // Checkpoint 1's bytes go into `sink` from now on; call before sending SessionAccepted.
  virtual void SetSeedSink(std::shared_ptr<CheckpointSink> sink) = 0;
  virtual void Send(replication::v1::SecondaryMessage message) = 0;
  // As PrimaryLink::SendTraffic: StandbyOutput.
  [[nodiscard]] virtual bool SendTraffic(replication::v1::SecondaryMessage message) = 0;
  // Ends the call with `status` as seen by the primary, after what was sent before; OnClosed(CANCELLED) follows here.
  virtual void Close(absl::Status status) = 0;
  // Since the last message from the primary.
  virtual absl::Duration silence() const = 0;
  // Of all messages.
  virtual uint64_t received_bytes() const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_REPLICATION_LINK_H_
