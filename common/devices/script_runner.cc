#include "common/devices/script_runner.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

constexpr absl::Duration kFromTermToKill = absl::Seconds(2);

}  // namespace

absl::StatusOr<SpawnedProcess> StartProgram(const ProgramCall& call) {
  const int output = call.output_fd >= 0 ? call.output_fd : STDERR_FILENO;
  return Spawn({.program = call.program,
                .arguments = call.arguments,
                .environment = call.environment,
                .descriptors = {{output, STDOUT_FILENO}, {output, STDERR_FILENO}},
                .apart = SpawnRequest::Apart::kSession});
}

absl::Status ReapProgram(const std::string& program, int pidfd) {
  siginfo_t info{};
  if (waitid(static_cast<idtype_t>(P_PIDFD), pidfd, &info, WEXITED | WNOHANG) != 0) {
    return absl::InternalError(absl::StrCat(program, " has ended: ", strerror(errno)));
  }
  if (info.si_code != CLD_EXITED) {
    return absl::InternalError(absl::StrCat(program, " was killed by signal ", info.si_status));
  }
  if (info.si_status != 0) return absl::InternalError(absl::StrCat(program, " exited with ", info.si_status));
  return absl::OkStatus();
}

ScriptRunner::~ScriptRunner() {
  loop_.Cancel(start_timer_);
  for (auto& [id, job] : jobs_) {
    if (job.process.pidfd.valid()) loop_.Unwatch(job.process.pidfd.get());
    if (job.predecessor.pidfd.valid()) loop_.Unwatch(job.predecessor.pidfd.get());
    loop_.Cancel(job.timeout_timer);
    loop_.Cancel(job.end_timer);
  }
}

ScriptRunner::Id ScriptRunner::Run(std::vector<Call> calls, absl::Duration timeout,
                                   std::function<void(absl::Status)> done, SpawnedProcess predecessor) {
  const Id id = ++last_id_;
  Job& job = jobs_[id];
  job.calls = std::move(calls);
  job.timeout = timeout;
  job.done = std::move(done);
  job.predecessor = std::move(predecessor);
  waiting_.push_back(id);
  // Not at once: `done` must not come from within Run.
  StartSoon();
  return id;
}

void ScriptRunner::StartSoon() {
  loop_.Cancel(start_timer_);
  start_timer_ = loop_.After(absl::ZeroDuration(), [this] { StartWaiting(); });
}

void ScriptRunner::StartWaiting() {
  while (running_ < at_once_ && !waiting_.empty()) {
    const Id id = waiting_.front();
    waiting_.pop_front();
    ++running_;
    Job& job = jobs_.at(id);
    job.started = true;
    job.predecessor.pidfd.valid() ? AwaitPredecessor(id, job) : StartNext(id, job);
  }
}

void ScriptRunner::AwaitPredecessor(Id id, Job& job) {
  // While it is alive, its pid is nobody else's.
  job.timeout_timer = loop_.After(job.timeout, [pid = job.predecessor.pid] { kill(-pid, SIGKILL); });
  loop_.WatchReadable(job.predecessor.pidfd.get(), [this, id] {
    Job& ended = jobs_.at(id);
    loop_.Cancel(ended.timeout_timer);
    loop_.Unwatch(ended.predecessor.pidfd.get());
    ended.predecessor = SpawnedProcess{};
    ended.cut_short.ok() ? StartNext(id, ended) : Finish(id, ended.cut_short);
  });
}

void ScriptRunner::StartNext(Id id, Job& job) {
  while (job.next < job.calls.size()) {
    const Call& call = job.calls[job.next++];
    absl::StatusOr<SpawnedProcess> started = StartProgram(call.program);
    if (!started.ok()) {
      if (call.may_fail) continue;
      return Finish(id, started.status());
    }
    job.process = *std::move(started);
    const std::string program = call.program.program;
    job.timeout_timer = loop_.After(job.timeout, [this, id, program, timeout = job.timeout] {
      Kill(id, SIGKILL,
           absl::DeadlineExceededError(
               absl::StrCat(program, " has not ended within ", absl::FormatDuration(timeout), ": killed")));
    });
    return loop_.WatchReadable(job.process.pidfd.get(), [this, id] { OnEnded(id); });
  }
  Finish(id, absl::OkStatus());
}

void ScriptRunner::OnEnded(Id id) {
  Job& job = jobs_.at(id);
  const Call& call = job.calls[job.next - 1];
  loop_.Unwatch(job.process.pidfd.get());
  loop_.Cancel(job.timeout_timer);
  const absl::Status status = ReapProgram(call.program.program, job.process.pidfd.get());
  job.process = SpawnedProcess{};
  if (!job.cut_short.ok()) return Finish(id, job.cut_short);
  if (!status.ok() && !call.may_fail) return Finish(id, status);
  StartNext(id, job);
}

void ScriptRunner::Finish(Id id, absl::Status status) {
  auto job = jobs_.extract(id);
  loop_.Cancel(job.mapped().timeout_timer);
  loop_.Cancel(job.mapped().end_timer);
  if (job.mapped().started) --running_;
  StartSoon();
  job.mapped().done(std::move(status));
}

void ScriptRunner::Kill(Id id, int signal, const absl::Status& cause) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  if (job.cut_short.ok()) job.cut_short = cause;
  // The leader is not reaped yet, so that the group is still its own.
  if (job.process.pidfd.valid()) kill(-job.process.pid, signal);
  if (job.predecessor.pidfd.valid()) kill(-job.predecessor.pid, signal);
}

void ScriptRunner::End(Id id, absl::Duration patience) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  const absl::Status cause = absl::CancelledError("ended: the device is being removed");
  if (!found->second.started) {
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), id), waiting_.end());
    loop_.Cancel(found->second.end_timer);
    found->second.end_timer = loop_.After(absl::ZeroDuration(), [this, id, cause] { Finish(id, cause); });
    return;
  }
  loop_.Cancel(found->second.end_timer);
  found->second.end_timer = loop_.After(patience, [this, id, cause] {
    Kill(id, SIGTERM, cause);
    const auto job = jobs_.find(id);
    if (job == jobs_.end()) return;
    job->second.end_timer = loop_.After(kFromTermToKill, [this, id, cause] { Kill(id, SIGKILL, cause); });
  });
}

}  // namespace romulus
