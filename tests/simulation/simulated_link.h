#ifndef ROMULUS_TESTS_SIMULATION_SIMULATED_LINK_H_
#define ROMULUS_TESTS_SIMULATION_SIMULATED_LINK_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/link/link_monitor.h"
#include "common/link/replication_link.h"
#include "common/stream/checkpoint_assembler.h"
#include "common/stream/checkpoint_chunker.h"
#include "tests/simulation/network.h"
#include "tests/simulation/process.h"

namespace romulus::simulation {

// The two pipes of one session's connection.
struct Connection {
  std::shared_ptr<Pipe> to_secondary;
  std::shared_ptr<Pipe> to_primary;
};

// The simulated links carry the same serialized messages as the real ones, cut and verified by the same code
// (CheckpointChunker, CheckpointAssembler) and watched by the same LinkMonitor.
class SimulatedPrimaryLink final : public PrimaryLink {
 public:
  struct Hooks {
    // Makes a connection and gives it a number.
    std::function<Connection(uint64_t* session)> connect;
    std::function<bool()> host_powered;
    // A commit has arrived: for the checkers, before anybody acts on it.
    std::function<void(uint64_t epoch)> on_commit;
    std::function<uint64_t()> corruption;  // In 1000 messages.
  };

  SimulatedPrimaryLink(Process agent, Random* random, Hooks hooks);
  ~SimulatedPrimaryLink() override;

  void Open(uint64_t generation, const replication::v1::OpenSession& open_session, Observer* observer) override;
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                      replication::v1::AfterCheckpoint after) override;
  void Send(replication::v1::PrimaryMessage message) override;
  bool SendTraffic(replication::v1::PrimaryMessage message) override;
  void Close() override;
  uint64_t sent_bytes() const override { return sent_bytes_; }

  bool open() const { return !closed_; }

 private:
  void Later(absl::Duration delay, std::function<void()> step);
  void Transmit(const replication::v1::PrimaryMessage& message);
  void Receive(Pipe::Item item);
  void PumpCheckpoint();
  void Watch();
  void CloseWith(absl::Status to_observer, absl::Status to_peer);

  const Process agent_;
  Random* const random_;
  const Hooks hooks_;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  Observer* observer_ = nullptr;
  Connection connection_;
  uint64_t generation_ = 0;
  uint32_t chunk_bytes_ = 0;
  absl::Duration opened_at_;
  bool accepted_ = false;
  std::optional<LinkMonitor> monitor_;
  std::optional<CheckpointChunker> chunker_;
  bool tell_when_sent_ = false;
  replication::v1::AfterCheckpoint after_ = replication::v1::AFTER_CHECKPOINT_UNSPECIFIED;
  std::shared_ptr<CheckpointReader> reader_;
  uint64_t sent_bytes_ = 0;
  bool closed_ = false;
};

class SimulatedSecondaryLink final : public SecondaryLink {
 public:
  struct Hooks {
    std::function<bool()> host_powered;
    // Mutant ack-early: checkpoints count as arrived when their trailer is there, verified or not.
    bool ack_early = false;
    // Mutant activate-partial: gets what has come of an unfinished checkpoint when the link goes.
    std::function<void(std::string)> on_partial;
  };

  SimulatedSecondaryLink(Process agent, Connection connection, const replication::v1::PrimaryMessage& open,
                         Hooks hooks);
  ~SimulatedSecondaryLink() override;

  void Start(Observer* observer) override;
  void SetSeedSink(std::shared_ptr<CheckpointSink> sink) override { assembler_.SetSeedSink(std::move(sink)); }
  void Send(replication::v1::SecondaryMessage message) override;
  bool SendTraffic(replication::v1::SecondaryMessage message) override;
  void Close(absl::Status status) override;
  absl::Duration silence() const override { return monitor_.SinceReceived(agent_.now()); }
  uint64_t received_bytes() const override { return received_bytes_; }

 private:
  void Later(absl::Duration delay, std::function<void()> step);
  void Transmit(const replication::v1::SecondaryMessage& message);
  void Receive(Pipe::Item item);
  absl::Status Take(const replication::v1::PrimaryMessage& message);
  void Watch();
  void CloseWith(absl::Status to_observer, absl::Status to_peer);

  const Process agent_;
  const Connection connection_;
  const Hooks hooks_;
  const uint64_t generation_;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  Observer* observer_ = nullptr;
  LinkMonitor monitor_;
  CheckpointAssembler assembler_;
  std::string raw_;  // For the mutants: the checkpoint being received.
  uint64_t received_bytes_ = 0;
  bool closed_ = false;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_SIMULATED_LINK_H_
