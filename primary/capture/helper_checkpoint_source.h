#ifndef ROMULUS_PRIMARY_CAPTURE_HELPER_CHECKPOINT_SOURCE_H_
#define ROMULUS_PRIMARY_CAPTURE_HELPER_CHECKPOINT_SOURCE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/loop/event_loop.h"
#include "common/process/helper_process.h"
#include "primary/capture/helper_recovery.h"
#include "primary/capture/seeding_reader.h"
#include "primary/capture/staging_file.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// The real CheckpointSource: a romulus-save-helper process, a pipe for the live first copy and two memory files that
// the checkpoints are staged in, in turn. For one Start.
//
// A helper that ends badly is followed by another one in Recover mode before OnEnded: the guest runs on. If that
// fails, too, OnEnded's status says that the guest may be suspended. Destroyed before OnEnded, it leaves the cleaning
// up to the helper, which sees the end of file.
class HelperCheckpointSource final : public CheckpointSource, private HelperProcess::Observer {
 public:
  struct Options {
    std::string helper_program;  // Path of romulus-save-helper.
    uint32_t domid = 0;
    // From the suspend request to suspended; a guest that takes longer can't be protected.
    absl::Duration suspend_timeout = absl::Seconds(10);
    // From suspended until PermitResume; a guest is never suspended for longer, whatever hangs.
    absl::Duration resume_timeout = absl::Seconds(5);
    // From suspended until Captured. A helper that takes longer hangs, and the guest with it: it is killed, and the
    // guest recovered.
    absl::Duration capture_timeout = absl::Seconds(20);
    // What each of the two staging files may hold for good; 0: enough for every page of the guest once (only what
    // checkpoints need is ever taken). A larger checkpoint is taken all the same, if the host has the memory, and
    // counted in Captured::oversized_checkpoints; if it has not, the source ends, UNAVAILABLE, and the guest runs on.
    uint64_t staging_bytes_max = 0;
    // What the helper may keep of the pages' contents, as last captured, to leave out those that are unchanged.
    uint64_t captured_pages_bytes_max = uint64_t{64} << 20;
    // The standby may run along: checkpoints carry the guest's attachments, and can be requested with_standby_pages.
    bool lockstep = false;
  };

  HelperCheckpointSource(EventLoop& loop, Options options);
  ~HelperCheckpointSource() override;

  void Start(CheckpointSource::Observer* observer) override;
  void RequestCheckpoint(uint64_t epoch, bool with_standby_pages) override;
  void AddStandbyPages(uint64_t epoch, PageRuns pages) override;
  void PermitResume(uint64_t epoch) override;
  void Stop() override;

  // Of the helper, for status and tests; 0 when there is none.
  pid_t helper_pid() const { return process_ == nullptr ? 0 : process_->pid(); }

 private:
  enum class Phase {
    kNew,
    kRunning,     // Checkpoint epoch_ is whole (or none was asked for); the guest runs.
    kCapturing,   // Checkpoint epoch_ was asked for (1: asks for itself); not suspended yet.
    kSuspended,   // The guest is suspended for checkpoint epoch_.
    kPermitted,   // ...and may go on.
    kRecovering,  // The helper has ended.
    kEnded,
  };
  class ReleaseGate;
  enum class Ending { kNot, kStopRequested, kBrokenOff };

  void OnMessage(const helper::v1::HelperToAgent& message) override;
  void OnExit(const HelperProcess::Result& result) override;

  absl::Status Launch();
  void AnnounceSeeding();
  void OnSuspended(const helper::v1::Suspended& suspended);
  void OnCaptured(const helper::v1::Captured& captured);
  absl::StatusOr<std::unique_ptr<CheckpointReader>> NewReader(int index, uint64_t length);
  void SendPendingRequest();
  void SendStandbyPages();
  bool over() const { return ending_ != Ending::kNot || phase_ >= Phase::kRecovering; }
  void Recover(absl::Status cause, absl::Duration settle);
  void BreakOff(const std::string& what);
  void Expect(absl::Duration timeout, const std::string& what);
  void End(absl::Status status);
  int index_of(uint64_t epoch) const { return static_cast<int>((epoch + 1) % 2); }

  EventLoop& loop_;
  const Options options_;
  const std::string label_;
  CheckpointSource::Observer* observer_ = nullptr;
  Phase phase_ = Phase::kNew;
  uint64_t epoch_ = 0;
  Ending ending_ = Ending::kNot;
  bool seeding_announced_ = false;
  bool request_pending_ = false;  // For epoch_: waits for its staging file.
  bool with_standby_pages_ = false;        // For epoch_.
  std::optional<PageRuns> standby_pages_;  // Those of epoch_, until they are sent.
  std::optional<StagingFile> files_[2];
  std::shared_ptr<SeedingReader> seeding_;  // Until checkpoint 1 is captured.
  std::unique_ptr<HelperProcess> process_;
  std::unique_ptr<HelperRecovery> recovery_;
  Scheduler::TimerId timer_ = Scheduler::kNoTimer;
  // What readers, which may outlive this, tell their end to.
  const std::shared_ptr<ReleaseGate> releases_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_HELPER_CHECKPOINT_SOURCE_H_
