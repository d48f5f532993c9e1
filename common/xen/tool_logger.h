#ifndef ROMULUS_COMMON_XEN_TOOL_LOGGER_H_
#define ROMULUS_COMMON_XEN_TOOL_LOGGER_H_

#include <functional>
#include <string>

#include "common/xen/handles.h"

namespace romulus {

// A logger to hand to xc_interface_open and xenevtchn_open instead of the libraries' own one, which writes to stderr.
// `line` gets "context: text: strerror" without a newline, on whatever thread the library is called from; progress
// reports are dropped. The logger must outlive the handles that were opened with it.
ToolLoggerHandle NewToolLogger(std::function<void(xentoollog_level level, const std::string& text)> line);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_TOOL_LOGGER_H_
