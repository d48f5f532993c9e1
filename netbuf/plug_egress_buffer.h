#ifndef ROMULUS_NETBUF_PLUG_EGRESS_BUFFER_H_
#define ROMULUS_NETBUF_PLUG_EGRESS_BUFFER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/egress_buffer.h"
#include "netbuf/plug_kernel.h"
#include "netbuf/vif.h"

namespace romulus {

// An egress buffer made of one plug per vif. Keeps the rule that the kernel does not: at most one epoch is unreleased.
class PlugEgressBuffer : public EgressBuffer {
 public:
  struct Options {
    // The protection's id: the mark by which a successor of a dead agent knows its own.
    std::string protection;
    std::vector<Vif> vifs;
    // Per vif; past it the kernel drops, as a full link would. 0 < limit < 4 GiB. An adopted buffer gets it, too.
    uint32_t limit_bytes = 64 << 20;
    // Where the vifs' limits differ: of each of `vifs`, in place of limit_bytes.
    std::vector<uint32_t> limits_bytes;
  };

  PlugEgressBuffer(std::shared_ptr<PlugKernel> kernel, Options options);

  absl::Status Attach() override;
  bool adopted() const override { return adopted_; }
  absl::Status OpenEpoch() override;
  absl::Status ReleaseEpoch() override;
  absl::Status PassThrough() override;
  absl::Status Discard() override;
  absl::Status Detach() override;
  absl::Status ReadStatistics(Statistics& statistics) override;
  std::vector<std::string> devices() const override;

 private:
  enum class State {
    kDetached,
    kPassing,     // Not counting.
    kAdopted,     // Counters unknown: a predecessor's epoch may be unreleased.
    kHolding,     // Counting an epoch; none is unreleased.
    kUnreleased,  // Counting an epoch; the one before waits for its commit.
    kFailed,      // A command reached only some plugs: only PassThrough, Discard, Detach.
  };

  // The counters of a vif. A plug starts at zero: `past` are the sums of those that went before the present one.
  struct Counters {
    PlugKernel::Statistics past;
    PlugKernel::Statistics present;  // As last read.
    void StartAnew();
  };

  uint32_t LimitOf(size_t vif) const;
  absl::Status Refuse(const char* call) const;
  absl::Status BufferFromPassThrough();
  // Reads those of one vif, by its index.
  absl::Status ReadCounters(size_t vif);

  const std::shared_ptr<PlugKernel> kernel_;
  const Options options_;
  State state_ = State::kDetached;
  bool adopted_ = false;
  std::vector<Counters> counters_;  // By vif.
  uint64_t epochs_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_PLUG_EGRESS_BUFFER_H_
