#include "secondary/restore_helper/agent_watch.h"

#include <unistd.h>

#include <thread>

#include "absl/time/time.h"

namespace romulus {

void EndProcessWithAgent(HelperEnd& agent) {
  std::thread([&agent] {
    while (true) {
      const absl::StatusOr<HelperEnd::Received> received = agent.Receive(absl::InfiniteDuration());
      if (absl::IsDeadlineExceeded(received.status())) continue;
      // Nothing but Stop may come after StartRestore, so whatever it is, it is the end. 1: not completed.
      _exit(1);
    }
  }).detach();
}

}  // namespace romulus
