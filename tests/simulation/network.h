#ifndef ROMULUS_TESTS_SIMULATION_NETWORK_H_
#define ROMULUS_TESTS_SIMULATION_NETWORK_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tests/simulation/random.h"
#include "tests/simulation/virtual_clock.h"

namespace romulus::simulation {

enum Direction { kToSecondary = 0, kToPrimary = 1 };

// What lies between the two hosts: how slow it is, and whether anything gets through, each way.
struct Network {
  std::array<bool, 2> partitioned = {false, false};
  absl::Duration latency = absl::Microseconds(200);
  // Added while the network is slow; packets lost and sent again look the same to TCP's users.
  absl::Duration extra_latency_max;
  // Of 1000 checkpoint messages this many arrive with a wrong byte (only where a test asks for what TCP prevents).
  uint64_t corruption = 0;
};

// One way of one connection, as TCP gives it: in order, without loss, or not at all. Lost packets and partitions show
// as delay; the end of the other side as an end of the stream behind what it sent.
class Pipe : public std::enable_shared_from_this<Pipe> {
 public:
  struct Item {
    std::string message;
    absl::Status end;  // Not OK: the stream ends with this, `message` is empty.
    bool traffic = false;
  };
  using Deliver = std::function<void(Item)>;

  Pipe(VirtualClock* clock, Random* random, Network* network, Direction direction)
      : clock_(clock), random_(random), network_(network), direction_(direction) {}

  // Null: what arrives waits for the next receiver.
  void SetReceiver(Deliver deliver) {
    deliver_ = std::move(deliver);
    if (deliver_ != nullptr && !queue_.empty()) Arm(absl::ZeroDuration());
  }

  void Send(Item item) {
    if (cut_) return;
    absl::Duration delay = network_->latency;
    if (network_->extra_latency_max > absl::ZeroDuration()) {
      delay += random_->Between(absl::ZeroDuration(), network_->extra_latency_max);
    }
    last_due_ = std::max(last_due_, clock_->now() + delay);
    traffic_waiting_ += item.traffic;
    queue_.emplace_back(last_due_, std::move(item));
    if (queue_.size() == 1) Arm(last_due_ - clock_->now());
  }
  // The sender breaks the stream off: what is under way may not arrive any more.
  void Break(absl::Status end) {
    if (random_->Chance(500)) Clear();
    Send({"", std::move(end)});
  }
  // The sending host has lost its power, or the receiver has gone: nothing more arrives.
  void Cut() {
    cut_ = true;
    Clear();
    deliver_ = nullptr;
  }
  // On its way.
  size_t traffic_waiting() const { return traffic_waiting_; }

 private:
  void Clear() {
    queue_.clear();
    traffic_waiting_ = 0;
  }
  void Arm(absl::Duration delay) {
    clock_->After(delay, [self = shared_from_this()] { self->Pump(); });
  }
  void Pump() {
    // Retransmission timers are coarse.
    if (network_->partitioned[direction_]) return Arm(absl::Milliseconds(50));
    while (deliver_ != nullptr && !queue_.empty() && queue_.front().first <= clock_->now()) {
      Item item = std::move(queue_.front().second);
      queue_.pop_front();
      traffic_waiting_ -= item.traffic;
      Deliver deliver = deliver_;  // It may be replaced, or cut, while it runs.
      deliver(std::move(item));
    }
    if (deliver_ != nullptr && !queue_.empty())
      Arm(std::max(queue_.front().first - clock_->now(), absl::ZeroDuration()));
  }

  VirtualClock* const clock_;
  Random* const random_;
  Network* const network_;
  const Direction direction_;
  Deliver deliver_;
  std::deque<std::pair<absl::Duration, Item>> queue_;
  absl::Duration last_due_;
  size_t traffic_waiting_ = 0;
  bool cut_ = false;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_NETWORK_H_
