#include <memory>
#include <utility>

#include "primary/checkpoint_source_contract.h"
#include "tests/simulation/simulated_source.h"

namespace romulus::simulation {
namespace {

// The simulated side of the seam: a host with a guest on the virtual clock.
class SimulatedSourceHarness final : public CheckpointSourceHarness {
 public:
  SimulatedSourceHarness() { domain_->started = true; }

  std::unique_ptr<CheckpointSource> NewSource(bool) override {
    auto source =
        std::make_unique<SimulatedSource>(&host_, domain_, agent_, &random_, [](uint64_t, const GuestMemory&) {});
    latest_ = source.get();
    return source;
  }
  void ReadAll(std::shared_ptr<CheckpointReader> reader,
               std::function<void(absl::StatusOr<std::string>)> done) override {
    ReadOn(std::move(reader), std::make_shared<std::string>(), std::move(done));
  }

  bool RunUntil(const std::function<bool()>& condition) override { return clock_.RunUntil(condition); }
  void Settle() override {
    // Less than what a suspended guest waits for its permission.
    clock_.RunFor(absl::Milliseconds(500));
  }
  void LetGuestSuspend() override {}  // Agents take no time here.

  void Write(int page, uint64_t value) override {
    domain_->memory.pages[page].words[0] = value;
    domain_->dirty.insert(page);
  }
  bool suspended() override { return domain_->suspended; }
  bool tracking_dirty_pages() override { return domain_->log_dirty; }
  bool nothing_left() override { return host_.helpers == 0; }

  void MakeGuestDeaf() override { host_.failing_suspends = 1; }
  void DestroyDomain() override { host_.Destroy(domain_); }
  void KillHelper() override { latest_->KillHelper(); }
  bool knows_lockstep() const override { return true; }

 private:
  // What there is, and then again, until its end.
  void ReadOn(std::shared_ptr<CheckpointReader> reader, std::shared_ptr<std::string> bytes,
              std::function<void(absl::StatusOr<std::string>)> done) {
    while (dynamic_cast<GrowingReader&>(*reader).Ready(1)) {
      char buffer[1000];
      const absl::StatusOr<size_t> got = reader->Read(absl::MakeSpan(buffer));
      if (!got.ok()) return done(got.status());
      if (*got == 0) return done(*bytes);
      bytes->append(buffer, *got);
    }
    clock_.After(absl::Milliseconds(1), [this, reader, bytes, done] { ReadOn(reader, bytes, done); });
  }

  VirtualClock clock_;
  Random random_{1};
  Host host_{"host", &clock_, nullptr};
  const std::shared_ptr<Domain> domain_ = host_.NewDomain();
  Process agent_{&clock_, host_.gate};
  SimulatedSource* latest_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Simulated, CheckpointSourceContract,
                         testing::Values([] { return std::make_unique<SimulatedSourceHarness>(); }));

}  // namespace
}  // namespace romulus::simulation
