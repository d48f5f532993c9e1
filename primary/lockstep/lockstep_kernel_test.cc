// The egress buffer of lockstep on a real kernel: the contract that every egress buffer keeps. Needs root and the
// modules; enters network namespaces of its own. netbuf/README.md says how such tests are run in the lab.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/loop/event_loop.h"
#include "common/loop/run_until.h"
#include "gtest/gtest.h"
#include "netbuf/guest_taps.h"
#include "netbuf/kernel_harness.h"
#include "netbuf/netlink_socket.h"
#include "primary/lockstep/lockstep_egress_buffer.h"
#include "primary/lockstep/tap_guest_traffic.h"

namespace romulus::lockstep {
namespace {

class IgnoringObserver : public LockstepEgressBuffer::Observer {
 public:
  void SendSequenceOffset(uint64_t, const packet::SequenceOffset&) override {}
  void OnDifference(const comparison::Difference&) override {}
};

class LockstepKernelHarness : public KernelHarness {
 public:
  LockstepKernelHarness() : socket_(*NetlinkSocket::Open()), loop_(*EventLoop::New()) {}

  std::shared_ptr<PlugKernel> kernel() override { return nullptr; }
  bool held_outlives_owner() const override { return false; }
  bool takes_emulated_cards() const override { return false; }
  std::unique_ptr<EgressBuffer> NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                            uint32_t limit_bytes) override {
    const auto new_frames = [this](VifFrames::OnFrames on_frames, VifFrames::OnError on_error) {
      return std::make_unique<GuestTaps>(socket_.get(), loop_.get(), std::move(on_frames), std::move(on_error));
    };
    return std::make_unique<LockstepEgressBuffer>(
        std::make_shared<TapGuestTraffic>(loop_.get(), new_frames, [](std::vector<TrafficFrame>) {}), &observer_,
        LockstepEgressBuffer::Options{
            .protection = protection, .vifs = std::move(vifs), .limit_bytes = limit_bytes, .now = [this] {
              return loop_->Now();
            }});
  }
  // The agent's loop runs between whatever else happens.
  void Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) override {
    KernelHarness::Send(vif, id, bytes, kind);
    Serve();
  }
  std::vector<uint64_t> TakeReceived(int vif) override {
    Serve();
    return KernelHarness::TakeReceived(vif);
  }

 private:
  void Serve() {
    RunUntil(
        loop_.get(), [] { return false; }, absl::Milliseconds(5));
  }

  const std::unique_ptr<NetlinkSocket> socket_;
  const std::unique_ptr<EventLoop> loop_;
  IgnoringObserver observer_;
};

INSTANTIATE_TEST_SUITE_P(LockstepKernel, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<LockstepKernelHarness>(); }));

}  // namespace
}  // namespace romulus::lockstep
