#include "common/process/helper_process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/process/packet_socket.h"

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;

// More than the socket of a helper that has ended holds.
constexpr int kLastMessagesMax = 65'536;
constexpr size_t kLongestLogLine = 500;

absl::Status StatusOf(const Failed& failed, const std::string& label) {
  std::string text = absl::StrCat(label, ": ", failed.reason());
  if (failed.native_errno() != 0) {
    absl::StrAppend(&text, " (errno ", failed.native_errno(), ": ", strerror(failed.native_errno()), ")");
  }
  if (failed.guest_left_suspended()) absl::StrAppend(&text, "; the guest may still be suspended");
  switch (failed.kind()) {
    case Failed::DOMAIN_GONE:
      return absl::NotFoundError(text);
    case Failed::LOG_DIRTY_UNSUPPORTED:
    case Failed::PRIVILEGE:
      return absl::FailedPreconditionError(text);
    default:
      return absl::UnavailableError(text);
  }
}

std::string Printable(const std::string& text) {
  std::string line = text.substr(0, kLongestLogLine);
  for (char& c : line) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = ' ';
  }
  return std::string(absl::StripTrailingAsciiWhitespace(line));
}

LogSeverity SeverityOf(helper::v1::Log::Severity severity) {
  if (severity == helper::v1::Log::ERROR) return LogSeverity::kError;
  if (severity == helper::v1::Log::WARNING) return LogSeverity::kWarning;
  return LogSeverity::kInfo;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperProcess::Spawn(EventLoop& loop, Options options,
                                                                    Observer* observer) {
  auto sockets = NewPacketSocketPair();
  if (!sockets.ok()) return sockets.status();
  absl::StatusOr<SpawnedProcess> process =
      romulus::Spawn({.program = options.program,
                      .arguments = options.arguments,
                      .descriptors = {{sockets->second.get(), kHelperDescriptor}}});
  if (absl::IsFailedPrecondition(process.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(std::string(process.status().message()), "; is the helper program installed beside the agent?"));
  }
  if (!process.ok()) return process.status();
  return std::unique_ptr<HelperProcess>(
      new HelperProcess(loop, std::move(options), observer, std::move(sockets->first), *std::move(process)));
}

HelperProcess::HelperProcess(EventLoop& loop, Options options, Observer* observer, UniqueFd socket,
                             SpawnedProcess process)
    : loop_(loop),
      options_(std::move(options)),
      observer_(observer),
      channel_(std::move(socket)),
      process_(std::move(process)),
      log_limit_(/*per_second=*/5, /*burst=*/50) {
  loop_.WatchReadable(channel_.descriptor(), [this] { (void)ReadMessage(); });
  loop_.WatchReadable(process_.pidfd.get(), [this] { OnProcessEnded(); });
  timer_ = loop_.After(options_.hello_timeout, [this] {
    BreakOff(absl::UnavailableError(
        absl::StrCat(options_.label, ": said nothing in the first ", absl::FormatDuration(options_.hello_timeout))));
  });
}

HelperProcess::~HelperProcess() {
  StopReading();
  loop_.Cancel(timer_);
  loop_.Unwatch(process_.pidfd.get());
}

absl::Status HelperProcess::Send(const helper::v1::AgentToHelper& message, absl::Span<const int> descriptors) {
  absl::Status sent = channel_.Send(message, descriptors);
  // UNAVAILABLE: its messages and its end tell more; they are read before the judgement.
  if (!sent.ok() && !absl::IsUnavailable(sent)) {
    BreakOff(absl::UnavailableError(absl::StrCat(options_.label, ": ", sent.ToString())));
  }
  return sent;
}

void HelperProcess::Terminate(absl::Status cause) { BreakOff(std::move(cause)); }

bool HelperProcess::ReadMessage() {
  const absl::StatusOr<HelperToAgent> message = channel_.Receive();
  if (message.ok()) {
    Handle(*message);
  } else if (absl::IsDeadlineExceeded(message.status())) {
    return false;
  } else if (absl::IsUnavailable(message.status())) {
    OnSocketClosed();
  } else {
    StopReading();
    BreakOff(absl::UnavailableError(absl::StrCat(options_.label, ": ", message.status().ToString())));
  }
  return reading_;
}

void HelperProcess::Handle(const HelperToAgent& message) {
  if (message.has_log()) {
    WriteLog(message.log());
    return;
  }
  const bool over = result_.complete.has_value() || result_.failed.has_value();
  if (over || greeted_ == message.has_hello()) {
    StopReading();
    BreakOff(absl::UnavailableError(absl::StrCat(options_.label, ": broke the protocol: message ", message.body_case(),
                                                 over       ? " after its last"
                                                 : greeted_ ? " for the second time"
                                                            : " before Hello")));
    return;
  }
  if (message.has_hello()) {
    greeted_ = true;
    if (!asked_to_end_) {
      loop_.Cancel(timer_);
      timer_ = Scheduler::kNoTimer;
    }
    if (message.hello().protocol_version() != kHelperProtocolVersion) {
      StopReading();
      BreakOff(absl::FailedPreconditionError(absl::StrCat(
          options_.label, ": ", options_.program, " speaks protocol version ", message.hello().protocol_version(),
          ", this agent ", kHelperProtocolVersion, ": install agent and helper from one build")));
    }
    return;
  }
  if (message.has_complete()) {
    result_.complete = message.complete();
    ExpectExitWithin(options_.exit_grace, &HelperProcess::AskToEnd);
    return;
  }
  if (message.has_failed()) {
    result_.failed = message.failed();
    if (first_cause_.ok()) first_cause_ = StatusOf(message.failed(), options_.label);
    ExpectExitWithin(options_.exit_grace, &HelperProcess::AskToEnd);
    return;
  }
  observer_->OnMessage(message);
}

void HelperProcess::OnSocketClosed() {
  StopReading();
  if (result_.complete.has_value() || result_.failed.has_value()) return;
  // It may just be about to end; how it does says more than the closed socket.
  ExpectExitWithin(options_.exit_grace, &HelperProcess::AskToEnd);
}

void HelperProcess::BreakOff(absl::Status cause) {
  if (first_cause_.ok() && !cause.ok()) first_cause_ = std::move(cause);
  if (!asked_to_end_) AskToEnd();
}

void HelperProcess::ExpectExitWithin(absl::Duration grace, void (HelperProcess::*otherwise)()) {
  if (asked_to_end_ && otherwise != &HelperProcess::KillForLateness) return;  // SIGKILL is due already.
  loop_.Cancel(timer_);
  timer_ = loop_.After(grace, [this, otherwise] { (this->*otherwise)(); });
}

void HelperProcess::AskToEnd() {
  asked_to_end_ = true;
  Signal(SIGTERM);
  ExpectExitWithin(options_.exit_grace, &HelperProcess::KillForLateness);
}

void HelperProcess::KillForLateness() {
  Kill(absl::UnavailableError(absl::StrCat(options_.label, ": did not end when it was told to")));
}

void HelperProcess::Kill(absl::Status cause) {
  if (first_cause_.ok()) first_cause_ = std::move(cause);
  asked_to_end_ = true;
  Signal(SIGKILL);
}

void HelperProcess::Signal(int signal) {
  // By pidfd: it can't hit a stranger. ESRCH: it has just ended by itself.
  const long result = syscall(SYS_pidfd_send_signal, process_.pidfd.get(), signal, nullptr, 0);
  ROMULUS_CHECK(result == 0 || errno == ESRCH);
}

void HelperProcess::OnProcessEnded() {
  // What it sent before its end counts.
  for (int i = 0; i < kLastMessagesMax && reading_ && ReadMessage(); ++i) {
  }
  StopReading();
  siginfo_t info{};
  ROMULUS_CHECK(waitid(static_cast<idtype_t>(P_PIDFD), process_.pidfd.get(), &info, WEXITED) == 0);
  loop_.Unwatch(process_.pidfd.get());
  loop_.Cancel(timer_);
  timer_ = Scheduler::kNoTimer;

  const bool exited = info.si_code == CLD_EXITED;
  result_.evidence = exited ? absl::StrCat("exited with ", info.si_status)
                            : absl::StrCat("killed by signal ", info.si_status, " (", strsignal(info.si_status), ")");
  absl::StrAppend(&result_.evidence, result_.complete.has_value() ? " after Complete"
                                     : result_.failed.has_value() ? " after Failed"
                                                                  : " without Complete");
  if (!first_cause_.ok()) {
    result_.status = first_cause_;
  } else if (!exited || info.si_status != 0 || !result_.complete.has_value()) {
    result_.status = absl::UnavailableError(absl::StrCat(options_.label, ": ", result_.evidence));
  }
  const Result result = std::move(result_);
  observer_->OnExit(result);  // May have destroyed this.
}

void HelperProcess::WriteLog(const helper::v1::Log& log) {
  if (!log_limit_.Allow(loop_.Now())) return;
  const uint64_t suppressed = log.suppressed() + log_limit_.TakeRefused();
  LogLine(SeverityOf(log.severity()),
          absl::StrCat(options_.label, ": ", Printable(log.text()),
                       suppressed == 0 ? "" : absl::StrCat(" (after ", suppressed, " suppressed lines)")));
}

void HelperProcess::StopReading() {
  if (!reading_) return;
  reading_ = false;
  loop_.Unwatch(channel_.descriptor());
}

}  // namespace romulus
