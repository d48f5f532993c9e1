#include "tests/lab/dom0/memory_hashes.h"

#include <errno.h>
#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>

#include "common/xen/control.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/populated_frames.h"

namespace romulus::lab {

absl::StatusOr<PageHashes> HashMemory(xc_interface* xc, uint32_t domid, std::string* copy) {
  constexpr size_t kMappedAtOnce = 1024;
  xen_pfn_t numbers = 0;
  if (xc_domain_nr_gpfns(xc, static_cast<domid_t>(domid), &numbers) < 0) {
    return XenCallError("can't read its size", domid, errno);
  }
  const auto hypercalls = DomainHypercalls::New(nullptr, domid);
  if (!hypercalls.ok()) return hypercalls.status();
  const absl::StatusOr<uint64_t> owned = (*hypercalls)->MemoryPages();
  if (!owned.ok()) return owned.status();
  const auto frames = FindPopulatedFrames(numbers, *owned, DomainHypercalls::kTypesMax,
                                          [&](absl::Span<uint64_t> batch) { return (*hypercalls)->AddTypes(batch); });
  if (!frames.ok()) return frames.status();
  const ForeignMemoryHandle memory(xenforeignmemory_open(nullptr, 0));
  PageHashes hashes;
  hashes.reserve(frames->size());
  if (copy != nullptr) {
    copy->clear();
    copy->reserve(frames->size() * XC_PAGE_SIZE);
  }
  for (size_t first = 0; first < frames->size(); first += kMappedAtOnce) {
    const size_t count = std::min(kMappedAtOnce, frames->size() - first);
    std::vector<xen_pfn_t> batch(frames->begin() + static_cast<ptrdiff_t>(first),
                                 frames->begin() + static_cast<ptrdiff_t>(first + count));
    std::vector<int> errors(count);
    void* const pages = xenforeignmemory_map(memory.get(), domid, PROT_READ, count, batch.data(), errors.data());
    if (pages == nullptr) return XenCallError("can't map its memory", domid, errno);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t hash =
          errors[i] != 0 ? 0 : XXH3_64bits(static_cast<const char*>(pages) + i * XC_PAGE_SIZE, XC_PAGE_SIZE);
      hashes.emplace_back(batch[i], hash);
    }
    if (copy != nullptr) copy->append(static_cast<const char*>(pages), count * XC_PAGE_SIZE);
    xenforeignmemory_unmap(memory.get(), pages, count);
  }
  return hashes;
}

std::string ReadPage(uint32_t domid, uint64_t gfn) {
  const ForeignMemoryHandle memory(xenforeignmemory_open(nullptr, 0));
  const xen_pfn_t frame = gfn;
  int error = 0;
  void* const page = xenforeignmemory_map(memory.get(), domid, PROT_READ, 1, &frame, &error);
  if (page == nullptr) return "";
  std::string contents = error != 0 ? "" : std::string(static_cast<const char*>(page), XC_PAGE_SIZE);
  xenforeignmemory_unmap(memory.get(), page, 1);
  return contents;
}

}  // namespace romulus::lab
