#ifndef ROMULUS_SECONDARY_TARGET_SERIAL_WORKER_H_
#define ROMULUS_SECONDARY_TARGET_SERIAL_WORKER_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace romulus {

// One thread that runs tasks one after the other: for what blocks (hypercalls that take long, pipes, scripts) and so
// must not be on the loop. Post is thread safe. The destructor lets the running task end and drops the others.
class SerialWorker {
 public:
  SerialWorker() : thread_([this] { Run(); }) {}
  ~SerialWorker();
  SerialWorker(const SerialWorker&) = delete;
  SerialWorker& operator=(const SerialWorker&) = delete;

  void Post(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;                    // Guarded by mutex_.
  std::deque<std::function<void()>> tasks_;  // Guarded by mutex_.
  std::thread thread_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_SERIAL_WORKER_H_
