#include "tests/simulation/agents.h"

#include <cinttypes>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "netbuf/simulated_egress_buffer.h"
#include "primary/lockstep/lockstep_egress_buffer.h"
#include "primary/lockstep/simulated_guest_traffic.h"
#include "tests/faults/release_early_egress_buffer.h"
#include "tests/simulation/faulty_guest_traffic.h"

namespace romulus::simulation {
namespace {

// Tells the world which object is the latest, and when it goes.
class TrackedSource final : public CheckpointSource {
 public:
  TrackedSource(std::unique_ptr<SimulatedSource> source, SimulatedSource** latest)
      : source_(std::move(source)), latest_(latest) {
    *latest_ = source_.get();
  }
  ~TrackedSource() override {
    if (*latest_ == source_.get()) *latest_ = nullptr;
  }
  void Start(Observer* observer) override { source_->Start(observer); }
  void RequestCheckpoint(uint64_t epoch, bool with_standby_pages) override {
    source_->RequestCheckpoint(epoch, with_standby_pages);
  }
  void AddStandbyPages(uint64_t epoch, PageRuns pages) override { source_->AddStandbyPages(epoch, std::move(pages)); }
  void PermitResume(uint64_t epoch) override { source_->PermitResume(epoch); }
  void Stop() override { source_->Stop(); }

 private:
  std::unique_ptr<SimulatedSource> source_;
  SimulatedSource** latest_;
};

// A target learns from the domain's description which session it belongs to: the simulation writes it there.
class TrackedTarget final : public CheckpointTarget {
 public:
  using Make = std::function<std::unique_ptr<SimulatedTarget>(uint64_t session)>;
  TrackedTarget(Make make, SecondaryAgent* agent) : make_(std::move(make)), agent_(agent) {}
  ~TrackedTarget() override {
    if (agent_->target == target_.get()) agent_->target = nullptr;
  }
  void Prepare(const replication::v1::DomainDescription& domain, bool lockstep, Observer* observer) override {
    target_ = make_(domain.domid());
    agent_->target = target_.get();
    agent_->target_session = domain.domid();
    target_->Prepare(domain, lockstep, observer);
  }
  void FinishSeeding(std::string tail, AfterCheckpoint after) override {
    target_->FinishSeeding(std::move(tail), after);
  }
  void Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) override {
    target_->Apply(epoch, std::move(bytes), after);
  }
  void Suspend(uint64_t epoch) override { target_->Suspend(epoch); }
  void Freeze() override { target_->Freeze(); }
  void Activate() override { target_->Activate(); }
  void Discard() override { target_->Discard(); }

 private:
  const Make make_;
  SecondaryAgent* const agent_;
  std::unique_ptr<SimulatedTarget> target_;
};

// Tells the agent which is the present one.
class TrackedTraffic final : public StandbyTraffic {
 public:
  TrackedTraffic(std::unique_ptr<SimulatedStandbyTraffic> traffic, SimulatedStandbyTraffic** latest)
      : traffic_(std::move(traffic)), latest_(latest) {
    *latest_ = traffic_.get();
  }
  ~TrackedTraffic() override {
    if (*latest_ == traffic_.get()) *latest_ = nullptr;
  }
  void Start(Observer* observer) override { traffic_->Start(observer); }
  void OnCheckpoint() override { traffic_->OnCheckpoint(); }
  void AddOffset(const packet::SequenceOffset& offset) override { traffic_->AddOffset(offset); }
  void Input(std::vector<TrafficFrame> frames) override { traffic_->Input(std::move(frames)); }
  void Open() override { traffic_->Open(); }

 private:
  const std::unique_ptr<SimulatedStandbyTraffic> traffic_;
  SimulatedStandbyTraffic** const latest_;
};

}  // namespace

protection::Pacing RandomPacing(Random& random, absl::Duration interval_max) {
  protection::Pacing pacing;
  pacing.interval = random.Between(absl::Milliseconds(20), interval_max);
  if (random.Chance(700)) return pacing;
  pacing.goal.emplace();
  pacing.goal->interval_max = interval_max;
  if (random.Chance(600)) {
    pacing.goal->output_delay_p99 = random.Between(absl::Milliseconds(20), absl::Milliseconds(400));
  }
  if (random.Chance(600) || !pacing.goal->output_delay_p99.has_value()) {
    pacing.goal->pause_share = static_cast<double>(1 + random.Below(50)) / 100;
  }
  return pacing;
}

std::string DetailOf(const protection::Config& config) {
  const protection::Pacing& pacing = config.pacing;
  const protection::PacingGoal goal = pacing.goal.value_or(protection::PacingGoal{});
  return absl::StrCat(absl::ToInt64Microseconds(pacing.interval), " ", static_cast<int>(config.loss_policy), " ",
                      pacing.goal.has_value() ? 1 : 0, " ",
                      absl::ToInt64Microseconds(goal.output_delay_p99.value_or(absl::ZeroDuration())), " ",
                      static_cast<int64_t>(goal.pause_share.value_or(0) * 100 + 0.5), " ",
                      absl::ToInt64Microseconds(goal.interval_max));
}

void ApplyDetail(const std::string& detail, protection::Config& config) {
  int64_t interval_us = 0;
  int loss_policy = 0;
  int has_goal = 0;
  int64_t delay_us = 0;
  int64_t share_percent = 0;
  int64_t interval_max_us = 0;
  ROMULUS_CHECK(sscanf(detail.c_str(), "%" SCNd64 " %d %d %" SCNd64 " %" SCNd64 " %" SCNd64, &interval_us, &loss_policy,
                       &has_goal, &delay_us, &share_percent, &interval_max_us) == 6);
  config.pacing = {absl::Microseconds(interval_us), std::nullopt};
  if (has_goal != 0) {
    protection::PacingGoal& goal = config.pacing.goal.emplace();
    goal.interval_max = absl::Microseconds(interval_max_us);
    if (delay_us > 0) goal.output_delay_p99 = absl::Microseconds(delay_us);
    if (share_percent > 0) goal.pause_share = static_cast<double>(share_percent) / 100;
  }
  config.loss_policy = static_cast<protection::LossPolicy>(loss_policy);
}

PrimaryAgent::PrimaryAgent(const Parts& parts)
    : process(parts.clock, parts.host->gate), scheduler(process), trace_(parts.trace) {
  ProtectionDriver::Seams seams;
  seams.scheduler = &scheduler;
  seams.store = &parts.host->store;
  seams.new_link = [this, parts] {
    return std::make_unique<SimulatedPrimaryLink>(process, parts.random, parts.link_hooks);
  };
  seams.new_source = [this, parts] {
    auto made = std::make_unique<SimulatedSource>(parts.host, parts.domain, process, parts.random, parts.on_capture);
    if (parts.ignore_standby) made->IgnoreStandbyPages();
    return std::make_unique<TrackedSource>(std::move(made), &source);
  };
  seams.guest = std::make_unique<SimulatedGuestControl>(parts.host, parts.domain);
  const std::vector<Vif> vifs = {Vif{parts.domain->vif(), parts.domain->domid, 0}};
  if (parts.lockstep) {
    seams.lockstep = std::make_unique<GuestLockstep>(&scheduler);
    this->lockstep = seams.lockstep.get();
    std::function<bool()> leak;
    if (parts.uncompared) leak = [this] { return driver != nullptr && driver->core().snapshot().lockstep; };
    auto traffic = std::make_shared<FaultyGuestTraffic>(
        std::make_unique<romulus::lockstep::SimulatedGuestTraffic>(parts.host->diversions), parts.host,
        std::move(leak));
    romulus::lockstep::LockstepEgressBuffer::Options options;
    options.protection = kProtection;
    options.vifs = vifs;
    options.limit_bytes = parts.egress_limit_bytes;
    options.now = [this] { return scheduler.Now(); };
    auto buffer =
        std::make_unique<romulus::lockstep::LockstepEgressBuffer>(std::move(traffic), this->lockstep, options);
    this->lockstep->SetBuffer(buffer.get());
    buffer_ = buffer.get();
    seams.egress = std::move(buffer);
  } else {
    PlugEgressBuffer::Options options;
    options.protection = kProtection;
    options.vifs = vifs;
    options.limit_bytes = parts.egress_limit_bytes;
    seams.egress = std::make_unique<SimulatedEgressBuffer>(parts.host->kernel, options);
  }
  seams.egress_watch = parts.egress_watch;
  if (parts.release_early) seams.egress = std::make_unique<ReleaseEarlyEgressBuffer>(std::move(seams.egress));

  replication::v1::OpenSession open;
  open.mutable_domain()->set_name("guest");
  open.set_heartbeat_interval_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(parts.heartbeat_interval)));
  driver = std::make_unique<ProtectionDriver>(kProtection, parts.config, open, DetailOf(parts.config), std::move(seams),
                                              this);
}

PrimaryAgent::~PrimaryAgent() {
  process.Kill();
  driver.reset();
}

uint64_t PrimaryAgent::dropped() const {
  EgressBuffer::Statistics statistics;
  if (buffer_ != nullptr) buffer_->ReadStatistics(statistics).IgnoreError();
  return statistics.dropped_packets;
}

void PrimaryAgent::OnChanged(bool) {
  if (trace_ == nullptr || driver == nullptr) return;
  std::string state = driver->core().state_name();
  if (state == state_) return;
  state_ = state;
  trace_("primary    " + state + "   " + std::string(driver->core().snapshot().last_error.message()));
}

SecondaryAgent::SecondaryAgent(const Parts& parts)
    : process(parts.clock, parts.host->gate), scheduler(process), trace_(parts.trace) {
  StandbyDriver::Seams seams;
  seams.scheduler = &scheduler;
  seams.store = &parts.host->store;
  seams.new_target = [this, parts] {
    auto make = [this, parts](uint64_t session) {
      SimulatedTarget::Hooks hooks;
      hooks.on_run = [parts, session](const GuestMemory& memory) { parts.on_run(session, memory); };
      if (parts.on_run_along != nullptr) {
        hooks.on_run_along = [parts, session](uint64_t epoch, const GuestMemory& memory) {
          parts.on_run_along(session, epoch, memory);
        };
      }
      hooks.partial = parts.partial;
      hooks.reapply = parts.reapply;
      return std::make_unique<SimulatedTarget>(parts.host, process, parts.random, std::move(hooks));
    };
    return std::make_unique<TrackedTarget>(make, this);
  };
  seams.new_traffic = [this, parts](const replication::v1::OpenSession&, uint32_t domid) {
    return std::make_unique<TrackedTraffic>(
        std::make_unique<SimulatedStandbyTraffic>(
            parts.host, process, parts.random,
            [parts, domid](const std::string& frame) { parts.on_input(domid, frame); }),
        &traffic);
  };
  driver = std::make_unique<StandbyDriver>(kProtection, std::move(seams), this);
}

SecondaryAgent::~SecondaryAgent() {
  process.Kill();
  driver.reset();
}

void SecondaryAgent::OnChanged(bool) {
  if (driver != nullptr) {
    const standby::Standby::State& state = driver->core().state();
    if (auto* ready = std::get_if<standby::Standby::Ready>(&state)) guest = ready->guest;
    if (auto* awaiting = std::get_if<standby::Standby::AwaitingFence>(&state)) guest = awaiting->ready.guest;
  }
  if (trace_ == nullptr || driver == nullptr) return;
  std::string state = driver->core().state_name();
  if (state == state_) return;
  state_ = state;
  trace_("secondary  " + state + "   " + std::string(driver->core().snapshot().last_error.message()));
}

}  // namespace romulus::simulation
