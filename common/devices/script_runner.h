#ifndef ROMULUS_COMMON_DEVICES_SCRIPT_RUNNER_H_
#define ROMULUS_COMMON_DEVICES_SCRIPT_RUNNER_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/loop/event_loop.h"
#include "common/process/spawn.h"

namespace romulus {

struct ProgramCall {
  std::string program;
  std::vector<std::string> arguments;    // After the program's name.
  std::vector<std::string> environment;  // "NAME=value"
  int output_fd = -1;                    // Gets its stdout and stderr; -1: this process' stderr does.
};

// In a session of its own, so that it outlives this process and its terminal; stdin is /dev/null, no other descriptor
// is inherited. FAILED_PRECONDITION: it can't be executed.
absl::StatusOr<SpawnedProcess> StartProgram(const ProgramCall& call);

// Reaps a program that has ended, and says how: OK for exit 0; INTERNAL otherwise.
absl::Status ReapProgram(const std::string& program, int pidfd);

// Runs scripts beside the event loop, at most `at_once` of them at a time, the others waiting in order. On the loop's
// thread. Scripts that still run at the destruction go on by themselves; nobody hears of them.
class ScriptRunner {
 public:
  using Id = uint64_t;

  ScriptRunner(EventLoop& loop, size_t at_once) : loop_(loop), at_once_(at_once) {}
  ~ScriptRunner();
  ScriptRunner(const ScriptRunner&) = delete;
  ScriptRunner& operator=(const ScriptRunner&) = delete;

  // One call after the other; the first that fails is the last, but for those with `may_fail`. Each may take `timeout`,
  // then its process group is killed. `done` is called once, never from within Run.
  struct Call {
    ProgramCall program;
    bool may_fail = false;
  };
  // `predecessor`: a program that is not ours, a group's leader, whose end is waited for first, as long as for a call.
  Id Run(std::vector<Call> calls, absl::Duration timeout, std::function<void(absl::Status)> done,
         SpawnedProcess predecessor = {});

  // Makes it end within some seconds after `patience`: SIGTERM, then SIGKILL. `done` is called all the same. Unknown
  // ids are ignored.
  void End(Id id, absl::Duration patience);

  size_t running() const { return running_; }

 private:
  struct Job {
    std::vector<Call> calls;
    size_t next = 0;
    absl::Duration timeout;
    std::function<void(absl::Status)> done;
    SpawnedProcess process;
    SpawnedProcess predecessor;
    Scheduler::TimerId timeout_timer = Scheduler::kNoTimer;
    Scheduler::TimerId end_timer = Scheduler::kNoTimer;
    bool started = false;
    absl::Status cut_short;  // Why it was killed.
  };
  void StartSoon();
  void StartWaiting();
  void StartNext(Id id, Job& job);
  void AwaitPredecessor(Id id, Job& job);
  void OnEnded(Id id);
  void Finish(Id id, absl::Status status);
  void Kill(Id id, int signal, const absl::Status& cause);

  EventLoop& loop_;
  const size_t at_once_;
  Id last_id_ = 0;
  size_t running_ = 0;
  Scheduler::TimerId start_timer_ = Scheduler::kNoTimer;
  std::map<Id, Job> jobs_;
  std::deque<Id> waiting_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_SCRIPT_RUNNER_H_
