#include "primary/save_helper/save_session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "primary/save_helper/save_failure.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::Failed;
using helper::v1::HelperToAgent;

// A guest whose pages are written to one here, one there has half as many runs as pages: enough for 64 GiB.
constexpr uint64_t kRunsMax = uint64_t{8} << 20;

uint64_t Microseconds(absl::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(duration), 0));
}

}  // namespace

SaveSession::SaveSession(HelperEnd& agent, SuspendableGuest& guest, StopSignal& stop,
                         std::function<absl::Duration()> now, Options options)
    : agent_(agent), guest_(guest), signal_(stop), now_(std::move(now)), options_(options) {}

bool SaveSession::Progress(uint32_t round, uint64_t pages_written, uint64_t pages_left) {
  if (StopRequested()) return false;
  HelperToAgent message;
  message.mutable_seeding_progress()->set_round(round);
  message.mutable_seeding_progress()->set_pages_written(pages_written);
  message.mutable_seeding_progress()->set_pages_dirty(pages_left);
  // Progress is worth no wait.
  (void)agent_.Send(message, absl::ZeroDuration());
  return true;
}

bool SaveSession::Suspend() {
  // What the agent may have sent since it asked for this checkpoint is found when its permit is waited for.
  if (stop_ || signal_.requested()) return false;
  ++epoch_;
  permitted_ = false;
  requested_at_ = now_();
  const absl::StatusOr<SuspendableGuest::SuspendTimes> times = guest_.Suspend(options_.suspend_timeout);
  if (!times.ok()) {
    Fail(times.status());
    return false;
  }
  suspended_at_ = now_();
  acknowledge_ = times->acknowledge;
  HelperToAgent message;
  message.mutable_suspended()->set_epoch(epoch_);
  if (absl::Status sent = agent_.Send(message, options_.resume_timeout); !sent.ok()) {
    if (!absl::IsUnavailable(sent)) Fail(Failed::RESUME_TIMEOUT, absl::StrCat("epoch ", epoch_, ": ", sent.message()));
    stop_ = true;
    return false;
  }
  return true;
}

bool SaveSession::Resume(const Copied& copied) {
  const absl::Duration copied_at = now_();
  // Also where the permit is refused or late the guest goes on; its checkpoint then counts for nothing.
  const bool permitted = WaitForPermit();
  const absl::Duration resume_at = now_();
  if (absl::Status resumed = guest_.Resume(); !resumed.ok()) {
    Fail(resumed);
    return false;
  }
  const absl::Duration running_at = now_();
  if (!permitted) return false;

  captured_.Clear();
  helper::v1::Captured& captured = *captured_.mutable_captured();
  captured.set_epoch(epoch_);
  captured.set_staging_index(static_cast<uint32_t>(StagingIndex(epoch_)));
  captured.set_length(copied.length);
  captured.set_dirty_pages(copied.dirty_pages);
  captured.set_unchanged_pages(copied.unchanged_pages);
  captured.set_standby_pages(copied.standby_pages);
  captured.set_captured_pages_bytes(copied.captured_pages_bytes);
  captured.set_oversized_checkpoints(copied.oversized);
  captured.set_pause_us(Microseconds(running_at - requested_at_));
  captured.set_copy_us(Microseconds(copied_at - suspended_at_));
  helper::v1::PauseParts& parts = *captured.mutable_parts();
  parts.set_acknowledge_us(Microseconds(acknowledge_));
  parts.set_suspend_us(Microseconds(suspended_at_ - requested_at_ - acknowledge_));
  parts.set_dirty_bitmap_us(Microseconds(copied.dirty_bitmap));
  parts.set_page_copy_us(Microseconds(copied.page_copy));
  parts.set_vcpu_state_us(Microseconds(copied.vcpu_state));
  parts.set_permit_wait_us(Microseconds(resume_at - copied_at));
  parts.set_standby_wait_us(Microseconds(copied.standby_wait));
  parts.set_resume_us(Microseconds(running_at - resume_at));
  parts.set_finish_resume_us(Microseconds(finish_resume_));
  return true;
}

void SaveSession::ResumeAfterFailure() {
  // If this fails, the recovery finds the guest suspended, and says so if it can't help it either.
  if (guest_.Resume().ok()) (void)guest_.FinishResume();
}

bool SaveSession::Deliver() {
  absl::Status status = agent_.Send(captured_);
  if (absl::IsUnavailable(status)) {
    stop_ = true;
    return false;
  }
  if (status.ok()) {
    const absl::Duration begun = now_();
    status = guest_.FinishResume();
    finish_resume_ = now_() - begun;
  }
  if (status.ok()) return true;
  Fail(status);
  return false;
}

bool SaveSession::StopRequested() {
  while (!stop_ && !signal_.requested()) {
    const std::optional<HelperEnd::Received> received = TakeMessage();
    if (!received.has_value()) return stop_;
    if (!stop_) {
      Fail(Failed::PROTOCOL, absl::StrCat("unexpected message ", received->message.body_case(), " from the agent"));
    }
  }
  return true;
}

bool SaveSession::WaitForPermit() {
  return TakeUntil([this] { return permitted_; }, "permit the resume");
}

absl::StatusOr<PageRuns> SaveSession::StandbyPages() {
  if (!with_standby_pages_) return PageRuns();
  if (!TakeUntil([this] { return standby_pages_.has_value(); }, "say which pages the standby has written to")) {
    return absl::CancelledError("the session ends");
  }
  with_standby_pages_ = false;
  return *std::exchange(standby_pages_, std::nullopt);
}

bool SaveSession::TakeUntil(const std::function<bool()>& enough, const char* missing) {
  const absl::Duration deadline = suspended_at_ + options_.resume_timeout;
  while (!enough()) {
    if (!WaitForEvent(deadline, /*watch_guest=*/false).has_value()) {
      Fail(Failed::RESUME_TIMEOUT,
           absl::StrCat("epoch ", epoch_, ": the agent did not ", missing, " within ",
                        absl::FormatDuration(options_.resume_timeout), "; the guest was resumed without a checkpoint"));
      return false;
    }
    const std::optional<HelperEnd::Received> received = TakeMessage();
    if (stop_ || signal_.requested()) return false;
    if (!received.has_value()) continue;
    const AgentToHelper& message = received->message;
    if (message.permit_resume().epoch() == epoch_ && !permitted_) {
      permitted_ = true;
    } else if (message.standby_pages().epoch() == epoch_ && with_standby_pages_ && !standby_pages_.has_value()) {
      if (!TakeStandbyPages(message.standby_pages(), received->descriptors)) return false;
    } else {
      Fail(Failed::PROTOCOL,
           absl::StrCat("expected PermitResume for epoch ", epoch_, ", the agent sent message ", message.body_case(),
                        " (epoch ", message.permit_resume().epoch() + message.standby_pages().epoch(), ")"));
      return false;
    }
  }
  return true;
}

bool SaveSession::TakeStandbyPages(const helper::v1::StandbyPages& message, const std::vector<UniqueFd>& descriptors) {
  static_assert(sizeof(PageRun) == 2 * sizeof(uint64_t));
  const auto refuse = [this](const std::string& what) {
    Fail(Failed::PROTOCOL, absl::StrCat("epoch ", epoch_, ": the standby's pages ", what));
    return false;
  };
  if (message.run_count() > kRunsMax) return refuse(absl::StrCat("come in ", message.run_count(), " runs"));
  PageRuns runs(message.run_count());
  const size_t bytes = runs.size() * sizeof(PageRun);
  if (bytes > 0) {
    if (descriptors.size() != 1) return refuse("come without their file");
    const ssize_t got = pread(descriptors[0].get(), runs.data(), bytes, 0);
    if (got != static_cast<ssize_t>(bytes)) return refuse(absl::StrCat("can't be read: ", strerror(errno)));
  }
  if (!ValidPageRuns(runs, UINT64_MAX)) return refuse("are not in ascending, disjoint runs");
  standby_pages_ = std::move(runs);
  return true;
}

bool SaveSession::NextEpoch() {
  while (true) {
    const std::optional<Event> event = WaitForEvent(absl::InfiniteDuration(), /*watch_guest=*/true);
    if (event == Event::kGuest) {
      if (absl::Status alive = guest_.CheckAlive(); !alive.ok()) {
        Fail(alive);
        return false;
      }
      continue;
    }
    const std::optional<HelperEnd::Received> received = TakeMessage();
    if (stop_ || signal_.requested()) return false;
    if (!received.has_value()) continue;
    const helper::v1::BeginCheckpoint& begin = received->message.begin_checkpoint();
    if (begin.epoch() == epoch_ + 1) {
      with_standby_pages_ = begin.with_standby_pages();
      standby_pages_.reset();
      return true;
    }
    Fail(Failed::PROTOCOL, absl::StrCat("expected BeginCheckpoint for epoch ", epoch_ + 1, ", the agent sent message ",
                                        received->message.body_case()));
    return false;
  }
}

std::optional<SaveSession::Event> SaveSession::WaitForEvent(absl::Duration deadline, bool watch_guest) {
  pollfd events[3] = {{agent_.descriptor(), POLLIN, 0},
                      {signal_.descriptor(), POLLIN, 0},
                      {watch_guest ? guest_.event_descriptor() : -1, POLLIN, 0}};
  while (true) {
    int timeout_ms = -1;
    if (deadline != absl::InfiniteDuration()) {
      const absl::Duration left = deadline - now_();
      timeout_ms = left <= absl::ZeroDuration()
                       ? 0
                       : static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 3'600'000));
    }
    if (poll(events, 3, timeout_ms) > 0) {
      return events[0].revents != 0 || events[1].revents != 0 ? Event::kAgentOrSignal : Event::kGuest;
    }
    if (timeout_ms == 0) return std::nullopt;
  }
}

std::optional<HelperEnd::Received> SaveSession::TakeMessage() {
  absl::StatusOr<HelperEnd::Received> received = agent_.Receive(absl::ZeroDuration());
  if (received.ok()) {
    if (!received->message.has_stop()) return *std::move(received);
    stop_ = true;
  } else if (absl::IsUnavailable(received.status())) {
    stop_ = true;
  } else if (!absl::IsDeadlineExceeded(received.status())) {
    Fail(Failed::PROTOCOL, absl::StrCat("epoch ", epoch_, ": ", received.status().message()));
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

void SaveSession::Fail(const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return;
  const Failed failed = FailureFrom(status);
  Fail(failed.kind(), absl::StrCat("epoch ", epoch_, ": ", failed.reason()));
}

}  // namespace romulus
