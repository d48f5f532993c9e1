// Measures a domain's suspends from outside, whoever asks for them: Romulus, `xl remus` or nobody's loop but the
// floor's.
//
//   pause_watch DOMID   until it is killed; needs tracefs in /sys/kernel/tracing, on a kernel with kprobe events
//
// A suspend begins when control/shutdown becomes "suspend" (a xenstore watch tells) and ends when the hypercall that
// resumes the domain returns (a probe on the kernel's privcmd device, through which every toolstack's hypercalls pass).
// Writes a line per pause to stdout, in microseconds: when the guest ran again (CLOCK_MONOTONIC), and from the request
// until it had acknowledged and until it ran again. The lines come some pauses late, in batches: between two of them
// this program costs two wake-ups per pause.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/base/unique_fd.h"
#include "common/xen/xenstore.h"

namespace romulus {
namespace {

constexpr char kTracing[] = "/sys/kernel/tracing/";
constexpr int kBatchMs = 500;
// Public in Xen's headers: xen/include/public/xen.h, domctl.h.
constexpr int kHypervisorDomctl = 36;
constexpr int kDomctlResumeDomain = 27;

absl::Status WriteTracing(const std::string& file, const std::string& value, int flags = O_WRONLY | O_TRUNC) {
  const UniqueFd opened(open(absl::StrCat(kTracing, file).c_str(), flags | O_CLOEXEC));
  if (opened.get() < 0 || write(opened.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    return absl::InternalError(absl::StrCat("can't write \"", value, "\" to ", kTracing, file, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

// The end of each resume of one domain, in the order in which they happened.
class ResumeProbe {
 public:
  static absl::StatusOr<std::unique_ptr<ResumeProbe>> New(uint32_t domid) {
    if (access(absl::StrCat(kTracing, "trace_pipe").c_str(), F_OK) != 0 &&
        mount("tracefs", kTracing, "tracefs", 0, nullptr) != 0) {
      return absl::InternalError(absl::StrCat("can't mount tracefs: ", strerror(errno)));
    }
    // A run before this one may have been killed.
    (void)WriteTracing("events/lab/enable", "0");
    (void)WriteTracing("kprobe_events", "-:lab/hypercall", O_WRONLY | O_APPEND);
    (void)WriteTracing("kprobe_events", "-:lab/returned", O_WRONLY | O_APPEND);
    // privcmd_ioctl(file, command, data): data is a struct privcmd_hypercall {op, arg[5]}, whose first argument is a
    // struct xen_domctl {u32 command, u32 interface_version, u16 domain}.
    const std::vector<std::pair<std::string, std::string>> settings = {
        {"trace_clock", "mono"},
        {"kprobe_events",
         "p:lab/hypercall privcmd_ioctl op=+u0($arg3):u64 cmd=+u0(+u8($arg3)):u32 "
         "domain=+u8(+u8($arg3)):u16"},
        {"kprobe_events", "r:lab/returned privcmd_ioctl"},
    };
    for (const auto& [file, value] : settings) {
      const int flags = file == "kprobe_events" ? O_WRONLY | O_APPEND : O_WRONLY | O_TRUNC;
      if (absl::Status written = WriteTracing(file, value, flags); !written.ok()) return written;
    }
    const std::string resumes =
        absl::StrCat("op == ", kHypervisorDomctl, " && cmd == ", kDomctlResumeDomain, " && domain == ", domid);
    if (absl::Status status = WriteTracing("events/lab/hypercall/filter", resumes); !status.ok()) return status;
    if (absl::Status status = WriteTracing("events/lab/enable", "1"); !status.ok()) return status;
    UniqueFd pipe(open(absl::StrCat(kTracing, "trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (pipe.get() < 0) return absl::InternalError(absl::StrCat("trace_pipe: ", strerror(errno)));
    return std::unique_ptr<ResumeProbe>(new ResumeProbe(std::move(pipe)));
  }

  std::vector<absl::Duration> Take() {
    char buffer[65536];
    ssize_t got;
    while ((got = read(pipe_.get(), buffer, sizeof(buffer))) > 0) text_.append(buffer, got);
    std::vector<absl::Duration> resumed;
    for (size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1))
      Line(text_.substr(0, end), resumed);
    return resumed;
  }

 private:
  explicit ResumeProbe(UniqueFd pipe) : pipe_(std::move(pipe)) {}

  // "  suspend_floor-341  [000] .....  1234.567890: hypercall: (privcmd_ioctl+0x0/...) op=..."
  void Line(const std::string& line, std::vector<absl::Duration>& resumed) {
    const size_t bracket = line.find(" [");
    const size_t name = line.find(": ");
    if (bracket == std::string::npos || name == std::string::npos) return;
    const size_t time = line.rfind(' ', name);
    const std::string task = std::string(absl::StripAsciiWhitespace(line.substr(0, bracket)));
    if (line.compare(name + 2, 9, "hypercall") == 0) {
      resuming_task_ = task;
    } else if (task == resuming_task_) {
      // Nested in no other ioctl of its thread: its next return is this one's.
      resuming_task_.clear();
      resumed.push_back(absl::Seconds(atof(line.c_str() + time + 1)));
    }
  }

  const UniqueFd pipe_;
  std::string text_;
  std::string resuming_task_;
};

struct Request {
  absl::Duration at;
  absl::Duration acknowledge;
};

long long Microseconds(absl::Duration duration) { return absl::ToInt64Microseconds(duration); }

absl::Status Run(uint32_t domid) {
  // Before everybody whom a watch wakes as well: it notes the time and sleeps again.
  const sched_param first{1};
  if (sched_setscheduler(0, SCHED_FIFO, &first) != 0) {
    return absl::InternalError(absl::StrCat("SCHED_FIFO: ", strerror(errno)));
  }
  absl::StatusOr<std::unique_ptr<ResumeProbe>> probe = ResumeProbe::New(domid);
  if (!probe.ok()) return probe.status();
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();

  // The node changes twice per suspend: written by the toolstack, emptied by the guest.
  std::deque<Request> requests;
  int changes = -1;  // The first event is the watch's own.
  const auto watch =
      (*store)->Watch(absl::StrCat(XenstoreDomainPath(domid), "/control/shutdown"), [&](const std::string&) {
        if (++changes == 0) return;
        const absl::Duration now = MonotonicNow();
        if (changes % 2 == 1)
          requests.push_back({now, absl::ZeroDuration()});
        else if (!requests.empty())
          requests.back().acknowledge = now - requests.back().at;
      });
  if (!watch.ok()) return watch.status();
  absl::Duration next_batch = MonotonicNow();
  while (true) {
    pollfd event{(*store)->watch_fd(), POLLIN, 0};
    if (poll(&event, 1, kBatchMs) > 0) {
      if (absl::Status status = (*store)->DispatchWatches(); !status.ok()) return status;
    }
    // Not while a guest suspends, for that is what is measured.
    if (changes % 2 == 1 || MonotonicNow() < next_batch) continue;
    next_batch = MonotonicNow() + absl::Milliseconds(kBatchMs);
    for (absl::Duration resumed : (*probe)->Take()) {
      // One that was asked for before this program watched has no request.
      while (requests.size() > 1 && requests[1].at < resumed) requests.pop_front();
      if (requests.empty() || requests.front().at > resumed) continue;
      printf("%lld %lld %lld\n", Microseconds(resumed), Microseconds(requests.front().acknowledge),
             Microseconds(resumed - requests.front().at));
      requests.pop_front();
    }
    fflush(stdout);
  }
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s DOMID\n", argv[0]);
    return 2;
  }
  const absl::Status status = romulus::Run(atoi(argv[1]));
  romulus::LogError("pause_watch: ", status.ToString());
  return 1;
}
