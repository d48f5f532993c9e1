#ifndef ROMULUS_COMMON_CONTROL_PAGING_H_
#define ROMULUS_COMMON_CONTROL_PAGING_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace romulus {

// Cuts `resources` (sorted by name) to the page that a List asks for: pure. `next_token` is the name after which the
// next page begins, empty at the end. A token whose resource has gone in between still works.
template <typename Resource>
absl::Status CutPage(int32_t page_size, const std::string& page_token, std::vector<Resource>& resources,
                     std::string& next_token) {
  constexpr int32_t kPageSizeDefault = 100;
  constexpr int32_t kPageSizeMax = 1000;
  if (page_size < 0) return absl::InvalidArgumentError("page_size: 0 (for 100) or more");
  const size_t count = page_size == 0 ? kPageSizeDefault : std::min(page_size, kPageSizeMax);
  std::vector<Resource> page;
  next_token.clear();
  for (Resource& resource : resources) {
    if (!page_token.empty() && resource.name() <= page_token) continue;
    if (page.size() == count) {
      next_token = page.back().name();
      break;
    }
    page.push_back(std::move(resource));
  }
  resources = std::move(page);
  return absl::OkStatus();
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_PAGING_H_
