#ifndef ROMULUS_SECONDARY_TRAFFIC_TAP_STANDBY_TRAFFIC_H_
#define ROMULUS_SECONDARY_TRAFFIC_TAP_STANDBY_TRAFFIC_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/loop/scheduler.h"
#include "netbuf/vif.h"
#include "netbuf/vif_frames.h"
#include "proto/replication/v1/replication.pb.h"
#include "secondary/standby_traffic.h"
#include "secondary/translation/sequence_translator.h"

namespace romulus {

// The real StandbyTraffic, over VifFrames.
//
// Before Open every vif is isolated. Open takes both directions through the agent for as long as the translator knows a
// connection, and then, or at once, lets the guest alone: all frames go their usual way. What is on its way through the
// agent at these moments is not lost.
//
// Destruction before Open leaves the vifs isolated: they go with the domain. After it, the guest is let alone at once,
// which breaks the connections that were still translated; they would break with the agent.
class TapStandbyTraffic final : public StandbyTraffic {
 public:
  using NewFrames = std::function<std::unique_ptr<VifFrames>(VifFrames::OnFrames, VifFrames::OnError)>;

  // How often it is looked at whether a connection is left to be translated.
  static constexpr absl::Duration kLookPeriod = absl::Seconds(1);

  // Isolates the vifs of domain `domid`, the standby of `session`, all or none; they are marked as of its protection.
  // Before the guest runs for the first time: what it has sent until then has left. FAILED_PRECONDITION and others as
  // VifFrames::Add's. `scheduler` outlives it.
  static absl::StatusOr<std::unique_ptr<TapStandbyTraffic>> New(Scheduler* scheduler, const NewFrames& new_frames,
                                                                const replication::v1::OpenSession& session,
                                                                uint32_t domid);
  ~TapStandbyTraffic() override;

  void Start(Observer* observer) override { observer_ = observer; }
  void OnCheckpoint() override;
  void AddOffset(const packet::SequenceOffset& offset) override;
  void Input(std::vector<TrafficFrame> frames) override;
  void Open() override;

  // Frames pass this process; connections that are translated.
  bool in_the_way() const { return in_the_way_; }
  size_t translated_connections() const { return translator_.connections(); }
  // Frames that the guest, or its vif, did not get or take.
  uint64_t unwritten() const { return unwritten_; }

 private:
  enum class Phase { kIsolated, kOpen };

  TapStandbyTraffic(Scheduler* scheduler, const NewFrames& new_frames, std::vector<Vif> vifs);
  void OnFrames(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames);
  void OnError(const Vif& vif, const absl::Status& status);
  void GiveOut(const Vif& vif, std::vector<GuestFrame> frames);
  void Translate(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames);
  void StepAsideIfDone();
  void StepAside();

  Scheduler* const scheduler_;
  const std::vector<Vif> vifs_;
  Observer* observer_ = nullptr;
  translation::SequenceTranslator translator_;
  Phase phase_ = Phase::kIsolated;
  bool in_the_way_ = true;
  bool discarding_ = false;
  bool unreadable_ = false;  // A vif's frames do not come any more.
  uint64_t unwritten_ = 0;
  Scheduler::TimerId look_ = Scheduler::kNoTimer;
  const std::unique_ptr<VifFrames> frames_;  // Last: it calls the above.
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TRAFFIC_TAP_STANDBY_TRAFFIC_H_
