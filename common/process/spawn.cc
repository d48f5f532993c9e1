#include "common/process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/process/helper_channel.h"

namespace romulus {

absl::StatusOr<SpawnedProcess> SpawnWithSocket(const std::string& program, const std::vector<std::string>& arguments,
                                               const UniqueFd& socket) {
  posix_spawn_file_actions_t actions;
  ROMULUS_CHECK(posix_spawn_file_actions_init(&actions) == 0);
  // dup2 onto itself clears close-on-exec, too (glibc's posix_spawn takes care of that case).
  ROMULUS_CHECK(posix_spawn_file_actions_adddup2(&actions, socket.get(), kHelperDescriptor) == 0);
  ROMULUS_CHECK(posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0);
  ROMULUS_CHECK(posix_spawn_file_actions_addclosefrom_np(&actions, kHelperDescriptor + 1) == 0);

  posix_spawnattr_t attributes;
  ROMULUS_CHECK(posix_spawnattr_init(&attributes) == 0);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  SpawnedProcess process;
  const int error = posix_spawn(&process.pid, program.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(absl::StrCat("can't start the helper program ", program, ": ", strerror(error),
                                                      "; is it installed beside the agent?"));
  }
  process.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (!process.pidfd.valid()) {
    const int open_error = errno;
    // Not a single message was exchanged: there is nothing that it would have to clean up.
    kill(process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
    return absl::ResourceExhaustedError(
        absl::StrCat("can't watch the helper program ", program, " (pidfd_open): ", strerror(open_error)));
  }
  return process;
}

}  // namespace romulus
