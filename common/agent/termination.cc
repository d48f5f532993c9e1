#include "common/agent/termination.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "common/base/log.h"

namespace romulus {

bool ServeUntilTerminated(EventLoop& loop, const TerminationSignals& signals, std::unique_ptr<ControlServer> server,
                          std::function<void(std::function<void()> done)> wind_down, absl::Duration limit) {
  std::thread closer;
  bool told = false;
  bool wound_down = false;
  const auto close = [&] {
    if (closer.joinable()) return;
    closer = std::thread([&] {
      server.reset();
      loop.Quit();
    });
  };
  loop.WatchReadable(signals.fd(), [&] {
    signalfd_siginfo info;
    if (read(signals.fd(), &info, sizeof(info)) != sizeof(info)) return;
    if (told) {
      LogWarning("told to end again: ending at once");
      return close();
    }
    told = true;
    LogInfo("told to end by signal ", info.ssi_signo, ": winding down");
    loop.After(limit, [&] {
      LogWarning("winding down takes too long: ending as it is");
      close();
    });
    wind_down([&] {
      wound_down = true;
      close();
    });
  });
  loop.Run();
  loop.Unwatch(signals.fd());
  closer.join();
  return wound_down;
}

}  // namespace romulus
