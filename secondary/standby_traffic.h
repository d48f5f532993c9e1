#ifndef ROMULUS_SECONDARY_STANDBY_TRAFFIC_H_
#define ROMULUS_SECONDARY_STANDBY_TRAFFIC_H_

#include <vector>

#include "common/link/traffic_messages.h"
#include "common/packet/connection.h"

namespace romulus {

// The seam for the frames of a standby that runs along (lockstep): all vifs of one target's domain. As long as Open has
// not been called, nothing that the guest sends reaches a network, and nothing but Input reaches the guest, from its
// first start on; also when this object goes, or the agent dies.
//
// Call order: Start, then (OnCheckpoint, AddOffset*, Input*)*, and Open at most once. On the scheduler's thread;
// callbacks never come from within a call, and do not destroy this.
class StandbyTraffic {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // What the guest has sent, in order per device. Not after Open.
    virtual void OnOutput(std::vector<TrafficFrame> frames) = 0;
  };

  virtual ~StandbyTraffic() = default;

  virtual void Start(Observer* observer) = 0;
  // A checkpoint is about to be applied: frames of the guest that were not given out are void, and so are all offsets.
  virtual void OnCheckpoint() = 0;
  // How the numbers of a connection are translated from here on (secondary/translation).
  virtual void AddOffset(const packet::SequenceOffset& offset) = 0;
  // What the primary's guest got, translated, to the guest. What its device has no room for is lost, as on any network.
  virtual void Input(std::vector<TrafficFrame> frames) = 0;

  // The guest is about to be activated: from here on its frames go to the network and come from there, those of
  // connections with an offset translated. If a checkpoint came since the offset, there is none.
  virtual void Open() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_STANDBY_TRAFFIC_H_
