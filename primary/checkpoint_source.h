#ifndef ROMULUS_PRIMARY_CHECKPOINT_SOURCE_H_
#define ROMULUS_PRIMARY_CHECKPOINT_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/stream/checkpoint_reader.h"
#include "common/stream/page_runs.h"

namespace romulus {

// The seam for the hypervisor on the primary's side: one protected guest as a source of checkpoints.
// Real side: HelperCheckpointSource (a romulus-save-helper process). Simulated side: the seeded guest of
// tests/simulation. Both pass the contract suite of checkpoint_source_contract.h.
//
// Call order:  Start, (RequestCheckpoint(n) after OnCaptured(n-1) and once the reader of checkpoint n-2 is gone)*, Stop
// OnSeeding comes first. Then for each checkpoint n (1 needs no request: it ends the first copy):
//   OnSuspended(n): the guest is suspended and being copied; it stays so until PermitResume(n), or until the source
//   ends because that was late OnCaptured(n): it runs again; the checkpoint is whole in local memory, and stays so,
//   whatever becomes of the source
// Where the standby runs, too (lockstep), checkpoint n is requested with_standby_pages: it then also has all pages that
// the standby's guest has written to, as AddStandbyPages(n) names them. The checkpoint waits for that call.
// OnEnded comes exactly once after Start, and nothing after it; after Stop, only OnEnded comes. Calls after Stop, or
// after the source has failed, have no effect. Whatever the reason, the guest is left running with dirty tracking off,
// unless the status says otherwise. A source that is destroyed before OnEnded (its agent's death) calls nobody any more
// and leaves the guest so, too, soon after.
// All calls and callbacks are on the scheduler's thread; callbacks never come from within a call, and do not destroy
// the source, except OnEnded.
class CheckpointSource {
 public:
  // Where a pause goes, as the source measured it, one part after the other. Zero: it does not measure that one. Their
  // sum (without finish_resume) is Captured::pause, but for rounding and the little that lies between two.
  struct PauseParts {
    absl::Duration acknowledge;   // From the suspend request to the guest's own acknowledgement; zero: it was not seen.
    absl::Duration suspend;       // From there until it was suspended.
    absl::Duration dirty_bitmap;  // Taking the dirty bitmap from the hypervisor and finding the pages in it.
    absl::Duration page_copy;     // Their types and their contents, into staging memory.
    absl::Duration vcpu_state;    // What is not memory: vCPUs, HVM context and parameters, time.
    absl::Duration standby_wait;  // For AddStandbyPages, as far as it did not come while all that was done.
    absl::Duration permit_wait;   // For PermitResume, likewise.
    absl::Duration resume;        // Until the vCPUs ran again.
    // Outside the pause: what is left to do after it (xenstore), of the checkpoint before this one: a checkpoint does
    // not wait for it.
    absl::Duration finish_resume;

    // From the suspend request until the guest was suspended: the end of the epoch.
    absl::Duration to_suspended() const { return acknowledge + suspend; }
  };

  struct Captured {
    uint64_t epoch = 0;
    // Null for epoch 1, whose bytes flow through Observer::OnSeeding's reader.
    std::shared_ptr<CheckpointReader> reader;
    uint64_t length = 0;
    // Every page that was written to since the checkpoint before, and perhaps some that were not. In the checkpoint are
    // all but unchanged_pages of them: those that hold what the checkpoints before say.
    uint64_t dirty_pages = 0;
    uint64_t unchanged_pages = 0;
    // In the checkpoint though this guest did not write to them: for the sake of the standby, which did.
    uint64_t standby_pages = 0;
    uint64_t captured_pages_bytes = 0;  // Memory in use to know them by.
    absl::Duration pause;
    PauseParts parts;
    // Of the pause: from suspended to whole in staging, with what lies between those parts.
    absl::Duration copy;
    // What the checkpoint found of the staging bound, if the source has one: it did not fit, and was taken all the same
    // (how: HelperCheckpointSource). Counted since Start.
    uint64_t oversized_checkpoints = 0;
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    // The first copy has begun; `reader` gives all bytes of checkpoint 1, the live copy first, and ends after
    // OnCaptured(1). It fails if the source ends, or is destroyed, before that.
    virtual void OnSeeding(std::shared_ptr<CheckpointReader> reader) = 0;
    virtual void OnSeedingProgress(uint64_t pages_sent, uint64_t pages_dirty) = 0;
    virtual void OnSuspended(uint64_t epoch) = 0;
    virtual void OnCaptured(Captured captured) = 0;
    // OK: after Stop. UNAVAILABLE: the source failed, a new one may work (helper died, suspend timed out, PermitResume
    // or AddStandbyPages was late). NOT_FOUND: the domain is gone, for good, whether a checkpoint was asked for or not.
    // FAILED_PRECONDITION: this domain can't be checkpointed on this host.
    virtual void OnEnded(absl::Status status) = 0;
  };

  virtual ~CheckpointSource() = default;
  virtual void Start(Observer* observer) = 0;
  // `with_standby_pages`: AddStandbyPages(epoch) will follow. Not for checkpoint 1, which has all pages anyway.
  virtual void RequestCheckpoint(uint64_t epoch, bool with_standby_pages) = 0;
  // After RequestCheckpoint(epoch, true), once, at any time until OnCaptured(epoch), also before OnSuspended(epoch).
  // What the checkpoint has of each of `pages` is what the guest's memory holds while it is suspended, whatever earlier
  // checkpoints said of it. Pages that the guest does not have are left out. If it is as late as PermitResume may be,
  // the source ends as there, and the guest runs.
  virtual void AddStandbyPages(uint64_t epoch, PageRuns pages) = 0;
  virtual void PermitResume(uint64_t epoch) = 0;
  virtual void Stop() = 0;
};

// The guest as such, apart from its checkpoints. Synchronous; on the scheduler's thread.
class GuestControl {
 public:
  virtual ~GuestControl() = default;
  // Stops / starts its vCPUs, idempotent, independent of suspends.
  virtual absl::Status Pause() = 0;
  virtual absl::Status Unpause() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CHECKPOINT_SOURCE_H_
