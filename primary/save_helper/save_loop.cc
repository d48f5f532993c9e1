#include "primary/save_helper/save_loop.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "common/stream/stream_format.h"
#include "primary/save_helper/dirty_frames.h"
#include "primary/save_helper/seeding_rounds.h"

namespace romulus {
namespace {

// Beside its pages a checkpoint has some tens of kilobytes for each vCPU.
constexpr size_t kStateReserve = size_t{1} << 20;
// Pages that a guest dirties between the look at its dirty pages and its suspend, the suspend itself included (430 for
// a Linux guest).
constexpr uint64_t kPagesUntilSuspended = 1024;
constexpr size_t kBytesPerPage = stream_format::kPageBytes + CheckpointWriter::kEntryBytes;
// Staging memory that is kept, whatever the checkpoints need; more is given back when they have not for a while.
constexpr size_t kNeverTrimmedBelow = size_t{64} << 20;
// Pages between two reports of the first copy's progress.
constexpr uint64_t kProgressPages = 4096;

// All of them are below it.
uint64_t FrameLimit(const FrameMap& frames) {
  return frames.runs().empty() ? 0 : frames.runs().back().first + frames.runs().back().count;
}

}  // namespace

SaveLoop::SaveLoop(GuestImage& image, SaveSession& session, SeedingPipe pipe, std::array<StagingMemory, 2> staging,
                   Options options, std::function<absl::Duration()> now)
    : image_(image),
      session_(session),
      pipe_(std::move(pipe)),
      staging_(std::move(staging)),
      staging_bytes_max_(options.staging_bytes_max == 0 ? std::numeric_limits<size_t>::max()
                                                        : options.staging_bytes_max),
      lockstep_(options.lockstep),
      now_(std::move(now)),
      writers_{CheckpointWriter(staging_[0]), CheckpointWriter(staging_[1])},
      captured_pages_(options.captured_pages_bytes_max),
      batch_(CheckpointWriter::kPagesInRecordMax) {}

void SaveLoop::Run(const std::function<void()>& on_seeded) {
  absl::Status status = Seed();
  if (status.ok()) on_seeded();
  while (status.ok()) {
    const size_t file = SaveSession::StagingIndex(session_.epoch() + 1);
    status = Prepare(staging_[file]);
    if (!status.ok()) break;
    if (!session_.Suspend()) return;
    const absl::StatusOr<SaveSession::Copied> copied = CopySuspended(file);
    if (!copied.ok()) {
      session_.ResumeAfterFailure();
      status = copied.status();
      break;
    }
    if (!session_.Resume(*copied)) return;
    // Its reader sees the end of the file, though not the end of the checkpoint.
    pipe_.reset();
    if (!session_.Deliver()) return;
    // Not from the guest: it runs again.
    KeepCaptured(staging_[file].contents());
    if (!session_.NextEpoch()) return;
  }
  session_.Fail(status);
}

absl::Status SaveLoop::Seed() {
  CheckpointWriter writer(*pipe_);
  absl::Status status = WritePreamble(writer);
  if (status.ok()) status = image_.Begin();
  if (status.ok()) status = WriteAllPages(writer);
  SeedingRounds rounds;
  for (uint32_t round = 1; status.ok(); ++round) {
    const absl::StatusOr<uint64_t> dirty = image_.CountDirty();
    if (!dirty.ok()) return dirty.status();
    status = ReportProgress(round, writer, *dirty);
    if (!rounds.AnotherRound(round, *dirty)) break;
    const absl::StatusOr<absl::Span<const uint64_t>> bitmap = image_.TakeDirty(/*final=*/false);
    if (!bitmap.ok()) return bitmap.status();
    if (status.ok()) status = WriteDirtyPages(*bitmap, writer);
  }
  if (status.ok()) status = pipe_->Flush();
  return status;
}

absl::Status SaveLoop::WritePreamble(CheckpointWriter& writer) {
  const absl::StatusOr<GuestImage::Description> guest = image_.Describe();
  if (!guest.ok()) return guest.status();
  absl::Status status = writer.Headers(guest->xen_major, guest->xen_minor);
  if (status.ok() && !guest->cpuid_policy.empty()) {
    status = writer.Record(stream_format::kCpuidPolicy, guest->cpuid_policy);
  }
  if (status.ok() && !guest->msr_policy.empty()) status = writer.Record(stream_format::kMsrPolicy, guest->msr_policy);
  if (status.ok()) status = writer.Record(stream_format::kStaticDataEnd, {});
  return status;
}

absl::Status SaveLoop::WriteAllPages(CheckpointWriter& writer) {
  // All of them are known to have contents: an entry is the frame's number. One that is ballooned out meanwhile is
  // still mapped.
  size_t filled = 0;
  uint64_t reported = 0;
  absl::Status status;
  const auto flush = [&] {
    if (filled > 0) status = writer.Pages(absl::MakeConstSpan(batch_.data(), filled), image_.frames());
    filled = 0;
    if (status.ok() && writer.page_count() - reported >= kProgressPages) {
      reported = writer.page_count();
      status = ReportProgress(0, writer, image_.frames().size() - reported);
    }
  };
  for (const FrameMap::Run& run : image_.frames().runs()) {
    for (uint64_t i = 0; i < run.count && status.ok(); ++i) {
      batch_[filled++] = run.first + i;
      if (filled == batch_.size()) flush();
    }
  }
  if (status.ok()) flush();
  return status;
}

absl::Status SaveLoop::WriteDirtyPages(absl::Span<const uint64_t> bitmap, CheckpointWriter& writer) {
  DirtyFrames dirty(bitmap);
  while (const size_t count = dirty.Next(absl::MakeSpan(batch_))) {
    const absl::Span<uint64_t> batch = Changed(absl::MakeSpan(batch_.data(), count));
    if (absl::Status status = WriteBatch(batch, writer); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SaveLoop::WriteBatch(absl::Span<uint64_t> frames, CheckpointWriter& writer) {
  if (frames.empty()) return absl::OkStatus();
  if (lockstep_) {
    for (const uint64_t frame : frames) {
      if (frame < written_.size()) written_[frame] = true;
    }
  }
  if (absl::Status status = image_.AddTypes(frames); !status.ok()) return status;
  return writer.Pages(frames, image_.frames());
}

absl::Status SaveLoop::WriteStandbyPages(const PageRuns& pages, CheckpointWriter& writer) {
  // What was captured last says what the standby's memory was given, not what it holds by now: these pages go out
  // unasked, also those that this guest has written to and that were left out as unchanged.
  size_t filled = 0;
  for (const PageRun& run : pages) {
    const uint64_t end = run.first_gfn + std::min<uint64_t>(run.count, written_.size());
    for (uint64_t frame = run.first_gfn; frame < end && frame < written_.size(); ++frame) {
      if (written_[frame] || image_.frames().Find(frame) == nullptr) continue;
      batch_[filled++] = frame;
      if (filled < batch_.size()) continue;
      if (absl::Status status = WriteBatch(absl::MakeSpan(batch_), writer); !status.ok()) return status;
      filled = 0;
    }
  }
  return WriteBatch(absl::MakeSpan(batch_.data(), filled), writer);
}

absl::Span<uint64_t> SaveLoop::Changed(absl::Span<uint64_t> frames) {
  size_t changed = 0;
  for (const uint64_t frame : frames) {
    const char* const page = image_.frames().Find(frame);
    if (page == nullptr || !captured_pages_.Unchanged(frame, page)) frames[changed++] = frame;
  }
  unchanged_ += frames.size() - changed;
  return frames.first(changed);
}

void SaveLoop::KeepCaptured(absl::Span<const char> checkpoint) {
  ForEachWrittenPage(checkpoint, [this](uint64_t entry, const char* page) {
    if (page != nullptr) {
      captured_pages_.Keep(FrameOfEntry(entry), page);
    } else {
      captured_pages_.Forget(FrameOfEntry(entry));
    }
  });
  captured_pages_.EndCheckpoint();
}

absl::Status SaveLoop::ReportProgress(uint32_t round, const CheckpointWriter& writer, uint64_t pages_left) {
  if (session_.Progress(round, writer.page_count(), pages_left)) return absl::OkStatus();
  return absl::CancelledError("the first copy was stopped");
}

absl::Status SaveLoop::Prepare(StagingMemory& staging) {
  if (absl::Status status = image_.PrepareState(); !status.ok()) return status;
  const absl::StatusOr<uint64_t> dirty = image_.CountDirty();
  if (!dirty.ok()) return dirty.status();
  reset_tracking_ = resets_.ResetNext(*dirty);
  const uint64_t pages = std::min(*dirty + kPagesUntilSuspended, image_.frames().size());
  const size_t needed = pages * kBytesPerPage + kStateReserve;
  // One extraordinary checkpoint does not take its memory for good.
  const size_t used = std::max(needed, staging.length());
  if (staging.reserved() > kNeverTrimmedBelow && used < staging.reserved() / 4) {
    staging.Trim(std::max(kNeverTrimmedBelow, 2 * used));
  }
  const size_t bound = std::max(needed, staging_bytes_max_);
  if (staging.reserved() > bound) staging.Trim(bound);
  if (needed <= staging.reserved()) return absl::OkStatus();
  // While it is little, in steps that grow with it: the largest checkpoint so far becomes a little larger for hours.
  const bool little = needed < kNeverTrimmedBelow;
  if (little && staging.Reserve(std::min(std::bit_ceil(needed), bound)).ok()) return absl::OkStatus();
  return staging.Reserve(needed);
}

absl::StatusOr<SaveSession::Copied> SaveLoop::CopySuspended(size_t file) {
  SaveSession::Copied copied;
  CheckpointWriter& writer = writers_[file];
  writer.Restart();
  staging_[file].Rewind();
  unchanged_ = 0;
  const absl::Duration begun = now_();
  if (absl::Status status = image_.CheckMemoryMap(); !status.ok()) return status;
  if (lockstep_ && session_.epoch() > 1) {
    const absl::StatusOr<absl::Span<const char>> attachments = image_.ReadAttachments();
    if (!attachments.ok()) return attachments.status();
    if (absl::Status status = writer.Record(stream_format::kAttachments, *attachments); !status.ok()) return status;
  }
  const absl::StatusOr<absl::Span<const uint64_t>> bitmap =
      reset_tracking_ ? image_.TakeDirty(/*final=*/true) : image_.LookAtDirty();
  if (!bitmap.ok()) return bitmap.status();
  const absl::Duration bitmap_taken = now_();
  if (lockstep_) written_.assign(FrameLimit(image_.frames()), false);
  if (absl::Status status = WriteDirtyPages(*bitmap, writer); !status.ok()) return status;
  const absl::Duration pages_copied = now_();
  const absl::StatusOr<GuestImage::State> state = image_.ReadState();
  if (!state.ok()) return state.status();
  const absl::Duration state_read = now_();
  // Waited for last: the standby is suspended at the same time.
  const absl::StatusOr<PageRuns> standby_pages = session_.StandbyPages();
  if (!standby_pages.ok()) return standby_pages.status();
  const absl::Duration standby_pages_known = now_();
  const uint64_t own_pages = writer.page_count();
  if (absl::Status status = WriteStandbyPages(*standby_pages, writer); !status.ok()) return status;
  const absl::Duration standby_pages_copied = now_();
  absl::Status status = writer.Tsc(state->tsc);
  if (status.ok()) status = writer.Record(stream_format::kHvmContext, state->hvm_context);
  if (status.ok()) status = writer.HvmParams(state->hvm_params);
  if (status.ok()) status = writer.EndCheckpoint();
  if (!status.ok()) return status;
  copied.dirty_bitmap = bitmap_taken - begun;
  copied.page_copy = pages_copied - bitmap_taken + (standby_pages_copied - standby_pages_known);
  copied.standby_wait = standby_pages_known - state_read;
  copied.vcpu_state = state_read - pages_copied + (now_() - standby_pages_copied);
  copied.length = writer.length();
  if (copied.length > staging_bytes_max_) ++oversized_;
  copied.oversized = oversized_;
  copied.unchanged_pages = unchanged_;
  copied.standby_pages = writer.page_count() - own_pages;
  copied.dirty_pages = own_pages + copied.unchanged_pages;
  copied.captured_pages_bytes = captured_pages_.memory_bytes();
  resets_.OnTaken(reset_tracking_, copied.dirty_pages);
  return copied;
}

}  // namespace romulus
