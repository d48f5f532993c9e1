#include "common/attachments/grant_table.h"

#include <errno.h>
#include <sys/mman.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"

extern "C" {
#include <xen/grant_table.h>
#include <xen/memory.h>
}

namespace romulus {
namespace {

constexpr size_t kEntriesPerFrame = XC_PAGE_SIZE / sizeof(grant_entry_v1_t);
// What the one who has mapped an entry sets, here and now.
constexpr uint16_t kInUse = GTF_reading | GTF_writing;

}  // namespace

absl::Status GrantTable::Map() {
  gnttab_query_size_t size{};
  size.dom = static_cast<domid_t>(domid_);
  if (xc_gnttab_query_size(xc_, &size) != 0 || size.status != GNTST_okay) {
    return XenCallError(absl::StrCat("can't ask for the size of its grant table (status ", size.status, ")"), domid_,
                        errno);
  }
  version_ = xc_gnttab_get_version(xc_, domid_);
  if (version_ < 0) return XenCallError("can't ask for the version of its grant table", domid_, errno);
  if (size.nr_frames == frames_ && resource_ != nullptr) return absl::OkStatus();
  Unmap();
  resource_ = xenforeignmemory_map_resource(memory_, static_cast<domid_t>(domid_), XENMEM_resource_grant_table,
                                            XENMEM_resource_grant_table_id_shared, 0, size.nr_frames, &entries_,
                                            PROT_READ | PROT_WRITE, 0);
  if (resource_ == nullptr) return XenCallError("can't map its grant table", domid_, errno);
  frames_ = size.nr_frames;
  return absl::OkStatus();
}

void GrantTable::Unmap() {
  if (resource_ != nullptr) xenforeignmemory_unmap_resource(memory_, resource_);
  resource_ = nullptr;
  entries_ = nullptr;
}

absl::Status GrantTable::Read(replication::v1::GuestAttachments& attachments) {
  if (absl::Status status = Map(); !status.ok()) return status;
  attachments.set_grant_version(static_cast<uint32_t>(version_));
  attachments.set_grant_frames(frames_);
  if (version_ != 1) return absl::OkStatus();
  const size_t first = GNTTAB_NR_RESERVED_ENTRIES;
  std::string& copy = *attachments.mutable_grant_entries();
  copy.assign(static_cast<const char*>(entries_) + first * sizeof(grant_entry_v1_t),
              (frames_ * kEntriesPerFrame - first) * sizeof(grant_entry_v1_t));
  for (size_t at = 0; at < copy.size(); at += sizeof(grant_entry_v1_t)) {
    grant_entry_v1_t entry;
    memcpy(&entry, &copy[at], sizeof(entry));
    entry.flags &= static_cast<uint16_t>(~kInUse);
    memcpy(&copy[at], &entry, sizeof(entry));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> GrantTable::StopWriters() {
  writers_ = {};
  if (absl::Status status = Map(); !status.ok()) return status;
  if (version_ != 1) return absl::UnimplementedError(absl::StrCat("its grant table is of version ", version_));
  writers_ = TakeBackWriters(Entries());
  return writers_.in_use;
}

void GrantTable::LetWrite() {
  GiveBackWriters(Entries(), writers_);
  writers_ = {};
}

absl::Span<grant_entry_v1_t> GrantTable::Entries() {
  constexpr size_t kFirst = GNTTAB_NR_RESERVED_ENTRIES;
  if (entries_ == nullptr) return {};
  return absl::MakeSpan(static_cast<grant_entry_v1_t*>(entries_) + kFirst, frames_ * kEntriesPerFrame - kFirst);
}

absl::Status GrantTable::Write(const replication::v1::GuestAttachments& attachments) {
  if (absl::Status status = Map(); !status.ok()) return status;
  const std::string& wanted = attachments.grant_entries();
  const size_t first = GNTTAB_NR_RESERVED_ENTRIES;
  if (attachments.grant_version() != 1 || version_ != 1 || attachments.grant_frames() != frames_ ||
      wanted.size() != (frames_ * kEntriesPerFrame - first) * sizeof(grant_entry_v1_t)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the guest's grant table is of version ", attachments.grant_version(), " with ", attachments.grant_frames(),
        " pages on the primary, and of version ", version_, " with ", frames_, " here"));
  }
  writers_ = {};
  auto* entries = static_cast<grant_entry_v1_t*>(entries_) + first;
  for (size_t i = 0; i * sizeof(grant_entry_v1_t) < wanted.size(); ++i) {
    grant_entry_v1_t entry;
    memcpy(&entry, &wanted[i * sizeof(entry)], sizeof(entry));
    entry.flags &= static_cast<uint16_t>(~kInUse);
    // As the guest itself would: nobody may find a valid entry that is half the old one.
    volatile grant_entry_v1_t* const to = &entries[i];
    if (to->flags == entry.flags && to->domid == entry.domid && to->frame == entry.frame) continue;
    to->flags = 0;
    __sync_synchronize();
    to->domid = entry.domid;
    to->frame = entry.frame;
    __sync_synchronize();
    to->flags = entry.flags;
  }
  return absl::OkStatus();
}

}  // namespace romulus
