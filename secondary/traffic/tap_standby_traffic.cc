#include "secondary/traffic/tap_standby_traffic.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/log.h"

namespace romulus {
namespace {

std::vector<Vif> VifsOf(const replication::v1::DomainDescription& domain, uint32_t domid) {
  std::vector<Vif> vifs;
  for (const replication::v1::Vif& card : domain.vifs()) {
    Vif& vif = vifs.emplace_back(Vif{.name = card.name(), .domid = domid, .device_id = card.device_id()});
    if (vif.name.empty()) vif.name = absl::StrCat("vif", domid, ".", card.device_id());
  }
  return vifs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TapStandbyTraffic>> TapStandbyTraffic::New(Scheduler* scheduler,
                                                                          const NewFrames& new_frames,
                                                                          const replication::v1::OpenSession& session,
                                                                          uint32_t domid) {
  std::unique_ptr<TapStandbyTraffic> traffic(
      new TapStandbyTraffic(scheduler, new_frames, VifsOf(session.domain(), domid)));
  for (const Vif& vif : traffic->vifs_) {
    const absl::StatusOr<VifFrames::Added> added = traffic->frames_->Add(vif, session.protection(), VifMode::kIsolate);
    if (added.ok()) continue;
    for (const Vif& done : traffic->vifs_) {
      if (done.device_id == vif.device_id) break;
      traffic->frames_->Remove(done.device_id, VifFrames::Held::kDrop).IgnoreError();
    }
    return added.status();
  }
  return traffic;
}

TapStandbyTraffic::TapStandbyTraffic(Scheduler* scheduler, const NewFrames& new_frames, std::vector<Vif> vifs)
    : scheduler_(scheduler),
      vifs_(std::move(vifs)),
      frames_(new_frames([this](const Vif& vif, FrameDirection direction,
                                std::vector<GuestFrame> frames) { OnFrames(vif, direction, std::move(frames)); },
                         [this](const Vif& vif, const absl::Status& status) { OnError(vif, status); })) {}

TapStandbyTraffic::~TapStandbyTraffic() {
  scheduler_->Cancel(look_);
  if (phase_ == Phase::kOpen && in_the_way_) StepAside();
}

// What is still in the TAPs is of the run that ends.
void TapStandbyTraffic::OnCheckpoint() {
  translator_.OnCheckpointApplied();
  discarding_ = true;
  for (const Vif& vif : vifs_) frames_->Drain(vif.device_id, FrameDirection::kFromGuest);
  discarding_ = false;
}

void TapStandbyTraffic::AddOffset(const packet::SequenceOffset& offset) {
  // Full: the standby gets numbers that it does not know, and the guests will differ.
  (void)translator_.Add(scheduler_->Now(), offset);
}

void TapStandbyTraffic::Input(std::vector<TrafficFrame> frames) {
  if (phase_ == Phase::kOpen) return;
  for (TrafficFrame& frame : frames) {
    translator_.TranslateInput(scheduler_->Now(), frame.device_id, absl::MakeSpan(frame.contents),
                               packet::Checksum::kComplete);
    const absl::Status written = frames_->Write(frame.device_id, FrameDirection::kToGuest, std::move(frame.contents));
    if (!written.ok()) ++unwritten_;
  }
}

void TapStandbyTraffic::Open() {
  ROMULUS_CHECK(phase_ == Phase::kIsolated);
  phase_ = Phase::kOpen;
  if (translator_.connections() > 0 && !unreadable_) {
    if (const absl::Status opened = frames_->SetMode(VifMode::kTranslate); opened.ok()) {
      look_ = scheduler_->After(kLookPeriod, [this] { StepAsideIfDone(); });
      return;
    } else {
      LogError("lockstep: connections can't be translated, and break: ", opened.message());
    }
  }
  StepAside();
}

void TapStandbyTraffic::StepAsideIfDone() {
  look_ = Scheduler::kNoTimer;
  if (translator_.connections() == 0 || unreadable_) return StepAside();
  look_ = scheduler_->After(kLookPeriod, [this] { StepAsideIfDone(); });
}

// The guest is the owner: whatever fails, it is not to be kept from the network for our sake.
void TapStandbyTraffic::StepAside() {
  for (const Vif& vif : vifs_) {
    const absl::Status removed = frames_->Remove(vif.device_id, VifFrames::Held::kDrain);
    if (!removed.ok()) {
      LogError("lockstep: ", vif.name, " is not let alone: remove its filters with 'tc filter del dev ", vif.name,
               " ingress' and the same for egress: ", removed.message());
    }
  }
  in_the_way_ = false;
}

void TapStandbyTraffic::OnFrames(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames) {
  if (discarding_) return;
  if (phase_ == Phase::kOpen) return Translate(vif, direction, std::move(frames));
  if (direction == FrameDirection::kFromGuest) GiveOut(vif, std::move(frames));
}

// Isolated, the guests differ from here on, which the primary finds out. Afterwards the guest would be mute.
void TapStandbyTraffic::OnError(const Vif& vif, const absl::Status& status) {
  LogError("lockstep: ", vif.name, " can't be read any more: ", status.message());
  unreadable_ = true;
  if (phase_ == Phase::kIsolated || !in_the_way_) return;
  scheduler_->Cancel(look_);
  look_ = scheduler_->After(absl::ZeroDuration(), [this] { StepAsideIfDone(); });
}

void TapStandbyTraffic::GiveOut(const Vif& vif, std::vector<GuestFrame> frames) {
  if (observer_ == nullptr) return;
  std::vector<TrafficFrame> output;
  for (GuestFrame& frame : frames) {
    translator_.NoteOutput(scheduler_->Now(), vif.device_id, frame.contents);
    if (std::optional<std::string> contents = ToContents(std::move(frame)); contents.has_value()) {
      output.push_back({vif.device_id, *std::move(contents)});
    }
  }
  if (!output.empty()) observer_->OnOutput(std::move(output));
}

void TapStandbyTraffic::Translate(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames) {
  for (GuestFrame& frame : frames) {
    const packet::Checksum checksum =
        frame.checksum_partial() ? packet::Checksum::kPartial : packet::Checksum::kComplete;
    const absl::Span<char> contents = absl::MakeSpan(frame.contents);
    if (direction == FrameDirection::kToGuest) {
      translator_.TranslateInput(scheduler_->Now(), vif.device_id, contents, checksum);
    } else {
      translator_.TranslateOutput(scheduler_->Now(), vif.device_id, contents, checksum);
    }
    if (!frames_->Write(vif.device_id, direction, frame).ok()) ++unwritten_;
  }
}

}  // namespace romulus
