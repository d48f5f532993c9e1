#ifndef ROMULUS_NETBUF_SIMULATED_PLUG_H_
#define ROMULUS_NETBUF_SIMULATED_PLUG_H_

#include <cstdint>
#include <deque>
#include <functional>

#include "netbuf/plug_kernel.h"

namespace romulus {

struct SimulatedPacket {
  uint64_t id = 0;
  uint32_t bytes = 0;
  uint32_t segment_header_bytes = 0;  // Of a GSO packet: what its further segments will have for headers.
  uint32_t counts_as = 1;             // When it leaves; a guest's GSO packet as none (DODGY, gso_segs 0).
};

// One plug qdisc on its ifb, as net/sched/sch_plug.c (Linux 4.8 to 6.18) does it, mistakes included: it is no kinder
// than the kernel. Starts plugged. Transmits at once, unless stopped: the kernel's softirq without its delay.
class SimulatedPlug {
 public:
  // Gets the packets that left, in order. Must not call back into the plug.
  using Sink = std::function<void(const SimulatedPacket&)>;

  SimulatedPlug(uint32_t limit_bytes, Sink sink);

  void Enqueue(const SimulatedPacket& packet);
  void Command(PlugCommand command);
  void SetLimit(uint32_t limit_bytes) { limit_bytes_ = limit_bytes; }

  // What `ip link set ifb down` and up does: the queue is dropped, the counters stay as they were (qdisc_reset_queue).
  void LinkDownAndUp();

  // The device's transmit queue stops (ifb's rq is full) and starts again.
  void SetTransmitStopped(bool stopped);

  PlugKernel::Statistics statistics() const {
    return {queue_.size(), backlog_bytes_, dropped_packets_, sent_packets_, sent_bytes_};
  }

 private:
  bool Dequeue();
  void Run();

  Sink sink_;
  std::deque<SimulatedPacket> queue_;
  uint64_t backlog_bytes_ = 0;
  uint64_t dropped_packets_ = 0;
  uint64_t sent_packets_ = 0;
  uint64_t sent_bytes_ = 0;
  bool transmit_stopped_ = false;

  // Named as in the kernel's struct plug_sched_data.
  bool unplug_indefinite_ = false;
  bool throttled_ = true;
  uint32_t limit_bytes_;
  uint32_t pkts_current_epoch_ = 0;
  uint32_t pkts_last_epoch_ = 0;
  uint32_t pkts_to_release_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_SIMULATED_PLUG_H_
