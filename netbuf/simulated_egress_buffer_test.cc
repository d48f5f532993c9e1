#include "netbuf/simulated_egress_buffer.h"

#include <map>
#include <utility>

#include "netbuf/egress_buffer_contract.h"

namespace romulus {
namespace {

class SimulatedHarness : public EgressBufferHarness {
 public:
  SimulatedHarness() {
    for (const Vif& vif : vifs()) kernel_->AddVif(vif.name);
  }

  std::shared_ptr<PlugKernel> kernel() override { return kernel_; }
  std::unique_ptr<EgressBuffer> NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                            uint32_t limit_bytes) override {
    return std::make_unique<SimulatedEgressBuffer>(
        kernel_, PlugEgressBuffer::Options{.protection = protection, .vifs = vifs, .limit_bytes = limit_bytes});
  }
  void Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) override {
    SimulatedPacket packet{.id = id, .bytes = bytes};
    if (kind == FrameKind::kGso) {
      const uint32_t segments = (bytes - kGsoHeaderBytes + kGsoSegmentBytes - 1) / kGsoSegmentBytes;
      packet.segment_header_bytes = (segments - 1) * kGsoHeaderBytes;
      packet.counts_as = 0;
    }
    kernel_->Enqueue(Name(vif), packet);
  }
  std::vector<uint64_t> TakeReceived(int vif) override { return std::exchange(received_[Name(vif)], {}); }
  void AddVif(int vif) override { kernel_->AddVif(Name(vif)); }
  void RemoveVif(int vif) override { kernel_->RemoveVif(Name(vif)); }
  void TakeLinkDownAndUp(int vif) override { kernel_->plug(Name(vif))->LinkDownAndUp(); }
  std::vector<std::string> LeftBehind() override { return kernel_->installed(); }

 private:
  std::string Name(int vif) { return vif == kEmulated ? emulated().name : vifs()[vif].name; }

  std::map<std::string, std::vector<uint64_t>> received_;
  const std::shared_ptr<SimulatedPlugKernel> kernel_ = std::make_shared<SimulatedPlugKernel>(
      [this](const std::string& vif, const SimulatedPacket& packet) { received_[vif].push_back(packet.id); });
};

INSTANTIATE_TEST_SUITE_P(Simulated, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<SimulatedHarness>(); }));

class FaultTest : public ::testing::Test {
 protected:
  std::vector<uint64_t> received_;
  const std::shared_ptr<SimulatedPlugKernel> kernel_ = std::make_shared<SimulatedPlugKernel>(
      [this](const std::string&, const SimulatedPacket& packet) { received_.push_back(packet.id); });
  SimulatedEgressBuffer buffer_{kernel_, {.protection = "p", .vifs = {{"vif7.0", 7, 0}, {"vif7.1", 7, 1}}}};

  void SetUp() override {
    kernel_->AddVif("vif7.0");
    kernel_->AddVif("vif7.1");
    ASSERT_TRUE(buffer_.Attach().ok());
  }
};

TEST_F(FaultTest, AnEpochOpenedOnOneVifOnlyIsNeverReleased) {
  kernel_->Enqueue("vif7.0", {1, 100});
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  kernel_->Enqueue("vif7.0", {2, 100});
  kernel_->FailOperations(absl::InternalError("no memory"), 1, /*skip=*/1);
  EXPECT_EQ(buffer_.OpenEpoch().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(buffer_.ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(received_, std::vector<uint64_t>({1}));
  EXPECT_TRUE(buffer_.PassThrough().ok());
  EXPECT_EQ(received_, std::vector<uint64_t>({1, 2}));
}

TEST_F(FaultTest, AQueueThatDoesNotDrainFailsTheFirstEpochInsteadOfDelayingEveryAnswer) {
  kernel_->plug("vif7.1")->SetTransmitStopped(true);
  kernel_->Enqueue("vif7.1", {1, 100});
  EXPECT_EQ(buffer_.OpenEpoch().code(), absl::StatusCode::kUnavailable);
  kernel_->plug("vif7.1")->SetTransmitStopped(false);
  ASSERT_TRUE(buffer_.PassThrough().ok());
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  EXPECT_EQ(received_, std::vector<uint64_t>({1}));
}

TEST_F(FaultTest, DetachTellsOfPacketsThatWouldNotLeave) {
  kernel_->plug("vif7.1")->SetTransmitStopped(true);
  kernel_->Enqueue("vif7.1", {1, 100});
  EXPECT_EQ(buffer_.Detach().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(kernel_->installed().empty());
  EXPECT_TRUE(buffer_.Detach().ok());
}

}  // namespace
}  // namespace romulus
