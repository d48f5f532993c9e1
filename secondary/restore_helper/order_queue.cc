#include "secondary/restore_helper/order_queue.h"

#include <unistd.h>

#include <utility>

#include "common/base/log.h"
#include "common/base/memory_file.h"
#include "common/stream/stream_format.h"

namespace romulus {

OrderQueue::OrderQueue(HelperEnd& agent, Urgent urgent) : urgent_(std::move(urgent)) {
  std::thread([this, &agent] { Receive(agent); }).detach();
}

void OrderQueue::Receive(HelperEnd& agent) {
  while (true) {
    absl::StatusOr<HelperEnd::Received> received = agent.Receive(absl::InfiniteDuration());
    if (absl::IsDeadlineExceeded(received.status())) continue;
    if (!received.ok() || received->message.has_stop()) break;
    const helper::v1::AgentToHelper& message = received->message;
    if (message.has_freeze_standby()) {
      urgent_.freeze();
    } else if (message.has_activate_standby()) {
      urgent_.activate();
      Take(*std::move(received));
    } else if (message.has_after_checkpoint() || message.has_suspend_standby()) {
      Take(*std::move(received));
    } else {
      break;
    }
  }
  urgent_.end(activating());
  _exit(1);
}

void OrderQueue::Take(HelperEnd::Received received) {
  const helper::v1::AgentToHelper& message = received.message;
  After after;
  if (message.has_after_checkpoint()) {
    const uint64_t size = message.after_checkpoint().attachments_bytes();
    after.run = message.after_checkpoint().run();
    if (size > 0 && size <= stream_format::kAttachmentsBytesMax && received.descriptors.size() == 1) {
      absl::StatusOr<std::string> bytes = ReadMemoryFile(received.descriptors[0].get(), size);
      // Without them the guest does not run along, and it is said why.
      if (bytes.ok()) after.attachments = *std::move(bytes);
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (message.has_after_checkpoint()) {
    after_.emplace_back(message.after_checkpoint().ordinal(), std::move(after));
  } else if (message.has_suspend_standby()) {
    ++suspends_;
  } else {
    activating_ = true;
  }
  changed_.notify_all();
}

OrderQueue::After OrderQueue::WaitAfterCheckpoint(uint64_t ordinal) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    while (!after_.empty() && after_.front().first < ordinal) after_.pop_front();
    if (!after_.empty() && after_.front().first == ordinal) break;
    changed_.wait(lock);
  }
  After after = std::move(after_.front().second);
  after_.pop_front();
  return after;
}

OrderQueue::Order OrderQueue::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return activating_ || suspends_ > 0; });
  if (activating_) return Order::kActivate;
  --suspends_;
  return Order::kSuspend;
}

bool OrderQueue::activating() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return activating_;
}

}  // namespace romulus
