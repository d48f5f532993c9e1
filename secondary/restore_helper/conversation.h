#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_CONVERSATION_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_CONVERSATION_H_

#include <xentoollog.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/process/helper_channel.h"
#include "common/process/rate_limiter.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

helper::v1::HelperToAgent RestoreFailure(helper::v1::Failed::Kind kind, const std::string& reason, int error);

// What a restore says to the agent. Thread safe.
class Conversation {
 public:
  explicit Conversation(HelperEnd& agent) : agent_(agent) {}

  // False: the agent is gone.
  bool Send(const helper::v1::HelperToAgent& message);
  bool ReachCheckpoint();

  void OnLibraryLine(xentoollog_level level, const std::string& text);
  void SendErrors();
  void Warn(const std::string& text) { SendLog(helper::v1::Log::WARNING, text); }

  // What began it all; later ones are its consequences.
  std::string first_error() const { return errors_.empty() ? "libxenguest does not say why" : errors_.front(); }
  uint64_t checkpoints() const { return checkpoints_; }
  void set_static_data_missing(unsigned int missing) { static_data_missing_ = missing; }
  unsigned int static_data_missing() const { return static_data_missing_; }

 private:
  static constexpr size_t kErrorsMax = 16;
  static constexpr size_t kLineBytesMax = 4096;

  void SendLog(helper::v1::Log::Severity severity, const std::string& text);

  HelperEnd& agent_;
  std::mutex sending_;
  RateLimiter limit_{5, 50};
  uint64_t checkpoints_ = 0;
  unsigned int static_data_missing_ = 0;
  std::vector<std::string> errors_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_CONVERSATION_H_
