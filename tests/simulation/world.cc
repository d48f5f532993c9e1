#include "tests/simulation/world.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/log.h"
#include "common/packet/frame.h"
#include "common/packet/frame_builder.h"

namespace romulus::simulation {

using protection::Protection;
using standby::Standby;

namespace {

constexpr uint32_t kPacketBytes = 100;

}  // namespace

World::World(uint64_t seed, Mutant mutant, bool trace, Mode mode)
    : random(seed),
      primary_host(
          "primary-host", &clock,
          [this](const std::string&, const SimulatedPacket& packet) { OnPacketLeft(packet.id); },
          [this](const std::string&, const lockstep::GuestFrame& frame) { OnFrameLeft(frame.contents); }),
      secondary_host("secondary-host", &clock,
                     [this](const std::string&, const SimulatedPacket& packet) { OnPacketLeft(packet.id); }),
      leftovers(&violations),
      ledger(&violations),
      mutant_(mutant),
      mode_(mode),
      trace_(trace),
      output_commit_(&violations, &ledger),
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
  if (mode == Mode::kColo) {
    primary_host.diversions->AddVif(guest->vif());
    lockstep::LockstepSettings settings;
    settings.run_max = random.Between(absl::Milliseconds(50), absl::Seconds(3));
    settings.wait_min = random.Between(absl::Milliseconds(100), absl::Seconds(1));
    settings.wait_max = absl::Seconds(5);
    config.lockstep = settings;
    // Some guests hardly ever differ, some all the time.
    divergence_ = random.Chance(300) ? 0 : random.Below(random.Chance(300) ? 500 : 50);
    silence_ = random.Chance(500) ? 0 : random.Below(50);
  }
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

void World::Answer(Domain& domain, uint64_t request) {
  uint64_t before = domain.memory.chain();
  domain.memory.Answer(request);
  ledger.OnAnswered(before, domain.memory);
  int page = static_cast<int>(1 + random.Below(GuestMemory::kPages - 1));
  domain.memory.pages[page].words[random.Below(2)] = random.Next();
  domain.dirty.insert({0, page});
}

void World::Request() {
  uint64_t request = ++last_request_;
  for (Host* host : {&primary_host, &secondary_host}) {
    if (!host->powered || host->gate->stalled()) continue;
    for (auto& [domid, domain] : host->domains) {
      if (!domain->Runs() || domain->along) continue;
      if (mode_ == Mode::kColo && domain == guest) {
        CopyInput(request);
        Answer(*domain, request);
        primary_host.diversions->Enqueue(domain->vif(), {.contents = AnswerFrame(*domain)});
        continue;
      }
      Answer(*domain, request);
      packets_[++last_packet_] = {domain == guest, domain->memory.counter(), domain->memory.chain()};
      Send(*host, domain->vif());
    }
  }
  absl::Duration pause = random.Between(absl::Milliseconds(5), absl::Milliseconds(60));
  if (now() < flood_until_) pause = random.Between(absl::Microseconds(100), absl::Milliseconds(2));
  clock.After(pause, [this] { Request(); });
}

// ---- lockstep ----

std::string World::AnswerFrame(const Domain& domain) const {
  const uint64_t words[] = {domain.memory.counter(), domain.memory.chain()};
  // To two clients, in turn.
  return packet::UdpFrame(packet::ParseAddress("10.0.0.2"), 7, packet::ParseAddress("10.0.0.9"),
                          static_cast<uint16_t>(1000 + words[0] % 2),
                          absl::string_view(reinterpret_cast<const char*>(words), sizeof words));
}

void World::OnFrameLeft(const std::string& contents) {
  const absl::string_view payload = packet::PayloadOf(packet::Parse(contents), contents);
  uint64_t words[2];
  ROMULUS_CHECK(payload.size() >= sizeof words);
  memcpy(words, payload.data(), sizeof words);
  if (primary != nullptr && primary->driver->core().snapshot().lockstep) ++compared;
  OnAnswerLeft({true, words[0], words[1]});
}

// What enters the primary's guest: to its standby, too, if somebody is there to send it.
void World::CopyInput(uint64_t request) {
  if (primary == nullptr) return;
  const TrafficFrame frame{0, std::string(reinterpret_cast<const char*>(&request), sizeof request)};
  // Mostly at once; at times it is looked at later, perhaps in another epoch.
  if (!random.Chance(20)) return primary->lockstep->OnInput({frame});
  primary->process.After(random.Between(absl::ZeroDuration(), absl::Milliseconds(20)),
                         [agent = primary.get(), frame] { agent->lockstep->OnInput({frame}); });
}

void World::OnStandbyInput(uint32_t domid, const std::string& frame) {
  const auto found = secondary_host.domains.find(domid);
  if (found == secondary_host.domains.end()) return;
  Domain& standby = *found->second;
  if (!standby.along || !standby.Runs()) return;  // Lost, as on any network.
  uint64_t request = 0;
  memcpy(&request, frame.data(), sizeof request);
  if (random.Chance(divergence_)) {
    ++divergences;
    request ^= random.Next();
  }
  Answer(standby, request);
  takeover_.OnOwnState(standby.memory);
  if (random.Chance(silence_)) {
    ++divergences;
    return;
  }
  if (secondary != nullptr && secondary->traffic != nullptr) secondary->traffic->Send(AnswerFrame(standby));
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

const GuestMemory* World::TakeoverState() const {
  if (secondary == nullptr) return nullptr;
  uint64_t committed = secondary->driver->core().snapshot().committed_epoch;
  const Standby::State& state = secondary->driver->core().state();
  bool could = std::holds_alternative<Standby::Ready>(state) || std::holds_alternative<Standby::AwaitingFence>(state) ||
               std::holds_alternative<Standby::Activating>(state);
  if (!could) return nullptr;
  const GuestMemory* own = takeover_.own(secondary->target_session, committed);
  return own != nullptr ? own : takeover_.captured(secondary->target_session, committed);
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
  OnAnswerLeft(packet);
}

void World::OnAnswerLeft(const Packet& packet) {
  if (packet.from_primary) {
    NoteUnprotected();
    if (released_unprotected_) return;
    output_commit_.OnPacket(packet.counter, packet.chain, TakeoverState());
  }
  ledger.OnReceived(packet.counter, packet.chain);
}

void World::OnTakeover(uint64_t session, const GuestMemory& memory) {
  ++takeovers;
  uint64_t committed = secondary->driver->core().snapshot().committed_epoch;
  Trace(absl::StrCat("the guest runs on the secondary host, at answer ", memory.counter(), ", epoch ", committed));
  if (mode_ == Mode::kColo) {
    constexpr const char* kNames[] = {"waits", "starts", "runs", "suspending", "suspended", "frozen"};
    const bool own = takeover_.own(session, committed) != nullptr;
    ++takeovers_from[absl::StrCat("takeover-", kNames[static_cast<int>(secondary->guest)], own ? "-own-state" : "")];
  }
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
  parts.lockstep = mode_ == Mode::kColo;
  parts.uncompared = mutant_ == Mutant::kUncompared;
  parts.ignore_standby = mutant_ == Mutant::kIgnoreStandby;
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
  if (primary != nullptr) dropped += primary->dropped();
  primary.reset();
}

void World::StartSecondaryAgent() {
  SecondaryAgent::Parts parts;
  parts.host = &secondary_host;
  parts.clock = &clock;
  parts.random = &random;
  parts.on_run = [this](uint64_t session, const GuestMemory& memory) { OnTakeover(session, memory); };
  parts.on_run_along = [this](uint64_t session, uint64_t epoch, const GuestMemory& memory) {
    ++runs_along;
    takeover_.OnRunsAlong(session, epoch, memory);
  };
  parts.on_input = [this](uint32_t domid, const std::string& frame) { OnStandbyInput(domid, frame); };
  parts.reapply = mutant_ == Mutant::kReapply;
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
  return TakeoverState() == nullptr && !(record.ok() && record->ownership_moved);
}

void World::DestroyGuest() {
  if (guest == nullptr) return;
  primary_host.Destroy(guest);
}

}  // namespace romulus::simulation
