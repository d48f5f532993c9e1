#ifndef ROMULUS_COMMON_DEVICES_QDISK_PROCESSES_H_
#define ROMULUS_COMMON_DEVICES_QDISK_PROCESSES_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "common/base/unique_fd.h"
#include "common/loop/event_loop.h"
#include "common/xen/xenstore.h"

namespace romulus {

// One QEMU per guest that serves its qdisks. They outlive this process; the next one finds them by their pid, which is
// kept where libxl keeps it (libxl/<domid>/qdisk-backend-pid, below this domain's own directory). On the loop's thread.
class QdiskProcesses {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // Never from within Start or End.
    virtual void OnQemuStarted(uint32_t domid) = 0;
    virtual void OnQemuEnded(uint32_t domid, const std::string& how) = 0;
  };

  // `store`: the caller dispatches its watches.
  QdiskProcesses(EventLoop& loop, Xenstore& store, std::string program, std::string log_directory, Observer& observer);
  ~QdiskProcesses();
  QdiskProcesses(const QdiskProcesses&) = delete;
  QdiskProcesses& operator=(const QdiskProcesses&) = delete;

  // Adopts the guest's QEMU if one runs; else starts one. OnQemuStarted when it says that it runs; OnQemuEnded whenever
  // it ends, or could not be started. One that is ending is waited for.
  void Start(uint32_t domid);

  // SIGTERM, then SIGKILL; OnQemuEnded when it is gone, or where there is none.
  void End(uint32_t domid);

 private:
  struct Process {
    pid_t pid = 0;
    UniqueFd pidfd;  // Invalid: it does not run.
    bool ours_to_reap = false;
    bool running_told = false;
    bool start_again = false;
    Xenstore::WatchId watch = 0;
    Scheduler::TimerId timer = Scheduler::kNoTimer;
  };
  absl::Status Launch(uint32_t domid, Process& process);
  bool Adopt(uint32_t domid, Process& process);
  void Watch(uint32_t domid, Process& process);
  void LookWhetherItRuns(uint32_t domid);
  void OnProcessEnded(uint32_t domid);
  void TellEnded(uint32_t domid, const std::string& how);
  void Forget(Process& process);

  EventLoop& loop_;
  Xenstore& store_;
  const std::string program_;
  const std::string log_directory_;
  Observer& observer_;
  std::map<uint32_t, Process> processes_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_QDISK_PROCESSES_H_
