#include "common/link/bandwidth_share.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

#include "absl/time/time.h"
#include "common/link/fair_pacer.h"
#include "common/link/watch_thread.h"

namespace romulus {
namespace {

// A chunk's cost apart from its bytes is that of some 10 KiB.
constexpr size_t kChunkBytesLeast = 16 << 10;
constexpr uint64_t kChunksPerSecond = 100;

}  // namespace

class BandwidthShare::Flow::State {
 public:
  struct Part {
    uint64_t limit = 0;
    enum class Wish { kNone, kWaiting, kGranted } wish = Wish::kNone;
  };

  // What may go now, goes. The lock is held.
  void Grant() {
    const absl::Duration now = LinkNow();
    bool granted = false;
    while (const std::optional<FairPacer::FlowId> next = pacer.TakeNext(now)) {
      parts[*next].wish = Part::Wish::kGranted;
      granted = true;
    }
    if (granted) changed.notify_all();
  }

  mutable std::mutex mutex;
  std::condition_variable changed;
  FairPacer pacer;
  uint64_t limit = 0;
  uint64_t next_id = 1;
  std::map<FairPacer::FlowId, Part> parts;
};

BandwidthShare::BandwidthShare(uint64_t bytes_per_second) : state_(std::make_shared<Flow::State>()) {
  SetLimit(bytes_per_second);
}

void BandwidthShare::SetLimit(uint64_t bytes_per_second) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->limit = bytes_per_second;
  state_->pacer.SetLimit(bytes_per_second);
  state_->changed.notify_all();
}

std::shared_ptr<BandwidthShare::Flow> BandwidthShare::NewFlow(uint64_t bytes_per_second) {
  uint64_t id = 0;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    id = state_->next_id++;
    state_->parts[id];
  }
  std::shared_ptr<Flow> flow(new Flow(state_, id));
  flow->SetLimit(bytes_per_second);
  return flow;
}

BandwidthShare::Flow::Flow(std::shared_ptr<State> state, uint64_t id) : state_(std::move(state)), id_(id) {}

BandwidthShare::Flow::~Flow() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->pacer.RemoveFlow(id_);
  state_->parts.erase(id_);
}

void BandwidthShare::Flow::SetLimit(uint64_t bytes_per_second) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->parts[id_].limit = bytes_per_second;
  state_->pacer.SetFlowLimit(id_, bytes_per_second);
  state_->changed.notify_all();
}

size_t BandwidthShare::Flow::ChunkBytes(size_t most) const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  uint64_t chunk = most;
  for (const uint64_t limit : {state_->limit, state_->parts[id_].limit}) {
    if (limit > 0) chunk = std::min(chunk, limit / kChunksPerSecond);
  }
  return std::min(most, std::max<size_t>(chunk, kChunkBytesLeast));
}

bool BandwidthShare::Flow::Await(uint64_t bytes, const std::atomic<bool>& stopped) {
  using Wish = State::Part::Wish;
  std::unique_lock<std::mutex> lock(state_->mutex);
  State::Part& part = state_->parts[id_];
  state_->changed.wait(lock, [&] { return stopped || part.wish == Wish::kNone; });
  if (stopped) return false;
  part.wish = Wish::kWaiting;
  state_->pacer.Request(id_, bytes);
  state_->Grant();
  while (part.wish == Wish::kWaiting && !stopped) {
    const absl::Duration wait = state_->pacer.NextTime() - LinkNow();
    // Whoever wakes first grants, to others too; a limit that changes wakes all.
    state_->changed.wait_for(lock, absl::ToChronoNanoseconds(std::min(wait, absl::Seconds(10))));
    state_->Grant();
  }
  const bool granted = part.wish == Wish::kGranted;
  if (!granted) state_->pacer.Withdraw(id_);
  part.wish = Wish::kNone;
  if (stopped) state_->changed.notify_all();
  return granted;
}

void BandwidthShare::Flow::Wake() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->changed.notify_all();
}

}  // namespace romulus
