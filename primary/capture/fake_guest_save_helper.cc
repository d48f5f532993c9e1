// romulus-save-helper without Xen: the real SaveLoop and SaveSession over a FakeGuest.

#include <signal.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "common/base/monotonic_time.h"
#include "common/process/helper_channel.h"
#include "common/stream/stream_format.h"
#include "primary/capture/fake_guest.h"
#include "primary/save_helper/guest_image.h"
#include "primary/save_helper/save_failure.h"
#include "primary/save_helper/save_loop.h"
#include "primary/save_helper/save_session.h"
#include "primary/save_helper/seeding_pipe.h"
#include "primary/save_helper/staging_memory.h"

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

// Its pages are in memory of this process, as they were when they were last taken.
class FakeGuestImage final : public GuestImage {
 public:
  explicit FakeGuestImage(FakeGuest* guest) : guest_(*guest), memory_(FakeGuest::kPages * stream_format::kPageBytes) {
    frames_.Add(0, FakeGuest::kPages, memory_.data());
  }

  absl::StatusOr<Description> Describe() override { return Description{4, 17, std::string(24, 'c'), ""}; }
  absl::Status Begin() override {
    guest_.tracking = true;
    guest_.dirty = 0;
    return Take(kAll);
  }
  const FrameMap& frames() const override { return frames_; }
  absl::StatusOr<uint64_t> CountDirty() override { return static_cast<uint64_t>(__builtin_popcount(guest_.dirty)); }
  absl::StatusOr<absl::Span<const uint64_t>> LookAtDirty() override { return TakePages(guest_.dirty); }
  absl::StatusOr<absl::Span<const uint64_t>> TakeDirty(bool) override { return TakePages(guest_.dirty.exchange(0)); }
  absl::Status AddTypes(absl::Span<uint64_t>) override { return absl::OkStatus(); }
  absl::Status CheckMemoryMap() override { return absl::OkStatus(); }
  absl::Status PrepareState() override { return absl::OkStatus(); }
  absl::StatusOr<State> ReadState() override {
    State state;
    state.hvm_context = absl::MakeConstSpan(kVcpu, sizeof(kVcpu) - 1);
    state.hvm_params = absl::MakeConstSpan(&kParam, 1);
    return state;
  }
  absl::StatusOr<absl::Span<const char>> ReadAttachments() override {
    return absl::MakeConstSpan(kAttachments, sizeof(kAttachments) - 1);
  }

 private:
  static constexpr uint32_t kAll = (1U << FakeGuest::kPages) - 1;
  static constexpr char kVcpu[] = "vcpu";
  static constexpr char kAttachments[] = "grants and ports";
  static constexpr CheckpointWriter::HvmParam kParam{1, 2};

  absl::StatusOr<absl::Span<const uint64_t>> TakePages(uint32_t pages) {
    bitmap_ = pages;
    if (absl::Status status = Take(pages); !status.ok()) return status;
    return absl::MakeConstSpan(&bitmap_, 1);
  }
  absl::Status Take(uint32_t pages) {
    for (int number = 0; number < FakeGuest::kPages; ++number) {
      if ((pages & 1U << number) == 0) continue;
      const uint64_t value = guest_.pages[number];
      memcpy(memory_.data() + number * stream_format::kPageBytes, &value, sizeof(value));
    }
    return guest_.destroyed ? absl::NotFoundError("the domain is gone") : absl::OkStatus();
  }

  FakeGuest& guest_;
  std::vector<char> memory_;
  FrameMap frames_;
  uint64_t bitmap_ = 0;
};

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
  if (absl::Status alive = suspendable.CheckAlive(); !alive.ok()) return EndWithFailure(agent, FailureFrom(alive));
  SaveSession::Options options;
  options.suspend_timeout = absl::Milliseconds(request.suspend_timeout_ms());
  options.resume_timeout = absl::Milliseconds(request.resume_timeout_ms());
  SaveSession session(agent, suspendable, stop, MonotonicNow, options);
  FakeGuestImage image(&guest);
  absl::StatusOr<SeedingPipe> pipe =
      SeedingPipe::New(std::move(start.descriptors[0]), {agent.descriptor(), stop.descriptor()},
                       [&session] { return session.StopRequested(); });
  constexpr size_t kLimit = size_t{16} << 20;
  absl::StatusOr<StagingMemory> first = StagingMemory::New(std::move(start.descriptors[1]), kLimit);
  absl::StatusOr<StagingMemory> second = StagingMemory::New(std::move(start.descriptors[2]), kLimit);
  ROMULUS_CHECK(pipe.ok() && first.ok() && second.ok());
  SaveLoop(image, session, *std::move(pipe), {*std::move(first), *std::move(second)},
           {request.staging_bytes_max(), request.captured_pages_bytes_max(), request.lockstep()}, MonotonicNow)
      .Run([] {});
  const bool asked = session.StopRequested() && !session.failure().has_value();
  const absl::Status alive = suspendable.CheckAlive();
  RecoverGuest(guest);
  if (asked) return EndWithComplete(agent);
  ROMULUS_CHECK(session.failure().has_value());
  return EndWithFailure(agent, absl::IsNotFound(alive) ? FailureFrom(alive) : *session.failure());
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
