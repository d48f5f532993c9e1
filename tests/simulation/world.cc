#include "tests/simulation/world.h"

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/log.h"

namespace romulus::simulation {

using protection::Protection;
using standby::Standby;

namespace {

constexpr uint32_t kPacketBytes = 100;

}  // namespace

World::World(uint64_t seed, Mutant mutant, bool trace)
    : random(seed),
      primary_host("primary-host", &clock,
                   [this](const std::string&, const SimulatedPacket& packet) { OnPacketLeft(packet.id); }),
      secondary_host("secondary-host", &clock,
                     [this](const std::string&, const SimulatedPacket& packet) { OnPacketLeft(packet.id); }),
      leftovers(&violations),
      ledger(&violations),
      mutant_(mutant),
      trace_(trace),
      output_commit_(&violations),
      one_owner_(&violations),
      takeover_(&violations),
      commit_order_(&violations) {
  config.pacing = RandomPacing(random, absl::Milliseconds(300));
  heartbeat_interval = random.Between(absl::Milliseconds(100), absl::Milliseconds(400));
  config.link_timeout = heartbeat_interval * 2 + random.Between(absl::ZeroDuration(), absl::Milliseconds(800));
  if (random.Chance(250)) {
    config.failover_policy = protection::FailoverPolicy::kOnLinkLoss;
    config.loss_policy = random.Chance(500) ? protection::LossPolicy::kHoldOutput : protection::LossPolicy::kPauseGuest;
  } else {
    config.loss_policy = static_cast<protection::LossPolicy>(random.Below(3));
  }
  network.latency = random.Between(absl::Microseconds(100), absl::Milliseconds(10));
  // Some protections have a buffer that a guest can fill.
  egress_limit_bytes = random.Chance(500) ? static_cast<uint32_t>(kPacketBytes * (5 + random.Below(500))) : 64 << 20;
  egress_watch.period = random.Between(absl::Milliseconds(2), absl::Milliseconds(20));
  if (mutant == Mutant::kAckEarly) network.corruption = 2;

  guest = primary_host.NewDomain();
  guest->started = true;
  primary_host.kernel->AddVif(guest->vif());
  StartSecondaryAgent();
  Request();
}

World::~World() {
  primary.reset();
  secondary.reset();
  clock.Clear();
}

void World::Trace(const std::string& line) {
  if (trace_) absl::FPrintF(stderr, "%12.6f  %s\n", absl::ToDoubleSeconds(now()), line);
}

bool World::Step() {
  ROMULUS_CHECK(clock.RunNext());
  NoteUnprotected();
  // With ON_LINK_LOSS a dead link stands for a dead host. Where it does not, two copies can run, which its comment
  // warns of; what must hold even then is that only one of them is heard.
  if (config.failover_policy == protection::FailoverPolicy::kByRequest) {
    one_owner_.AfterStep(primary_host, secondary_host);
  }
  return !violations.any();
}

// ---- guest and client ----

void World::Request() {
  uint64_t request = ++last_request_;
  for (Host* host : {&primary_host, &secondary_host}) {
    if (!host->powered || host->gate->stalled()) continue;
    for (auto& [domid, domain] : host->domains) {
      if (!domain->Runs()) continue;
      uint64_t before = domain->memory.chain();
      domain->memory.Answer(request);
      ledger.OnAnswered(before, domain->memory);
      int page = static_cast<int>(1 + random.Below(GuestMemory::kPages - 1));
      domain->memory.pages[page].words[random.Below(2)] = random.Next();
      domain->dirty.insert({0, page});
      packets_[++last_packet_] = {domain == guest, domain->memory.counter(), domain->memory.chain()};
      Send(*host, domain->vif());
    }
  }
  absl::Duration pause = random.Between(absl::Milliseconds(5), absl::Milliseconds(60));
  if (now() < flood_until_) pause = random.Between(absl::Microseconds(100), absl::Milliseconds(2));
  clock.After(pause, [this] { Request(); });
}

void World::Send(Host& host, const std::string& vif) {
  SimulatedPlug* plug = host.kernel->plug(vif);
  const uint64_t dropped_before = plug == nullptr ? 0 : plug->statistics().dropped_packets;
  host.kernel->Enqueue(vif, {last_packet_, kPacketBytes});
  if (plug != nullptr) dropped += plug->statistics().dropped_packets - dropped_before;
}

uint64_t World::early_checkpoints() const {
  const uint64_t now = primary == nullptr ? 0 : primary->driver->core().snapshot().early_checkpoints;
  return early_checkpoints_before_ + now;
}

std::optional<uint64_t> World::TakeoverCounter() const {
  if (secondary == nullptr) return std::nullopt;
  uint64_t committed = secondary->driver->core().snapshot().committed_epoch;
  const Standby::State& state = secondary->driver->core().state();
  bool could = std::holds_alternative<Standby::Ready>(state) || std::holds_alternative<Standby::AwaitingFence>(state) ||
               std::holds_alternative<Standby::Activating>(state);
  if (!could) return std::nullopt;
  const GuestMemory* memory = takeover_.captured(secondary->target_session, committed);
  if (memory == nullptr) return std::nullopt;
  return memory->counter();
}

// The policy has let output flow without a session, and it flows until the next one: a loss at takeover that the policy
// accepts. (A policy that changes to holding meanwhile calls nothing back.)
void World::NoteUnprotected() {
  if (primary == nullptr) return;  // As its last agent left it.
  const Protection& core = primary->driver->core();
  const Protection::State& state = core.state();
  bool without_session =
      std::holds_alternative<Protection::Idle>(state) || std::holds_alternative<Protection::Attaching>(state) ||
      std::holds_alternative<Protection::Unwinding>(state) || std::holds_alternative<Protection::BackingOff>(state) ||
      std::holds_alternative<Protection::Connecting>(state) || std::holds_alternative<Protection::Ended>(state);
  bool policy = core.snapshot().config.loss_policy == protection::LossPolicy::kRunUnprotected;
  if (std::holds_alternative<Protection::Seeding>(state)) unprotect_vouched = false;
  released_unprotected_ = without_session && (released_unprotected_ || policy || unprotect_vouched);
}

void World::OnPacketLeft(uint64_t id) {
  auto found = packets_.find(id);
  Packet packet = found->second;
  packets_.erase(found);
  if (packet.from_primary) {
    NoteUnprotected();
    if (released_unprotected_) return;
    output_commit_.OnPacket(packet.counter, TakeoverCounter());
  }
  ledger.OnReceived(packet.counter, packet.chain);
}

void World::OnTakeover(uint64_t session, const GuestMemory& memory) {
  ++takeovers;
  uint64_t committed = secondary->driver->core().snapshot().committed_epoch;
  Trace(absl::StrCat("the guest runs on the secondary host, at answer ", memory.counter(), ", epoch ", committed));
  takeover_.OnTakeover(session, committed, memory);
  ledger.OnTakeover(memory);
}

// ---- agents ----

void World::CreateProtection() { StartPrimaryAgent(/*recovered=*/false); }

void World::StartPrimaryAgent(bool recovered) {
  PrimaryAgent::Parts parts;
  parts.host = &primary_host;
  parts.clock = &clock;
  parts.random = &random;
  parts.domain = guest;
  parts.config = config;
  parts.heartbeat_interval = heartbeat_interval;
  parts.egress_limit_bytes = egress_limit_bytes;
  parts.egress_watch = egress_watch;
  parts.release_early = mutant_ == Mutant::kReleaseEarly;
  parts.link_hooks.host_powered = [this] { return primary_host.powered; };
  parts.link_hooks.corruption = [this] { return network.corruption; };
  parts.link_hooks.on_commit = [this](uint64_t epoch) {
    ++checkpoints;
    commit_order_.OnCommit(last_session_, epoch);
  };
  parts.link_hooks.connect = [this](uint64_t* session) {
    *session = ++last_session_;
    Connection connection{std::make_shared<Pipe>(&clock, &random, &network, kToSecondary),
                          std::make_shared<Pipe>(&clock, &random, &network, kToPrimary)};
    connection.to_secondary->SetReceiver([this, connection](Pipe::Item item) { AcceptOn(connection, item); });
    connection_ = connection;
    return connection;
  };
  parts.on_capture = [this](uint64_t epoch, const GuestMemory& memory) {
    takeover_.OnCapture(last_session_, epoch, memory);
  };
  parts.trace = trace_ ? [this](const std::string& line) { Trace(line); } : std::function<void(const std::string&)>();
  DropPrimaryAgent();
  primary = std::make_unique<PrimaryAgent>(parts);
  PrimaryAgent* agent = primary.get();
  agent->process.After(absl::ZeroDuration(), [this, agent, recovered] {
    agent->driver->Start(generation, recovered,
                         [this](absl::Status status) { Trace(absl::StrCat("created: ", status.ToString())); });
  });
}

void World::DropPrimaryAgent() {
  early_checkpoints_before_ = early_checkpoints();
  primary.reset();
}

void World::StartSecondaryAgent() {
  SecondaryAgent::Parts parts;
  parts.host = &secondary_host;
  parts.clock = &clock;
  parts.random = &random;
  parts.on_run = [this](uint64_t session, const GuestMemory& memory) { OnTakeover(session, memory); };
  if (mutant_ == Mutant::kActivatePartial) parts.partial = [this] { return partial_; };
  parts.trace = trace_ ? [this](const std::string& line) { Trace(line); } : std::function<void(const std::string&)>();
  secondary = std::make_unique<SecondaryAgent>(parts);
}

// The first message of a connection reaches the secondary host.
void World::AcceptOn(Connection connection, Pipe::Item item) {
  if (!secondary_host.powered || !item.end.ok()) return;
  connection.to_secondary->SetReceiver(nullptr);  // Until somebody has taken the session.
  secondary_host.machine->After(absl::ZeroDuration(), [this, connection, item = std::move(item)] {
    if (secondary == nullptr) {
      connection.to_primary->Send({"", absl::UnavailableError("connection refused")});
      connection.to_secondary->Cut();
      return;
    }
    replication::v1::PrimaryMessage open;
    ROMULUS_CHECK(open.ParseFromString(item.message));
    if (!open.has_open_session()) return;  // Of a connection whose beginning a dead agent had taken.
    last_open_session_ = item.message;
    SimulatedSecondaryLink::Hooks hooks;
    hooks.host_powered = [this] { return secondary_host.powered; };
    hooks.ack_early = mutant_ == Mutant::kAckEarly;
    if (mutant_ == Mutant::kActivatePartial) {
      hooks.on_partial = [this](std::string partial) { partial_ = std::move(partial); };
    }
    auto link = std::make_unique<SimulatedSecondaryLink>(secondary->process, connection, open, std::move(hooks));
    secondary->driver->OfferSession(open, absl::OkStatus(), std::move(link));
  });
}

// ---- faults ----

void World::CrashPrimaryAgent(absl::Duration restart_after) {
  if (primary == nullptr) return;
  NoteUnprotected();
  DropPrimaryAgent();
  clock.After(restart_after, [this] {
    if (primary != nullptr || !primary_host.powered || guest == nullptr || guest->destroyed) return;
    absl::StatusOr<GenerationStore::Record> record = primary_host.store.Read(kProtection);
    if (record.ok() && record->detail.empty() && record->ownership_moved) return;
    bool recovered = record.ok() && !record->detail.empty();
    Trace(recovered ? "the primary agent is back" : "the primary agent is back, with nothing to recover");
    if (recovered) ApplyDetail(record->detail, config);
    StartPrimaryAgent(recovered);
  });
}

void World::CrashSecondaryAgent(absl::Duration restart_after) {
  if (secondary == nullptr) return;
  secondary.reset();
  clock.After(restart_after, [this] {
    if (secondary != nullptr || !secondary_host.powered) return;
    Trace("the secondary agent is back");
    StartSecondaryAgent();
  });
}

void World::PowerOff(Host& host) {
  if (!host.powered) return;
  Trace(absl::StrCat(host.name, " loses power"));
  host.PowerOff();
  if (&host == &primary_host) {
    DropPrimaryAgent();
    guest.reset();
  } else {
    secondary.reset();
  }
}

void World::PowerOn(Host& host) {
  if (host.powered) return;
  Trace(absl::StrCat(host.name, " boots"));
  host.PowerOn();
  // The primary's guest is gone, so there is nothing for its agent to protect.
  if (&host == &secondary_host) StartSecondaryAgent();
}

void World::ResetConnection() {
  if (connection_.to_primary == nullptr) return;
  connection_.to_primary->Send({"", absl::UnavailableError("connection reset")});
  connection_.to_secondary->Send({"", absl::UnavailableError("connection reset")});
}

void World::DeliverStaleSession() {
  if (last_open_session_.empty()) return;
  Connection connection{std::make_shared<Pipe>(&clock, &random, &network, kToSecondary),
                        std::make_shared<Pipe>(&clock, &random, &network, kToPrimary)};
  AcceptOn(connection, {last_open_session_, absl::OkStatus()});
}

bool World::GuestFenced() const {
  absl::StatusOr<GenerationStore::Record> record = primary_host.store.Read(kProtection);
  return record.ok() && record->ownership_moved;
}

bool World::SecondaryHasNothing() const {
  absl::StatusOr<GenerationStore::Record> record = secondary_host.store.Read(kProtection);
  return !TakeoverCounter().has_value() && !(record.ok() && record->ownership_moved);
}

void World::DestroyGuest() {
  if (guest == nullptr) return;
  primary_host.Destroy(guest);
}

}  // namespace romulus::simulation
