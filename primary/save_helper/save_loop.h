#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SAVE_LOOP_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SAVE_LOOP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "primary/save_helper/captured_pages.h"
#include "primary/save_helper/checkpoint_writer.h"
#include "primary/save_helper/guest_image.h"
#include "primary/save_helper/save_session.h"
#include "primary/save_helper/seeding_pipe.h"
#include "primary/save_helper/staging_memory.h"
#include "primary/save_helper/tracking_resets.h"

namespace romulus {

// Copies a guest again and again, as a libxc v3 stream (checkpoint_writer.h) that xc_domain_restore takes as
// XC_STREAM_REMUS: first all of its memory while it runs, through the pipe, in rounds; then, each time that the session
// wants it, what it has written since, with the guest suspended, into staging memory that nothing can block. The two
// staging files take turns; checkpoint 1 is the pipe's bytes and then those of file 0.
//
// What is done while the guest is suspended: the dirty bitmap, the types of the pages in it, their contents, the vCPUs;
// nothing is allocated, mapped or written to a file for it.
class SaveLoop {
 public:
  struct Options {
    // What each staging file may hold for good; 0: what it can. A larger checkpoint takes more, once: its memory is
    // reserved while the guest runs as far as can be foreseen, and is given back when a smaller one follows. If the
    // host does not have it, the guest runs on and the session ends, RESOURCE_EXHAUSTED.
    size_t staging_bytes_max = 0;
    size_t captured_pages_bytes_max = 0;  // For CapturedPages.
    // The standby may run along: each checkpoint but the first begins with the guest's attachments.
    bool lockstep = false;
  };
  // All outlive it. `now` is monotonic time.
  SaveLoop(GuestImage& image, SaveSession& session, SeedingPipe pipe, std::array<StagingMemory, 2> staging,
           Options options, std::function<absl::Duration()> now);

  // Blocks until the session ends, or something fails: then the session knows. The guest may be suspended then.
  // `on_seeded` is called when all of the guest's memory was copied, before it is suspended for the first time.
  void Run(const std::function<void()>& on_seeded);

 private:
  absl::Status Seed();
  absl::Status WritePreamble(CheckpointWriter& writer);
  absl::Status WriteAllPages(CheckpointWriter& writer);
  absl::Status WriteDirtyPages(absl::Span<const uint64_t> bitmap, CheckpointWriter& writer);
  // Of these frames, in place: those that are not as they were captured last.
  absl::Span<uint64_t> Changed(absl::Span<uint64_t> frames);
  absl::Status WriteBatch(absl::Span<uint64_t> frames, CheckpointWriter& writer);
  // Those of `pages` that are not in the checkpoint yet.
  absl::Status WriteStandbyPages(const PageRuns& pages, CheckpointWriter& writer);
  // What `checkpoint` has of each page is what was captured last.
  void KeepCaptured(absl::Span<const char> checkpoint);
  absl::Status ReportProgress(uint32_t round, const CheckpointWriter& writer, uint64_t pages_left);
  // For the next checkpoint, while the guest runs.
  absl::Status Prepare(StagingMemory& staging);
  absl::StatusOr<SaveSession::Copied> CopySuspended(size_t file);

  GuestImage& image_;
  SaveSession& session_;
  std::optional<SeedingPipe> pipe_;
  std::array<StagingMemory, 2> staging_;
  const size_t staging_bytes_max_;
  const bool lockstep_;
  const std::function<absl::Duration()> now_;
  std::array<CheckpointWriter, 2> writers_;
  TrackingResets resets_;
  bool reset_tracking_ = true;  // At the next checkpoint.
  CapturedPages captured_pages_;
  std::vector<uint64_t> batch_;
  std::vector<bool> written_;  // In lockstep: the frames in the checkpoint under way.
  uint64_t unchanged_ = 0;  // Dirty pages that the checkpoint under way does without.
  uint64_t oversized_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SAVE_LOOP_H_
