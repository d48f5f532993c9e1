#include "primary/capture/helper_checkpoint_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "primary/capture/staging_reader.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::HelperToAgent;

// Fewer, larger reads and writes in the first copy; the default limit for unprivileged users.
constexpr int kPipeBytes = 1 << 20;
// The longest wait for a suspend that a dead helper may have asked for.
constexpr absl::Duration kLongestSettle = absl::Seconds(3);
// For what a helper does beside the waits whose limits it was given.
constexpr absl::Duration kSlack = absl::Seconds(15);

CheckpointSource::PauseParts FromProto(const helper::v1::PauseParts& parts) {
  CheckpointSource::PauseParts result;
  result.acknowledge = absl::Microseconds(parts.acknowledge_us());
  result.suspend = absl::Microseconds(parts.suspend_us());
  result.dirty_bitmap = absl::Microseconds(parts.dirty_bitmap_us());
  result.page_copy = absl::Microseconds(parts.page_copy_us());
  result.vcpu_state = absl::Microseconds(parts.vcpu_state_us());
  result.standby_wait = absl::Microseconds(parts.standby_wait_us());
  result.permit_wait = absl::Microseconds(parts.permit_wait_us());
  result.resume = absl::Microseconds(parts.resume_us());
  result.finish_resume = absl::Microseconds(parts.finish_resume_us());
  return result;
}

}  // namespace

// Which staging files have a reader. One ends on whatever thread lets go of it last, perhaps long after the source and
// its loop, which is woken only for a file that it waits for: mostly each is free long before it is wanted again.
class HelperCheckpointSource::ReleaseGate : public std::enable_shared_from_this<ReleaseGate> {
 public:
  explicit ReleaseGate(HelperCheckpointSource* source) : source_(source) {}

  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    source_ = nullptr;
  }

  void Take(int index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    in_use_[index] = true;
  }

  // False: SendPendingRequest is called again when it is.
  bool IsFree(int index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    awaited_[index] = in_use_[index];
    return !in_use_[index];
  }

  void Release(int index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    in_use_[index] = false;
    if (!std::exchange(awaited_[index], false) || source_ == nullptr) return;
    source_->loop_.Post([gate = shared_from_this()] {
      // On the loop's thread, as Close.
      if (gate->source_ != nullptr) gate->source_->SendPendingRequest();
    });
  }

 private:
  std::mutex mutex_;
  HelperCheckpointSource* source_;
  std::array<bool, 2> in_use_{};
  std::array<bool, 2> awaited_{};  // By a pending request.
};

HelperCheckpointSource::HelperCheckpointSource(EventLoop& loop, Options options)
    : loop_(loop),
      options_(std::move(options)),
      label_(absl::StrCat("save helper of domain ", options_.domid)),
      releases_(std::make_shared<ReleaseGate>(this)) {}

HelperCheckpointSource::~HelperCheckpointSource() {
  releases_->Close();
  loop_.Cancel(timer_);
  if (seeding_ != nullptr) seeding_->Cancel();
}

void HelperCheckpointSource::Start(CheckpointSource::Observer* observer) {
  ROMULUS_CHECK(phase_ == Phase::kNew);
  observer_ = observer;
  phase_ = Phase::kCapturing;
  epoch_ = 1;
  absl::Status launched = Launch();
  timer_ = loop_.After(absl::ZeroDuration(), [this, launched] {
    timer_ = Scheduler::kNoTimer;
    if (launched.ok()) {
      // The helper may have died already; its reader then says so.
      AnnounceSeeding();
    } else {
      End(launched);
    }
  });
}

absl::Status HelperCheckpointSource::Launch() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("can't make the seeding pipe: ", strerror(errno)));
  }
  UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  // Refused where too many pipes are this large; it works with a smaller one, too.
  (void)fcntl(write_end.get(), F_SETPIPE_SZ, kPipeBytes);
  auto seeding = SeedingReader::New(std::move(read_end));
  if (!seeding.ok()) return seeding.status();
  seeding_ = *std::move(seeding);
  for (int i = 0; i < 2; ++i) {
    auto file = StagingFile::New(absl::StrCat("romulus-staging-", options_.domid, "-", i));
    if (!file.ok()) return file.status();
    files_[i] = *std::move(file);
  }
  HelperProcess::Options process_options;
  process_options.program = options_.helper_program;
  process_options.label = label_;
  // After SIGTERM it may have to wait for a suspend under way, twice.
  process_options.exit_grace = 2 * options_.suspend_timeout + kSlack;
  auto process = HelperProcess::Spawn(loop_, process_options, this);
  if (!process.ok()) return process.status();
  process_ = *std::move(process);

  AgentToHelper message;
  helper::v1::StartSave& start = *message.mutable_start_save();
  start.set_domid(options_.domid);
  start.set_suspend_timeout_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.suspend_timeout)));
  start.set_resume_timeout_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.resume_timeout)));
  start.set_staging_bytes_max(options_.staging_bytes_max);
  start.set_captured_pages_bytes_max(options_.captured_pages_bytes_max);
  start.set_lockstep(options_.lockstep);
  (void)process_->Send(message, {write_end.get(), files_[0]->descriptor(), files_[1]->descriptor()});
  return absl::OkStatus();
}

void HelperCheckpointSource::RequestCheckpoint(uint64_t epoch, bool with_standby_pages) {
  if (over()) return;
  ROMULUS_CHECK(!with_standby_pages || options_.lockstep);
  ROMULUS_CHECK(phase_ == Phase::kRunning && epoch == epoch_ + 1);
  phase_ = Phase::kCapturing;
  epoch_ = epoch;
  request_pending_ = true;
  with_standby_pages_ = with_standby_pages;
  standby_pages_.reset();
  SendPendingRequest();
}

void HelperCheckpointSource::AddStandbyPages(uint64_t epoch, PageRuns pages) {
  if (over()) return;
  ROMULUS_CHECK(epoch == epoch_ && with_standby_pages_ && phase_ != Phase::kRunning);
  with_standby_pages_ = false;
  standby_pages_ = std::move(pages);
  if (!request_pending_) SendStandbyPages();
}

void HelperCheckpointSource::SendStandbyPages() {
  const PageRuns runs = *std::exchange(standby_pages_, std::nullopt);
  AgentToHelper message;
  message.mutable_standby_pages()->set_epoch(epoch_);
  message.mutable_standby_pages()->set_run_count(runs.size());
  if (runs.empty()) {
    (void)process_->Send(message);
    return;
  }
  static_assert(sizeof(PageRun) == 2 * sizeof(uint64_t));
  const UniqueFd file(memfd_create("romulus-standby-pages", MFD_CLOEXEC));
  const size_t bytes = runs.size() * sizeof(PageRun);
  if (!file.valid() || write(file.get(), runs.data(), bytes) != static_cast<ssize_t>(bytes)) {
    BreakOff(absl::StrCat("can't be given the standby's pages: ", strerror(errno)));
    return;
  }
  (void)process_->Send(message, {file.get()});
}

void HelperCheckpointSource::SendPendingRequest() {
  // The reader of checkpoint n-2 was promised to be gone; its thread may be about to let go of it.
  if (!request_pending_ || process_ == nullptr || !releases_->IsFree(index_of(epoch_))) return;
  request_pending_ = false;
  AgentToHelper message;
  message.mutable_begin_checkpoint()->set_epoch(epoch_);
  message.mutable_begin_checkpoint()->set_with_standby_pages(with_standby_pages_ || standby_pages_.has_value());
  (void)process_->Send(message);
  if (standby_pages_.has_value()) SendStandbyPages();
  Expect(2 * options_.suspend_timeout + kSlack, "the guest's suspend");
}

void HelperCheckpointSource::PermitResume(uint64_t epoch) {
  if (over()) return;
  ROMULUS_CHECK(phase_ == Phase::kSuspended && epoch == epoch_);
  phase_ = Phase::kPermitted;
  AgentToHelper message;
  message.mutable_permit_resume()->set_epoch(epoch);
  (void)process_->Send(message);
}

void HelperCheckpointSource::Stop() {
  if (phase_ == Phase::kNew || over()) return;
  ending_ = Ending::kStopRequested;
  request_pending_ = false;
  // A helper that is blocked in the first copy gets EPIPE.
  if (seeding_ != nullptr) seeding_->Cancel();
  if (process_ == nullptr) return;  // Launch failed; OnEnded is under way.
  AgentToHelper message;
  message.mutable_stop();
  (void)process_->Send(message);
  Expect(2 * options_.suspend_timeout + kSlack, "the end that was asked for");
}

void HelperCheckpointSource::AnnounceSeeding() {
  if (std::exchange(seeding_announced_, true)) return;
  observer_->OnSeeding(seeding_);
}

void HelperCheckpointSource::OnMessage(const HelperToAgent& message) {
  // If this loop was busy for long, the helper's first message is here before the timer of Start has fired.
  if (!over()) AnnounceSeeding();
  if (over()) return;  // What it sent before it heard of it.
  if (message.has_seeding_progress() && epoch_ == 1 && phase_ == Phase::kCapturing) {
    observer_->OnSeedingProgress(message.seeding_progress().pages_written(), message.seeding_progress().pages_dirty());
  } else if (message.has_suspended()) {
    OnSuspended(message.suspended());
  } else if (message.has_captured()) {
    OnCaptured(message.captured());
  } else {
    BreakOff(absl::StrCat("sent message ", message.body_case(), " out of turn"));
  }
}

void HelperCheckpointSource::OnSuspended(const helper::v1::Suspended& suspended) {
  if (phase_ != Phase::kCapturing || request_pending_ || suspended.epoch() != epoch_) {
    BreakOff(absl::StrCat("said Suspended(", suspended.epoch(), ") out of turn"));
    return;
  }
  phase_ = Phase::kSuspended;
  loop_.Cancel(timer_);
  timer_ = loop_.After(options_.capture_timeout, [this] {
    // It has not even kept its own deadline; only the recovery can resume the guest now.
    process_->Kill(absl::UnavailableError(absl::StrCat(label_, ": epoch ", epoch_, ": hung for ",
                                                       absl::FormatDuration(options_.capture_timeout),
                                                       " with the guest suspended")));
  });
  observer_->OnSuspended(epoch_);
}

void HelperCheckpointSource::OnCaptured(const helper::v1::Captured& captured) {
  const int index = index_of(epoch_);
  if (phase_ != Phase::kPermitted || captured.epoch() != epoch_ ||
      captured.staging_index() != static_cast<uint32_t>(index) || captured.length() == 0) {
    BreakOff(absl::StrCat("said Captured(", captured.epoch(), ") out of turn"));
    return;
  }
  absl::StatusOr<std::unique_ptr<CheckpointReader>> made = NewReader(index, captured.length());
  if (!made.ok()) {
    BreakOff(std::string(made.status().message()));
    return;
  }
  std::unique_ptr<CheckpointReader> reader = *std::move(made);
  loop_.Cancel(timer_);
  phase_ = Phase::kRunning;
  Captured result;
  result.epoch = epoch_;
  result.length = captured.length();
  result.dirty_pages = captured.dirty_pages();
  result.unchanged_pages = captured.unchanged_pages();
  result.standby_pages = captured.standby_pages();
  result.captured_pages_bytes = captured.captured_pages_bytes();
  result.pause = absl::Microseconds(captured.pause_us());
  result.copy = absl::Microseconds(captured.copy_us());
  result.parts = FromProto(captured.parts());
  result.oversized_checkpoints = captured.oversized_checkpoints();
  if (epoch_ == 1) {
    seeding_->SetTail(std::move(reader));
    // From now on it is the link's alone: its end frees the staging file.
    seeding_.reset();
  } else {
    result.reader = std::move(reader);
  }
  observer_->OnCaptured(std::move(result));
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> HelperCheckpointSource::NewReader(int index, uint64_t length) {
  auto bytes = files_[index]->View(length);
  if (!bytes.ok()) return bytes.status();
  releases_->Take(index);
  return std::make_unique<StagingReader>(*std::move(bytes),
                                         [releases = releases_, index] { releases->Release(index); });
}

void HelperCheckpointSource::OnExit(const HelperProcess::Result& result) {
  const Phase phase = std::exchange(phase_, Phase::kRecovering);
  loop_.Cancel(timer_);
  process_.reset();
  absl::Status status = result.status;
  if (status.ok() && ending_ != Ending::kStopRequested) {
    status = absl::UnavailableError(absl::StrCat(label_, ": was ended by a signal from outside"));
  }
  if (seeding_ != nullptr) seeding_->Fail(status.ok() ? absl::CancelledError("seeding was stopped") : status);
  const bool cleaned_up =
      result.complete.has_value() || (result.failed.has_value() && !result.failed->guest_left_suspended());
  if (cleaned_up) {
    End(std::move(status));
    return;
  }
  const bool suspend_under_way = phase == Phase::kCapturing && !request_pending_;
  Recover(std::move(status),
          suspend_under_way ? std::min(options_.suspend_timeout, kLongestSettle) : absl::ZeroDuration());
}

void HelperCheckpointSource::Recover(absl::Status cause, absl::Duration settle) {
  recovery_ = std::make_unique<HelperRecovery>(
      loop_, options_.helper_program, options_.domid, settle, [this, cause](absl::Status recovered) {
        if (recovered.ok()) {
          End(cause);
        } else {
          End(absl::Status(
              cause.code(),
              absl::StrCat(cause.message(), "; the guest may be suspended, since its recovery failed, too: ",
                           recovered.message(), " (look with `xl list`; `xl unpause` does not help)")));
        }
      });
}

void HelperCheckpointSource::BreakOff(const std::string& what) {
  ending_ = Ending::kBrokenOff;
  process_->Terminate(absl::UnavailableError(absl::StrCat(label_, ": epoch ", epoch_, ": ", what)));
}

void HelperCheckpointSource::Expect(absl::Duration timeout, const std::string& what) {
  loop_.Cancel(timer_);
  timer_ = loop_.After(timeout, [this, timeout, what] {
    if (process_ == nullptr) return;
    process_->Terminate(absl::UnavailableError(
        absl::StrCat(label_, ": epoch ", epoch_, ": ", what, " did not come within ", absl::FormatDuration(timeout))));
  });
}

void HelperCheckpointSource::End(absl::Status status) {
  loop_.Cancel(timer_);
  phase_ = Phase::kEnded;
  observer_->OnEnded(std::move(status));  // May destroy this.
}

}  // namespace romulus
