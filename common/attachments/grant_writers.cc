#include "common/attachments/grant_writers.h"

#include <algorithm>

namespace romulus {
namespace {

constexpr uint16_t kInUse = GTF_reading | GTF_writing;

// Of an entry with these flags: whether it lets somebody write to the page.
bool LetsWrite(uint16_t flags) {
  const uint16_t type = flags & GTF_type_mask;
  return type != GTF_invalid && !(type == GTF_permit_access && (flags & GTF_readonly) != 0);
}

}  // namespace

GrantWriters TakeBackWriters(absl::Span<grant_entry_v1_t> entries) {
  GrantWriters writers;
  for (size_t i = 0; i < entries.size(); ++i) {
    uint16_t flags = __atomic_load_n(&entries[i].flags, __ATOMIC_ACQUIRE);
    while (LetsWrite(flags)) {
      // Mapped, or a copy is under way.
      if ((flags & kInUse) != 0) {
        writers.in_use.push_back(entries[i].frame);
        break;
      }
      if (__atomic_compare_exchange_n(&entries[i].flags, &flags, uint16_t{0}, /*weak=*/false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_ACQUIRE)) {
        writers.taken_back.emplace_back(i, flags);
        break;
      }
    }
  }
  std::sort(writers.in_use.begin(), writers.in_use.end());
  writers.in_use.erase(std::unique(writers.in_use.begin(), writers.in_use.end()), writers.in_use.end());
  return writers;
}

void GiveBackWriters(absl::Span<grant_entry_v1_t> entries, const GrantWriters& writers) {
  for (const auto& [i, flags] : writers.taken_back) __atomic_store_n(&entries[i].flags, flags, __ATOMIC_RELEASE);
}

}  // namespace romulus
