#ifndef ROMULUS_COMMON_LINK_WATCH_THREAD_H_
#define ROMULUS_COMMON_LINK_WATCH_THREAD_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace romulus {

// The steady clock, as links read it from any thread.
absl::Duration LinkNow();

// A thread that nothing but its own function can delay: sends heartbeats and watches for silence.
class WatchThread {
 public:
  // `tick` is called with LinkNow() at once, and again at the time that it returned, or at Kick. It must not block.
  explicit WatchThread(std::function<absl::Duration(absl::Duration now)> tick);
  // Waits for a running tick.
  ~WatchThread();

  // Thread safe.
  void Kick();

 private:
  void Run();

  const std::function<absl::Duration(absl::Duration)> tick_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool kicked_ = false;
  bool stopped_ = false;
  std::thread thread_;  // Last: it uses the others.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_WATCH_THREAD_H_
