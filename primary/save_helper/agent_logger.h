#ifndef ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_

#include <string>

#include "common/process/helper_channel.h"
#include "common/process/rate_limiter.h"
#include "common/xen/handles.h"

namespace romulus {

// What libxc prints, as Log messages to the agent. Never blocks (libxc prints while the guest is suspended) and is rate
// limited; lines below the level of a notice are dropped.
class AgentLogger {
 public:
  // `agent` outlives it.
  explicit AgentLogger(HelperEnd& agent);
  AgentLogger(const AgentLogger&) = delete;
  AgentLogger& operator=(const AgentLogger&) = delete;

  // For xc_interface_open; lives as long as this.
  xentoollog_logger* native() const { return native_.get(); }

 private:
  void Line(xentoollog_level level, const std::string& text);

  HelperEnd& agent_;
  RateLimiter limit_;
  ToolLoggerHandle native_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_AGENT_LOGGER_H_
