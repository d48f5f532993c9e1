#include "secondary/standby/standby_driver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/traffic_messages.h"
#include "common/stream/dirty_page_list.h"

namespace romulus {

namespace event = standby::event;
namespace action = standby::action;
using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;

namespace {

standby::After ToAfter(replication::v1::AfterCheckpoint after) {
  switch (after) {
    case replication::v1::AFTER_CHECKPOINT_UNSPECIFIED:
    case replication::v1::STANDBY_WAITS:
      return standby::After::kWait;
    case replication::v1::STANDBY_RUNS:
      return standby::After::kRun;
    default:
      return standby::After::kUnknown;
  }
}

// What the guest may send until it is known here that it runs.
constexpr size_t kEarlyOutputBytesMax = 4 << 20;
constexpr size_t kEarlyOutputFramesMax = 4096;

}  // namespace

// One link, from its offer to OnClosed. Once it is not the driver's present link any more, what comes from it is stale.
class StandbyDriver::LinkSession : public SecondaryLink::Observer {
 public:
  LinkSession(StandbyDriver* driver, standby::SessionId id, uint64_t generation,
              const replication::v1::OpenSession& open_session, std::unique_ptr<SecondaryLink> link)
      : id(id), generation(generation), open_session(open_session), link(std::move(link)), driver_(driver) {}

  void OnMessage(const PrimaryMessage& message) override {
    if (present()) driver_->OnMessage(message);
  }
  void OnSeeded(std::string tail, replication::v1::AfterCheckpoint after) override {
    if (!present()) return;
    driver_->arrived_ = std::move(tail);
    driver_->Post(event::Seeded{ToAfter(after)});
  }
  void OnCheckpoint(uint64_t epoch, CheckpointBytes bytes, replication::v1::AfterCheckpoint after) override {
    if (!present()) return;
    driver_->arrived_ = std::move(bytes);
    driver_->Post(event::CheckpointArrived{epoch, ToAfter(after)});
  }
  void OnClosed(absl::Status status) override { driver_->OnLinkClosed(id, std::move(status)); }

  const standby::SessionId id;
  const uint64_t generation;
  const replication::v1::OpenSession open_session;
  const std::unique_ptr<SecondaryLink> link;

 private:
  bool present() const { return driver_->link_.get() == this; }
  StandbyDriver* const driver_;
};

class StandbyDriver::TargetRun : public CheckpointTarget::Observer {
 public:
  TargetRun(StandbyDriver* driver, std::unique_ptr<CheckpointTarget> target)
      : target(std::move(target)), driver_(driver) {}

  void OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> seed_sink, uint32_t domid) override {
    if (!present()) return;
    driver_->seed_sink_ = std::move(seed_sink);
    driver_->domid_ = domid;
    if (status.ok() && driver_->session_.stream_mode() == replication::v1::COLO) {
      absl::StatusOr<std::unique_ptr<StandbyTraffic>> traffic = driver_->seams_.new_traffic(driver_->session_, domid);
      if (traffic.ok()) driver_->traffic_ = std::make_shared<TrafficRun>(driver_, *std::move(traffic));
      status = traffic.status();
    }
    driver_->Post(event::Prepared{std::move(status)});
  }
  void OnApplied(uint64_t epoch) override {
    if (!present()) return;
    driver_->unapplied_bytes_.erase(driver_->unapplied_bytes_.begin(), driver_->unapplied_bytes_.upper_bound(epoch));
    driver_->Post(event::Applied{epoch});
  }
  void OnRunning(uint64_t epoch, const StandbyGap* gap) override {
    if (!present()) return;
    if (gap != nullptr) driver_->gaps_.Add(*gap);
    driver_->Post(event::Running{epoch});
  }
  void OnSuspended(uint64_t epoch, PageRuns dirty) override {
    if (!present()) return;
    driver_->dirty_pages_last_ = CountPages(dirty);
    driver_->dirty_pages_ = std::move(dirty);
    driver_->Post(event::Suspended{epoch});
  }
  void OnLockstepRefused(uint64_t epoch, absl::Status why) override {
    if (present()) driver_->Post(event::LockstepRefused{epoch, std::move(why)});
  }
  void OnBroken(absl::Status status) override {
    if (present()) driver_->Post(event::Broken{std::move(status)});
  }
  void OnActivated(absl::Status status, CheckpointTarget::ActivationTimes times) override {
    if (!present()) return;
    driver_->activation_ = times;
    driver_->unapplied_bytes_.clear();
    driver_->Post(event::Activated{std::move(status)});
  }
  void OnDiscarded() override {
    if (!present()) return;
    driver_->DropTarget();
    driver_->Post(event::Discarded{});
  }

  const std::unique_ptr<CheckpointTarget> target;

 private:
  bool present() const { return driver_->target_.get() == this; }
  StandbyDriver* const driver_;
};

// The traffic of one target.
class StandbyDriver::TrafficRun : public StandbyTraffic::Observer {
 public:
  TrafficRun(StandbyDriver* driver, std::unique_ptr<StandbyTraffic> traffic)
      : driver_(driver), traffic(std::move(traffic)) {
    this->traffic->Start(this);
  }
  void OnOutput(std::vector<TrafficFrame> frames) override {
    if (driver_->traffic_.get() == this) driver_->OnOutput(std::move(frames));
  }

 private:
  StandbyDriver* const driver_;

 public:
  const std::unique_ptr<StandbyTraffic> traffic;
};

// One action. OK, or what failed.
struct StandbyDriver::Executor {
  StandbyDriver& d;
  // Comes before every other event.
  std::vector<event::Event>& results;

  template <typename Change>
  void SendMessage(Change change) {
    SecondaryMessage message;
    change(message);
    d.link_->link->Send(std::move(message));
  }

  absl::Status operator()(const action::WriteRecord& a) {
    GenerationStore::Record record;
    record.generation = a.generation;
    record.ownership_moved = a.ownership_moved;
    // For an agent that comes back: which guest it has activated.
    if (a.ownership_moved && !a.forgotten) record.detail = d.session_.SerializeAsString();
    absl::Status status = d.seams_.store->Write(d.protection_, record);
    if (!status.ok()) results.push_back(event::WriteFailed{status});
    return status;
  }
  absl::Status operator()(const action::TakeLink& a) {
    d.link_ = d.links_.at(a.session);
    d.session_ = d.link_->open_session;
    d.committed_at_.reset();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::RefuseLink& a) {
    auto refused = d.links_.find(a.session);
    if (refused != d.links_.end()) refused->second->link->Close(a.status);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::CloseLink& a) {
    d.NoteHeard();
    std::exchange(d.link_, nullptr)->link->Close(a.status);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendAccepted&) {
    d.link_->link->SetSeedSink(std::move(d.seed_sink_));
    SendMessage([&](SecondaryMessage& message) {
      auto* accepted = message.mutable_session_accepted();
      *accepted->mutable_secondary_host() = d.seams_.host;
      accepted->set_codec(replication::v1::RAW);
      accepted->set_chunk_bytes_max(d.seams_.chunk_bytes_max);
    });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendCommit& a) {
    d.committed_at_ = d.Now();
    SendMessage([&](SecondaryMessage& message) { message.mutable_checkpoint_commit()->set_epoch(a.epoch); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendFence& a) {
    SendMessage([&](SecondaryMessage& message) { message.mutable_fence()->set_next_generation(a.next_generation); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendStandbyFailed& a) {
    SendMessage([&](SecondaryMessage& message) { message.mutable_standby_failed()->set_reason(a.reason); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendSessionStopped&) {
    SendMessage([&](SecondaryMessage& message) { message.mutable_session_stopped(); });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::PrepareTarget&) {
    d.target_ = std::make_shared<TargetRun>(&d, d.seams_.new_target());
    d.target_->target->Prepare(d.session_.domain(), d.session_.stream_mode() == replication::v1::COLO, d.target_.get());
    return absl::OkStatus();
  }
  absl::Status operator()(const action::Apply& a) {
    CheckpointBytes bytes = std::exchange(d.arrived_, {});
    const AfterCheckpoint after = a.run ? AfterCheckpoint::kRun : AfterCheckpoint::kWait;
    d.StopTraffic();
    if (d.traffic_ != nullptr) {
      d.input_.OnCheckpoint(a.epoch);
      d.traffic_->traffic->OnCheckpoint();
      if (a.run) d.output_epoch_ = a.epoch;
    }
    if (a.epoch == 1) {
      d.target_->target->FinishSeeding(bytes.ToString(), after);
    } else {
      d.unapplied_bytes_[a.epoch] = bytes.size();
      d.target_->target->Apply(a.epoch, std::move(bytes), after);
    }
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SuspendTarget& a) {
    d.input_.OnStopped();
    d.target_->target->Suspend(a.epoch);
    return absl::OkStatus();
  }
  absl::Status operator()(const action::FreezeTarget&) {
    d.StopTraffic();
    d.target_->target->Freeze();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendDirtyPages& a) {
    d.StopTraffic();
    for (replication::v1::DirtyPageList& list : DirtyPageListsOf(a.epoch, std::exchange(d.dirty_pages_, {}))) {
      SendMessage([&](SecondaryMessage& message) { *message.mutable_dirty_page_list() = std::move(list); });
    }
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendStandbyRunning& a) {
    SendMessage([&](SecondaryMessage& message) { message.mutable_standby_running()->set_epoch(a.epoch); });
    d.output_flows_ = true;
    d.early_output_bytes_ = 0;
    d.SendOutput(std::exchange(d.early_output_, {}));
    for (standby::InputQueue::Entry& entry : d.input_.OnRunning(a.epoch)) d.GiveInput(std::move(entry));
    return absl::OkStatus();
  }
  absl::Status operator()(const action::SendLockstepRefused& a) {
    d.StopTraffic();
    SendMessage([&](SecondaryMessage& message) {
      message.mutable_lockstep_refused()->set_epoch(a.epoch);
      message.mutable_lockstep_refused()->set_reason(a.reason);
    });
    return absl::OkStatus();
  }
  absl::Status operator()(const action::DropArrived&) {
    d.arrived_ = CheckpointBytes();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::ActivateTarget&) {
    d.detect_ = d.heard_at_.has_value() ? d.Now() - *d.heard_at_ : absl::ZeroDuration();
    d.StopTraffic();
    if (d.traffic_ != nullptr) d.traffic_->traffic->Open();
    d.target_->target->Activate();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::DiscardTarget&) {
    if (d.target_ == nullptr) {
      // Activated before the agent was restarted: there is nothing of it in this process.
      results.push_back(event::Discarded{});
    } else {
      d.target_->target->Discard();
    }
    return absl::OkStatus();
  }
  absl::Status operator()(const action::ReleaseTarget&) {
    if (d.target_ != nullptr) d.DropTarget();
    return absl::OkStatus();
  }
  absl::Status operator()(const action::ArmTimer& a) {
    Scheduler::TimerId& id = d.timers_[a.timer];
    d.seams_.scheduler->Cancel(id);
    id = d.seams_.scheduler->After(a.delay, [driver = &d, timer = a.timer] {
      driver->timers_[timer] = Scheduler::kNoTimer;
      driver->Post(event::TimerFired{timer});
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

StandbyDriver::StandbyDriver(std::string protection, Seams seams, Observer* observer)
    : protection_(std::move(protection)), seams_(std::move(seams)), observer_(observer) {
  absl::StatusOr<GenerationStore::Record> record = seams_.store->Read(protection_);
  event::Start start;
  if (record.ok()) {
    start.stored_generation = record->generation;
    start.ownership_moved = record->ownership_moved;
    start.forgotten = record->detail.empty();
    if (!record->detail.empty() && !session_.ParseFromString(record->detail)) session_.Clear();
  } else if (!absl::IsNotFound(record.status())) {
    record_error_ = absl::DataLossError(absl::StrCat("the record of ", protection_, " can't be read (",
                                                     std::string(record.status().message()),
                                                     "), so it is not known who owns the guest"));
    return;
  }
  core_.Step(start);
}

StandbyDriver::~StandbyDriver() {
  ROMULUS_CHECK(!draining_);
  for (const auto& [name, id] : timers_) seams_.scheduler->Cancel(id);
}

void StandbyDriver::OfferSession(const PrimaryMessage& open, absl::Status compatibility,
                                 std::unique_ptr<SecondaryLink> link) {
  standby::SessionId id = next_session_++;
  const replication::v1::OpenSession& session = open.open_session();
  auto offered = std::make_shared<LinkSession>(this, id, open.generation(), session, std::move(link));
  links_[id] = offered;
  offered->link->Start(offered.get());
  if (!record_error_.ok()) return offered->link->Close(record_error_);

  standby::Offer offer;
  offer.session = id;
  offer.generation = open.generation();
  if (session.failover_policy() == replication::v1::ON_LINK_LOSS) {
    offer.failover_policy = standby::FailoverPolicy::kOnLinkLoss;
  }
  offer.heartbeat_interval = absl::Milliseconds(session.heartbeat_interval_ms());
  offer.link_timeout = absl::Milliseconds(session.link_timeout_ms());
  offer.lockstep = session.stream_mode() == replication::v1::COLO;
  offer.compatibility = std::move(compatibility);
  Post(event::SessionOffered{std::move(offer)});
}

void StandbyDriver::Activate(uint64_t generation, bool primary_fenced, Done done) {
  if (!record_error_.ok()) return done(record_error_);
  Post(event::ActivateRequested{NewRequest(std::move(done)), generation, primary_fenced});
}

void StandbyDriver::Delete(uint64_t generation, Done done) {
  if (!record_error_.ok()) return done(record_error_);
  Post(event::DeleteRequested{NewRequest(std::move(done)), generation});
}

void StandbyDriver::Shutdown(Done done) {
  if (!record_error_.ok()) return done(absl::OkStatus());
  Post(event::ShutdownRequested{NewRequest(std::move(done))});
}

standby::RequestId StandbyDriver::NewRequest(Done done) {
  requests_[next_request_] = std::move(done);
  return next_request_++;
}

void StandbyDriver::Post(event::Event event) {
  queue_.push_back(std::move(event));
  if (!draining_) Drain();
}

void StandbyDriver::Drain() {
  draining_ = true;
  standby::Standby::Phase before = phase();
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
    queue_.insert(queue_.begin(), results.begin(), results.end());
  }
  absl::Status error = core_.snapshot().last_error;
  if (error != last_error_) {
    last_error_ = std::move(error);
    last_error_at_ = Now();
  }
  draining_ = false;
  observer_->OnChanged(phase() != before);
}

void StandbyDriver::OnMessage(const PrimaryMessage& message) {
  const bool lockstep = message.has_suspend_standby() || message.has_standby_input() || message.has_sequence_offset();
  if (lockstep && message.generation() != link_->generation) {
    return Post(event::PeerMisbehaved{absl::StrCat("a message of generation ", message.generation())});
  }
  switch (message.body_case()) {
    case PrimaryMessage::kStopSession:
      return Post(event::StopSession{message.generation()});
    case PrimaryMessage::kFenced:
      return Post(event::Fenced{message.generation(), message.fenced().next_generation()});
    case PrimaryMessage::kSuspendStandby:
      return Post(event::SuspendStandby{message.suspend_standby().epoch()});
    case PrimaryMessage::kStandbyInput: {
      const replication::v1::StandbyInput& input = message.standby_input();
      const absl::Status status = CheckTraffic(input.frames());
      if (!status.ok()) return Post(event::PeerMisbehaved{std::string(status.message())});
      standby::InputQueue::Frames frames;
      for (const replication::v1::Frame& frame : input.frames()) {
        frames.push_back({frame.device_id(), frame.contents()});
      }
      return OnInput(input.epoch(), std::move(frames));
    }
    case PrimaryMessage::kSequenceOffset: {
      const absl::StatusOr<packet::SequenceOffset> offset = FromMessage(message.sequence_offset());
      if (!offset.ok()) return Post(event::PeerMisbehaved{std::string(offset.status().message())});
      return OnInput(message.sequence_offset().epoch(), *offset);
    }
    case PrimaryMessage::kOpenSession:
    case PrimaryMessage::kCheckpointData:
    case PrimaryMessage::kCheckpointTrailer:
    case PrimaryMessage::kHeartbeat:
    case PrimaryMessage::BODY_NOT_SET:
      return Post(event::PeerMisbehaved{absl::StrCat("message of kind ", static_cast<int>(message.body_case()))});
  }
}

void StandbyDriver::OnInput(uint64_t epoch, standby::InputQueue::Entry entry) {
  if (session_.stream_mode() != replication::v1::COLO) {
    return Post(event::PeerMisbehaved{"traffic in a session whose stream mode is not COLO"});
  }
  if (traffic_ == nullptr) return;
  if (std::optional<standby::InputQueue::Entry> due = input_.Add(epoch, std::move(entry)); due.has_value()) {
    GiveInput(std::move(*due));
  }
}

void StandbyDriver::GiveInput(standby::InputQueue::Entry entry) {
  if (auto* frames = std::get_if<standby::InputQueue::Frames>(&entry)) {
    input_frames_ += frames->size();
    traffic_->traffic->Input(std::move(*frames));
  } else {
    traffic_->traffic->AddOffset(std::get<packet::SequenceOffset>(entry));
  }
}

void StandbyDriver::OnOutput(std::vector<TrafficFrame> frames) {
  // Suspended, frozen or waiting: of no run that is compared any more.
  if (!output_epoch_.has_value() || link_ == nullptr) {
    output_dropped_ += frames.size();
    return;
  }
  if (output_flows_) return SendOutput(std::move(frames));
  for (TrafficFrame& frame : frames) {
    const size_t size = frame.contents.size();
    if (early_output_.size() >= kEarlyOutputFramesMax || early_output_bytes_ + size > kEarlyOutputBytesMax) {
      ++output_dropped_;
      continue;
    }
    early_output_bytes_ += size;
    early_output_.push_back(std::move(frame));
  }
}

// What finds no room is missed by the comparison, which then asks for a checkpoint.
void StandbyDriver::SendOutput(std::vector<TrafficFrame> frames) {
  while (true) {
    SecondaryMessage message;
    replication::v1::StandbyOutput& output = *message.mutable_standby_output();
    output.set_epoch(*output_epoch_);
    if (!TakeTraffic(frames, output.mutable_frames())) return;
    const auto count = static_cast<uint64_t>(output.frames_size());
    (link_->link->SendTraffic(std::move(message)) ? output_frames_ : output_dropped_) += count;
  }
}

void StandbyDriver::StopTraffic() {
  input_.OnStopped();
  output_epoch_.reset();
  output_flows_ = false;
  early_output_.clear();
  early_output_bytes_ = 0;
}

void StandbyDriver::OnLinkClosed(standby::SessionId id, absl::Status status) {
  auto closed = links_.find(id);
  if (closed == links_.end()) return;
  if (link_ == closed->second) {
    NoteHeard();
    link_.reset();
  }
  DropLater(std::move(closed->second));
  links_.erase(closed);
  Post(event::LinkClosed{id, std::move(status)});
}

void StandbyDriver::NoteHeard() {
  if (link_ != nullptr) {
    heard_at_ = Now() - link_->link->silence();
    received_bytes_ = link_->link->received_bytes();
  }
}

void StandbyDriver::DropTarget() {
  StopTraffic();
  if (traffic_ != nullptr) DropLater(std::move(traffic_));
  input_dropped_before_ += std::exchange(input_, {}).dropped_frames();
  dirty_pages_.clear();
  DropLater(std::move(target_));
  seed_sink_.reset();
  unapplied_bytes_.clear();
  domid_ = 0;
}

// An object must not go while one of its callbacks runs.
void StandbyDriver::DropLater(std::shared_ptr<void> object) {
  seams_.scheduler->Post([object = std::move(object)] {});
}

StandbyDriver::Status StandbyDriver::status() const {
  Status status;
  status.core = core_.snapshot();
  if (!record_error_.ok()) status.core.last_error = record_error_;
  status.session = session_;
  status.domid = domid_;
  if (committed_at_.has_value()) status.last_commit_age = Now() - *committed_at_;
  if (link_ != nullptr) {
    status.last_heard_age = link_->link->silence();
    status.received_bytes = link_->link->received_bytes();
  } else {
    if (heard_at_.has_value()) status.last_heard_age = Now() - *heard_at_;
    status.received_bytes = received_bytes_;
  }
  status.stored_bytes = arrived_.size();
  for (const auto& [epoch, bytes] : unapplied_bytes_) status.stored_bytes += bytes;
  if (!last_error_.ok()) status.last_error_age = Now() - last_error_at_;
  status.input_frames = input_frames_;
  status.input_frames_dropped = input_dropped_before_ + input_.dropped_frames();
  status.output_frames = output_frames_;
  status.output_frames_dropped = output_dropped_;
  status.dirty_pages_last = dirty_pages_last_;
  status.gaps = gaps_;
  status.detect = detect_;
  status.activation = activation_;
  return status;
}

}  // namespace romulus
