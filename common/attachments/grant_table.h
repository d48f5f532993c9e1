#ifndef ROMULUS_COMMON_ATTACHMENTS_GRANT_TABLE_H_
#define ROMULUS_COMMON_ATTACHMENTS_GRANT_TABLE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/attachments/grant_writers.h"
#include "common/xen/handles.h"
#include "proto/replication/v1/attachments.pb.h"

namespace romulus {

// A domain's grant table, mapped: Xen's own pages, which no stream of memory contains. For grant tables of version 1,
// which Linux uses below 16 TiB of memory. One thread.
class GrantTable {
 public:
  // `xc` and `memory` outlive it. Nothing is asked of the hypervisor yet.
  GrantTable(xc_interface* xc, xenforeignmemory_handle* memory, uint32_t domid)
      : xc_(xc), memory_(memory), domid_(domid) {}
  ~GrantTable() { Unmap(); }
  GrantTable(const GrantTable&) = delete;
  GrantTable& operator=(const GrantTable&) = delete;

  // Sets the grant_* fields. To be asked while the domain does not run. UNIMPLEMENTED: not of version 1.
  absl::Status Read(replication::v1::GuestAttachments& attachments);

  // Takes back what lets others write to the domain's pages, but for the reserved entries; to be asked while the domain
  // does not run. From its return on nobody writes to any page by way of its grants but to those returned, in ascending
  // order: of entries that are in use, which nobody can take back. What was written before is in Xen's dirty bitmap,
  // but for those pages, again. Others' attempts to use what was taken back fail. UNIMPLEMENTED: not of version 1.
  absl::StatusOr<std::vector<uint64_t>> StopWriters();
  // Makes the entries as they were before StopWriters. Without it Write does not find them changed.
  void LetWrite();

  // Makes the table, but for the reserved entries (console and xenstore, the toolstack's), what Read gave of another
  // one. None of the entries may be in use: the domain is suspended, and its backends are closed.
  // FAILED_PRECONDITION: the two can't be made equal: other version, other size.
  absl::Status Write(const replication::v1::GuestAttachments& attachments);

 private:
  absl::Status Map();
  void Unmap();
  // All but the reserved ones; of version 1.
  absl::Span<grant_entry_v1_t> Entries();

  xc_interface* const xc_;
  xenforeignmemory_handle* const memory_;
  const uint32_t domid_;
  xenforeignmemory_resource_handle* resource_ = nullptr;
  void* entries_ = nullptr;
  uint32_t frames_ = 0;
  int version_ = 0;
  GrantWriters writers_;  // Of StopWriters, until the entries are as they were, or others.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_GRANT_TABLE_H_
