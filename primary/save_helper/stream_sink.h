#ifndef ROMULUS_PRIMARY_SAVE_HELPER_STREAM_SINK_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_STREAM_SINK_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace romulus {

// Where a checkpoint's bytes go: the seeding pipe, or staging memory.
class StreamSink {
 public:
  virtual ~StreamSink() = default;

  // Takes the bytes, in order, all of them; they may change after it returns. CANCELLED: nobody wants them any more.
  // RESOURCE_EXHAUSTED: there is no memory for them. After an error nothing may follow.
  virtual absl::Status Append(absl::Span<const char> bytes) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_STREAM_SINK_H_
