#ifndef ROMULUS_COMMON_CONTROL_CALL_ON_LOOP_H_
#define ROMULUS_COMMON_CONTROL_CALL_ON_LOOP_H_

#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "common/loop/scheduler.h"

namespace romulus {

// Runs `function` on the scheduler's thread and waits for its result. For gRPC threads, which only translate; never
// from the scheduler's own thread, which would wait for itself.
template <typename Result>
Result CallOnLoop(Scheduler& loop, std::function<Result()> function) {
  auto task = std::make_shared<std::packaged_task<Result()>>(std::move(function));
  std::future<Result> result = task->get_future();
  loop.Post([task] { (*task)(); });
  return result.get();
}

// The same for what completes later: `function` is given the callback to call, once, on the scheduler's thread.
template <typename Result>
Result CallOnLoopAndWait(Scheduler& loop, std::function<void(std::function<void(Result)>)> function) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> result = promise->get_future();
  loop.Post([promise, function = std::move(function)] {
    function([promise](Result value) { promise->set_value(std::move(value)); });
  });
  return result.get();
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_CALL_ON_LOOP_H_
