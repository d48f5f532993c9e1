#ifndef ROMULUS_COMMON_LOOP_EVENT_LOOP_H_
#define ROMULUS_COMMON_LOOP_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/loop/scheduler.h"

namespace romulus {

// The real Scheduler: one thread in Run(), over epoll and the steady clock. Also watches file descriptors.
// Post and Quit are thread safe; everything else is for the loop's own thread (or before Run).
class EventLoop final : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<EventLoop>> New();
  ~EventLoop() override;

  // Serves until Quit; may then be called again. Tasks still queued then are dropped when the loop is destroyed.
  void Run();
  void Quit();

  absl::Duration Now() const override;
  void Post(std::function<void()> task) override;
  TimerId After(absl::Duration delay, std::function<void()> task) override;
  void Cancel(TimerId timer) override;

  // Calls `ready` whenever `fd` is readable (or hung up), level triggered, until Unwatch(fd). Unwatch before closing.
  void WatchReadable(int fd, std::function<void()> ready);
  void Unwatch(int fd);

 private:
  EventLoop(UniqueFd epoll, UniqueFd wake);
  void RunDueTimers();
  void RunPosted();
  // False: something is posted. True: from here on whoever posts wakes the loop.
  bool FallAsleep();
  void WakeUp();
  int MillisecondsToNextTimer() const;

  UniqueFd epoll_;
  UniqueFd wake_;
  bool quit_ = false;
  TimerId next_timer_ = 1;
  std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> timers_;
  std::map<TimerId, absl::Duration> deadlines_;
  std::map<int, std::shared_ptr<std::function<void()>>> watches_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<std::function<void()>> posted_;
  bool asleep_ = false;  // In epoll_wait, or about to be, and nobody has woken it yet.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LOOP_EVENT_LOOP_H_
