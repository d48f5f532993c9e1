#ifndef ROMULUS_PRIMARY_SAVE_HELPER_GUEST_IMAGE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_GUEST_IMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "primary/save_helper/checkpoint_writer.h"
#include "primary/save_helper/frame_map.h"

namespace romulus {

// A guest's memory and state, as SaveLoop copies them. Real side: XenGuestImage. One thread.
//
// Call order: Describe, Begin, (CountDirty, TakeDirty, AddTypes)*, then for each checkpoint
//   guest runs        PrepareState, CountDirty
//   guest suspended   CheckMemoryMap, ReadAttachments (lockstep), TakeDirty or LookAtDirty, AddTypes*, ReadState
// What is wanted while the guest is suspended allocates nothing. Errors: NOT_FOUND: the domain is gone; UNIMPLEMENTED:
// the hypervisor can't track this domain's dirty pages; ABORTED: the guest's memory map has changed since Begin, so
// that its pages can't be told from it any more; others: the hypervisor's.
class GuestImage {
 public:
  struct Description {
    uint32_t xen_major = 0;
    uint32_t xen_minor = 0;
    // Bodies of the CPUID_POLICY and MSR_POLICY records; empty: no record.
    std::string cpuid_policy;
    std::string msr_policy;
  };
  // Spans are valid until the next ReadState.
  struct State {
    CheckpointWriter::TscInfo tsc;
    absl::Span<const char> hvm_context;
    absl::Span<const CheckpointWriter::HvmParam> hvm_params;
  };

  virtual ~GuestImage() = default;

  virtual absl::StatusOr<Description> Describe() = 0;

  // Finds the guest's memory, maps it for good, and begins to track what is written to it. From here on whatever is
  // written to a page of frames() comes up in TakeDirty.
  virtual absl::Status Begin() = 0;
  // All of the guest's frames that have contents.
  virtual const FrameMap& frames() const = 0;

  // Pages that TakeDirty would give, about.
  virtual absl::StatusOr<uint64_t> CountDirty() = 0;
  // The frames that were written to since the last call (or Begin), as a bitmap (dirty_frames.h), which is valid until
  // the next call. `final`: the guest is suspended; also those that the hypervisor itself has open for writing.
  virtual absl::StatusOr<absl::Span<const uint64_t>> TakeDirty(bool final) = 0;
  // As TakeDirty(final), but what it gives comes up again, with all that is written until the next TakeDirty.
  virtual absl::StatusOr<absl::Span<const uint64_t>> LookAtDirty() = 0;
  // Replaces up to CheckpointWriter::kPagesInRecordMax frame numbers by entries with their types. ABORTED: one has
  // contents, but is not of frames().
  virtual absl::Status AddTypes(absl::Span<uint64_t> frames) = 0;
  // ABORTED: frames() is not the guest's memory any more. To be asked while it is suspended.
  virtual absl::Status CheckMemoryMap() = 0;

  // Whatever of the state can be had before the guest is suspended.
  virtual absl::Status PrepareState() = 0;
  virtual absl::StatusOr<State> ReadState() = 0;
  // A serialized replication.v1.GuestAttachments (attachments_record.h). Valid until the next call.
  virtual absl::StatusOr<absl::Span<const char>> ReadAttachments() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_GUEST_IMAGE_H_
