#include "primary/save_helper/stop_signal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// A signal handler reaches nothing else.
std::atomic<bool> g_requested{false};
std::atomic<int> g_event{-1};
std::atomic<int> g_unwritable{-1};
std::atomic<int> g_io{-1};

void OnSignal(int) {
  const int saved_errno = errno;
  g_requested = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(g_event, &one, sizeof(one));
  if (const int io = g_io; io >= 0) dup2(g_unwritable, io);
  errno = saved_errno;
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  // No SA_RESTART: a blocked write has to return for its descriptor to be looked at again.
  sigaction(signal, &action, nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StopSignal>> StopSignal::Install() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  UniqueFd unwritable(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!event.valid() || !unwritable.valid()) {
    return absl::InternalError(absl::StrCat("can't prepare for signals: ", strerror(errno)));
  }
  return std::unique_ptr<StopSignal>(new StopSignal(std::move(event), std::move(unwritable)));
}

StopSignal::StopSignal(UniqueFd event, UniqueFd unwritable)
    : event_(std::move(event)), unwritable_(std::move(unwritable)) {
  g_requested = false;
  g_event = event_.get();
  g_unwritable = unwritable_.get();
  Handle(SIGTERM, OnSignal);
  Handle(SIGINT, OnSignal);
}

StopSignal::~StopSignal() {
  Handle(SIGTERM, SIG_IGN);
  Handle(SIGINT, SIG_IGN);
  g_io = -1;
}

bool StopSignal::requested() const { return g_requested; }

void StopSignal::BreakWritesOf(int io_descriptor) {
  g_io = io_descriptor;
  // The signal may have come just before.
  if (io_descriptor >= 0 && g_requested) dup2(unwritable_.get(), io_descriptor);
}

}  // namespace romulus
