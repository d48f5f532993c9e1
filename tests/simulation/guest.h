#ifndef ROMULUS_TESTS_SIMULATION_GUEST_H_
#define ROMULUS_TESTS_SIMULATION_GUEST_H_

#include <array>
#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/string_view.h"

namespace romulus::simulation {

// What a guest is. Page 0 holds its service's ledger: how many requests it has answered, and a chain over them all;
// the others are written to by whatever else runs in it. The first words of each page stand for the whole page.
struct GuestMemory {
  static constexpr int kPages = 4;
  struct Page {
    uint64_t words[2] = {0, 0};
    bool operator==(const Page& other) const { return words[0] == other.words[0] && words[1] == other.words[1]; }
  };
  std::array<Page, kPages> pages;

  uint64_t counter() const { return pages[0].words[0]; }
  uint64_t chain() const { return pages[0].words[1]; }
  // Answers a request: the answer is the new counter and chain.
  void Answer(uint64_t request);
  bool operator==(const GuestMemory& other) const { return pages == other.pages; }
};

// Checkpoints in libxc's format. `pages`: which to carry.
std::string FirstCheckpoint(const GuestMemory& memory);
std::string LaterCheckpoint(const GuestMemory& memory, const std::set<int>& pages);
// Applies as many whole pages as `bytes` has. first: with the stream's headers.
void ApplyCheckpoint(absl::string_view bytes, bool first, GuestMemory& memory);

// A domain on a host.
struct Domain {
  uint32_t domid = 0;
  GuestMemory memory;
  bool started = false;  // Unpaused for the first time.
  bool along = false;    // A standby that runs along: its network is not the world's.
  bool paused = false;
  bool suspended = false;
  bool destroyed = false;
  bool log_dirty = false;
  std::set<int> dirty;

  bool Runs() const { return (started || along) && !paused && !suspended && !destroyed; }
  std::string vif() const;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_GUEST_H_
