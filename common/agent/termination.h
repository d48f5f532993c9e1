#ifndef ROMULUS_COMMON_AGENT_TERMINATION_H_
#define ROMULUS_COMMON_AGENT_TERMINATION_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/control/control_server.h"
#include "common/loop/event_loop.h"

namespace romulus {

// SIGTERM and SIGINT as a descriptor. Make it before any thread: it blocks them for the whole process (and for the
// helpers that are spawned, which set their own). Also ignores SIGPIPE: a broken pipe is an error of the write.
class TerminationSignals {
 public:
  static absl::StatusOr<TerminationSignals> Block();
  int fd() const { return fd_.get(); }

 private:
  explicit TerminationSignals(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Runs `loop` until the process is told to end. Then `wind_down` is called, on the loop; when it calls its argument, or
// after `limit` (a second signal: at once), the server ends its calls, and the function returns. False: it was not wound
// down in time; threads may still be blocked, so that the process should just exit.
// The loop serves until the server has ended, because open calls wait for it.
bool ServeUntilTerminated(EventLoop& loop, const TerminationSignals& signals, std::unique_ptr<ControlServer> server,
                          std::function<void(std::function<void()> done)> wind_down, absl::Duration limit);

}  // namespace romulus

#endif  // ROMULUS_COMMON_AGENT_TERMINATION_H_
