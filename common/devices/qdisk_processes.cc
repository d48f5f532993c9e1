#include "common/devices/qdisk_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/devices/device_key.h"
#include "common/devices/qemu_command.h"
#include "common/devices/script_runner.h"

namespace romulus {
namespace {

constexpr absl::Duration kFromTermToKill = absl::Seconds(10);

std::string PidPath(uint32_t domid) { return absl::StrCat("libxl/", domid, "/qdisk-backend-pid"); }
std::string StatePath(uint32_t domid) { return absl::StrCat("device-model/", domid, "/state"); }

std::string CommandLineOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/cmdline"), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

QdiskProcesses::QdiskProcesses(EventLoop& loop, Xenstore& store, std::string program, std::string log_directory,
                               Observer& observer)
    : loop_(loop),
      store_(store),
      program_(std::move(program)),
      log_directory_(std::move(log_directory)),
      observer_(observer) {}

QdiskProcesses::~QdiskProcesses() {
  for (auto& [domid, process] : processes_) Forget(process);
}

// Timers, watches, descriptors; the process goes on.
void QdiskProcesses::Forget(Process& process) {
  loop_.Cancel(std::exchange(process.timer, Scheduler::kNoTimer));
  if (process.watch != 0) store_.Unwatch(std::exchange(process.watch, 0));
  if (process.pidfd.valid()) {
    loop_.Unwatch(process.pidfd.get());
    process.pidfd.Reset();
  }
}

void QdiskProcesses::Start(uint32_t domid) {
  Process& process = processes_[domid];
  if (process.pidfd.valid()) {
    process.start_again = true;  // It is ending: OnProcessEnded goes on.
    return;
  }
  if (!Adopt(domid, process)) {
    if (absl::Status status = Launch(domid, process); !status.ok()) {
      return TellEnded(domid, std::string(status.message()));
    }
  }
  Watch(domid, process);
}

bool QdiskProcesses::Adopt(uint32_t domid, Process& process) {
  const absl::StatusOr<uint64_t> pid = store_.ReadNumber(PidPath(domid));
  if (!pid.ok() || *pid == 0 || *pid > INT32_MAX) return false;
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(*pid), 0)));
  // Looked at while the descriptor keeps the number from meaning somebody else.
  if (!pidfd.valid() || !IsQdiskQemu(CommandLineOf(*pid), domid)) return false;
  process.pid = *pid;
  process.pidfd = std::move(pidfd);
  process.ours_to_reap = false;
  LogInfo("qemu of domain ", domid, ": pid ", *pid, " found running");
  return true;
}

absl::Status QdiskProcesses::Launch(uint32_t domid, Process& process) {
  const std::string log = absl::StrCat(log_directory_, "/qemu-qdisk-", domid, ".log");
  const UniqueFd output(open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!output.valid()) {
    return absl::FailedPreconditionError(absl::StrCat("can't write ", log, ": ", strerror(errno)));
  }
  // What an earlier one said of itself.
  if (absl::Status status = store_.Remove(absl::StrCat("device-model/", domid)); !status.ok()) return status;
  ProgramCall call{program_,
                   QdiskQemuArguments(domid),
                   {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    // As libxl sets it: bounds what a guest's console may make QEMU write.
                    "XEN_QEMU_CONSOLE_LIMIT=1048576"},
                   output.get()};
  absl::StatusOr<SpawnedProcess> started = StartProgram(call);
  if (!started.ok()) return started.status();
  process.pid = started->pid;
  process.pidfd = std::move(started->pidfd);
  process.ours_to_reap = true;
  LogInfo("qemu of domain ", domid, ": pid ", process.pid, " started; it writes to ", log);
  if (absl::Status status = store_.Write(PidPath(domid), absl::StrCat(process.pid)); !status.ok()) {
    LogWarning("qemu of domain ", domid, ": a restarted listener will not find it: ", status.message());
  }
  return absl::OkStatus();
}

void QdiskProcesses::Watch(uint32_t domid, Process& process) {
  process.running_told = false;
  loop_.WatchReadable(process.pidfd.get(), [this, domid] { OnProcessEnded(domid); });
  // Fires once at the start, from the loop.
  const absl::StatusOr<Xenstore::WatchId> watch =
      store_.Watch(StatePath(domid), [this, domid](const std::string&) { LookWhetherItRuns(domid); });
  if (watch.ok()) process.watch = *watch;
}

void QdiskProcesses::LookWhetherItRuns(uint32_t domid) {
  Process& process = processes_.at(domid);
  if (process.running_told) return;
  const absl::StatusOr<std::string> state = store_.ReadOr(StatePath(domid), "");
  if (!state.ok() || *state != "running") return;
  process.running_told = true;
  observer_.OnQemuStarted(domid);
}

void QdiskProcesses::End(uint32_t domid) {
  Process& process = processes_[domid];
  process.start_again = false;
  if (!process.pidfd.valid()) {
    if (!Adopt(domid, process)) return TellEnded(domid, "it does not run");
    Watch(domid, process);
    process.running_told = true;
  }
  const auto signal = [](const Process& to, int number) {
    syscall(SYS_pidfd_send_signal, to.pidfd.get(), number, nullptr, 0);
  };
  signal(process, SIGTERM);
  loop_.Cancel(process.timer);
  process.timer = loop_.After(kFromTermToKill, [this, domid, signal] { signal(processes_.at(domid), SIGKILL); });
}

void QdiskProcesses::OnProcessEnded(uint32_t domid) {
  Process& process = processes_.at(domid);
  std::string how = "it has ended";
  if (process.ours_to_reap) {
    const absl::Status status = ReapProgram("it", process.pidfd.get());
    how = status.ok() ? "it exited with 0" : std::string(status.message());
  }
  Forget(process);
  if (absl::Status status = store_.Remove(PidPath(domid)); !status.ok()) LogWarning(status.message());
  if (std::exchange(process.start_again, false)) return Start(domid);
  processes_.erase(domid);
  observer_.OnQemuEnded(domid, how);
}

void QdiskProcesses::TellEnded(uint32_t domid, const std::string& how) {
  Process& process = processes_[domid];
  loop_.Cancel(process.timer);
  process.timer = loop_.After(absl::ZeroDuration(), [this, domid, how] {
    processes_.erase(domid);
    observer_.OnQemuEnded(domid, how);
  });
}

}  // namespace romulus
