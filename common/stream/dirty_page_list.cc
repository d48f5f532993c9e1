#include "common/stream/dirty_page_list.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

using replication::v1::DirtyPageList;

namespace {

constexpr uint64_t kFramesBelow4GiB = uint64_t{1} << 20;
constexpr uint64_t kRunPagesMax = std::numeric_limits<uint32_t>::max();

// Joins runs with at most `gap` pages between them.
void Join(uint64_t gap, PageRuns& runs) {
  size_t last = 0;
  for (size_t i = 1; i < runs.size(); ++i) {
    if (runs[i].first_gfn - (runs[last].first_gfn + runs[last].count) <= gap) {
      runs[last].count = runs[i].first_gfn + runs[i].count - runs[last].first_gfn;
    } else {
      runs[++last] = runs[i];
    }
  }
  runs.resize(std::min(runs.size(), last + 1));
}

}  // namespace

uint64_t GuestFrameBound(uint64_t memory_max_kib) {
  constexpr uint64_t kPageKib = 4;
  return memory_max_kib / kPageKib + kFramesBelow4GiB;
}

std::vector<DirtyPageList> DirtyPageListsOf(uint64_t epoch, PageRuns runs) {
  for (uint64_t gap = 1; runs.size() > kDirtyRunsMax; gap *= 2) Join(gap, runs);
  std::vector<DirtyPageList> lists(1);
  lists.back().set_epoch(epoch);
  for (PageRun run : runs) {
    while (run.count > 0) {
      if (static_cast<size_t>(lists.back().runs_size()) == kDirtyRunsPerListMax) {
        lists.back().set_more(true);
        lists.emplace_back().set_epoch(epoch);
      }
      const uint64_t count = std::min(run.count, kRunPagesMax);
      DirtyPageList::Run& added = *lists.back().add_runs();
      added.set_first_gfn(run.first_gfn);
      added.set_count(static_cast<uint32_t>(count));
      run.first_gfn += count;
      run.count -= count;
    }
  }
  return lists;
}

absl::Status DirtyPageListReader::Add(const DirtyPageList& list) {
  const auto refuse = [this](auto&&... what) {
    return absl::InvalidArgumentError(absl::StrCat("DirtyPageList of checkpoint ", epoch_, ": ", what...));
  };
  if (list.epoch() != epoch_) return refuse("one of checkpoint ", list.epoch(), " came");
  if (complete_) return refuse("another one after the last");
  if (list.more() && list.runs_size() == 0) return refuse("an empty one that is not the last");
  for (const DirtyPageList::Run& run : list.runs()) {
    if (++runs_read_ > kDirtyRunsMax) return refuse("more than ", kDirtyRunsMax, " runs");
    if (run.count() == 0) return refuse("an empty run at frame ", run.first_gfn());
    if (run.first_gfn() >= gfn_bound_ || run.count() > gfn_bound_ - run.first_gfn()) {
      return refuse("frames ", run.first_gfn(), " and on, ", run.count(), " of them: the guest has none from ",
                    gfn_bound_, " on");
    }
    if (runs_.empty()) {
      runs_.push_back({run.first_gfn(), run.count()});
      continue;
    }
    PageRun& last = runs_.back();
    if (run.first_gfn() < last.first_gfn + last.count) {
      return refuse("frame ", run.first_gfn(), " after frame ", last.first_gfn + last.count - 1);
    }
    if (run.first_gfn() == last.first_gfn + last.count) {
      last.count += run.count();
    } else {
      runs_.push_back({run.first_gfn(), run.count()});
    }
  }
  complete_ = !list.more();
  return absl::OkStatus();
}

PageRuns DirtyPageListReader::Take() {
  ROMULUS_CHECK(complete_);
  return std::move(runs_);
}

}  // namespace romulus
