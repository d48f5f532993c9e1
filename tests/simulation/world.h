#ifndef ROMULUS_TESTS_SIMULATION_WORLD_H_
#define ROMULUS_TESTS_SIMULATION_WORLD_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "tests/simulation/agents.h"
#include "tests/simulation/client_ledger.h"
#include "tests/simulation/commit_order_checker.h"
#include "tests/simulation/host.h"
#include "tests/simulation/leftovers_checker.h"
#include "tests/simulation/network.h"
#include "tests/simulation/one_owner_checker.h"
#include "tests/simulation/output_commit_checker.h"
#include "tests/simulation/random.h"
#include "tests/simulation/takeover_checker.h"
#include "tests/simulation/violations.h"
#include "tests/simulation/virtual_clock.h"

namespace romulus::simulation {

enum class Mutant { kNone, kReleaseEarly, kAckEarly, kActivatePartial, kUncompared, kIgnoreStandby, kReapply };

// How the protection is to be kept: checkpoints at an interval, or in lockstep.
enum class Mode { kRemus, kColo };

// Two hosts, the network between them, a guest, its client: everything that is not a fault or a control plane.
// All of it follows from the seed.
class World {
 public:
  World(uint64_t seed, Mutant mutant, bool trace, Mode mode = Mode::kRemus);
  ~World();

  // One step of the world, then the checks. False: a check has failed.
  bool Step();
  absl::Duration now() const { return clock.now(); }
  void After(absl::Duration delay, std::function<void()> step) { clock.After(delay, std::move(step)); }
  void Trace(const std::string& line);

  // ---- what faults and the control plane do ----
  void CreateProtection();
  void CrashPrimaryAgent(absl::Duration restart_after);
  void CrashSecondaryAgent(absl::Duration restart_after);
  void PowerOff(Host& host);
  void PowerOn(Host& host);
  void ResetConnection();
  // The guest sends as fast as it can.
  void FloodFor(absl::Duration duration) { flood_until_ = now() + duration; }
  // A session attempt of earlier that was under way all the time.
  void DeliverStaleSession();
  void DestroyGuest();
  // By the primary host's record: the guest's copy there is stopped for good.
  bool GuestFenced() const;
  // What the standby would go on from if it were activated now.
  // Null: there is no such standby.
  const GuestMemory* TakeoverState() const;
  // Nothing was or could be activated there.
  bool SecondaryHasNothing() const;

  VirtualClock clock;
  Random random;
  Network network;
  Violations violations;
  Host primary_host;
  Host secondary_host;
  std::shared_ptr<Domain> guest;  // On the primary host; null when that has lost its power.
  std::unique_ptr<PrimaryAgent> primary;
  std::unique_ptr<SecondaryAgent> secondary;
  protection::Config config;
  absl::Duration heartbeat_interval;
  uint64_t generation = 1;  // The highest that the control plane has issued.
  // The control plane has said that the secondary has not taken over, and does not let it until a new session begins.
  bool unprotect_vouched = false;
  uint32_t egress_limit_bytes;
  EgressWatch::Options egress_watch;
  uint64_t checkpoints = 0;
  uint64_t takeovers = 0;
  // Packets that a full egress buffer did not take; in lockstep, of agents that are gone.
  uint64_t dropped = 0;
  // Checkpoints that output pressure has brought forward.
  uint64_t early_checkpoints() const;
  // Lockstep: how often the standby has begun to run along, answers that have left by comparison (before their epoch's
  // commit), how often the guests' memories or answers were made to differ, and what the standby was at takeovers.
  uint64_t runs_along = 0;
  uint64_t compared = 0;
  uint64_t divergences = 0;
  std::map<std::string, uint64_t> takeovers_from;
  LeftoversChecker leftovers;
  ClientLedger ledger;

 private:
  struct Packet {
    bool from_primary;
    uint64_t counter;
    uint64_t chain;
  };

  void StartPrimaryAgent(bool recovered);
  void DropPrimaryAgent();
  void StartSecondaryAgent();
  void AcceptOn(Connection connection, Pipe::Item item);
  void Request();
  void Answer(Domain& domain, uint64_t request);
  // In lockstep: the guest's frame, with its answer.
  std::string AnswerFrame(const Domain& domain) const;
  void OnFrameLeft(const std::string& contents);
  void CopyInput(uint64_t request);
  void OnStandbyInput(uint32_t domid, const std::string& frame);
  void OnAnswerLeft(const Packet& packet);
  void Send(Host& host, const std::string& vif);
  void OnPacketLeft(uint64_t id);
  void NoteUnprotected();
  void OnTakeover(uint64_t session, const GuestMemory& memory);

  const Mutant mutant_;
  const Mode mode_;
  const bool trace_;
  OutputCommitChecker output_commit_;
  OneOwnerChecker one_owner_;
  TakeoverChecker takeover_;
  CommitOrderChecker commit_order_;

  uint64_t last_session_ = 0;
  Connection connection_;
  std::string last_open_session_;
  std::string partial_;
  std::unordered_map<uint64_t, Packet> packets_;
  uint64_t last_packet_ = 0;
  uint64_t last_request_ = 0;
  bool released_unprotected_ = false;
  absl::Duration flood_until_;
  // Of 1000 answers of the standby: how many are other than the primary's guest's, and how many it keeps to itself.
  uint64_t divergence_ = 0;
  uint64_t silence_ = 0;
  uint64_t early_checkpoints_before_ = 0;  // Of primary agents that are gone.
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_WORLD_H_
