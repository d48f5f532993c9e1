#ifndef ROMULUS_SECONDARY_CHECKPOINT_TARGET_H_
#define ROMULUS_SECONDARY_CHECKPOINT_TARGET_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/stream/checkpoint_bytes.h"
#include "common/stream/checkpoint_sink.h"
#include "common/stream/page_runs.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// What becomes of the standby's guest once a checkpoint is applied.
enum class AfterCheckpoint {
  kWait,  // It stays as it is, suspended (checkpoints at an interval).
  kRun,   // It runs along with the primary's (lockstep). Only a target that was prepared for it.
};

// How long a guest that runs along was away for a checkpoint: from Suspend until it ran again, with its network. One
// part after the other, as the target measured it; zero: it does not measure that one.
struct StandbyGap {
  absl::Duration stop;             // Until its vCPUs had stopped.
  absl::Duration list;             // Until the list of the pages that it had written to was known.
  absl::Duration checkpoint_wait;  // Until all of the checkpoint was here.
  absl::Duration close;            // Until its network backends were closed, as far as they were not by then.
  absl::Duration apply;            // The checkpoint into its memory and vCPUs.
  absl::Duration attach;           // Event channels compared; grants and frontends made the primary's.
  absl::Duration resume;           // Until its vCPUs ran.
  absl::Duration connect;          // Until its network backends were connected again.

  absl::Duration total() const { return stop + list + checkpoint_wait + close + apply + attach + resume + connect; }
};

// The seam for the hypervisor on the secondary's side: one standby domain as a target of checkpoints.
// Real side: HelperCheckpointTarget (a domain, a romulus-restore-helper process, the backends). Simulated side: in
// tests/simulation. Both pass the contract suite of checkpoint_target_contract.h.
//
// Call order:  Prepare, OnPrepared(OK), FinishSeeding, (Apply)*, then Activate or Discard.
// Lockstep: FinishSeeding or Apply(n, kRun) is answered, after OnApplied(n), by OnRunning(n) or by
// OnLockstepRefused(n). A guest that runs along from n is suspended before anything else is applied: Suspend(n + 1),
// OnSuspended(n + 1), Apply(n + 1). Freeze may come at any time between FinishSeeding and Activate; after it neither
// OnRunning nor OnLockstepRefused comes, and only Activate or Discard makes sense.
// Discard may come once at any time after Prepare, also after a failure, and then only OnDiscarded comes. It never
// destroys a guest that was activated by then; one that only runs along goes. After OnBroken nothing else makes sense:
// Apply has no effect, Activate fails. A target that is destroyed (its agent's death) calls nobody any more, starts no
// guest and stops none that was activated.
// All calls and callbacks are on the scheduler's thread, except the sink, which is the receiver's; callbacks never come
// from within a call.
class CheckpointTarget {
 public:
  struct ActivationTimes {
    absl::Duration restore;  // Last committed checkpoint applied.
    absl::Duration devices;  // xenstore, console and vif backends connected.
    absl::Duration total;    // Until the guest ran and was announced.
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    // OK: the domain exists (paused, empty), enough memory is reserved, the restore helper waits for the first copy,
    // which goes into `seed_sink`. Otherwise RESOURCE_EXHAUSTED (memory), FAILED_PRECONDITION (what is missing here
    // and what to do), INTERNAL; nothing is left behind. The sink fails with UNAVAILABLE once the helper is gone, and
    // with CANCELLED after Discard.
    virtual void OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> seed_sink, uint32_t domid) = 0;
    // Checkpoint `epoch` has left this process' memory (the helper has read it); 1: after FinishSeeding.
    // In order; OnActivated(OK) stands for those that have not come by then.
    virtual void OnApplied(uint64_t epoch) = 0;
    // The guest runs along from checkpoint `epoch`: all of it is applied, and vCPUs and devices go. `gap`: since
    // Suspend(epoch); null where it did not run before.
    virtual void OnRunning(uint64_t epoch, const StandbyGap* gap) = 0;
    // After Suspend(epoch): the guest is suspended. Since the checkpoint that it ran from, nothing was written to but
    // `dirty`, nor will be: its devices may write to some of these pages until the next Apply, no longer. Until then
    // this is its own state, from which an activation goes on.
    virtual void OnSuspended(uint64_t epoch, PageRuns dirty) = 0;
    // Instead of OnRunning: the guest can't run along, from this checkpoint at least. It waits, with `epoch` applied,
    // and can be activated. UNAVAILABLE: the next checkpoint may do better. FAILED_PRECONDITION: none will.
    virtual void OnLockstepRefused(uint64_t epoch, absl::Status why) = 0;
    // The standby is lost: it can't be activated any more. Not after Activate, whose OnActivated then says it.
    virtual void OnBroken(absl::Status status) = 0;
    // Once after Activate. Not OK: the guest does not run, here, and can be discarded.
    virtual void OnActivated(absl::Status status, ActivationTimes times) = 0;
    // Domain, helper and xenstore nodes are gone, unless the guest runs.
    virtual void OnDiscarded() = 0;
  };

  virtual ~CheckpointTarget() = default;
  // `lockstep`: the guest may be asked to run along. That needs the domain id that it has on the primary:
  // OnPrepared(FAILED_PRECONDITION) if another domain has it here.
  virtual void Prepare(const replication::v1::DomainDescription& domain, bool lockstep, Observer* observer) = 0;

  // The first copy is whole and verified: `tail` is its end, which the sink did not get (from the CHECKPOINT record
  // on). Before this the helper can't take the copy for complete.
  virtual void FinishSeeding(std::string tail, AfterCheckpoint after) = 0;

  // Queues a complete, verified checkpoint; never blocks. It is applied before any activation.
  virtual void Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) = 0;

  // The guest runs along, from checkpoint `epoch` - 1 (OnRunning came): suspends it for checkpoint `epoch`; answered by
  // OnSuspended(epoch).
  virtual void Suspend(uint64_t epoch) = 0;

  // Stops the vCPUs of a guest that runs along, until Activate: without its input its timers must not go on. A guest
  // that waits, or is suspended, stays so. Idempotent, unanswered.
  virtual void Freeze() = 0;

  // Applies what is queued, ends the restore, connects the devices, runs the guest, announces it. A guest that runs
  // along, is frozen or was suspended goes on from its own state, unless a newer checkpoint was queued or applied
  // since: then from that one, as if it had waited.
  virtual void Activate() = 0;

  virtual void Discard() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CHECKPOINT_TARGET_H_
