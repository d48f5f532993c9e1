#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_ORDER_QUEUE_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_ORDER_QUEUE_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "common/process/helper_channel.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// What the agent orders a restore in lockstep to do, while the main thread may be anywhere within libxenguest. A thread
// of its own receives; it lives as long as the process.
class OrderQueue {
 public:
  struct Urgent {
    // FreezeStandby came.
    std::function<void()> freeze;
    // ActivateStandby came, and Wait does not say so yet.
    std::function<void()> activate;
    // Stop came, or the agent is gone, or it breaks the protocol; the process ends afterwards, without Complete.
    // `activating`: after ActivateStandby.
    std::function<void(bool activating)> end;
  };
  // Both run on the receiving thread, at once. `agent` lives as long as the process.
  OrderQueue(HelperEnd& agent, Urgent urgent);

  struct After {
    bool run = false;
    std::string attachments;  // Serialized; empty: none came.
  };
  // What was said of checkpoint `ordinal`; waits for it. Of earlier ones nothing is kept.
  After WaitAfterCheckpoint(uint64_t ordinal);

  enum class Order { kSuspend, kActivate };
  // The next SuspendStandby; ActivateStandby, once it has come, is the answer for ever.
  Order Wait();
  bool activating();

 private:
  void Receive(HelperEnd& agent);
  void Take(HelperEnd::Received received);

  const Urgent urgent_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::deque<std::pair<uint64_t, After>> after_;
  int suspends_ = 0;
  bool activating_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_ORDER_QUEUE_H_
