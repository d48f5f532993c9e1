#include "secondary/target/hotplug_script.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace romulus {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::Status RunHotplugScript(const std::string& script, const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment, absl::Duration timeout) {
  std::vector<std::string> argv = {script};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> envp = environment;
  envp.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, script.c_str(), &actions, &attributes, Pointers(argv).data(), Pointers(envp).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't run hotplug script ", script, ": ", strerror(error), " (errno ", error, ")"));
  }

  const UniqueFd pidfd(syscall(SYS_pidfd_open, pid, 0));
  pollfd ended{pidfd.get(), POLLIN, 0};
  const bool in_time = poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 1;
  if (!in_time) kill(-pid, SIGKILL);
  int outcome = 0;
  waitpid(pid, &outcome, 0);
  if (!in_time) {
    return absl::InternalError(
        absl::StrCat("hotplug script ", script, " did not end within ", absl::FormatDuration(timeout)));
  }
  if (WIFSIGNALED(outcome)) {
    return absl::InternalError(absl::StrCat("hotplug script ", script, " was killed by signal ", WTERMSIG(outcome)));
  }
  if (WEXITSTATUS(outcome) != 0) {
    return absl::InternalError(absl::StrCat("hotplug script ", script, " exited with ", WEXITSTATUS(outcome)));
  }
  return absl::OkStatus();
}

}  // namespace romulus
