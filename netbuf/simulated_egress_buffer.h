#ifndef ROMULUS_NETBUF_SIMULATED_EGRESS_BUFFER_H_
#define ROMULUS_NETBUF_SIMULATED_EGRESS_BUFFER_H_

#include <memory>
#include <utility>

#include "netbuf/plug_egress_buffer.h"
#include "netbuf/simulated_plug_kernel.h"

namespace romulus {

// The simulated side of EgressBuffer: the product's own epoch rules over a simulated kernel. To crash its owner,
// destroy it; a new one over the same kernel, with the same protection, adopts what is there.
class SimulatedEgressBuffer : public PlugEgressBuffer {
 public:
  SimulatedEgressBuffer(std::shared_ptr<SimulatedPlugKernel> kernel, Options options)
      : PlugEgressBuffer(std::move(kernel), std::move(options)) {}
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_SIMULATED_EGRESS_BUFFER_H_
