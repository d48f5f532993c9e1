#ifndef ROMULUS_COMMON_LINK_REPLICATION_LINK_CONTRACT_H_
#define ROMULUS_COMMON_LINK_REPLICATION_LINK_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/link/replication_link.h"
#include "common/link/session_acceptor.h"
#include "common/stream/memory_checkpoint.h"
#include "gtest/gtest.h"

namespace romulus {

// A checkpoint that comes to be while it is sent.
class GrowingCheckpoint {
 public:
  virtual ~GrowingCheckpoint() = default;
  // Its Read waits for Append, Finish or Cancel.
  virtual std::shared_ptr<CheckpointReader> reader() = 0;
  virtual void Append(const std::string& bytes) = 0;
  virtual void Finish() = 0;
  virtual bool cancelled() const = 0;
};

// Two hosts and the network between them, for ReplicationLinkContract.
class LinkHarness {
 public:
  virtual ~LinkHarness() = default;

  // The secondary's agent: new sessions reach `acceptor`. Once, first.
  virtual void Listen(SessionAcceptor* acceptor) = 0;
  // That agent has gone, with all its links: what connects is refused.
  virtual void StopListening() = 0;
  // Instead of the secondary's agent: a peer that says `messages` in answer to OpenSession, and then nothing more.
  virtual void ListenAsStranger(std::vector<replication::v1::SecondaryMessage> messages) = 0;
  // On the primary's host. A secondary that is alive has only a short time to accept where `impatient`.
  virtual std::unique_ptr<PrimaryLink> NewPrimaryLink(bool impatient) = 0;
  // A peer that opens a session as a primary would, awaits its acceptance, says `messages`, and then hangs up or waits;
  // returns what it was told at the end of the call.
  virtual absl::Status TellSecondary(const replication::v1::PrimaryMessage& open,
                                     const std::vector<replication::v1::PrimaryMessage>& messages, bool hang_up) = 0;
  virtual std::unique_ptr<GrowingCheckpoint> NewGrowingCheckpoint() = 0;

  // Serves both agents until `condition`. False: it gave up.
  virtual bool RunUntil(const std::function<bool()>& condition) = 0;
  // Serves them until everything that is under way has come.
  virtual void Settle() = 0;
  // Time passes for the network, while neither agent's loop runs.
  virtual void LetArrive() = 0;

  // Nothing gets through, and nothing is lost, until Heal.
  virtual void Partition(bool to_secondary, bool to_primary) = 0;
  virtual void ResetConnections() = 0;
};

// What every pair of links keeps. A test binary instantiates it with its harness.
class ReplicationLinkContract : public ::testing::TestWithParam<std::function<std::unique_ptr<LinkHarness>()>>,
                                public SessionAcceptor {
 protected:
  static constexpr uint64_t kGeneration = 7;

  // Checks of every callback: on the test's thread, not from within a call, not after OnClosed.
  class Watched {
   public:
    explicit Watched(ReplicationLinkContract* contract) : contract_(contract) {}
    bool is_closed() const { return !closed.empty(); }

    std::vector<absl::Status> closed;

   protected:
    void OnCallback();
    ReplicationLinkContract* const contract_;
  };

  class Primary final : public PrimaryLink::Observer, public Watched {
   public:
    using Watched::Watched;
    void OnMessage(const replication::v1::SecondaryMessage& message) override;
    void OnCheckpointSent(uint64_t epoch) override;
    void OnClosed(absl::Status status) override;
    bool accepted() const { return !messages.empty() && messages[0].has_session_accepted(); }
    uint64_t committed() const;
    void Send(const std::string& stop_reason);
    void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader,
                        replication::v1::AfterCheckpoint after = replication::v1::STANDBY_WAITS);
    // StandbyInput of checkpoint `epoch`, with one frame.
    bool SendTraffic(uint64_t epoch, const std::string& frame);
    bool tell_when_sent = true;  // Of those that follow.
    void Close();

    std::vector<replication::v1::SecondaryMessage> messages;
    std::vector<uint64_t> sent;  // Epochs.
    std::function<void()> on_message;
    std::unique_ptr<PrimaryLink> link;
  };

  class Secondary final : public SecondaryLink::Observer, public Watched {
   public:
    using Watched::Watched;
    void OnMessage(const replication::v1::PrimaryMessage& message) override;
    void OnSeeded(std::string tail, replication::v1::AfterCheckpoint after) override;
    void OnCheckpoint(uint64_t epoch, CheckpointBytes bytes, replication::v1::AfterCheckpoint after) override;
    void OnClosed(absl::Status status) override;
    void Accept();
    void Commit(uint64_t epoch);
    void SendFence(uint64_t next_generation);
    // StandbyOutput.
    bool SendTraffic(uint64_t epoch, const std::string& frame);
    void Close(absl::Status status);

    // Sends the commit of what has come.
    bool commits = true;
    replication::v1::PrimaryMessage open;
    std::vector<replication::v1::PrimaryMessage> messages;
    std::function<void()> on_message;
    std::shared_ptr<MemoryCheckpointSink> sink = std::make_shared<MemoryCheckpointSink>();
    std::string tail;
    uint64_t epoch = 0;  // The last that came.
    std::vector<std::string> checkpoints;
    std::vector<replication::v1::AfterCheckpoint> afters;  // Of the same.
    std::unique_ptr<SecondaryLink> link;
  };

  ~ReplicationLinkContract() override;
  void TearDown() override;

  void OnSession(const replication::v1::PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) override;

  replication::v1::OpenSession OpenSession(uint32_t heartbeat_ms = 20, uint32_t timeout_ms = 30'000) const;
  replication::v1::PrimaryMessage OpenMessage() const;
  void Open(const replication::v1::OpenSession& open, bool impatient = false);
  void Open() { Open(OpenSession()); }
  // Listens, opens, and runs until the session is accepted.
  void Connect(const replication::v1::OpenSession& open);
  void Connect() { Connect(OpenSession()); }
  void SendAndAwaitCommit(uint64_t epoch, const std::string& bytes);
  void RunUntil(const std::function<bool()>& condition);
  void RunUntilBothClosed();
  // Says what a primary would on the way of `bytes`, in chunks of `chunk_bytes`, ending with the trailer.
  static std::vector<replication::v1::PrimaryMessage> MessagesOf(uint64_t epoch, const std::string& bytes,
                                                                 size_t chunk_bytes);
  Secondary& secondary() { return *secondaries_.back(); }

  const std::thread::id thread_ = std::this_thread::get_id();
  int calls_ = 0;  // In progress.
  int callbacks_ = 0;
  enum class Answer { kAccept, kLater, kLetGo, kRefuse };
  Answer answer_ = Answer::kAccept;
  bool commits_ = true;
  absl::Status sink_status_;

  const std::unique_ptr<LinkHarness> harness_ = GetParam()();
  std::vector<std::unique_ptr<Secondary>> secondaries_;
  Primary primary_{this};
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_REPLICATION_LINK_CONTRACT_H_
