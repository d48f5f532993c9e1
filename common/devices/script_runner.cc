#include "common/devices/script_runner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

constexpr absl::Duration kFromTermToKill = absl::Seconds(2);

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<StartedProgram> StartProgram(const ProgramCall& call) {
  std::vector<std::string> argv = {call.program};
  argv.insert(argv.end(), call.arguments.begin(), call.arguments.end());

  posix_spawn_file_actions_t actions;
  ROMULUS_CHECK(posix_spawn_file_actions_init(&actions) == 0);
  const int output = call.output_fd >= 0 ? call.output_fd : STDERR_FILENO;
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  if (output != STDERR_FILENO) posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  ROMULUS_CHECK(posix_spawnattr_init(&attributes) == 0);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  StartedProgram started;
  const int error = posix_spawn(&started.pid, call.program.c_str(), &actions, &attributes, Pointers(argv).data(),
                                Pointers(call.environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't run ", call.program, ": ", strerror(error), " (errno ", error, ")"));
  }
  started.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, started.pid, 0)));
  if (!started.pidfd.valid()) {
    const int open_error = errno;
    kill(-started.pid, SIGKILL);
    waitpid(started.pid, nullptr, 0);
    return absl::ResourceExhaustedError(
        absl::StrCat("can't watch ", call.program, " (pidfd_open): ", strerror(open_error)));
  }
  return started;
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
                                   std::function<void(absl::Status)> done, StartedProgram predecessor) {
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
    ended.predecessor = StartedProgram{};
    ended.cut_short.ok() ? StartNext(id, ended) : Finish(id, ended.cut_short);
  });
}

void ScriptRunner::StartNext(Id id, Job& job) {
  while (job.next < job.calls.size()) {
    const Call& call = job.calls[job.next++];
    absl::StatusOr<StartedProgram> started = StartProgram(call.program);
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
  job.process = StartedProgram{};
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
