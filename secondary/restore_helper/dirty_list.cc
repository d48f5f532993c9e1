#include "secondary/restore_helper/dirty_list.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/stream/stream_format.h"

namespace romulus {
namespace {

constexpr size_t kFramesAtOnce = 8192;

bool ReadExactly(int pipe, void* to, size_t length) {
  char* at = static_cast<char*>(to);
  while (length > 0) {
    const ssize_t got = read(pipe, at, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    length -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

absl::StatusOr<PageRuns> ReadDirtyList(int pipe, uint64_t gfn_count) {
  uint32_t header[2];
  if (!ReadExactly(pipe, header, sizeof(header))) return absl::UnavailableError("there is no further list");
  uint64_t left = header[1] / sizeof(uint64_t);
  if (header[0] != stream_format::kDirtyPfnList || header[1] % sizeof(uint64_t) != 0 || left > gfn_count) {
    return absl::InvalidArgumentError(absl::StrCat("libxenguest wrote no list of dirty pages but a record of type ",
                                                   header[0], " with ", header[1], " bytes, for a guest of ", gfn_count,
                                                   " page frames"));
  }
  PageRuns runs;
  std::vector<uint64_t> frames(std::min<uint64_t>(left, kFramesAtOnce));
  while (left > 0) {
    const size_t count = std::min<uint64_t>(left, frames.size());
    if (!ReadExactly(pipe, frames.data(), count * sizeof(uint64_t))) {
      return absl::UnavailableError("the list of dirty pages ends in the middle");
    }
    for (size_t i = 0; i < count; ++i) {
      const uint64_t frame = frames[i];
      const uint64_t lowest = runs.empty() ? 0 : runs.back().first_gfn + runs.back().count;
      if (frame < lowest || frame >= gfn_count) {
        return absl::InvalidArgumentError(
            absl::StrCat("the list of dirty pages has frame ", frame, " after ", lowest, ", of ", gfn_count));
      }
      if (!runs.empty() && frame == lowest) {
        ++runs.back().count;
      } else {
        runs.push_back({frame, 1});
      }
    }
    left -= count;
  }
  return runs;
}

}  // namespace romulus
