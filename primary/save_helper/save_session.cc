#include "primary/save_helper/save_session.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::Failed;
using helper::v1::HelperToAgent;

// libxc's own policy: it converges, or it never will.
constexpr int64_t kFewDirtyPages = 50;
constexpr uint32_t kMostRounds = 5;

uint64_t Microseconds(absl::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(duration), 0));
}

int StagingIndex(uint64_t epoch) { return static_cast<int>((epoch + 1) % 2); }

}  // namespace

SaveSession::SaveSession(HelperEnd& agent, SuspendableGuest& guest, StagingFiles& staging, StopSignal& stop,
                         std::function<absl::Duration()> now, Options options)
    : agent_(agent), guest_(guest), staging_(staging), signal_(stop), now_(std::move(now)), options_(options) {}

SaveSession::PrecopyDecision SaveSession::Precopy(uint32_t round, uint64_t total_written, int64_t dirty_pages) {
  if (StopRequested()) return PrecopyDecision::kAbort;
  if (dirty_pages >= 0) {
    HelperToAgent message;
    message.mutable_seeding_progress()->set_round(round);
    message.mutable_seeding_progress()->set_pages_written(std::min(total_written, options_.memory_pages));
    message.mutable_seeding_progress()->set_pages_dirty(
        std::min(static_cast<uint64_t>(dirty_pages), options_.memory_pages));
    // Progress is worth no wait.
    (void)agent_.Send(message, absl::ZeroDuration());
  }
  const bool converged = dirty_pages >= 0 && dirty_pages < kFewDirtyPages;
  return converged || round >= kMostRounds ? PrecopyDecision::kStopAndCopy : PrecopyDecision::kContinue;
}

bool SaveSession::Suspend() {
  if (StopRequested()) return false;
  ++epoch_;
  requested_at_ = now_();
  const absl::StatusOr<SuspendableGuest::SuspendTimes> times = guest_.Suspend(options_.suspend_timeout);
  if (!times.ok()) {
    Fail(absl::IsDeadlineExceeded(times.status()) ? Failed::SUSPEND_TIMEOUT
         : absl::IsNotFound(times.status())       ? Failed::DOMAIN_GONE
                                                  : Failed::LIBXENGUEST,
         times.status());
    return false;
  }
  suspended_at_ = now_();
  acknowledge_ = times->acknowledge;
  // From here on nothing that is written can block: the file is memory. And the first time, the pipe's reader sees the
  // end of file, though not the end of the checkpoint.
  signal_.BreakWritesOf(-1);
  if (absl::Status switched = staging_.SwitchTo(StagingIndex(epoch_)); !switched.ok()) {
    Fail(Failed::LIBXENGUEST, switched);
    return false;
  }
  HelperToAgent message;
  message.mutable_suspended()->set_epoch(epoch_);
  message.mutable_suspended()->set_acknowledge_us(Microseconds(times->acknowledge));
  message.mutable_suspended()->set_suspend_us(Microseconds(times->suspend));
  if (absl::Status sent = agent_.Send(message, options_.resume_timeout); !sent.ok()) {
    if (!absl::IsUnavailable(sent)) Fail(Failed::RESUME_TIMEOUT, sent);
    stop_ = true;
    return false;
  }
  return true;
}

bool SaveSession::PostCopy() {
  const absl::Duration copied_at = now_();
  const absl::StatusOr<uint64_t> length = staging_.Length();
  if (!length.ok()) {
    Fail(Failed::LIBXENGUEST, length.status());
    return false;
  }
  // Also where the permit is refused or late the guest goes on; its checkpoint then counts for nothing.
  const bool permitted = WaitForPermit();
  const absl::Duration resume_at = now_();
  if (absl::Status resumed = guest_.Resume(); !resumed.ok()) {
    Fail(absl::IsNotFound(resumed) ? Failed::DOMAIN_GONE : Failed::LIBXENGUEST, resumed);
    return false;
  }
  const absl::Duration running_at = now_();
  if (!permitted) return false;

  captured_.Clear();
  helper::v1::Captured& captured = *captured_.mutable_captured();
  captured.set_epoch(epoch_);
  captured.set_staging_index(StagingIndex(epoch_));
  captured.set_length(*length);
  captured.set_pause_us(Microseconds(running_at - requested_at_));
  captured.set_copy_us(Microseconds(copied_at - suspended_at_));
  captured.set_resume_us(Microseconds(running_at - resume_at));
  helper::v1::PauseParts& parts = *captured.mutable_parts();
  parts.set_acknowledge_us(Microseconds(acknowledge_));
  parts.set_suspend_us(Microseconds(suspended_at_ - requested_at_ - acknowledge_));
  parts.set_page_copy_us(Microseconds(copied_at - suspended_at_));
  parts.set_permit_wait_us(Microseconds(resume_at - copied_at));
  parts.set_resume_us(Microseconds(running_at - resume_at));
  parts.set_finish_resume_us(Microseconds(finish_resume_));
  return true;
}

bool SaveSession::Checkpoint() {
  // The guest runs; now there is time.
  const absl::StatusOr<uint64_t> pages = staging_.CountPages();
  captured_.mutable_captured()->set_dirty_pages(pages.value_or(0));
  absl::Status status = pages.status();
  if (status.ok()) status = agent_.Send(captured_);
  if (absl::IsUnavailable(status)) {
    stop_ = true;
    return false;
  }
  if (status.ok()) {
    const absl::Duration begun = now_();
    status = guest_.FinishResume();
    finish_resume_ = now_() - begun;
  }
  if (!status.ok()) {
    Fail(Failed::LIBXENGUEST, status);
    return false;
  }
  return WaitForNextEpoch();
}

bool SaveSession::StopRequested() {
  while (!stop_ && !signal_.requested()) {
    const std::optional<AgentToHelper> message = TakeMessage();
    if (!message.has_value()) return stop_;
    if (!stop_) Fail(Failed::PROTOCOL, absl::StrCat("unexpected message ", message->body_case(), " from the agent"));
  }
  return true;
}

bool SaveSession::WaitForPermit() {
  const absl::Duration deadline = suspended_at_ + options_.resume_timeout;
  while (true) {
    const std::optional<AgentToHelper> message = TakeMessage();
    if (stop_ || signal_.requested()) return false;
    if (message.has_value()) {
      if (message->permit_resume().epoch() == epoch_) return true;
      Fail(Failed::PROTOCOL, absl::StrCat("expected PermitResume for epoch ", epoch_, ", the agent sent message ",
                                          message->body_case(), " (epoch ", message->permit_resume().epoch(), ")"));
      return false;
    }
    if (!WaitForEvent(deadline, /*watch_guest=*/false)) {
      Fail(Failed::RESUME_TIMEOUT,
           absl::StrCat("epoch ", epoch_, ": the agent did not permit the resume within ",
                        absl::FormatDuration(options_.resume_timeout), "; the guest was resumed without a checkpoint"));
      return false;
    }
  }
}

bool SaveSession::WaitForNextEpoch() {
  while (true) {
    const std::optional<AgentToHelper> message = TakeMessage();
    if (stop_ || signal_.requested()) return false;
    if (message.has_value()) {
      if (message->begin_checkpoint().epoch() == epoch_ + 1) return true;
      Fail(Failed::PROTOCOL, absl::StrCat("expected BeginCheckpoint for epoch ", epoch_ + 1,
                                          ", the agent sent message ", message->body_case()));
      return false;
    }
    if (absl::Status alive = guest_.CheckAlive(); !alive.ok()) {
      Fail(absl::IsNotFound(alive) ? Failed::DOMAIN_GONE : Failed::LIBXENGUEST, alive);
      return false;
    }
    (void)WaitForEvent(absl::InfiniteDuration(), /*watch_guest=*/true);
  }
}

bool SaveSession::WaitForEvent(absl::Duration deadline, bool watch_guest) {
  pollfd events[3] = {{agent_.descriptor(), POLLIN, 0},
                      {signal_.descriptor(), POLLIN, 0},
                      {watch_guest ? guest_.event_descriptor() : -1, POLLIN, 0}};
  while (true) {
    int timeout_ms = -1;
    if (deadline != absl::InfiniteDuration()) {
      const absl::Duration left = deadline - now_();
      if (left <= absl::ZeroDuration()) return false;
      timeout_ms = static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 3'600'000));
    }
    if (poll(events, 3, timeout_ms) > 0) return true;
  }
}

std::optional<AgentToHelper> SaveSession::TakeMessage() {
  absl::StatusOr<HelperEnd::Received> received = agent_.Receive(absl::ZeroDuration());
  if (received.ok()) {
    if (!received->message.has_stop()) return std::move(received->message);
    stop_ = true;
  } else if (absl::IsUnavailable(received.status())) {
    stop_ = true;
  } else if (!absl::IsDeadlineExceeded(received.status())) {
    Fail(Failed::PROTOCOL, received.status());
  }
  return std::nullopt;
}

void SaveSession::Fail(Failed::Kind kind, const std::string& reason) {
  stop_ = true;
  if (failure_.has_value()) return;
  failure_.emplace();
  failure_->set_kind(kind);
  failure_->set_reason(reason);
}

void SaveSession::Fail(Failed::Kind kind, const absl::Status& status) {
  Fail(kind, absl::StrCat("epoch ", epoch_, ": ", status.message()));
}

}  // namespace romulus
