#ifndef ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_HYPERCALLS_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_HYPERCALLS_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/xen/handles.h"
#include "primary/save_helper/checkpoint_writer.h"

namespace romulus {

// What a save loop asks the hypervisor about one domain while the domain is suspended: hypercalls through libxencall,
// with buffers that are allocated once. libxenctrl has functions for all of them, but those allocate, map, copy and
// free a buffer in each call whose data is larger than a page, and some ask several things for one.
//
// Domctls are not a stable interface: like libxenctrl itself, which this program is linked with by its version, this is
// to be built for the Xen that it runs on; another one refuses the version number that goes with each call (EACCES).
//
// Not thread safe. Errors name the domain and the errno: NOT_FOUND where it does not exist, and as XenCallError.
class DomainHypercalls {
 public:
  static absl::StatusOr<std::unique_ptr<DomainHypercalls>> New(xentoollog_logger* logger, uint32_t domid);
  ~DomainHypercalls();

  uint32_t domid() const { return domid_; }

  // Pages that the domain owns (its special ones not counted).
  absl::StatusOr<uint64_t> MemoryPages();

  static constexpr size_t kTypesMax = 1024;
  // Replaces up to kTypesMax frame numbers by page entries (checkpoint_writer.h).
  absl::Status AddTypes(absl::Span<uint64_t> frames);

  // Dirty pages are tracked from now on, also where somebody tracked them before. UNIMPLEMENTED: not on this domain.
  absl::Status EnableLogDirty();
  absl::StatusOr<uint64_t> CountDirty();
  // Bit i of word j is frame 64 j + i, for the frames below `frames`. Valid until the next call. `reset`: tracking
  // starts anew (CLEAN), else what is dirty stays so, untracked (PEEK). `final`: also frames that the hypervisor itself
  // has open for writing.
  absl::StatusOr<absl::Span<const uint64_t>> Dirty(uint64_t frames, bool reset, bool final);

  absl::StatusOr<CheckpointWriter::TscInfo> Tsc();
  absl::StatusOr<uint64_t> HvmParam(uint32_t index);
  absl::StatusOr<size_t> HvmContextBytes();
  // Valid until the next call. The size is what HvmContextBytes said, unless vCPUs were added.
  absl::StatusOr<absl::Span<const char>> HvmContext();

  // From now on the hypervisor tells of the domain's suspends (only of those) over this port of the domain's, instead
  // of to xenstored; 0: as it does by itself. OK if it did so already.
  absl::Status NotifySuspend(uint32_t port);

  // Resumes the suspended domain in place: its suspend hypercall returns 1, "cancelled". As xc_domain_resume(fast).
  absl::Status ResumeCancelled();

 private:
  struct State;
  explicit DomainHypercalls(std::unique_ptr<State> state, uint32_t domid);
  absl::Status Domctl(const char* what);

  const std::unique_ptr<State> state_;
  const uint32_t domid_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_HYPERCALLS_H_
