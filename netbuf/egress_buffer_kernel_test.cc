// The egress buffer on a real kernel. Needs root and the modules; enters network namespaces of its own. README.md says
// how to run it in the lab.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/egress_buffer_contract.h"
#include "netbuf/kernel_harness.h"
#include "netbuf/kernel_support.h"
#include "netbuf/simulated_plug_kernel.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kLimit = 1 << 20;

INSTANTIATE_TEST_SUITE_P(Kernel, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<KernelHarness>(); }));

class KernelTest : public ::testing::Test {
 protected:
  void ExpectAttachRepairs(const std::string& half_done) {
    RunShell(half_done);
    std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
    const absl::Status status = buffer->Attach();
    ASSERT_TRUE(status.ok()) << status << " after " << half_done;
    EXPECT_FALSE(buffer->adopted());
    harness_.Send(0, 1, 100);
    EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
    ASSERT_TRUE(buffer->OpenEpoch().ok());
    harness_.Send(0, 2, 100);
    EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
    ASSERT_TRUE(buffer->Detach().ok());
    EXPECT_THAT(harness_.LeftBehind(), IsEmpty()) << half_done;
  }

  KernelHarness harness_;
};

TEST_F(KernelTest, HoldsEveryEtherType) {
  const std::vector<std::string> ether_types = {
      std::string("\x08\x00", 2),                                   // IPv4
      std::string("\x86\xdd", 2),                                   // IPv6
      std::string("\x08\x06", 2),                                   // ARP
      std::string("\x81\x00\x00\x05\x08\x00", 6),                   // VLAN 5, IPv4
      std::string("\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x06", 10),  // 802.1ad, VLAN, ARP
      std::string("\x00\x40", 2),                                   // 802.3, LLC
      std::string("\x88\xcc", 2),                                   // LLDP's type
  };
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  std::vector<uint64_t> all;
  for (size_t i = 0; i < ether_types.size(); ++i) {
    harness_.tap(0).Write(KernelHarness::Frame(0, i, 100, ether_types[i]));
    all.push_back(i);
  }
  EXPECT_EQ(harness_.TakeReceived(0), all) << "pass-through";
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  ASSERT_TRUE(buffer->ReleaseEpoch().ok());
  for (size_t i = 0; i < ether_types.size(); ++i) {
    harness_.tap(0).Write(KernelHarness::Frame(0, i, 100, ether_types[i]));
  }
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  ASSERT_TRUE(buffer->ReleaseEpoch().ok());
  EXPECT_EQ(harness_.TakeReceived(0), all);
  ASSERT_TRUE(buffer->Detach().ok());
}

TEST_F(KernelTest, HoldsJumboFrames) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  ASSERT_TRUE(buffer->Discard().ok());
  harness_.Send(0, 1, 9014);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  ASSERT_TRUE(buffer->ReleaseEpoch().ok());
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  ASSERT_TRUE(buffer->Detach().ok());
}

// A guest's TCP hands over up to 64 KiB at once.
TEST_F(KernelTest, HoldsAGsoPacketAsOne) {
  constexpr int kEthernet = 14, kIp = 20, kTcp = 20, kBytes = 40'000;
  std::string headers = KernelHarness::Frame(0, 0, 64, std::string("\x08\x00", 2)).substr(0, kEthernet);
  const int ip_bytes = kIp + kTcp + kBytes;
  headers += std::string("\x45\x00", 2);
  headers += {static_cast<char>(ip_bytes >> 8), static_cast<char>(ip_bytes)};
  headers += std::string("\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02", 16);
  headers += std::string("\x10\x00\x20\x00\0\0\0\1\0\0\0\1\x50\x10\xff\xff\0\0\0\0", kTcp);
  const std::string payload = KernelHarness::Frame(0, 9, kBytes, "");
  const OffloadHeader gso{.flags = OffloadHeader::kNeedsChecksum,
                          .gso_type = OffloadHeader::kGsoTcp4,
                          .header_bytes = kEthernet + kIp + kTcp,
                          .gso_bytes = 1448,
                          .checksum_start = kEthernet + kIp,
                          .checksum_offset = 16};
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  ASSERT_TRUE(buffer->Discard().ok());
  harness_.tap(0).Write(gso, headers + payload);
  EXPECT_FALSE(harness_.network().Read(100).has_value());
  EgressBuffer::Statistics statistics;
  ASSERT_TRUE(buffer->ReadStatistics(statistics).ok());
  EXPECT_EQ(statistics.held_packets, 1);
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  ASSERT_TRUE(buffer->ReleaseEpoch().ok());
  std::optional<std::string> received = harness_.network().Read(1000);
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->size(), headers.size() + payload.size());
  ASSERT_TRUE(buffer->Detach().ok());
}

TEST_F(KernelTest, LeavesAForeignIngressQdiscAlone) {
  RunShell("tc qdisc add dev vif7.1 clsact");
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  const absl::Status status = buffer->Attach();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vif7.1 has a clsact qdisc"));
  ASSERT_TRUE(buffer->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("clsact")));
}

TEST_F(KernelTest, LeavesAForeignFilterAlone) {
  RunShell("tc qdisc add dev vif7.1 ingress && tc filter add dev vif7.1 ingress matchall action pass");
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  EXPECT_EQ(buffer->Attach().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(buffer->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("ingress")));
  RunShell("tc filter show dev vif7.1 ingress | grep -q pass");
}

TEST_F(KernelTest, UsesAnEmptyIngressQdiscAndLeavesIt) {
  RunShell("tc qdisc add dev vif7.0 ingress");
  std::unique_ptr<EgressBuffer> dead = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(dead->Attach().ok());
  ASSERT_TRUE(dead->OpenEpoch().ok());
  dead.reset();
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  EXPECT_TRUE(buffer->adopted());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  ASSERT_TRUE(buffer->PassThrough().ok());
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  ASSERT_TRUE(buffer->Detach().ok());
  harness_.Send(0, 2, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(2));
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("ingress")));
  RunShell("! tc filter show dev vif7.0 ingress | grep .");
}

TEST_F(KernelTest, DetachLeavesFiltersThatOthersAddedSince) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  RunShell("tc filter add dev vif7.0 ingress prio 7 matchall action pass");
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  ASSERT_TRUE(buffer->PassThrough().ok());
  ASSERT_TRUE(buffer->Detach().ok());
  harness_.Send(0, 2, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1, 2));
  RunShell(
      "tc filter show dev vif7.0 ingress | grep -q 'pref 7 ' && ! tc filter show dev vif7.0 ingress | grep mirred");
}

TEST_F(KernelTest, LeavesAForeignIfbAlone) {
  RunShell("ip link add ifb-d7-1 type ifb");
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  const absl::Status status = buffer->Attach();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ifb-d7-1"));
  ASSERT_TRUE(buffer->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("ifb-d7-1")));
}

// An owner can die after any of Attach's requests.
TEST_F(KernelTest, AttachRepairsAHalfDoneOne) {
  const std::string born = "set -e; ip link add ifb-d7-0 address 02:52:4f:4d:55:4c type ifb;";
  const std::string marked = born + "ip link set ifb-d7-0 alias romulus:p:vif7.0;";
  const std::string plugged = marked + "tc qdisc add dev ifb-d7-0 root plug limit 1000;";
  const std::string up = plugged + "ip link set ifb-d7-0 up;";
  for (const std::string& state : {born, marked, plugged, up}) ExpectAttachRepairs(state);
}

TEST_F(KernelTest, AVifThatWasPluggedInAgainIsNotTakenForTheOldOne) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  harness_.RemoveVif(0);
  TapDevice again("vif7.0");
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kUnavailable);
  buffer.reset();
  std::unique_ptr<EgressBuffer> successor = harness_.NewBuffer("p", kLimit);
  const absl::Status status = successor->Attach();
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(successor->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), SizeIs(0));
}

TEST_F(KernelTest, OpenEpochNoticesThatTheRedirectionIsGone) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  RunShell("tc qdisc del dev vif7.0 ingress");
  const absl::Status status = buffer->OpenEpoch();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vif7.0 is not redirected"));
  ASSERT_TRUE(buffer->Detach().ok());
}

TEST_F(KernelTest, DetachUnmutesAGuestWhoseIfbSomebodyDeleted) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  RunShell("ip link del ifb-d7-0");
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(buffer->Detach().ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

TEST_F(KernelTest, WithoutPrivilegeSaysSo) {
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(100);
    std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
    _exit(static_cast<int>(buffer->Attach().code()));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(absl::StatusCode::kPermissionDenied));
}

TEST_F(KernelTest, TheCheckOfTheKernelFindsAllOfItAndLeavesNothing) {
  for (const KernelRequirement& requirement : CheckKernelSupport()) {
    EXPECT_TRUE(requirement.holds) << requirement.name << ": " << requirement.finding << ": " << requirement.remedy;
  }
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// The guest keeps sending while its buffer comes and goes.
TEST_F(KernelTest, AttachAndDetachUnderTrafficLoseAndReorderNothing) {
  std::atomic<bool> stop = false;
  uint64_t sent = 0;
  std::vector<uint64_t> received;
  std::atomic<size_t> received_count = 0;
  std::thread sender([&] {
    while (!stop) {
      // The network's tap has room for 1000.
      if (sent < received_count + 500) harness_.Send(0, ++sent, 100);
      std::this_thread::yield();
    }
  });
  std::thread receiver([&] {
    // Ends a second after the last frame.
    while (std::optional<std::string> frame = harness_.network().Read(1000)) {
      int vif = 0;
      uint64_t id = 0;
      if (KernelHarness::Parse(*frame, &vif, &id)) received.push_back(id);
      received_count = received.size();
    }
  });
  for (int i = 0; i < 50; ++i) {
    std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", 64 << 20);
    EXPECT_TRUE(buffer->Attach().ok());
    EXPECT_TRUE(buffer->Detach().ok());
  }
  stop = true;
  sender.join();
  receiver.join();
  size_t reordered = 0;
  for (size_t i = 1; i < received.size(); ++i) reordered += received[i] < received[i - 1];
  printf("%lu frames, %zu reordered\n", sent, reordered);
  EXPECT_GT(sent, 100);
  EXPECT_EQ(received.size(), sent);
  EXPECT_EQ(reordered, 0);
}

// Returns how many of the frames sent to the guest of vif 0 were lost while its buffer came and went.
size_t LostOnTheWayToTheGuest(KernelHarness& harness) {
  // The vif's tap has room for 500. What is lost stays outstanding: the sender stops at that many.
  constexpr uint64_t kOutstandingMax = 200;
  std::atomic<bool> stop = false;
  uint64_t sent = 0;
  std::atomic<uint64_t> received = 0;
  std::thread sender([&] {
    const std::string type("\x88\xb5", 2);
    while (!stop) {
      if (sent < received + kOutstandingMax) harness.network().Write(KernelHarness::Frame(0, ++sent, 100, type));
      std::this_thread::yield();
    }
  });
  std::thread receiver([&] {
    while (std::optional<std::string> frame = harness.tap(0).Read(1000)) {
      int vif = 0;
      uint64_t id = 0;
      received += KernelHarness::Parse(*frame, &vif, &id);
    }
  });
  for (int i = 0; i < 50; ++i) {
    std::unique_ptr<EgressBuffer> buffer = harness.NewBuffer("p", 64 << 20);
    EXPECT_TRUE(buffer->Attach().ok());
    EXPECT_TRUE(buffer->Detach().ok());
  }
  stop = true;
  sender.join();
  receiver.join();
  EXPECT_GT(sent, kOutstandingMax);
  return sent - received;
}

TEST_F(KernelTest, WithAnIngressQdiscInPlaceNothingIsLostOnTheWayToTheGuest) {
  RunShell("tc qdisc add dev vif7.0 ingress");
  EXPECT_EQ(LostOnTheWayToTheGuest(harness_), 0);
}

// Not a check of ours: a kernel that loses nothing here makes the preparation above needless.
TEST_F(KernelTest, WithoutOneTheKernelDrops) {
  printf("%zu frames to the guest lost in 50 times\n", LostOnTheWayToTheGuest(harness_));
}

// The simulation is exact if nobody can tell it from the kernel.
TEST_F(KernelTest, RandomCommandsDoWhatTheyDoInTheSimulation) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::vector<Vif> vif = {harness_.vifs()[0]};
  std::vector<uint64_t> expected;
  SimulatedPlugKernel simulated(
      [&](const std::string&, const SimulatedPacket& packet) { expected.push_back(packet.id); });
  simulated.AddVif(vif[0].name);
  PlugKernel& kernel = *harness_.kernel();
  constexpr uint32_t kSmallLimit = 2000;
  ASSERT_TRUE(simulated.Install(vif[0], "p", kSmallLimit).ok());
  ASSERT_TRUE(kernel.Install(vif[0], "p", kSmallLimit).ok());
  std::string story;
  uint64_t id = 0;
  for (int step = 0; step < 300; ++step) {
    const int choice = random() % 12;
    if (choice < 6) {
      const uint32_t bytes = 64 + random() % 400;
      story += " send" + std::to_string(++id) + "/" + std::to_string(bytes);
      simulated.Enqueue(vif[0].name, {id, bytes});
      harness_.Send(0, id, bytes);
    } else if (choice < 11) {
      const PlugCommand command = choice < 8    ? PlugCommand::kBuffer
                                  : choice < 10 ? PlugCommand::kReleaseOne
                                                : PlugCommand::kReleaseIndefinite;
      story += choice < 8 ? " buffer" : choice < 10 ? " release-one" : " release-indefinite";
      ASSERT_TRUE(simulated.Command(vif, command).ok());
      ASSERT_TRUE(kernel.Command(vif, command).ok());
    } else if (random() % 3 == 0) {
      story += " discard";
      ASSERT_TRUE(simulated.Discard(vif[0], kSmallLimit).ok());
      ASSERT_TRUE(kernel.Discard(vif[0], kSmallLimit).ok());
    }
    ASSERT_EQ(harness_.TakeReceived(0), expected) << story;
    expected.clear();
    ASSERT_EQ(kernel.Read(vif[0])->held_packets, simulated.Read(vif[0])->held_packets) << story;
    ASSERT_EQ(kernel.Read(vif[0])->held_bytes, simulated.Read(vif[0])->held_bytes) << story;
    ASSERT_EQ(kernel.Read(vif[0])->dropped_packets, simulated.Read(vif[0])->dropped_packets) << story;
  }
  ASSERT_TRUE(kernel.Remove(vif[0], "p", PlugKernel::Held::kDrop).ok());
}

// Not a check: what an epoch costs here.
TEST_F(KernelTest, CostOfAnEpoch) {
  constexpr int kEpochs = 1000;
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kEpochs; ++i) {
    ASSERT_TRUE(buffer->OpenEpoch().ok());
    ASSERT_TRUE(buffer->ReleaseEpoch().ok());
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  printf("OpenEpoch and ReleaseEpoch on two vifs: %.0f us\n", took.count() / kEpochs);
  ASSERT_TRUE(buffer->Detach().ok());
}

}  // namespace
}  // namespace romulus
