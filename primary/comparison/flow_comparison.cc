#include "primary/comparison/flow_comparison.h"

#include "primary/comparison/datagram_comparison.h"
#include "primary/comparison/neighbour_comparison.h"
#include "primary/comparison/tcp_comparison.h"

namespace romulus::comparison {

using packet::Kind;

std::unique_ptr<FlowComparison> NewFlowComparison(const Settings& settings, uint32_t device_id,
                                                  const packet::Frame& parsed) {
  switch (parsed.kind) {
    case Kind::kTcp:
      return std::make_unique<TcpComparison>(settings, packet::ConnectionOfGuestFrame(device_id, parsed));
    case Kind::kUdp:
    case Kind::kIcmp:
    case Kind::kFragment:
    case Kind::kIpOther:
      return std::make_unique<DatagramComparison>(settings);
    case Kind::kNeighbour:
    case Kind::kOther:
    case Kind::kMalformed:
      break;
  }
  return std::make_unique<NeighbourComparison>(settings);
}

}  // namespace romulus::comparison
