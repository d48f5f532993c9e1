#include "primary/protection/protection_driver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

namespace event = protection::event;
namespace action = protection::action;
using replication::v1::SecondaryMessage;

namespace {

constexpr absl::Duration kDropsTellingPeriod = absl::Minutes(1);

}  // namespace

// One link, from Open to OnClosed. Once it is not the driver's present link any more, what comes from it is stale.
class ProtectionDriver::LinkSession : public PrimaryLink::Observer {
 public:
  LinkSession(ProtectionDriver* driver, std::unique_ptr<PrimaryLink> link) : driver_(driver), link(std::move(link)) {}

  void OnMessage(const SecondaryMessage& message) override {
    if (driver_->link_.get() == this) driver_->OnMessage(message);
  }
  void OnCheckpointSent(uint64_t epoch) override {
    if (driver_->link_.get() == this) driver_->Post(event::CheckpointSent{epoch, driver_->Now()});
  }
  void OnClosed(absl::Status status) override { driver_->OnLinkClosed(this, std::move(status)); }

 private:
  ProtectionDriver* const driver_;

 public:
  const std::unique_ptr<PrimaryLink> link;
};

class ProtectionDriver::SourceRun : public CheckpointSource::Observer {
 public:
  SourceRun(ProtectionDriver* driver, std::unique_ptr<CheckpointSource> source)
      : driver_(driver), source(std::move(source)) {}

  void OnSeeding(std::shared_ptr<CheckpointReader> reader) override {
    driver_->uncommitted_[1].reader = std::move(reader);
    driver_->Post(event::SeedingBegun{driver_->Now()});
  }
  void OnSeedingProgress(uint64_t pages_sent, uint64_t) override {
    driver_->seeding_pages_sent_ = pages_sent;
    driver_->observer_->OnChanged(false);
  }
  void OnSuspended(uint64_t epoch) override {
    // Without a link nothing of this epoch is committed, nor marked in the egress buffer.
    if (driver_->link_ != nullptr) driver_->epoch_started_[epoch + 1] = driver_->Now();
    driver_->Post(event::Suspended{epoch, driver_->Now()});
    driver_->ResumeWatchingEgress();
  }
  void OnCaptured(CheckpointSource::Captured captured) override { driver_->OnCaptured(std::move(captured)); }
  void OnEnded(absl::Status status) override {
    driver_->turn_.reset();
    if (driver_->seams_.lockstep != nullptr) driver_->seams_.lockstep->ReleaseInput();
    driver_->DropLater(std::move(driver_->source_));
    driver_->Post(event::SourceEnded{std::move(status)});
    driver_->ResumeWatchingEgress();
  }

 private:
  ProtectionDriver* const driver_;

 public:
  const std::unique_ptr<CheckpointSource> source;
};

// What comes of the guest's traffic, in lockstep.
class ProtectionDriver::LockstepEvents : public GuestLockstep::Observer {
 public:
  explicit LockstepEvents(ProtectionDriver* driver) : driver_(driver) {}

  void OnGuestInput(std::vector<TrafficFrame> frames) override { driver_->SendInput(std::move(frames)); }
  void OnSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) override {
    if (driver_->link_ == nullptr) return;
    replication::v1::PrimaryMessage message;
    *message.mutable_sequence_offset() = ToMessage(epoch, offset);
    // Taken, unless the link is closed: then nothing is compared from the next event on, and the standby is frozen.
    (void)driver_->link_->link->SendTraffic(std::move(message));
  }
  void OnDifference(comparison::Difference difference) override {
    driver_->Post(event::Difference{std::move(difference), driver_->Now()});
  }

 private:
  ProtectionDriver* const driver_;
};

// One action. OK, or what failed.
struct ProtectionDriver::Executor {
  ProtectionDriver& d;
  // Comes before every other event.
  std::vector<event::Event>& results;

  absl::Status Check(protection::Effect effect, absl::Status status) {
    if (!status.ok()) results.push_back(event::EffectFailed{effect, status});
    return status;
  }
  template <typename Change>
  void SendMessage(Change change) {
    replication::v1::PrimaryMessage message;
    change(message);
    d.link_->link->Send(std::move(message));
  }

  absl::Status operator()(const action::AttachEgress&) {
    absl::Status status = Check(protection::Effect::kAttach, d.seams_.egress->Attach());
    if (status.ok()) results.push_back(event::EgressAttached{d.seams_.egress->adopted()});
    return status;
  }
  absl::Status operator()(const action::OpenEpoch&) {
    absl::Status status = Check(protection::Effect::kOpenEpoch, d.seams_.egress->OpenEpoch());
    d.mark_set_ = status.ok();
    return status;
  }
  absl::Status operator()(const action::ReleaseEpoch& a) {
    absl::Status status = Check(protection::Effect::kRelease, d.seams_.egress->ReleaseEpoch());
    if (status.ok()) {
      d.egress_watch_.OnReleaseEpoch(d.Now());
      d.NoteRelease(a.epoch);
    }
    return status;
  }
  absl::Status operator()(const action::NoteCommit& a) {
    d.NoteCommit(a.epoch);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::PassThrough&) {
    d.egress_watch_.Look(d.Now());
    absl::Status status = Check(protection::Effect::kPassThrough, d.seams_.egress->PassThrough());
    if (status.ok()) {
      d.egress_watch_.OnPassThrough(d.Now());
      d.NotePassThrough();
      d.StopWatchingEgress();
    }
    return status;
  }
  absl::Status operator()(const action::DiscardHeld&) {
    d.StopWatchingEgress();
    d.egress_watch_.OnDiscard();
    return Check(protection::Effect::kDiscard, d.seams_.egress->Discard());
  }
  absl::Status operator()(const action::DetachEgress&) {
    d.StopWatchingEgress();
    return Check(protection::Effect::kDetach, d.seams_.egress->Detach());
  }
  absl::Status operator()(const action::PauseGuest&) {
    return Check(protection::Effect::kPause, d.seams_.guest->Pause());
  }
  absl::Status operator()(const action::UnpauseGuest&) {
    return Check(protection::Effect::kUnpause, d.seams_.guest->Unpause());
  }
  absl::Status operator()(const action::WriteRecord& a) {
    GenerationStore::Record record;
    record.generation = a.generation;
    record.ownership_moved = a.ownership_moved;
    if (!a.ended) record.detail = d.record_detail_;
    return Check(protection::Effect::kWriteRecord, d.seams_.store->Write(d.protection_, record));
  }
  absl::Status operator()(const action::OpenLink& a) {
    d.link_ = std::make_shared<LinkSession>(&d, d.seams_.new_link());
    d.link_->link->Open(a.generation, d.open_session_, d.link_.get());
    return absl::OkStatus();
  }
  absl::Status operator()(const action::CloseLink&) {
    d.ending_links_.push_back(d.link_);
    std::exchange(d.link_, nullptr)->link->Close();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendStopSession& a) {
    SendMessage([&](auto& message) { message.mutable_stop_session()->set_reason(a.reason); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendFenced& a) {
    SendMessage([&](auto& message) { message.mutable_fenced()->set_next_generation(a.next_generation); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendCheckpoint& a) {
    d.link_->link->SendCheckpoint(
        a.epoch, d.uncommitted_[a.epoch].reader, a.tell_when_sent,
        a.after == protection::AfterCheckpoint::kRuns ? replication::v1::STANDBY_RUNS : replication::v1::STANDBY_WAITS);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::CancelTransfer&) {
    d.CancelReaders();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::StartSource&) {
    d.ForgetSession();
    d.source_ = std::make_shared<SourceRun>(&d, d.seams_.new_source());
    d.source_->source->Start(d.source_.get());
    return absl::OkStatus();
  }
  absl::Status operator()(const action::RequestCheckpoint& a) {
    d.RequestCheckpoint(a.epoch, a.with_standby_pages);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::AddStandbyPages& a) {
    d.source_->source->AddStandbyPages(a.epoch, std::exchange(d.standby_pages_, {}));
    return absl::OkStatus();
  }
  absl::Status operator()(const action::FollowEpoch& a) {
    d.input_epoch_.reset();
    if (a.after == protection::AfterCheckpoint::kRuns) d.input_epoch_ = a.epoch;
    return absl::OkStatus();
  }
  absl::Status operator()(const action::Compare& a) {
    d.seams_.lockstep->OnStandbyRunning(a.epoch);
    if (d.standby_asked_at_.has_value()) {
      d.lockstep_checkpoint_.Add(absl::ToInt64Nanoseconds(d.Now() - *std::exchange(d.standby_asked_at_, std::nullopt)));
    }
    return absl::OkStatus();
  }
  absl::Status operator()(const action::StopComparing&) {
    d.seams_.lockstep->OnStandbyStopping();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::PermitResume& a) {
    d.source_->source->PermitResume(a.epoch);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::StopSource&) {
    d.turn_.reset();
    d.source_->source->Stop();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::ArmTimer& a) {
    Scheduler::TimerId& id = d.timers_[a.timer];
    d.seams_.scheduler->Cancel(id);
    id = d.seams_.scheduler->After(a.delay, [driver = &d, timer = a.timer] {
      driver->timers_[timer] = Scheduler::kNoTimer;
      driver->Post(event::TimerFired{timer, driver->Now()});
    });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::CancelTimer& a) {
    d.seams_.scheduler->Cancel(std::exchange(d.timers_[a.timer], Scheduler::kNoTimer));
    return absl::OkStatus();
  }
  absl::Status operator()(const action::Reply& a) {
    auto request = d.requests_.find(a.request);
    if (request == d.requests_.end()) return absl::OkStatus();
    Done done = std::move(request->second);
    d.requests_.erase(request);
    done(a.status);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::Continue& a) {
    results.push_back(event::Continued{a.milestone});
    return absl::OkStatus();
  }
};

ProtectionDriver::ProtectionDriver(std::string protection, const protection::Config& config,
                                   const replication::v1::OpenSession& open_session, std::string record_detail,
                                   Seams seams, Observer* observer)
    : protection_(std::move(protection)),
      open_session_(open_session),
      record_detail_(std::move(record_detail)),
      seams_(std::move(seams)),
      observer_(observer),
      core_(config),
      egress_watch_(seams_.egress.get(), seams_.egress_watch) {
  ROMULUS_CHECK(!record_detail_.empty());
  ROMULUS_CHECK(config.lockstep.has_value() == (seams_.lockstep != nullptr));
  if (seams_.lockstep != nullptr) {
    lockstep_events_ = std::make_unique<LockstepEvents>(this);
    seams_.lockstep->SetObserver(lockstep_events_.get());
  }
  open_session_.set_protection(protection_);
  open_session_.set_stream_mode(config.lockstep.has_value() ? replication::v1::COLO : replication::v1::REMUS);
  open_session_.set_link_timeout_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(config.link_timeout)));
  open_session_.set_failover_policy(config.failover_policy == protection::FailoverPolicy::kOnLinkLoss
                                        ? replication::v1::ON_LINK_LOSS
                                        : replication::v1::BY_REQUEST);
}

ProtectionDriver::~ProtectionDriver() {
  ROMULUS_CHECK(!draining_);
  for (const auto& [name, id] : timers_) seams_.scheduler->Cancel(id);
  seams_.scheduler->Cancel(egress_timer_);
  CancelReaders();
}

void ProtectionDriver::CancelReaders() {
  for (auto& [epoch, checkpoint] : uncommitted_) {
    if (checkpoint.reader != nullptr) std::exchange(checkpoint.reader, nullptr)->Cancel();
  }
}

void ProtectionDriver::Start(uint64_t generation, bool recovered, Done done) {
  absl::StatusOr<GenerationStore::Record> record = seams_.store->Read(protection_);
  if (!record.ok() && !absl::IsNotFound(record.status())) return done(record.status());
  event::Start start{NewRequest(std::move(done)), generation};
  if (record.ok()) {
    start.stored_generation = record->generation;
    start.stored_ownership_moved = record->ownership_moved;
  }
  start.recovered = recovered;
  Post(start);
}

void ProtectionDriver::Delete(uint64_t generation, bool unprotect_without_secondary, Done done) {
  Post(event::DeleteRequested{NewRequest(std::move(done)), generation, unprotect_without_secondary});
}

void ProtectionDriver::Fence(uint64_t generation, Done done) {
  Post(event::FenceRequested{NewRequest(std::move(done)), generation});
}

void ProtectionDriver::UpdateSettings(const Update& update, Done done) {
  if (update.record_detail.has_value()) {
    ROMULUS_CHECK(!update.record_detail->empty());
    std::string before = std::exchange(record_detail_, *update.record_detail);
    done = [this, before = std::move(before), done = std::move(done)](absl::Status status) {
      if (!status.ok()) record_detail_ = before;
      done(std::move(status));
    };
  }
  Post(event::UpdateRequested{NewRequest(std::move(done)), update.generation, update.pacing, update.loss_policy});
}

protection::RequestId ProtectionDriver::NewRequest(Done done) {
  requests_[next_request_] = std::move(done);
  return next_request_++;
}

void ProtectionDriver::Post(event::Event event) {
  queue_.push_back(std::move(event));
  if (!draining_) Drain();
}

void ProtectionDriver::Drain() {
  draining_ = true;
  protection::Protection::Phase before = phase();
  while (!queue_.empty()) {
    event::Event event = std::move(queue_.front());
    queue_.pop_front();
    std::vector<action::Action> actions = core_.Step(event);
    std::vector<event::Event> results;
    Executor executor{*this, results};
    for (const action::Action& action : actions) {
      if (action_filter_ && !action_filter_(action)) continue;
      if (!std::visit(executor, action).ok()) break;
    }
    // After the list, which lets the guest go on: looking shall not prolong its pause.
    if (std::exchange(mark_set_, false)) {
      const absl::Duration begun = Now();
      egress_watch_.OnOpenEpoch(begun);
      AfterEgressLook(begun);
    }
    queue_.insert(queue_.begin(), results.begin(), results.end());
  }
  if (core_.last_error() != last_error_) {
    last_error_ = core_.last_error();
    last_error_at_ = Now();
  }
  draining_ = false;
  observer_->OnChanged(phase() != before);
}

void ProtectionDriver::OnMessage(const SecondaryMessage& message) {
  switch (message.body_case()) {
    case SecondaryMessage::kSessionAccepted:
      return Post(event::SessionAccepted{});
    case SecondaryMessage::kCheckpointCommit:
      return Post(event::Commit{message.checkpoint_commit().epoch(), Now()});
    case SecondaryMessage::kSessionStopped:
      return Post(event::SessionStopped{});
    case SecondaryMessage::kFence:
      return Post(event::FenceReceived{message.fence().next_generation()});
    case SecondaryMessage::kStandbyFailed:
      return Post(event::StandbyFailed{message.standby_failed().reason()});
    case SecondaryMessage::kDirtyPageList:
      return OnDirtyPageList(message.dirty_page_list());
    case SecondaryMessage::kStandbyRunning:
      return Post(event::StandbyRunning{message.standby_running().epoch(), Now()});
    case SecondaryMessage::kStandbyOutput:
      return OnStandbyOutput(message.standby_output());
    case SecondaryMessage::kLockstepRefused:
      return Post(
          event::LockstepRefused{message.lockstep_refused().epoch(), message.lockstep_refused().reason(), Now()});
    case SecondaryMessage::kHeartbeat:
    case SecondaryMessage::kResendCheckpoint:
    case SecondaryMessage::BODY_NOT_SET:
      return Post(event::PeerMisbehaved{absl::StrCat("message of kind ", static_cast<int>(message.body_case()))});
  }
}

void ProtectionDriver::OnLinkClosed(LinkSession* session, absl::Status status) {
  if (link_.get() == session) {
    DropLater(std::move(link_));
    Post(event::LinkClosed{std::move(status)});
    return;
  }
  for (auto ending = ending_links_.begin(); ending != ending_links_.end(); ++ending) {
    if (ending->get() != session) continue;
    DropLater(std::move(*ending));
    ending_links_.erase(ending);
    return;
  }
}

void ProtectionDriver::OnDirtyPageList(const replication::v1::DirtyPageList& list) {
  if (!page_lists_.has_value()) {
    return Post(event::PeerMisbehaved{
        absl::StrCat("DirtyPageList of checkpoint ", list.epoch(), ", which was not asked for or has come")});
  }
  const absl::Status status = page_lists_->Add(list);
  if (!status.ok()) {
    page_lists_.reset();
    return Post(event::PeerMisbehaved{std::string(status.message())});
  }
  if (!page_lists_->complete()) return;
  standby_pages_ = page_lists_->Take();
  page_lists_.reset();
  Post(event::StandbyPagesListed{list.epoch()});
}

void ProtectionDriver::OnStandbyOutput(const replication::v1::StandbyOutput& output) {
  const absl::Status status = CheckTraffic(output.frames());
  if (!status.ok() || seams_.lockstep == nullptr) {
    return Post(event::PeerMisbehaved{status.ok() ? "StandbyOutput in a session whose standby waits"
                                                  : std::string(status.message())});
  }
  standby_output_frames_ += static_cast<uint64_t>(output.frames_size());
  seams_.lockstep->OnStandbyOutput(output);
}

void ProtectionDriver::SendInput(std::vector<TrafficFrame> frames) {
  if (!input_epoch_.has_value() || link_ == nullptr) return;
  uint64_t dropped = 0;
  while (true) {
    replication::v1::PrimaryMessage message;
    replication::v1::StandbyInput& input = *message.mutable_standby_input();
    input.set_epoch(*input_epoch_);
    if (!TakeTraffic(frames, input.mutable_frames())) break;
    const auto count = static_cast<uint64_t>(input.frames_size());
    (link_->link->SendTraffic(std::move(message)) ? standby_input_frames_ : dropped) += count;
  }
  if (dropped == 0) return;
  standby_input_dropped_ += dropped;
  Post(event::Difference{{comparison::DifferenceReason::kBound,
                          absl::StrCat(dropped, " frames found no room on their way to the standby")},
                         Now()});
}

void ProtectionDriver::RequestCheckpoint(uint64_t epoch, bool with_standby_pages) {
  Request& request = requests_made_[epoch];
  request.due = Now();
  request.in_lockstep = with_standby_pages;
  const auto go = [this, epoch, with_standby_pages] {
    requests_made_[epoch].asked = Now();
    PauseWatchingEgress();
    if (seams_.lockstep != nullptr) seams_.lockstep->HoldInput();
    standby_asked_at_.reset();
    if (with_standby_pages) {
      seams_.lockstep->OnStandbyStopping();
      standby_asked_at_ = Now();
      const replication::v1::DomainDescription& domain = open_session_.domain();
      page_lists_.emplace(epoch,
                          domain.gpfn_count() > 0 ? domain.gpfn_count() : GuestFrameBound(domain.memory_max_kib()));
      replication::v1::PrimaryMessage message;
      message.mutable_suspend_standby()->set_epoch(epoch);
      link_->link->Send(std::move(message));
    }
    source_->source->RequestCheckpoint(epoch, with_standby_pages);
  };
  if (seams_.pause_turns == nullptr) return go();
  turn_ = seams_.pause_turns->Ask(usual_pause_, go);
}

void ProtectionDriver::OnCaptured(CheckpointSource::Captured captured) {
  turn_.reset();
  if (seams_.lockstep != nullptr) seams_.lockstep->ReleaseInput();
  usual_pause_ += (captured.pause - usual_pause_) / (usual_pause_ > absl::ZeroDuration() ? 8 : 1);
  const event::Captured event{captured.epoch, Now(), captured.parts.to_suspended(), captured.copy};
  Uncommitted& checkpoint = uncommitted_[captured.epoch];
  if (captured.reader != nullptr) checkpoint.reader = std::move(captured.reader);
  checkpoint.captured_at = Now();
  dirty_pages_last_ = captured.dirty_pages;
  standby_pages_last_ = captured.standby_pages;
  captured_pages_bytes_ = captured.captured_pages_bytes;
  oversized_ = captured.oversized_checkpoints;
  checkpoint.captured = std::move(captured);
  Post(event);
}

// An object must not go while one of its callbacks runs.
void ProtectionDriver::DropLater(std::shared_ptr<void> object) {
  seams_.scheduler->Post([object = std::move(object)] {});
}

void ProtectionDriver::ForgetSession() {
  uncommitted_.clear();
  unreleased_.clear();
  lost_output_held_since_ = OutputHeldSince();
  epoch_started_.clear();
  requests_made_.clear();
  page_lists_.reset();
  standby_pages_.clear();
  standby_asked_at_.reset();
  input_epoch_.reset();
  commits_.clear();
  sent_bytes_committed_ = 0;
  oversized_before_ += std::exchange(oversized_, 0);
  seeding_pages_sent_ = 0;
}

void ProtectionDriver::NoteCommit(uint64_t epoch) {
  absl::Duration now = Now();
  ++checkpoints_committed_;
  commits_.push_back(now);
  if (commits_.size() > RecentSpread::kCapacity) commits_.pop_front();
  committed_state_at_ = epoch_started_[epoch + 1];

  const Uncommitted& checkpoint = uncommitted_[epoch];
  EpochTrace trace;
  trace.epoch = epoch;
  trace.pause = checkpoint.captured.pause;
  trace.parts = checkpoint.captured.parts;
  trace.copy = checkpoint.captured.copy;
  trace.commit = now - checkpoint.captured_at;
  trace.dirty_pages = checkpoint.captured.dirty_pages;
  trace.unchanged_pages = checkpoint.captured.unchanged_pages;
  trace.bytes = checkpoint.captured.length;
  // The next one is sent only from now on.
  if (link_ != nullptr) {
    const uint64_t sent_bytes = link_->link->sent_bytes();
    trace.wire_bytes = sent_bytes - std::exchange(sent_bytes_committed_, sent_bytes);
  }
  unreleased_.push_back(trace);
  // Lets go of the reader: the source may use its memory again.
  uncommitted_.erase(epoch);
}

void ProtectionDriver::NoteRelease(uint64_t epoch) {
  const absl::Duration now = Now();
  while (!unreleased_.empty() && unreleased_.front().epoch <= epoch) {
    EpochTrace trace = unreleased_.front();
    unreleased_.pop_front();
    auto started = epoch_started_.find(trace.epoch);
    if (started != epoch_started_.end()) {
      trace.output_delay = now - started->second;
      const Request& request = requests_made_[trace.epoch];
      trace.ran = request.asked - started->second;
      trace.turn_wait = request.asked - request.due;
      output_delay_.Add(absl::ToInt64Nanoseconds(trace.output_delay));
      commit_.Add(absl::ToInt64Nanoseconds(trace.commit));
      dirty_pages_.Add(static_cast<int64_t>(trace.dirty_pages));
      unchanged_pages_.Add(static_cast<int64_t>(trace.unchanged_pages));
      bytes_.Add(static_cast<int64_t>(trace.bytes));
      wire_bytes_.Add(static_cast<int64_t>(trace.wire_bytes));
      Post(event::EpochMeasured{trace.epoch,
                                {trace.ran, trace.parts.to_suspended(), trace.copy, trace.pause, trace.output_delay},
                                request.in_lockstep});
    }
    pause_.Add(absl::ToInt64Nanoseconds(trace.pause));
    pause_parts_.Add(trace.parts);
    observer_->OnCheckpoint(trace);
  }
  epoch_started_.erase(epoch_started_.begin(), epoch_started_.upper_bound(epoch));
  requests_made_.erase(requests_made_.begin(), requests_made_.upper_bound(epoch));
}

std::optional<absl::Duration> ProtectionDriver::OutputHeldSince() const {
  if (lost_output_held_since_.has_value() || epoch_started_.empty()) return lost_output_held_since_;
  return epoch_started_.begin()->second;
}

void ProtectionDriver::NotePassThrough() {
  if (const std::optional<absl::Duration> since = OutputHeldSince(); since.has_value()) {
    output_delay_.Add(absl::ToInt64Nanoseconds(Now() - *since));
  }
  lost_output_held_since_.reset();
  epoch_started_.clear();
}

void ProtectionDriver::WatchEgress() {
  const absl::Duration begun = Now();
  egress_watch_.Look(begun);
  AfterEgressLook(begun);
  if (egress_watch_.pressed()) Post(event::OutputPressure{Now()});
}

void ProtectionDriver::AfterEgressLook(absl::Duration begun) {
  egress_period_ = egress_watch_.NextPeriod(Now() - begun);
  TellDrops();
  StopWatchingEgress();
  egress_timer_ = seams_.scheduler->After(egress_period_, [this] { WatchEgress(); });
}

void ProtectionDriver::PauseWatchingEgress() {
  if (egress_timer_ == Scheduler::kNoTimer) return;
  StopWatchingEgress();
  egress_watch_paused_ = true;
}

void ProtectionDriver::ResumeWatchingEgress() {
  if (!std::exchange(egress_watch_paused_, false)) return;  // A mark that was set meanwhile has looked.
  egress_timer_ = seams_.scheduler->After(egress_period_, [this] { WatchEgress(); });
}

void ProtectionDriver::StopWatchingEgress() {
  egress_watch_paused_ = false;
  seams_.scheduler->Cancel(std::exchange(egress_timer_, Scheduler::kNoTimer));
}

void ProtectionDriver::TellDrops() {
  if (drops_told_at_.has_value() && Now() < *drops_told_at_ + kDropsTellingPeriod) return;
  const std::vector<uint64_t> drops = egress_watch_.TakeNewDrops();
  for (size_t i = 0; i < drops.size(); ++i) {
    if (drops[i] == 0) continue;
    drops_told_at_ = Now();
    observer_->OnOutputDropped(egress_watch_.statistics().vifs[i], drops[i]);
  }
}

ProtectionDriver::Status ProtectionDriver::status() {
  Status status;
  status.core = core_.snapshot();
  status.checkpoints_committed = checkpoints_committed_;
  if (committed_state_at_.has_value()) status.last_commit_age = Now() - *committed_state_at_;
  status.pause_ns = pause_.spread();
  status.pause_parts = pause_parts_.spreads();
  status.output_delay_ns = output_delay_.spread();
  status.commit_ns = commit_.spread();
  status.lockstep_checkpoint_ns = lockstep_checkpoint_.spread();
  status.dirty_pages = dirty_pages_.spread();
  status.unchanged_pages = unchanged_pages_.spread();
  status.captured_pages_bytes = captured_pages_bytes_;
  status.checkpoint_bytes = bytes_.spread();
  status.checkpoint_wire_bytes = wire_bytes_.spread();
  status.dirty_pages_last = dirty_pages_last_;
  status.oversized_checkpoints = oversized_before_ + oversized_;
  if (link_ != nullptr) {
    status.sent_bytes = link_->link->sent_bytes();
    status.encoding = link_->link->encoding();
  }
  for (const auto& [epoch, checkpoint] : uncommitted_) {
    if (epoch > 1) status.staged_bytes += checkpoint.captured.length;
  }
  if (commits_.size() > 1 && commits_.back() > commits_.front()) {
    status.checkpoints_per_second =
        static_cast<double>(commits_.size() - 1) / absl::ToDoubleSeconds(commits_.back() - commits_.front());
  }
  status.seeding_pages_sent = seeding_pages_sent_;
  status.standby_input_frames = standby_input_frames_;
  status.standby_input_dropped = standby_input_dropped_;
  status.standby_output_frames = standby_output_frames_;
  status.standby_pages_last = standby_pages_last_;
  if (seams_.lockstep != nullptr) status.comparison = seams_.lockstep->statistics();
  status.lockstep_policy = core_.lockstep_snapshot(Now());
  if (!last_error_.ok()) status.last_error_age = Now() - last_error_at_;
  egress_watch_.Look(Now());
  status.egress = egress_watch_.statistics();
  status.egress_times_held = egress_watch_.times_held();
  return status;
}

}  // namespace romulus
