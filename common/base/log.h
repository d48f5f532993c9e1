#ifndef ROMULUS_COMMON_BASE_LOG_H_
#define ROMULUS_COMMON_BASE_LOG_H_

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"

// Lines to stderr, for journald to keep: "<3>E 12:34:56.789012 text". The <n> is the syslog level that systemd reads,
// written only where stderr is not a terminal. Thread safe; a line is one write.
//
// Log once, at the top, where the outcome is known: a Status that is returned is not logged.
namespace romulus {

enum class LogSeverity { kInfo, kWarning, kError };

void LogLine(LogSeverity severity, absl::string_view text);

template <typename... Args>
void LogInfo(const Args&... args) {
  LogLine(LogSeverity::kInfo, absl::StrCat(args...));
}
template <typename... Args>
void LogWarning(const Args&... args) {
  LogLine(LogSeverity::kWarning, absl::StrCat(args...));
}
template <typename... Args>
void LogError(const Args&... args) {
  LogLine(LogSeverity::kError, absl::StrCat(args...));
}

// A broken invariant: says where and ends the process, in every build.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, absl::string_view text = "");

}  // namespace romulus

#define ROMULUS_CHECK(condition)                                              \
  do {                                                                        \
    if (!(condition)) ::romulus::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#define ROMULUS_CHECK_MESSAGE(condition, text)                                        \
  do {                                                                                \
    if (!(condition)) ::romulus::CheckFailed(__FILE__, __LINE__, #condition, (text)); \
  } while (false)

#endif  // ROMULUS_COMMON_BASE_LOG_H_
