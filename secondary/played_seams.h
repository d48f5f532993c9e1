#ifndef ROMULUS_SECONDARY_PLAYED_SEAMS_H_
#define ROMULUS_SECONDARY_PLAYED_SEAMS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/link/replication_link.h"
#include "proto/replication/v1/replication.pb.h"
#include "secondary/checkpoint_target.h"
#include "secondary/standby_traffic.h"

namespace romulus {

// A session whose primary, target and guest the test plays: it speaks by calling the observers, when it likes, and
// finds in `told` everything that was done, in order and in words.
struct PlayedStandby {
  // The observers of the last ones that were started.
  SecondaryLink::Observer* link = nullptr;
  CheckpointTarget::Observer* target = nullptr;
  StandbyTraffic::Observer* traffic = nullptr;
  std::vector<std::string> told;
};

// `standby` outlives it.
class PlayedPrimary final : public SecondaryLink {
 public:
  explicit PlayedPrimary(PlayedStandby* standby) : standby_(standby) {}
  void Start(Observer* observer) override { standby_->link = observer; }
  void SetSeedSink(std::shared_ptr<CheckpointSink>) override {}
  void Send(replication::v1::SecondaryMessage message) override {
    if (message.has_standby_running()) standby_->told.push_back("running");
    if (message.has_lockstep_refused()) standby_->told.push_back("refused: " + message.lockstep_refused().reason());
    if (message.has_dirty_page_list()) {
      std::string pages = "pages";
      for (const auto& run : message.dirty_page_list().runs()) {
        pages += " " + std::to_string(run.first_gfn()) + "+" + std::to_string(run.count());
      }
      standby_->told.push_back(pages);
    }
  }
  bool SendTraffic(replication::v1::SecondaryMessage message) override {
    const replication::v1::StandbyOutput& output = message.standby_output();
    for (const auto& frame : output.frames()) {
      standby_->told.push_back("out-" + std::to_string(output.epoch()) + " " + frame.contents());
    }
    return true;
  }
  void Close(absl::Status status) override { standby_->told.push_back("close " + std::string(status.message())); }
  absl::Duration silence() const override { return {}; }
  uint64_t received_bytes() const override { return 0; }

 private:
  PlayedStandby* const standby_;
};

// `standby` outlives it.
class PlayedTarget final : public CheckpointTarget {
 public:
  explicit PlayedTarget(PlayedStandby* standby) : standby_(standby) {}
  void Prepare(const replication::v1::DomainDescription&, bool lockstep, Observer* observer) override {
    standby_->told.push_back(lockstep ? "prepare for lockstep" : "prepare");
    standby_->target = observer;
  }
  void FinishSeeding(std::string, AfterCheckpoint after) override { Tell("apply 1", after); }
  void Apply(uint64_t epoch, CheckpointBytes, AfterCheckpoint after) override {
    Tell("apply " + std::to_string(epoch), after);
  }
  void Suspend(uint64_t epoch) override { standby_->told.push_back("suspend " + std::to_string(epoch)); }
  void Freeze() override { standby_->told.push_back("freeze"); }
  void Activate() override { standby_->told.push_back("activate"); }
  void Discard() override { standby_->told.push_back("discard"); }

 private:
  void Tell(const std::string& what, AfterCheckpoint after) {
    standby_->told.push_back(what + (after == AfterCheckpoint::kRun ? ", run" : ""));
  }
  PlayedStandby* const standby_;
};

// `standby` outlives it.
class PlayedTraffic final : public StandbyTraffic {
 public:
  explicit PlayedTraffic(PlayedStandby* standby) : standby_(standby) {}
  void Start(Observer* observer) override { standby_->traffic = observer; }
  void OnCheckpoint() override { standby_->told.push_back("forget offsets"); }
  void AddOffset(const packet::SequenceOffset& offset) override {
    standby_->told.push_back("offset " + std::to_string(offset.primary_initial));
  }
  void Input(std::vector<TrafficFrame> frames) override {
    for (const TrafficFrame& frame : frames) standby_->told.push_back("in " + frame.contents);
  }
  void Open() override { standby_->told.push_back("open"); }

 private:
  PlayedStandby* const standby_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_PLAYED_SEAMS_H_
