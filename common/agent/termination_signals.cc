#include "common/agent/termination_signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace romulus {

absl::StatusOr<TerminationSignals> TerminationSignals::Block() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0) {
    return absl::InternalError(absl::StrCat("can't block signals: ", strerror(error)));
  }
  UniqueFd fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return absl::InternalError(absl::StrCat("can't make a signalfd: ", strerror(errno)));
  return TerminationSignals(std::move(fd));
}

}  // namespace romulus
