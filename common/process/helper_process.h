#ifndef ROMULUS_COMMON_PROCESS_HELPER_PROCESS_H_
#define ROMULUS_COMMON_PROCESS_HELPER_PROCESS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/loop/event_loop.h"
#include "common/process/helper_channel.h"
#include "common/process/rate_limiter.h"
#include "common/process/spawn.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// A helper program as a child of the agent: spoken to over its socket, watched by pidfd, and judged when it has ended.
//
// It ended well only if it has sent Complete and then exited with 0. Whatever went wrong first (its own Failed, a
// broken protocol, a closed socket, silence at the start, Terminate's cause) is the result's status; what came after
// is evidence. It is told to end with SIGTERM, so that libxc can clean up; SIGKILL follows only after a grace.
//
// Loop thread only. Callbacks never come from within a call.
class HelperProcess {
 public:
  struct Options {
    std::string program;
    std::vector<std::string> arguments;
    // Begins its log lines and the messages of errors, as "save helper of domain 3".
    std::string label;
    absl::Duration hello_timeout = absl::Seconds(30);
    // From SIGTERM to SIGKILL; also from its end of file or Complete until it has to be gone.
    absl::Duration exit_grace = absl::Seconds(20);
  };

  struct Result {
    // OK: completed. NOT_FOUND: the domain is gone. FAILED_PRECONDITION: its work can't be done on this host.
    // UNAVAILABLE: everything else that it or its end amounts to. Or the cause given to Terminate.
    absl::Status status;
    // How the process ended, in words: "exited with 0 after Complete", "killed by signal 9".
    std::string evidence;
    std::optional<helper::v1::Complete> complete;
    std::optional<helper::v1::Failed> failed;
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    // Everything but Hello, Log, Complete and Failed. Not to destroy the HelperProcess from.
    virtual void OnMessage(const helper::v1::HelperToAgent& message) = 0;
    // Exactly once, last; the process has been reaped. May destroy the HelperProcess.
    virtual void OnExit(const Result& result) = 0;
  };

  // FAILED_PRECONDITION: the program can't be executed. `loop` and `observer` outlive the HelperProcess.
  static absl::StatusOr<std::unique_ptr<HelperProcess>> Spawn(EventLoop& loop, Options options, Observer* observer);

  // A helper that still runs sees the end of file and cleans up by itself; nobody waits for it.
  ~HelperProcess();
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  // An error (the helper is gone, or does not read) also ends the helper, with OnExit to follow: it may be ignored.
  absl::Status Send(const helper::v1::AgentToHelper& message, absl::Span<const int> descriptors = {});

  // SIGTERM now, SIGKILL after the grace. `cause`: why; OK if its ending well is success.
  void Terminate(absl::Status cause);

  // SIGKILL now: for a helper that can't be trusted to clean up in the time there is.
  void Kill(absl::Status cause);

  pid_t pid() const { return process_.pid; }

 private:
  HelperProcess(EventLoop& loop, Options options, Observer* observer, UniqueFd socket, SpawnedProcess process);

  // One, so that a helper that talks without end does not keep the loop from everything else, and none is looked for in
  // vain: the loop comes again if there is another. False: there is none, or none will come.
  bool ReadMessage();
  void Handle(const helper::v1::HelperToAgent& message);
  void OnSocketClosed();
  void OnProcessEnded();
  void BreakOff(absl::Status cause);
  void ExpectExitWithin(absl::Duration grace, void (HelperProcess::*otherwise)());
  void AskToEnd();
  void KillForLateness();
  void Signal(int signal);
  void WriteLog(const helper::v1::Log& log);
  void StopReading();

  EventLoop& loop_;
  const Options options_;
  Observer* const observer_;
  AgentEnd channel_;
  SpawnedProcess process_;
  bool reading_ = true;
  bool greeted_ = false;
  bool asked_to_end_ = false;
  Scheduler::TimerId timer_ = Scheduler::kNoTimer;
  RateLimiter log_limit_;
  absl::Status first_cause_;
  Result result_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_HELPER_PROCESS_H_
