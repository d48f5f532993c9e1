#include "netbuf/simulated_plug.h"

#include <utility>

namespace romulus {
namespace {

uint64_t WireBytes(const SimulatedPacket& packet) { return uint64_t{packet.bytes} + packet.segment_header_bytes; }

}  // namespace

SimulatedPlug::SimulatedPlug(uint32_t limit_bytes, Sink sink) : sink_(std::move(sink)), limit_bytes_(limit_bytes) {}

void SimulatedPlug::Enqueue(const SimulatedPacket& packet) {
  if (backlog_bytes_ + packet.bytes > limit_bytes_) {
    ++dropped_packets_;
  } else {
    if (!unplug_indefinite_) ++pkts_current_epoch_;
    queue_.push_back(packet);
    backlog_bytes_ += WireBytes(packet);  // The limit is compared with skb->len, the backlog is of qdisc_pkt_len.
  }
  Run();
}

void SimulatedPlug::Command(PlugCommand command) {
  switch (command) {
    case PlugCommand::kBuffer:
      pkts_last_epoch_ = pkts_current_epoch_;
      pkts_current_epoch_ = 0;
      if (unplug_indefinite_) throttled_ = true;
      unplug_indefinite_ = false;
      return;
    case PlugCommand::kReleaseOne:
      pkts_to_release_ += pkts_last_epoch_;
      pkts_last_epoch_ = 0;
      throttled_ = false;
      break;
    case PlugCommand::kReleaseIndefinite:
      unplug_indefinite_ = true;
      pkts_to_release_ = 0;
      pkts_last_epoch_ = 0;
      pkts_current_epoch_ = 0;
      throttled_ = false;
      break;
  }
  Run();
}

void SimulatedPlug::LinkDownAndUp() {
  queue_.clear();
  backlog_bytes_ = 0;
}

void SimulatedPlug::SetTransmitStopped(bool stopped) {
  transmit_stopped_ = stopped;
  Run();
}

bool SimulatedPlug::Dequeue() {
  if (throttled_) return false;
  if (!unplug_indefinite_) {
    if (pkts_to_release_ == 0) {
      throttled_ = true;
      return false;
    }
    --pkts_to_release_;
  }
  if (queue_.empty()) return false;
  const SimulatedPacket packet = queue_.front();
  queue_.pop_front();
  backlog_bytes_ -= WireBytes(packet);
  sent_packets_ += packet.counts_as;
  sent_bytes_ += WireBytes(packet);
  sink_(packet);
  return true;
}

void SimulatedPlug::Run() {
  while (!transmit_stopped_ && Dequeue()) {
  }
}

}  // namespace romulus
