#ifndef ROMULUS_PRIMARY_AGENT_CLAIMED_EGRESS_BUFFER_H_
#define ROMULUS_PRIMARY_AGENT_CLAIMED_EGRESS_BUFFER_H_

#include <memory>
#include <string>
#include <vector>

#include "common/xen/xenstore.h"
#include "netbuf/egress_buffer.h"
#include "netbuf/vif.h"

namespace romulus {

// Records which ifb belongs to which vif where libxl and its scripts record it and look before they take one
// (/libxl/<domid>/remus/netbuf/<devid>/ifb), for as long as the buffer is attached. Otherwise the buffer below.
class ClaimedEgressBuffer final : public EgressBuffer {
 public:
  // `store` outlives it. `vifs` in the order of `below`'s devices.
  ClaimedEgressBuffer(std::unique_ptr<EgressBuffer> below, std::vector<Vif> vifs, Xenstore* store);

  absl::Status Attach() override;
  bool adopted() const override { return below_->adopted(); }
  absl::Status OpenEpoch() override { return below_->OpenEpoch(); }
  absl::Status ReleaseEpoch() override { return below_->ReleaseEpoch(); }
  absl::Status PassThrough() override { return below_->PassThrough(); }
  absl::Status Discard() override { return below_->Discard(); }
  absl::Status Detach() override;
  absl::Status ReadStatistics(Statistics& statistics) override { return below_->ReadStatistics(statistics); }
  std::vector<std::string> devices() const override { return below_->devices(); }

 private:
  const std::unique_ptr<EgressBuffer> below_;
  const std::vector<Vif> vifs_;
  Xenstore* const store_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_AGENT_CLAIMED_EGRESS_BUFFER_H_
