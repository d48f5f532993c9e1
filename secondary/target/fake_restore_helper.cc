// romulus-restore-helper without Xen: applies the pages of each whole checkpoint to the memory that
// ROMULUS_FAKE_STANDBY names (fake_standby.h), until the agent closes the pipe. In lockstep its guest runs along where
// it is told to; what it runs is the test.

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/process/helper_channel.h"
#include "common/stream/page_runs.h"
#include "common/stream/stream_format.h"
#include "secondary/restore_helper/order_queue.h"
#include "secondary/target/fake_standby.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: reads that format.

uint64_t Number(const std::string& bytes, size_t at, size_t size) {
  uint64_t number = 0;
  memcpy(&number, bytes.data() + at, size);
  return number;
}

class Restore {
 public:
  Restore(int stream, std::atomic<uint64_t>* pages, std::function<bool(uint64_t ordinal)> on_checkpoint)
      : stream_(stream), pages_(pages), on_checkpoint_(std::move(on_checkpoint)) {}

  // Whether the stream ended right after a checkpoint.
  bool Run() {
    if (!Take(kImageHeaderBytes + kDomainHeaderBytes)) return false;
    bool whole = false;
    while (Take(kRecordHeaderBytes)) {
      const uint64_t type = Number(taken_, 0, 4);
      const uint64_t length = Number(taken_, 4, 4);
      whole = false;
      if (!Take((length + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment)) return false;
      if (type == kAttachments) return false;  // libxenguest does not know it.
      if (type == kPageData) {
        const size_t count = Number(taken_, 0, 4);
        for (size_t i = 0; i < count; ++i) {
          pages_[Number(taken_, 8 + 8 * i, 8)] = Number(taken_, 8 + 8 * count + kPageBytes * i, 8);
        }
      }
      whole = type == kCheckpoint;
      if (whole && !on_checkpoint_(++checkpoints_)) return true;
    }
    return whole && taken_.empty();
  }

 private:
  bool Take(size_t count) {
    taken_.clear();
    while (taken_.size() < count) {
      char buffer[4096];
      const ssize_t got = read(stream_, buffer, std::min(sizeof buffer, count - taken_.size()));
      if (got <= 0) return false;
      taken_.append(buffer, static_cast<size_t>(got));
    }
    return true;
  }

  const int stream_;
  std::atomic<uint64_t>* const pages_;
  const std::function<bool(uint64_t)> on_checkpoint_;
  uint64_t checkpoints_ = 0;
  std::string taken_;
};

// As the real one's LockstepRestore, with a guest that is a few words of shared memory.
class Lockstep {
 public:
  Lockstep(HelperEnd& agent, FakeStandby* standby)
      : agent_(agent),
        standby_(*standby),
        orders_(agent, {[this] { Freeze(); }, [this] { Activate(); },
                        [this](bool activating) {
                          if (!activating) standby_.goes = false;
                        }}) {}

  // False: nothing more is to be read.
  bool AfterCheckpoint(uint64_t ordinal) {
    const OrderQueue::After after = orders_.WaitAfterCheckpoint(ordinal);
    ROMULUS_CHECK(ordinal == 1 || after.attachments == "grants and ports");
    if (!after.run || orders_.activating()) return true;
    helper::v1::HelperToAgent message;
    if (standby_.refuses.exchange(false)) {
      message.mutable_lockstep_refused()->set_ordinal(ordinal);
      message.mutable_lockstep_refused()->set_reason("its event channels differ");
      return agent_.Send(message).ok();
    }
    Go();
    message.mutable_standby_running()->set_ordinal(ordinal);
    if (!agent_.Send(message).ok()) return false;
    if (orders_.Wait() == OrderQueue::Order::kActivate) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      running_ = standby_.goes = false;
    }
    std::vector<uint64_t> written;
    const uint64_t dirty = standby_.dirty.exchange(0);
    for (uint64_t page = 0; page < 64; ++page) {
      if ((dirty >> page & 1) != 0) written.push_back(page);
    }
    message.Clear();
    helper::v1::StandbySuspended& suspended = *message.mutable_standby_suspended();
    // In as many messages as there are runs.
    for (const PageRun& run : PageRunsOf(written)) {
      suspended.clear_runs();
      suspended.add_runs()->set_first_gfn(run.first_gfn);
      suspended.mutable_runs(0)->set_count(run.count);
      suspended.set_more(true);
      if (!agent_.Send(message).ok()) return false;
    }
    suspended.clear_runs();
    suspended.set_more(false);
    return agent_.Send(message).ok();
  }

  void Finish() {
    orders_.Wait();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      frozen_ = false;
    }
    Go();
  }

 private:
  void Go() {
    const std::lock_guard<std::mutex> lock(mutex_);
    standby_.goes = !frozen_;
    running_ = true;
  }
  void Activate() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      frozen_ = false;
      if (!running_) return;
      standby_.goes = true;
    }
    helper::v1::HelperToAgent message;
    message.mutable_standby_goes_on();
    ROMULUS_CHECK(agent_.Send(message).ok());
  }
  void Freeze() {
    const std::lock_guard<std::mutex> lock(mutex_);
    frozen_ = true;
    standby_.goes = false;
  }

  HelperEnd& agent_;
  FakeStandby& standby_;
  std::mutex mutex_;
  bool frozen_ = false;
  bool running_ = false;  // Or would but for Freeze.
  OrderQueue orders_;  // Last: its thread uses the others.
};

int Run() {
  // Never destroyed: other threads use it until the process ends.
  absl::StatusOr<HelperEnd>& agent = *new absl::StatusOr<HelperEnd>(HelperEnd::TakeFromAgent("fake_restore_helper"));
  if (!agent.ok()) return 2;
  absl::StatusOr<HelperEnd::Received> order = agent->Receive(absl::InfiniteDuration());
  if (!order.ok() || !order->message.has_start_restore() || order->descriptors.size() != 1) return 1;
  const int file = open(getenv("ROMULUS_FAKE_STANDBY"), O_RDWR | O_CLOEXEC);
  void* const memory = mmap(nullptr, sizeof(FakeStandby), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ROMULUS_CHECK(memory != MAP_FAILED);
  FakeStandby* const standby = static_cast<FakeStandby*>(memory);
  Lockstep* lockstep = nullptr;
  if (order->message.start_restore().lockstep()) {
    lockstep = new Lockstep(*agent, standby);  // Its thread lives as long as the process.
  } else {
    // As the real one's: its process ends with the agent.
    std::thread([end = agent->descriptor()] {
      pollfd event{end, POLLIN, 0};
      poll(&event, 1, -1);
      _exit(1);
    }).detach();
  }
  helper::v1::HelperToAgent outcome;
  Restore restore(order->descriptors[0].get(), standby->pages,
                  [lockstep](uint64_t ordinal) { return lockstep == nullptr || lockstep->AfterCheckpoint(ordinal); });
  if (restore.Run()) {
    if (lockstep != nullptr) lockstep->Finish();
    outcome.mutable_complete()->set_runs(lockstep != nullptr);
    outcome.mutable_complete()->set_store_mfn(1);
  } else {
    outcome.mutable_failed()->set_kind(helper::v1::Failed::LIBXENGUEST);
    outcome.mutable_failed()->set_reason("the stream ended within a checkpoint");
  }
  (void)agent->Send(outcome);
  return outcome.has_complete() ? 0 : 1;
}

}  // namespace
}  // namespace romulus

int main() { _exit(romulus::Run()); }
