// romulus-backendd: connects and takes down the backends of a driver domain, in the place of `xl devd` and udev.

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "common/agent/termination_signals.h"
#include "common/base/log.h"
#include "common/devices/backend_listener.h"
#include "common/loop/event_loop.h"

ABSL_FLAG(std::string, qemu, romulus::BackendListener::Options().qemu,
          "program that serves qdisks: a QEMU that knows the machine xenpv");
ABSL_FLAG(std::string, log_dir, romulus::BackendListener::Options().qemu_log_directory,
          "where the output of those QEMUs goes");
ABSL_FLAG(absl::Duration, script_timeout, romulus::BackendListener::Options().script_timeout,
          "a hotplug script that takes longer is killed");

namespace romulus {
namespace {

// For scripts that run when the end is asked for. What is left then ends by itself, and is found at the next start.
constexpr absl::Duration kScriptsMayEnd = absl::Seconds(5);
constexpr absl::Duration kScriptsPoll = absl::Milliseconds(20);

enum ExitCode { kEnded = 0, kNotStarted = 1, kXenstoredLost = 3 };

void QuitWhenScriptsHaveEnded(EventLoop& loop, BackendListener& listener, absl::Duration until) {
  if (listener.running_scripts() == 0 || loop.Now() >= until) return loop.Quit();
  loop.After(kScriptsPoll, [&loop, &listener, until] { QuitWhenScriptsHaveEnded(loop, listener, until); });
}

absl::StatusOr<ExitCode> Run() {
  const absl::StatusOr<TerminationSignals> signals = TerminationSignals::Block();
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::New();
  if (!loop.ok()) return loop.status();
  ExitCode code = kEnded;
  BackendListener::Options options;
  options.scope = BackendScope::kAllDomains;
  options.qemu = absl::GetFlag(FLAGS_qemu);
  options.qemu_log_directory = absl::GetFlag(FLAGS_log_dir);
  options.script_timeout = absl::GetFlag(FLAGS_script_timeout);
  options.lost = [&](absl::Status status) {
    LogError("romulus-backendd: ", status.message());
    code = kXenstoredLost;
    (*loop)->Quit();
  };
  absl::StatusOr<std::unique_ptr<BackendListener>> listener = BackendListener::Start(**loop, std::move(options));
  if (!listener.ok()) return listener.status();
  (*loop)->WatchReadable(signals->fd(), [&] {
    signalfd_siginfo info;
    if (read(signals->fd(), &info, sizeof(info)) != sizeof(info)) return;
    LogInfo("told to end by signal ", info.ssi_signo, ": devices stay connected");
    (*listener)->Stop();
    QuitWhenScriptsHaveEnded(**loop, **listener, (*loop)->Now() + kScriptsMayEnd);
  });
  LogInfo("romulus-backendd listens in domain ", (*listener)->self(), " to ", (*listener)->List().size(),
          " devices that it found");
  (*loop)->Run();
  (*loop)->Unwatch(signals->fd());
  LogInfo("romulus-backendd has ended");
  return code;
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "connects and takes down the backends of this driver domain: hotplug scripts for vif and vbd, QEMU for qdisk. "
      "Exits with 0 when told to (SIGTERM, SIGINT), 1 if it could not start, 3 when it has lost xenstored");
  absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<romulus::ExitCode> code = romulus::Run();
  if (code.ok()) return *code;
  romulus::LogError("romulus-backendd: ", code.status().message());
  return romulus::kNotStarted;
}
