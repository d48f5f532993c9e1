#include "secondary/restore_helper/restore.h"

#include <errno.h>
#include <string.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/process/rate_limiter.h"
#include "common/xen/control.h"
#include "common/xen/handles.h"
#include "common/xen/tool_logger.h"

extern "C" {
#include <xenguest.h>
}

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;
using helper::v1::Log;

HelperToAgent Failure(Failed::Kind kind, const std::string& reason, int error) {
  HelperToAgent message;
  message.mutable_failed()->set_kind(kind);
  message.mutable_failed()->set_reason(reason);
  message.mutable_failed()->set_native_errno(error);
  return message;
}

// One restore's talk with the agent. All on the thread that calls xc_domain_restore.
class Conversation {
 public:
  explicit Conversation(HelperEnd& agent) : agent_(agent) {}

  // False: the agent is gone.
  bool ReachCheckpoint() {
    HelperToAgent message;
    message.mutable_checkpoint_reached()->set_ordinal(++checkpoints_);
    return agent_.Send(message).ok();
  }

  void OnLibraryLine(xentoollog_level level, const std::string& text) {
    if (level >= XTL_ERROR) {
      // Every restore under Remus ends with one, at the end of the stream: they matter only if the restore fails.
      if (errors_.size() < kErrorsMax) errors_.push_back(text);
    } else if (level >= XTL_NOTICE) {
      SendLog(level >= XTL_WARN ? Log::WARNING : Log::INFO, text);
    }
  }

  void SendErrors() {
    for (const std::string& text : errors_) SendLog(Log::ERROR, text);
  }

  // What began it all; later ones are its consequences.
  std::string first_error() const { return errors_.empty() ? "libxenguest does not say why" : errors_.front(); }
  uint64_t checkpoints() const { return checkpoints_; }
  void set_static_data_missing(unsigned int missing) { static_data_missing_ = missing; }
  unsigned int static_data_missing() const { return static_data_missing_; }

 private:
  static constexpr size_t kErrorsMax = 16;
  static constexpr size_t kLineBytesMax = 4096;

  void SendLog(Log::Severity severity, const std::string& text) {
    if (!limit_.Allow(absl::Now() - absl::UnixEpoch())) return;
    HelperToAgent message;
    message.mutable_log()->set_severity(severity);
    message.mutable_log()->set_text(text.substr(0, kLineBytesMax));
    message.mutable_log()->set_suppressed(limit_.TakeRefused());
    // A log that can't be sent has nowhere to say so; the agent's absence is noticed elsewhere.
    agent_.Send(message).IgnoreError();
  }

  HelperEnd& agent_;
  RateLimiter limit_{5, 50};
  uint64_t checkpoints_ = 0;
  unsigned int static_data_missing_ = 0;
  std::vector<std::string> errors_;
};

// The stream's sender is libxc of this version, which always sends both. Without them the guest would see this host's
// CPU instead of the one it booted on.
int OnStaticDataDone(unsigned int missing, void* data) {
  static_cast<Conversation*>(data)->set_static_data_missing(missing);
  return missing == 0 ? 0 : -1;
}

// Comes before the checkpoint's records are applied. Only whole, committed checkpoints enter the pipe, so each is
// applied at once: to ask for FAILOVER here instead would throw the one just read away.
int OnCheckpoint(void* data) {
  return static_cast<Conversation*>(data)->ReachCheckpoint() ? XGR_CHECKPOINT_SUCCESS : XGR_CHECKPOINT_ERROR;
}

}  // namespace

HelperToAgent RestoreDomain(const helper::v1::StartRestore& start, int stream, HelperEnd& agent) {
  Conversation conversation(agent);
  const ToolLoggerHandle logger =
      NewToolLogger([&](xentoollog_level level, const std::string& text) { conversation.OnLibraryLine(level, text); });
  const absl::StatusOr<XcInterface> xc = OpenXenControl(logger.get());
  if (!xc.ok()) return Failure(Failed::PRIVILEGE, std::string(xc.status().message()), 0);

  restore_callbacks callbacks{};
  callbacks.static_data_done = OnStaticDataDone;
  callbacks.checkpoint = OnCheckpoint;
  callbacks.data = &conversation;
  unsigned long store_mfn = 0;
  unsigned long console_mfn = 0;
  errno = 0;
  const int result = xc_domain_restore(xc->get(), stream, start.domid(), start.store_port(), &store_mfn,
                                       start.store_domid(), start.console_port(), &console_mfn, start.console_domid(),
                                       XC_STREAM_REMUS, &callbacks, /*send_back_fd=*/-1);
  const int error = errno;
  if (result != 0) {
    conversation.SendErrors();
    if (conversation.static_data_missing() != 0) {
      return Failure(Failed::LIBXENGUEST,
                     "the stream lacks the guest's CPUID or MSR policy; the primary host's Xen is too old", error);
    }
    return Failure(Failed::LIBXENGUEST,
                   absl::StrCat("restore of domain ", start.domid(), " failed after ", conversation.checkpoints(),
                                " checkpoints: ", conversation.first_error(), " (errno ", error, ")"),
                   error);
  }
  HelperToAgent message;
  message.mutable_complete()->set_store_mfn(store_mfn);
  message.mutable_complete()->set_console_mfn(console_mfn);
  return message;
}

}  // namespace romulus
