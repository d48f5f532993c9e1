#include "primary/save_helper/stop_signal.h"

#include <errno.h>
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

void OnSignal(int) {
  const int saved_errno = errno;
  g_requested = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(g_event, &one, sizeof(one));
  errno = saved_errno;
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigaction(signal, &action, nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StopSignal>> StopSignal::Install() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) {
    return absl::InternalError(absl::StrCat("can't prepare for signals: ", strerror(errno)));
  }
  return std::unique_ptr<StopSignal>(new StopSignal(std::move(event)));
}

StopSignal::StopSignal(UniqueFd event) : event_(std::move(event)) {
  g_requested = false;
  g_event = event_.get();
  Handle(SIGTERM, OnSignal);
  Handle(SIGINT, OnSignal);
}

StopSignal::~StopSignal() {
  Handle(SIGTERM, SIG_IGN);
  Handle(SIGINT, SIG_IGN);
}

bool StopSignal::requested() const { return g_requested; }

}  // namespace romulus
