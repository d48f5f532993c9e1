// romulus-restore-helper without Xen: applies the pages of each whole checkpoint to the memory that
// ROMULUS_FAKE_STANDBY names, until the agent closes the pipe.

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>

#include "common/base/log.h"
#include "common/process/helper_channel.h"
#include "common/stream/stream_format.h"

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
  Restore(int stream, uint64_t* pages) : stream_(stream), pages_(pages) {}

  // Whether the stream ended right after a checkpoint.
  bool Run() {
    if (!Take(kImageHeaderBytes + kDomainHeaderBytes)) return false;
    bool whole = false;
    while (Take(kRecordHeaderBytes)) {
      const uint64_t type = Number(taken_, 0, 4);
      const uint64_t length = Number(taken_, 4, 4);
      whole = false;
      if (!Take((length + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment)) return false;
      if (type == kPageData) {
        const size_t count = Number(taken_, 0, 4);
        for (size_t i = 0; i < count; ++i) {
          pages_[Number(taken_, 8 + 8 * i, 8)] = Number(taken_, 8 + 8 * count + kPageBytes * i, 8);
        }
      }
      whole = type == kCheckpoint;
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
  uint64_t* const pages_;
  std::string taken_;
};

int Run() {
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("fake_restore_helper");
  if (!agent.ok()) return 2;
  absl::StatusOr<HelperEnd::Received> order = agent->Receive(absl::InfiniteDuration());
  if (!order.ok() || !order->message.has_start_restore() || order->descriptors.size() != 1) return 1;
  // As the real one's: its process ends with the agent.
  std::thread([end = agent->descriptor()] {
    pollfd event{end, POLLIN, 0};
    poll(&event, 1, -1);
    _exit(1);
  }).detach();
  const int file = open(getenv("ROMULUS_FAKE_STANDBY"), O_RDWR | O_CLOEXEC);
  void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ROMULUS_CHECK(memory != MAP_FAILED);
  helper::v1::HelperToAgent outcome;
  if (Restore(order->descriptors[0].get(), static_cast<uint64_t*>(memory)).Run()) {
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
