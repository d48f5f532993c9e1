#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_SINK_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_SINK_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace romulus {

// Where the first copy goes as it arrives, before it is known to be whole. Used by one thread (the link's receiver).
class CheckpointSink {
 public:
  virtual ~CheckpointSink() = default;

  // Takes all of `bytes`; blocks while the reader behind it is busy (that is the flow control).
  virtual absl::Status Write(absl::Span<const char> bytes) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_SINK_H_
