#ifndef ROMULUS_COMMON_AGENT_TERMINATION_H_
#define ROMULUS_COMMON_AGENT_TERMINATION_H_

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "common/agent/termination_signals.h"
#include "common/control/control_server.h"
#include "common/loop/event_loop.h"

namespace romulus {

// Runs `loop` until the process is told to end. Then `wind_down` is called, on the loop; when it calls its argument, or
// after `limit` (a second signal: at once), the server ends its calls, and the function returns. False: it was not
// wound down in time; threads may still be blocked, so that the process should just exit. The loop serves until the
// server has ended, because open calls wait for it.
bool ServeUntilTerminated(EventLoop& loop, const TerminationSignals& signals, std::unique_ptr<ControlServer> server,
                          std::function<void(std::function<void()> done)> wind_down, absl::Duration limit);

}  // namespace romulus

#endif  // ROMULUS_COMMON_AGENT_TERMINATION_H_
