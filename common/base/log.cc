#include "common/base/log.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

namespace romulus {
namespace {

struct SeverityName {
  const char* syslog_level;
  char letter;
};

SeverityName NameOf(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::kInfo:
      return {"<6>", 'I'};
    case LogSeverity::kWarning:
      return {"<4>", 'W'};
    case LogSeverity::kError:
      return {"<3>", 'E'};
  }
  return {"<3>", '?'};
}

}  // namespace

void LogLine(LogSeverity severity, absl::string_view text) {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  const SeverityName name = NameOf(severity);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  localtime_r(&now.tv_sec, &parts);
  char stamp[48];
  snprintf(stamp, sizeof(stamp), "%s%c %02d:%02d:%02d.%06ld ", terminal ? "" : name.syslog_level, name.letter,
           parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000);
  const std::string line = absl::StrCat(stamp, text, "\n");
  // A log that can't be written has nowhere to say so.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

void CheckFailed(const char* file, int line, const char* condition, absl::string_view text) {
  LogError("broken invariant at ", file, ":", line, ": ", condition, text.empty() ? "" : ": ", text);
  abort();
}

}  // namespace romulus
