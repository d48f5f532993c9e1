#include "secondary/restore_helper/conversation.h"

#include "absl/time/clock.h"

namespace romulus {

using helper::v1::Failed;
using helper::v1::HelperToAgent;
using helper::v1::Log;

HelperToAgent RestoreFailure(Failed::Kind kind, const std::string& reason, int error) {
  HelperToAgent message;
  message.mutable_failed()->set_kind(kind);
  message.mutable_failed()->set_reason(reason);
  message.mutable_failed()->set_native_errno(error);
  return message;
}

bool Conversation::Send(const HelperToAgent& message) {
  const std::lock_guard<std::mutex> lock(sending_);
  return agent_.Send(message).ok();
}

bool Conversation::ReachCheckpoint() {
  HelperToAgent message;
  message.mutable_checkpoint_reached()->set_ordinal(++checkpoints_);
  return Send(message);
}

void Conversation::OnLibraryLine(xentoollog_level level, const std::string& text) {
  if (level >= XTL_ERROR) {
    // Every restore of checkpoints ends with one, at the end of the stream: they matter only if the restore fails.
    if (errors_.size() < kErrorsMax) errors_.push_back(text);
  } else if (level >= XTL_NOTICE) {
    SendLog(level >= XTL_WARN ? Log::WARNING : Log::INFO, text);
  }
}

void Conversation::SendErrors() {
  for (const std::string& text : errors_) SendLog(Log::ERROR, text);
}

void Conversation::SendLog(Log::Severity severity, const std::string& text) {
  HelperToAgent message;
  {
    const std::lock_guard<std::mutex> lock(sending_);
    if (!limit_.Allow(absl::Now() - absl::UnixEpoch())) return;
    message.mutable_log()->set_suppressed(limit_.TakeRefused());
  }
  message.mutable_log()->set_severity(severity);
  message.mutable_log()->set_text(text.substr(0, kLineBytesMax));
  // A log that can't be sent has nowhere to say so; the agent's absence is noticed elsewhere.
  (void)Send(message);
}

}  // namespace romulus
