#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/loop/run_until.h"
#include "primary/capture/fake_guest.h"
#include "primary/capture/helper_checkpoint_source.h"
#include "primary/checkpoint_source_contract.h"

namespace romulus {
namespace {

// Only against a hang: no test expects time to pass.
constexpr absl::Duration kHang = absl::Seconds(60);
constexpr char kHelper[] = "primary/capture/fake_guest_save_helper";

absl::StatusOr<std::string> ReadBlocking(CheckpointReader& reader) {
  std::string bytes;
  char buffer[1000];
  while (true) {
    const absl::StatusOr<size_t> got = reader.Read(absl::MakeSpan(buffer));
    if (!got.ok()) return got.status();
    if (*got == 0) return bytes;
    bytes.append(buffer, *got);
  }
}

// The real side of the seam but for Xen: HelperCheckpointSource, with a helper process for each source.
class HelperSourceHarness final : public CheckpointSourceHarness {
 public:
  HelperSourceHarness() : loop_(*EventLoop::New()) {
    setenv("ROMULUS_FAKE_GUESTS", testing::TempDir().c_str(), /*overwrite=*/1);
    guest_ = FakeGuest::Open(kDomid, /*fresh=*/true);
  }
  ~HelperSourceHarness() override {
    for (std::thread& reader : readers_) reader.join();
  }

  std::unique_ptr<CheckpointSource> NewSource(bool impatient) override {
    HelperCheckpointSource::Options options;
    options.helper_program = kHelper;
    options.domid = kDomid;
    options.lockstep = true;
    if (impatient) options.suspend_timeout = options.resume_timeout = absl::Milliseconds(100);
    auto source = std::make_unique<HelperCheckpointSource>(*loop_, options);
    latest_ = source.get();
    return source;
  }
  void ReadAll(std::shared_ptr<CheckpointReader> reader,
               std::function<void(absl::StatusOr<std::string>)> done) override {
    readers_.emplace_back([this, reader = std::move(reader), done = std::move(done)]() mutable {
      absl::StatusOr<std::string> bytes = ReadBlocking(*reader);
      reader.reset();
      loop_->Post([done, bytes = std::move(bytes)] { done(bytes); });
    });
  }

  bool RunUntil(const std::function<bool()>& condition) override {
    return romulus::RunUntil(loop_.get(), condition, kHang);
  }
  // Another guest's source comes and goes meanwhile.
  void Settle() override {
    struct Other final : public CheckpointSource::Observer {
      void OnSeeding(std::shared_ptr<CheckpointReader>) override {}
      void OnSeedingProgress(uint64_t, uint64_t) override {}
      void OnSuspended(uint64_t epoch) override { source->PermitResume(epoch); }
      void OnCaptured(CheckpointSource::Captured) override { source->Stop(); }
      void OnEnded(absl::Status) override { ended = true; }
      std::unique_ptr<CheckpointSource> source;
      bool ended = false;
    };
    FakeGuest::Open(kOtherDomid, /*fresh=*/true);
    HelperCheckpointSource::Options options;
    options.helper_program = kHelper;
    options.domid = kOtherDomid;
    Other other;
    other.source = std::make_unique<HelperCheckpointSource>(*loop_, options);
    other.source->Start(&other);
    ROMULUS_CHECK(RunUntil([&] { return other.ended; }));
  }
  bool knows_lockstep() const override { return true; }
  void LetGuestSuspend() override {
    while (!guest_->suspended) std::this_thread::yield();
  }

  void Write(int page, uint64_t value) override { guest_->Write(page, value); }
  bool suspended() override { return guest_->suspended; }
  bool tracking_dirty_pages() override { return guest_->tracking; }
  bool nothing_left() override {
    // Helpers whose source has gone are nobody's children but ours.
    if (guest_->suspended || guest_->tracking) return guest_->destroyed && NoHelper();
    return NoHelper();
  }

  void MakeGuestDeaf() override { guest_->deaf = true; }
  void DestroyDomain() override { guest_->destroyed = true; }
  void KillHelper() override {
    const pid_t pid = latest_->helper_pid();
    if (pid > 0) kill(pid, SIGKILL);
  }

 private:
  static constexpr uint32_t kDomid = 1;
  static constexpr uint32_t kOtherDomid = 2;

  // Of an agent that died; those of a source that has ended are reaped by it.
  static bool NoHelper() {
    siginfo_t info{};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
      if (info.si_pid == 0) return false;
      waitpid(info.si_pid, nullptr, 0);
      info = {};
    }
    return errno == ECHILD;
  }

  const std::unique_ptr<EventLoop> loop_;
  FakeGuest* guest_;
  HelperCheckpointSource* latest_ = nullptr;
  std::vector<std::thread> readers_;
};

INSTANTIATE_TEST_SUITE_P(Helper, CheckpointSourceContract,
                         testing::Values([] { return std::make_unique<HelperSourceHarness>(); }));

}  // namespace
}  // namespace romulus
