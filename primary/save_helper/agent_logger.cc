#include "primary/save_helper/agent_logger.h"

#include "common/base/monotonic_time.h"
#include "common/xen/tool_logger.h"

namespace romulus {
namespace {

constexpr size_t kLongestLine = 1000;

}  // namespace

AgentLogger::AgentLogger(HelperEnd& agent)
    : agent_(agent),
      limit_(/*per_second=*/2, /*burst=*/20),
      native_(NewToolLogger([this](xentoollog_level level, const std::string& text) { Line(level, text); })) {}

void AgentLogger::Line(xentoollog_level level, const std::string& text) {
  if (level < XTL_NOTICE) return;
  if (!limit_.Allow(MonotonicNow())) return;
  helper::v1::HelperToAgent message;
  helper::v1::Log& log = *message.mutable_log();
  log.set_severity(level >= XTL_ERROR  ? helper::v1::Log::ERROR
                   : level >= XTL_WARN ? helper::v1::Log::WARNING
                                       : helper::v1::Log::INFO);
  log.set_text(text.substr(0, kLongestLine));
  log.set_suppressed(limit_.TakeRefused());
  (void)agent_.Send(message, absl::ZeroDuration());
}

}  // namespace romulus
