#ifndef ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_

#include <functional>
#include <string>
#include <utility>

#include "common/process/helper_channel.h"
#include "common/process/rate_limiter.h"
#include "common/xen/handles.h"

namespace romulus {

// What libxc prints, as Log messages to the agent. Never blocks (libxc prints while the guest is suspended) and is rate
// limited; lines below the level of a notice are dropped. Remembers the first error: libxc's return value says less.
class AgentLogger {
 public:
  // `agent` outlives it.
  explicit AgentLogger(HelperEnd& agent);
  AgentLogger(const AgentLogger&) = delete;
  AgentLogger& operator=(const AgentLogger&) = delete;

  // For xc_interface_open; lives as long as this.
  xentoollog_logger* native() const { return native_.get(); }
  const std::string& first_error() const { return first_error_; }
  // Errors are dropped while `expected` says so: libxc calls an end that was asked for "Save failed".
  void ExpectErrorsWhile(std::function<bool()> expected) { errors_expected_ = std::move(expected); }

 private:
  void Line(xentoollog_level level, const std::string& text);

  HelperEnd& agent_;
  RateLimiter limit_;
  std::string first_error_;
  std::function<bool()> errors_expected_ = [] { return false; };
  ToolLoggerHandle native_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_
