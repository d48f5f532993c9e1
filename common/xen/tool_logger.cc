#include "common/xen/tool_logger.h"

#include <stdio.h>
#include <string.h>

#include <utility>

namespace romulus {
namespace {

struct CallbackLogger {
  xentoollog_logger vtable;  // First: the library knows only this.
  std::function<void(xentoollog_level, const std::string&)> line;
};

void OnMessage(xentoollog_logger* logger, xentoollog_level level, int error, const char* context, const char* format,
               va_list arguments) {
  char message[1024];
  vsnprintf(message, sizeof(message), format, arguments);
  std::string text = context != nullptr ? std::string(context) + ": " + message : std::string(message);
  if (error >= 0) text = text + ": " + strerror(error);
  reinterpret_cast<CallbackLogger*>(logger)->line(level, text);
}

void OnDestroy(xentoollog_logger* logger) { delete reinterpret_cast<CallbackLogger*>(logger); }

}  // namespace

ToolLoggerHandle NewToolLogger(std::function<void(xentoollog_level level, const std::string& text)> line) {
  auto* logger = new CallbackLogger{{OnMessage, nullptr, OnDestroy}, std::move(line)};
  return ToolLoggerHandle(&logger->vtable);
}

}  // namespace romulus
