// Preloaded into an agent: after each request to the kernel for a new network device, it stands still until somebody
// waits for a lock that it holds, for SLOW_NETLINK_S seconds at most. So whoever else chooses a device comes to do so
// between this one's creation and what follows, and either waits for his turn or, if there is no such lock, takes what
// he finds.
#include <dlfcn.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace {

// In /proc/locks, "7: FLOCK ADVISORY WRITE <pid> ..." is a lock, and "7: -> FLOCK ..." after it one who waits for it.
bool SomebodyWaitsForMe() {
  std::ifstream locks("/proc/locks");
  bool mine = false;
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, rule, access;
    pid_t pid = 0;
    words >> number >> kind;
    if (kind == "->") {
      if (mine) return true;
      continue;
    }
    words >> rule >> access >> pid;
    mine = pid == getpid();
  }
  return false;
}

void StandStill() {
  constexpr int kLooksPerSecond = 10;
  const int most_looks = atoi(getenv("SLOW_NETLINK_S")) * kLooksPerSecond;
  for (int looks = 0; looks < most_looks && !SomebodyWaitsForMe(); ++looks) usleep(1'000'000 / kLooksPerSecond);
}

}  // namespace

extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static const auto kNext = reinterpret_cast<decltype(&sendmsg)>(dlsym(RTLD_NEXT, "sendmsg"));
  const ssize_t sent = kNext(fd, message, flags);
  int family = 0;
  socklen_t size = sizeof(family);
  if (sent < static_cast<ssize_t>(sizeof(nlmsghdr)) || message->msg_iov->iov_len < sizeof(nlmsghdr) ||
      getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0 || family != AF_NETLINK) {
    return sent;
  }
  const auto* request = static_cast<const nlmsghdr*>(message->msg_iov->iov_base);
  if (request->nlmsg_type == RTM_NEWLINK && (request->nlmsg_flags & NLM_F_CREATE)) StandStill();
  return sent;
}
