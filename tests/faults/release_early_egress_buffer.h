#ifndef ROMULUS_TESTS_FAULTS_RELEASE_EARLY_EGRESS_BUFFER_H_
#define ROMULUS_TESTS_FAULTS_RELEASE_EARLY_EGRESS_BUFFER_H_

#include <memory>
#include <string>
#include <vector>

#include "netbuf/egress_buffer.h"

namespace romulus {

// A fault, for tests that must notice it: releases each epoch at capture instead of at commit, as Xen's own Remus does.
// To everything above it, it looks like the buffer that it wraps.
class ReleaseEarlyEgressBuffer final : public EgressBuffer {
 public:
  explicit ReleaseEarlyEgressBuffer(std::unique_ptr<EgressBuffer> buffer);

  absl::Status Attach() override;
  bool adopted() const override;
  absl::Status OpenEpoch() override;
  absl::Status ReleaseEpoch() override;
  absl::Status PassThrough() override;
  absl::Status Discard() override;
  absl::Status Detach() override;
  absl::Status ReadStatistics(Statistics& statistics) override;
  std::vector<std::string> devices() const override;

 private:
  const std::unique_ptr<EgressBuffer> buffer_;
};

}  // namespace romulus

#endif  // ROMULUS_TESTS_FAULTS_RELEASE_EARLY_EGRESS_BUFFER_H_
