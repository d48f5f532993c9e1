#include "tests/simulation/simulated_target.h"

#include "common/base/log.h"

namespace romulus::simulation {

class SimulatedTarget::Sink final : public CheckpointSink {
 public:
  absl::Status Write(absl::Span<const char> bytes) override {
    if (ended_.ok()) bytes_.append(bytes.data(), bytes.size());
    return ended_;
  }
  std::string Take() { return std::move(bytes_); }
  // Nobody reads any more.
  void End(absl::Status status) { ended_ = std::move(status); }

 private:
  std::string bytes_;
  absl::Status ended_;
};

SimulatedTarget::SimulatedTarget(Host* host, Process agent, Random* random, Hooks hooks)
    : host_(host), agent_(std::move(agent)), random_(random), hooks_(std::move(hooks)) {}

SimulatedTarget::~SimulatedTarget() {
  *here_ = false;
  if (domain_ == nullptr || !host_->powered || domain_->started || domain_->destroyed) return;
  // The restarted agent, or this one's helper, finds it and removes it.
  host_->machine->After(absl::Milliseconds(30), [host = host_, domain = domain_] {
    host->Destroy(domain);
    --host->helpers;
  });
}

void SimulatedTarget::ToAgent(absl::Duration delay, std::function<void(Observer*)> call) {
  agent_.After(delay, [this, here = here_, call = std::move(call)] {
    if (*here) call(observer_);
  });
}

void SimulatedTarget::Prepare(const replication::v1::DomainDescription&, bool lockstep, Observer* observer) {
  lockstep_ = lockstep;
  observer_ = observer;
  absl::Duration creation = random_->Between(absl::Milliseconds(5), absl::Milliseconds(50));
  if (host_->failing_prepares > 0) {
    --host_->failing_prepares;
    state_ = State::kBroken;
    ToAgent(creation, [this](Observer* observer) {
      if (state_ == State::kDiscarding) return;
      observer->OnPrepared(absl::UnavailableError("simulated: the domain could not be created"), nullptr, 0);
    });
    return;
  }
  domain_ = host_->NewDomain();
  ++host_->helpers;
  sink_ = std::make_shared<Sink>();
  ToAgent(creation, [this](Observer* observer) {
    if (state_ == State::kWaiting) observer->OnPrepared(absl::OkStatus(), sink_, domain_->domid);
  });
}

void SimulatedTarget::Queue(Queued checkpoint) {
  ROMULUS_CHECK(state_ != State::kDiscarding && !activating_ && !frozen_);
  ROMULUS_CHECK(checkpoint.after == AfterCheckpoint::kWait || lockstep_);
  ROMULUS_CHECK(domain_ == nullptr || !domain_->along || domain_->suspended || state_ == State::kBroken);
  queue_.push_back(std::move(checkpoint));
  Work();
}

void SimulatedTarget::FinishSeeding(std::string tail, AfterCheckpoint after) {
  seeded_ = true;
  Queue({1, sink_->Take() + tail, after});
}

void SimulatedTarget::Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) {
  Queue({epoch, bytes.ToString(), after});
}

void SimulatedTarget::RunAlong(uint64_t epoch) {
  resuming_ = true;
  host_->machine->After(random_->Between(absl::Milliseconds(1), absl::Milliseconds(30)), [this, here = here_, epoch] {
    resuming_ = false;
    if (!*here || state_ != State::kWaiting) return;
    if (frozen_ || activating_) return Work();
    if (host_->failing_runs > 0) {
      --host_->failing_runs;
      domain_->along = false;
      ToAgent(absl::Milliseconds(1), [this, epoch](Observer* observer) {
        if (state_ == State::kWaiting && !frozen_) {
          observer->OnLockstepRefused(epoch, absl::UnavailableError("simulated: the event channels differ"));
        }
      });
      return;
    }
    domain_->dirty.clear();
    domain_->along = true;
    domain_->suspended = false;
    hooks_.on_run_along(epoch, domain_->memory);
    ToAgent(random_->Between(absl::Microseconds(10), absl::Milliseconds(2)), [this, epoch](Observer* observer) {
      if (state_ == State::kWaiting && !frozen_ && !activating_) observer->OnRunning(epoch, nullptr);
    });
  });
}

void SimulatedTarget::Suspend(uint64_t epoch) {
  ROMULUS_CHECK(!activating_ && !frozen_ && state_ != State::kDiscarding);
  // Mostly fast; at times later than anybody waits for.
  const absl::Duration suspend = random_->Chance(20) ? random_->Between(absl::Milliseconds(50), absl::Seconds(3))
                                                     : random_->Between(absl::Milliseconds(1), absl::Milliseconds(10));
  host_->machine->After(suspend, [this, here = here_, epoch] {
    if (!*here || state_ != State::kWaiting || frozen_ || activating_) return;
    domain_->suspended = true;
    PageRuns dirty = PageRunsOf(domain_->dirty);
    ToAgent(absl::Microseconds(200), [this, epoch, dirty](Observer* observer) {
      if (state_ == State::kWaiting && !frozen_ && !activating_) observer->OnSuspended(epoch, dirty);
    });
  });
}

void SimulatedTarget::Freeze() {
  ROMULUS_CHECK(!activating_);
  if (state_ != State::kWaiting) return;
  frozen_ = true;
  if (domain_->along) domain_->paused = true;
}

void SimulatedTarget::Activate() {
  ROMULUS_CHECK(!activating_ && state_ != State::kDiscarding && state_ != State::kRunning);
  activating_ = true;
  if (state_ == State::kBroken)
    return FailActivation(absl::FailedPreconditionError("the standby had been lost before"));
  if (!seeded_) {
    state_ = State::kBroken;
    return FailActivation(absl::UnavailableError("the restore helper: the stream ended within the first copy"));
  }
  Work();
}

void SimulatedTarget::Work() {
  if (working_ || resuming_ || state_ != State::kWaiting) return;
  if (!queue_.empty()) {
    working_ = true;
    // Mostly fast, at times slower than checkpoints come.
    absl::Duration apply = random_->Chance(50) ? random_->Between(absl::Milliseconds(50), absl::Milliseconds(800))
                                               : random_->Between(absl::Milliseconds(1), absl::Milliseconds(10));
    host_->machine->After(apply, [this, here = here_] {
      if (!*here || state_ != State::kWaiting) return;
      working_ = false;
      const Queued applied = std::move(queue_.front());
      queue_.pop_front();
      ApplyCheckpoint(applied.bytes, applied.epoch == 1, domain_->memory);
      checkpoint_ = domain_->memory;
      // Nothing is left of what it was before.
      domain_->along = false;
      ToAgent(absl::ZeroDuration(), [this, epoch = applied.epoch](Observer* observer) {
        if (state_ == State::kWaiting) observer->OnApplied(epoch);
      });
      if (applied.after == AfterCheckpoint::kRun && !frozen_ && !activating_) return RunAlong(applied.epoch);
      Work();
    });
    return;
  }
  if (!activating_) return;
  working_ = true;
  // One that has run has its devices, and little to do.
  const absl::Duration start = domain_->along ? random_->Between(absl::Microseconds(100), absl::Milliseconds(5))
                                              : random_->Between(absl::Milliseconds(10), absl::Milliseconds(60));
  host_->machine->After(start, [this, here = here_] {
    if (!*here || state_ != State::kWaiting) return;
    if (host_->failing_activations > 0) {
      --host_->failing_activations;
      state_ = State::kBroken;
      domain_->along = false;
      return FailActivation(absl::InternalError("simulated: the vif's backend did not connect"));
    }
    if (hooks_.partial != nullptr) ApplyCheckpoint(hooks_.partial(), false, domain_->memory);
    if (hooks_.reapply) domain_->memory = checkpoint_;
    state_ = State::kRunning;
    domain_->along = domain_->paused = domain_->suspended = false;
    --host_->helpers;
    host_->kernel->AddVif(domain_->vif());
    hooks_.on_run(domain_->memory);
    domain_->started = true;
    ToAgent(absl::Milliseconds(1), [this](Observer* observer) {
      if (state_ == State::kRunning) observer->OnActivated(absl::OkStatus(), {});
    });
  });
}

void SimulatedTarget::Discard() {
  ROMULUS_CHECK(state_ != State::kDiscarding);
  state_ = State::kDiscarding;
  queue_.clear();
  if (sink_ != nullptr) sink_->End(absl::CancelledError("the standby is being discarded"));
  host_->machine->After(random_->Between(absl::Milliseconds(2), absl::Milliseconds(100)), [this, here = here_] {
    if (!*here) return;
    // One that runs is the guest, and stays.
    if (domain_ != nullptr && !domain_->started) {
      host_->Destroy(domain_);
      --host_->helpers;
    }
    ToAgent(absl::ZeroDuration(), [](Observer* observer) { observer->OnDiscarded(); });
  });
}

void SimulatedTarget::KillHelper() {
  if (state_ == State::kWaiting && domain_ != nullptr) Break(absl::UnavailableError("the restore helper was killed"));
}

void SimulatedTarget::Break(absl::Status status) {
  state_ = State::kBroken;
  domain_->along = false;
  sink_->End(status);
  if (activating_) return FailActivation(std::move(status));
  ToAgent(absl::Milliseconds(2), [this, status](Observer* observer) {
    if (state_ == State::kBroken && !activating_) observer->OnBroken(status);
  });
}

void SimulatedTarget::FailActivation(absl::Status status) {
  ToAgent(absl::Milliseconds(1), [this, status](Observer* observer) {
    if (state_ == State::kBroken) observer->OnActivated(status, {});
  });
}

}  // namespace romulus::simulation
