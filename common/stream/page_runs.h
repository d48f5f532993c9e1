#ifndef ROMULUS_COMMON_STREAM_PAGE_RUNS_H_
#define ROMULUS_COMMON_STREAM_PAGE_RUNS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace romulus {

// Some of a guest's pages, by their frame numbers: first_gfn, first_gfn + 1, ... (count of them, at least one).
struct PageRun {
  uint64_t first_gfn = 0;
  uint64_t count = 0;

  friend bool operator==(const PageRun& a, const PageRun& b) {
    return a.first_gfn == b.first_gfn && a.count == b.count;
  }
};

// Ascending, disjoint, not adjacent: so the same pages are always the same runs, and as few as can be.
using PageRuns = std::vector<PageRun>;

// `gfns` ascending, none twice.
template <typename Gfns>
PageRuns PageRunsOf(const Gfns& gfns) {
  PageRuns runs;
  for (const uint64_t gfn : gfns) {
    if (!runs.empty() && runs.back().first_gfn + runs.back().count == gfn) {
      ++runs.back().count;
    } else {
      runs.push_back({gfn, 1});
    }
  }
  return runs;
}

// `runs` and `gfns` (ascending).
template <typename Gfns>
PageRuns WithPages(const PageRuns& runs, const Gfns& gfns) {
  PageRuns all;
  const auto add = [&all](uint64_t first, uint64_t count) {
    if (!all.empty() && all.back().first_gfn + all.back().count >= first) {
      all.back().count = std::max(all.back().first_gfn + all.back().count, first + count) - all.back().first_gfn;
    } else {
      all.push_back({first, count});
    }
  };
  auto gfn = gfns.begin();
  for (const PageRun& run : runs) {
    for (; gfn != gfns.end() && *gfn < run.first_gfn; ++gfn) add(*gfn, 1);
    add(run.first_gfn, run.count);
  }
  for (; gfn != gfns.end(); ++gfn) add(*gfn, 1);
  return all;
}

inline uint64_t CountPages(const PageRuns& runs) {
  uint64_t count = 0;
  for (const PageRun& run : runs) count += run.count;
  return count;
}

// Whether `runs` keeps what PageRuns promises, and no page is at or beyond `gfn_count`. For runs from elsewhere.
inline bool ValidPageRuns(const PageRuns& runs, uint64_t gfn_count) {
  uint64_t lowest = 0;  // That the next run may begin with.
  for (const PageRun& run : runs) {
    if (run.count == 0 || run.first_gfn < lowest || run.first_gfn >= gfn_count ||
        run.count > gfn_count - run.first_gfn) {
      return false;
    }
    lowest = run.first_gfn + run.count + 1;
  }
  return true;
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_PAGE_RUNS_H_
