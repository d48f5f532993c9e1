#ifndef ROMULUS_COMMON_AGENT_TERMINATION_SIGNALS_H_
#define ROMULUS_COMMON_AGENT_TERMINATION_SIGNALS_H_

#include <utility>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

// SIGTERM and SIGINT as a descriptor. Make it before any thread: it blocks them for the whole process (and for the
// helpers that are spawned, which set their own). Also ignores SIGPIPE: a broken pipe is an error of the write.
class TerminationSignals {
 public:
  static absl::StatusOr<TerminationSignals> Block();
  int fd() const { return fd_.get(); }

 private:
  explicit TerminationSignals(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_AGENT_TERMINATION_SIGNALS_H_
