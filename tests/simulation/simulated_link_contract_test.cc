#include <memory>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/link/replication_link_contract.h"
#include "tests/simulation/simulated_link.h"
#include "tests/simulation/simulated_source.h"

namespace romulus::simulation {
namespace {

using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

class Growing final : public GrowingCheckpoint {
 public:
  std::shared_ptr<CheckpointReader> reader() override { return reader_; }
  void Append(const std::string& bytes) override { reader_->Append(bytes); }
  void Finish() override { reader_->Finish(); }
  bool cancelled() const override { return reader_->cancelled(); }

 private:
  const std::shared_ptr<GrowingReader> reader_ = std::make_shared<GrowingReader>();
};

// The simulated side of the seam: two agents on the virtual clock.
class SimulatedLinkHarness final : public LinkHarness {
 public:
  ~SimulatedLinkHarness() override {
    for (const Connection& connection : connections_) connection.to_secondary->Cut();
  }

  void Listen(SessionAcceptor* acceptor) override {
    answer_ = [this, acceptor](Connection connection, const PrimaryMessage& open) {
      SimulatedSecondaryLink::Hooks hooks;
      hooks.host_powered = [] { return true; };
      acceptor->OnSession(open, std::make_unique<SimulatedSecondaryLink>(secondary_, connection, open, hooks));
    };
  }
  void StopListening() override { answer_ = nullptr; }
  void ListenAsStranger(std::vector<SecondaryMessage> messages) override {
    answer_ = [messages = std::move(messages)](Connection connection, const PrimaryMessage&) {
      for (const SecondaryMessage& message : messages) {
        connection.to_primary->Send({message.SerializeAsString(), absl::OkStatus()});
      }
    };
  }

  std::unique_ptr<PrimaryLink> NewPrimaryLink(bool) override {
    SimulatedPrimaryLink::Hooks hooks;
    hooks.connect = [this](uint64_t* session) {
      *session = 1;
      return Connect();
    };
    hooks.host_powered = [] { return true; };
    hooks.on_commit = [](uint64_t) {};
    hooks.corruption = [] { return 0; };
    return std::make_unique<SimulatedPrimaryLink>(primary_, &random_, hooks);
  }

  absl::Status TellSecondary(const PrimaryMessage& open, const std::vector<PrimaryMessage>& messages,
                             bool hang_up) override {
    Connection connection = Connect();
    bool accepted = false;
    absl::Status end;
    connection.to_primary->SetReceiver([&](Pipe::Item item) {
      SecondaryMessage message;
      if (!item.end.ok()) {
        end = item.end;
      } else if (message.ParseFromString(item.message)) {
        accepted |= message.has_session_accepted();
      }
    });
    connection.to_secondary->Send({open.SerializeAsString(), absl::OkStatus()});
    ROMULUS_CHECK(RunUntil([&] { return accepted || !end.ok(); }));
    for (const PrimaryMessage& message : messages) {
      connection.to_secondary->Send({message.SerializeAsString(), absl::OkStatus()});
    }
    if (hang_up) {
      connection.to_secondary->Send({"", absl::UnavailableError("the peer hung up")});
    } else {
      ROMULUS_CHECK(RunUntil([&] { return !end.ok(); }));
    }
    connection.to_primary->Cut();
    return end;
  }
  std::unique_ptr<GrowingCheckpoint> NewGrowingCheckpoint() override { return std::make_unique<Growing>(); }

  bool RunUntil(const std::function<bool()>& condition) override { return clock_.RunUntil(condition); }
  void Settle() override {
    // Of an idle session too: longer than every timeout but that of a test's own session.
    clock_.RunFor(absl::Seconds(10));
  }

  void LetArrive() override {}  // Agents take no time here.

  void Partition(bool to_secondary, bool to_primary) override { network_.partitioned = {to_secondary, to_primary}; }
  void ResetConnections() override {
    for (const Connection& connection : connections_) {
      connection.to_primary->Send({"", absl::UnavailableError("connection reset")});
      connection.to_secondary->Send({"", absl::UnavailableError("connection reset")});
    }
  }

 private:
  Connection Connect() {
    Connection connection{std::make_shared<Pipe>(&clock_, &random_, &network_, kToSecondary),
                          std::make_shared<Pipe>(&clock_, &random_, &network_, kToPrimary)};
    connection.to_secondary->SetReceiver([this, connection](Pipe::Item item) {
      if (!item.end.ok()) return;
      connection.to_secondary->SetReceiver(nullptr);  // Until somebody has taken the session.
      secondary_.After(absl::ZeroDuration(), [this, connection, item = std::move(item)] {
        PrimaryMessage open;
        ROMULUS_CHECK(open.ParseFromString(item.message));
        if (!open.has_open_session()) return;  // For nobody yet.
        if (answer_ != nullptr) return answer_(connection, open);
        connection.to_primary->Send({"", absl::UnavailableError("connection refused")});
        connection.to_secondary->Cut();
      });
    });
    connections_.push_back(connection);
    return connection;
  }

  VirtualClock clock_;
  Random random_{1};
  Network network_;
  Process primary_{&clock_, std::make_shared<StallGate>()};
  Process secondary_{&clock_, std::make_shared<StallGate>()};
  std::function<void(Connection, const PrimaryMessage&)> answer_;
  std::vector<Connection> connections_;
};

INSTANTIATE_TEST_SUITE_P(Simulated, ReplicationLinkContract,
                         testing::Values([] { return std::make_unique<SimulatedLinkHarness>(); }));

}  // namespace
}  // namespace romulus::simulation
