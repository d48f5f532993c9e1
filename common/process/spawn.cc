#include "common/process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<SpawnedProcess> Spawn(const SpawnRequest& request) {
  posix_spawn_file_actions_t actions;
  ROMULUS_CHECK(posix_spawn_file_actions_init(&actions) == 0);
  int last = STDERR_FILENO;
  for (const SpawnRequest::Descriptor& descriptor : request.descriptors) {
    // dup2 onto itself clears close-on-exec, too (glibc's posix_spawn takes care of that case).
    ROMULUS_CHECK(posix_spawn_file_actions_adddup2(&actions, descriptor.from, descriptor.to) == 0);
    last = std::max(last, descriptor.to);
  }
  ROMULUS_CHECK(posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0);
  ROMULUS_CHECK(posix_spawn_file_actions_addclosefrom_np(&actions, last + 1) == 0);

  posix_spawnattr_t attributes;
  ROMULUS_CHECK(posix_spawnattr_init(&attributes) == 0);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  const int apart = request.apart == SpawnRequest::Apart::kSession ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
  posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | apart));

  std::vector<std::string> arguments = {request.program};
  arguments.insert(arguments.end(), request.arguments.begin(), request.arguments.end());
  std::vector<char*> environment;
  if (request.environment.has_value()) environment = Pointers(*request.environment);
  SpawnedProcess process;
  const int error =
      posix_spawn(&process.pid, request.program.c_str(), &actions, &attributes, Pointers(arguments).data(),
                  request.environment.has_value() ? environment.data() : environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't run ", request.program, ": ", strerror(error), " (errno ", error, ")"));
  }
  process.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (!process.pidfd.valid()) {
    const int open_error = errno;
    // Both kinds of apartness make it the leader of a group.
    kill(-process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
    return absl::ResourceExhaustedError(
        absl::StrCat("can't watch ", request.program, " (pidfd_open): ", strerror(open_error)));
  }
  return process;
}

}  // namespace romulus
