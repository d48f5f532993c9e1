// romulus-save-helper without Xen: the real SaveSession over a FakeGuest, in a loop that calls it as libxc's does.

#include <errno.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "common/base/monotonic_time.h"
#include "common/process/helper_channel.h"
#include "common/stream/synthetic_stream.h"
#include "primary/capture/fake_guest.h"
#include "primary/save_helper/save_failure.h"
#include "primary/save_helper/save_session.h"

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;

class SuspendableFakeGuest final : public SuspendableGuest {
 public:
  explicit SuspendableFakeGuest(FakeGuest* guest) : guest_(*guest), ticks_(timerfd_create(CLOCK_MONOTONIC, 0)) {
    itimerspec period{};
    period.it_interval.tv_nsec = period.it_value.tv_nsec = 2'000'000;
    ROMULUS_CHECK(timerfd_settime(ticks_.get(), 0, &period, nullptr) == 0);
  }

  absl::StatusOr<SuspendTimes> Suspend(absl::Duration timeout) override {
    if (absl::Status alive = CheckAlive(); !alive.ok()) return alive;
    if (guest_.deaf) {
      absl::SleepFor(timeout);
      return absl::DeadlineExceededError("the guest did not suspend");
    }
    guest_.suspended = true;
    return SuspendTimes{};
  }
  absl::Status Resume() override {
    if (guest_.destroyed) return absl::NotFoundError("the domain is gone");
    guest_.suspended = false;
    return absl::OkStatus();
  }
  absl::Status FinishResume() override { return absl::OkStatus(); }
  int event_descriptor() const override { return ticks_.get(); }
  absl::Status CheckAlive() override {
    if (guest_.destroyed) return absl::NotFoundError("the domain is gone");
    return absl::OkStatus();
  }

 private:
  FakeGuest& guest_;
  const UniqueFd ticks_;
};

// As libxc's save of a stream of checkpoints. The errno that ended it.
int Save(FakeGuest& guest, int io, SaveSession& session) {
  const auto write_all = [io](const std::string& bytes) {
    for (size_t written = 0; written < bytes.size();) {
      const ssize_t part = write(io, bytes.data() + written, bytes.size() - written);
      if (part < 0) return false;
      written += static_cast<size_t>(part);
    }
    return true;
  };
  const auto page = [&guest](int number) {
    const uint64_t value = guest.pages[number];
    return SyntheticStream::Page{static_cast<uint64_t>(number), 0,
                                 std::string(reinterpret_cast<const char*>(&value), sizeof value)};
  };
  guest.tracking = true;
  guest.dirty = 0;
  SyntheticStream live;
  live.Preamble();
  for (int number = 0; number < FakeGuest::kPages; ++number) live.PageData({page(number)});
  if (!write_all(live.bytes())) return errno;
  if (session.Precopy(1, FakeGuest::kPages, 0) != SaveSession::PrecopyDecision::kStopAndCopy) return EINTR;
  while (true) {
    if (!session.Suspend()) return EIO;
    SyntheticStream checkpoint;
    const uint32_t dirty = guest.dirty.exchange(0);
    for (int number = 0; number < FakeGuest::kPages; ++number) {
      if ((dirty & 1U << number) != 0) checkpoint.PageData({page(number)});
    }
    if (!write_all(checkpoint.State("vcpu").EndCheckpoint().bytes())) return errno;
    if (!session.PostCopy() || !session.Checkpoint()) return EIO;
  }
}

void RecoverGuest(FakeGuest& guest) {
  guest.suspended = false;
  guest.tracking = false;
}

int EndWithComplete(HelperEnd& agent) {
  HelperToAgent message;
  message.mutable_complete();
  (void)agent.Send(message);
  return 0;
}

int EndWithFailure(HelperEnd& agent, Failed failed) {
  HelperToAgent message;
  *message.mutable_failed() = std::move(failed);
  (void)agent.Send(message);
  return 1;
}

// As main.cc of the real one.
int RunSave(HelperEnd& agent, StopSignal& stop, HelperEnd::Received start) {
  const helper::v1::StartSave& request = start.message.start_save();
  FakeGuest& guest = *FakeGuest::Open(request.domid(), /*fresh=*/false);
  SuspendableFakeGuest suspendable(&guest);
  if (absl::Status alive = suspendable.CheckAlive(); !alive.ok()) return EndWithFailure(agent, SetupFailure(alive));
  StagingFiles staging(std::move(start.descriptors[0]), std::move(start.descriptors[1]),
                       std::move(start.descriptors[2]));
  SaveSession::Options options;
  options.suspend_timeout = absl::Milliseconds(request.suspend_timeout_ms());
  options.resume_timeout = absl::Milliseconds(request.resume_timeout_ms());
  options.memory_pages = FakeGuest::kPages;
  SaveSession session(agent, suspendable, staging, stop, MonotonicNow, options);
  stop.BreakWritesOf(staging.io_descriptor());
  const int error = Save(guest, staging.io_descriptor(), session);
  stop.BreakWritesOf(-1);
  const bool asked = session.StopRequested() && !session.failure().has_value();
  const absl::Status alive = suspendable.CheckAlive();
  RecoverGuest(guest);
  if (asked) return EndWithComplete(agent);
  return EndWithFailure(agent, session.failure().has_value() ? *session.failure() : SaveFailure(error, "", alive));
}

int Run() {
  signal(SIGPIPE, SIG_IGN);
  const absl::StatusOr<std::unique_ptr<StopSignal>> stop = StopSignal::Install();
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("fake_guest_save_helper");
  if (!agent.ok() || !stop.ok()) return 2;
  absl::StatusOr<HelperEnd::Received> first = agent->Receive(absl::Minutes(1));
  if (first.ok() && first->message.has_start_save()) return RunSave(*agent, **stop, *std::move(first));
  if (first.ok() && first->message.has_recover()) {
    RecoverGuest(*FakeGuest::Open(first->message.recover().domid(), /*fresh=*/false));
    return EndWithComplete(*agent);
  }
  if (first.ok() && first->message.has_stop()) return EndWithComplete(*agent);
  return 3;
}

}  // namespace
}  // namespace romulus

int main() { return romulus::Run(); }
