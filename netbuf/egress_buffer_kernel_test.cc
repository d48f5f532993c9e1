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
#include "netbuf/network_link.h"
#include "netbuf/run_shell.h"
#include "netbuf/simulated_plug_kernel.h"

namespace romulus {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kLimit = 1 << 20;

INSTANTIATE_TEST_SUITE_P(Kernel, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<KernelHarness>(); }));
// The same where the kernel makes no ifb, and the host's free ones are adopted: as many as a buffer needs, and one
// more.
INSTANTIATE_TEST_SUITE_P(KernelWithAPool, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<KernelHarness>(4); }));

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

// Ours, and of everybody who is free to have one: adopted is what none of these is.
TEST(IfbPoolTest, AdoptsOnlyWhatNobodyUses) {
  KernelHarness harness(7);
  RunShell(
      "set -e; tc qdisc add dev ifb0 root plug limit 1000;"  // A script's.
      "ip link set ifb1 up; tc qdisc replace dev ifb1 root noqueue; ip link set ifb2 alias mine; ip link set ifb3 "
      "master bridge;"
      "tc qdisc add dev network ingress; tc filter add dev network ingress u32 match u32 0 0 action mirred egress "
      "redirect dev ifb4");
  {
    auto turn = harness.claims().TakeTurn();
    ASSERT_TRUE(turn.ok());
    ASSERT_TRUE(harness.claims().Record({{"", 9, 0}, "ifb5", ""}).ok());
  }
  std::unique_ptr<EgressBuffer> buffer = harness.NewBufferOf({harness.vifs()[0]}, "p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  EXPECT_THAT(buffer->devices(), ElementsAre("ifb6"));
  std::unique_ptr<EgressBuffer> second = harness.NewBufferOf({harness.vifs()[1]}, "q", kLimit);
  const absl::Status refused = second->Attach();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("no free ifb to adopt for vif7.1"));
  ASSERT_TRUE(second->Detach().ok());
  ASSERT_TRUE(buffer->Detach().ok());
  RunShell(
      "tc qdisc show dev ifb0 | grep -q plug && ip link show ifb1 | grep -q UP && ip link show ifb2 | grep -q mine");
}

TEST(IfbPoolTest, GivesAnAdoptedIfbBackAsItWas) {
  KernelHarness harness(2);
  RunShell("ip link set ifb0 mtu 1400 txqueuelen 77");
  RunShell("ip -o link show ifb0 > /tmp/ifb-before");
  std::unique_ptr<EgressBuffer> buffer = harness.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  RunShell("ip link show ifb0 | grep -q 'UP.*mtu 9000 qdisc plug .*qlen 1000'");
  RunShell("ip link show ifb0 | grep -q 'alias romulus-adopted:7-0:1400:77:p:vif7.0'");
  buffer.reset();
  // By a successor, that knows of it what the mark says.
  ASSERT_TRUE(harness.NewBuffer("p", kLimit)->Detach().ok());
  RunShell("ip -o link show ifb0 | diff /tmp/ifb-before -");
}

// An owner can die after any of its requests.
TEST(IfbPoolTest, AttachRepairsAHalfDoneAdoption) {
  KernelHarness harness(1);
  const std::string marked = "set -e; ip link set ifb0 alias romulus-adopted:7-0:1500:32:p:vif7.0;";
  const std::string plugged = marked + "tc qdisc add dev ifb0 root plug limit 1000;";
  const std::string up = plugged + "ip link set ifb0 up;";
  for (const std::string& half_done : {marked, plugged, up}) {
    RunShell(half_done);
    std::unique_ptr<EgressBuffer> buffer = harness.NewBufferOf({harness.vifs()[0]}, "p", kLimit);
    const absl::Status status = buffer->Attach();
    ASSERT_TRUE(status.ok()) << status << " after " << half_done;
    EXPECT_FALSE(buffer->adopted());
    harness.Send(0, 1, 100);
    EXPECT_THAT(harness.TakeReceived(0), ElementsAre(1));
    ASSERT_TRUE(buffer->Detach().ok());
    EXPECT_THAT(harness.LeftBehind(), IsEmpty()) << half_done;
  }
}

// xl destroy removes all of a domain's nodes, while its vifs' buffers are there.
TEST_F(KernelTest, DetachForADomainThatIsGoneTouchesNoOtherDomainsIfb) {
  const Vif other{"vif7.1", 8, 0};
  std::unique_ptr<EgressBuffer> gone = harness_.NewBufferOf({harness_.vifs()[0]}, "p", kLimit);
  std::unique_ptr<EgressBuffer> living = harness_.NewBufferOf({other}, "q", kLimit);
  ASSERT_TRUE(gone->Attach().ok());
  ASSERT_TRUE(living->Attach().ok());
  ASSERT_TRUE(living->OpenEpoch().ok());
  harness_.claims().RemoveDomain(7);
  harness_.RemoveVif(0);
  for (int times = 0; times < 2; ++times) ASSERT_TRUE(gone->Detach().ok());
  harness_.Send(1, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(1), IsEmpty());
  absl::StatusOr<std::vector<IfbClaim>> claims = harness_.claims().List();
  ASSERT_THAT(*claims, SizeIs(1));
  EXPECT_EQ(claims->front().device, living->devices().front());
  ASSERT_TRUE(living->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// Its ifb was given to another since; the old claim must not lead there.
TEST(IfbPoolTest, DetachLeavesAnIfbAloneThatAnotherHasByNow) {
  KernelHarness harness(1);
  {
    auto turn = harness.claims().TakeTurn();
    ASSERT_TRUE(harness.claims().Record({harness.vifs()[0], "ifb0", "p"}).ok());
  }
  std::unique_ptr<EgressBuffer> other = harness.NewBufferOf({harness.vifs()[1]}, "q", kLimit);
  EXPECT_EQ(other->Attach().code(), absl::StatusCode::kFailedPrecondition) << "claimed, so not free";
  std::unique_ptr<EgressBuffer> first = harness.NewBufferOf({harness.vifs()[0]}, "p", kLimit);
  ASSERT_TRUE(first->Detach().ok()) << "half-done: it had the claim alone";
  ASSERT_TRUE(other->Attach().ok());
  ASSERT_TRUE(other->OpenEpoch().ok());
  harness.Send(1, 1, 100);
  ASSERT_TRUE(first->Detach().ok());
  EXPECT_THAT(harness.TakeReceived(1), IsEmpty());
  ASSERT_TRUE(other->ReleaseEpoch().ok());
  ASSERT_TRUE(other->OpenEpoch().ok());
  ASSERT_TRUE(other->ReleaseEpoch().ok());
  EXPECT_THAT(harness.TakeReceived(1), ElementsAre(1));
  ASSERT_TRUE(other->Detach().ok());
  EXPECT_THAT(harness.LeftBehind(), IsEmpty());
}

TEST_F(KernelTest, RefusesAVifThatSomebodyElseBuffers) {
  RunShell("ip link add ifb0 type ifb");
  {
    auto turn = harness_.claims().TakeTurn();
    ASSERT_TRUE(harness_.claims().Record({{"", 7, 1}, "ifb0", ""}).ok());
  }
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  const absl::Status status = buffer->Attach();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("xenstore-rm /libxl/7/remus/netbuf/1"));
  ASSERT_TRUE(buffer->Detach().ok());
  EXPECT_THAT(*harness_.claims().List(), SizeIs(1)) << "it is not ours to remove";
  RunShell("ip link del ifb0");
  ASSERT_TRUE(buffer->Attach().ok()) << "of a device that is gone nobody has anything";
  ASSERT_TRUE(buffer->Detach().ok());
}

TEST_F(KernelTest, AClaimThatCanNotBeRecordedFailsTheAttachment) {
  harness_.claims().FailRecord(absl::UnavailableError("no xenstored"));
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  EXPECT_EQ(buffer->Attach().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

TEST_F(KernelTest, NobodyElsesTurnIsJumped) {
  auto turn = harness_.claims().TakeTurn();
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  EXPECT_EQ(buffer->Attach().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
  turn->reset();
  ASSERT_TRUE(buffer->Attach().ok());
  EXPECT_FALSE(harness_.claims().in_turn());
  ASSERT_TRUE(buffer->Detach().ok());
}

// What a dead agent left, at whichever point it died: a whole buffer, an unmarked ifb, a claim without a device.
TEST_F(KernelTest, LeftoversOfEveryKindAreFoundAndRemoved) {
  {
    auto turn = harness_.claims().TakeTurn();
    ASSERT_TRUE(harness_.claims().Record({{"vif9.3", 9, 3}, "ifb-d9-3", "dead"}).ok());
    ASSERT_TRUE(harness_.claims().Record({{"", 10, 0}, "ifb9", ""}).ok());
  }
  RunShell("ip link add ifb-d8-2 address 02:52:4f:4d:55:4c type ifb");
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBufferOf({harness_.vifs()[0]}, "dead", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  harness_.Send(0, 1, 100);
  buffer.reset();
  std::shared_ptr<PlugKernel> kernel = *NetlinkPlugKernel::New(&harness_.claims());
  absl::StatusOr<std::vector<PlugKernel::Leftover>> found = kernel->FindLeftovers({"living"});
  ASSERT_TRUE(found.ok()) << found.status();
  std::vector<std::string> devices;
  for (const PlugKernel::Leftover& leftover : *found) {
    devices.push_back(leftover.device);
    EXPECT_TRUE(kernel->Remove(leftover.vif, leftover.protection, PlugKernel::Held::kDrop).ok());
  }
  EXPECT_THAT(devices, ElementsAre("ifb-d7-0", "ifb-d8-2", "ifb-d9-3"));
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty()) << "what was held is dropped, not released";
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre("claim of ifb9 for ")) << "somebody else's";
  EXPECT_THAT(*kernel->FindLeftovers({"living"}), IsEmpty());
}

// A guest muted by a filter whose ifb somebody deleted is found by its claim.
TEST_F(KernelTest, ALeftOverFilterWithoutItsIfbIsFoundByTheClaim) {
  ASSERT_TRUE(harness_.NewBufferOf({harness_.vifs()[0]}, "dead", kLimit)->Attach().ok());
  RunShell("ip link del ifb-d7-0");
  std::shared_ptr<PlugKernel> kernel = *NetlinkPlugKernel::New(&harness_.claims());
  const std::vector<PlugKernel::Leftover> found = *kernel->FindLeftovers({});
  ASSERT_THAT(found, SizeIs(1));
  ASSERT_TRUE(kernel->Remove(found[0].vif, found[0].protection, PlugKernel::Held::kDrop).ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// Of Open vSwitch's, a vif is refused by the same answer; its module is not in the lab.
TEST_F(KernelTest, TellsOfWhatAVifIsAPort) {
  std::unique_ptr<NetlinkSocket> socket = *NetlinkSocket::Open();
  const std::optional<NetworkLink> vif = *FindLink(*socket, "vif7.0");
  EXPECT_EQ(vif->port_kind, "bridge");
  EXPECT_EQ(vif->kind, "tun");
  EXPECT_EQ((*FindLink(*socket, "lo"))->port_kind, "");
}

TEST_F(KernelTest, LeavesASharedFilterBlockAlone) {
  RunShell("tc qdisc add dev vif7.1 ingress_block 9 clsact");
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  const absl::Status status = buffer->Attach();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vif7.1 has filters"));
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

void UsesAndLeaves(KernelHarness& harness, const std::string& qdisc, const std::string& foreign_hook) {
  RunShell("tc qdisc add dev vif7.0 " + qdisc);
  if (!foreign_hook.empty()) RunShell("tc filter add dev vif7.0 " + foreign_hook + " matchall action pass");
  std::unique_ptr<EgressBuffer> dead = harness.NewBuffer("p", kLimit);
  ASSERT_TRUE(dead->Attach().ok());
  ASSERT_TRUE(dead->OpenEpoch().ok());
  dead.reset();
  std::unique_ptr<EgressBuffer> buffer = harness.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  EXPECT_TRUE(buffer->adopted());
  harness.Send(0, 1, 100);
  EXPECT_THAT(harness.TakeReceived(0), IsEmpty());
  ASSERT_TRUE(buffer->PassThrough().ok());
  EXPECT_THAT(harness.TakeReceived(0), ElementsAre(1));
  ASSERT_TRUE(buffer->Detach().ok());
  harness.Send(0, 2, 100);
  EXPECT_THAT(harness.TakeReceived(0), ElementsAre(2));
  EXPECT_THAT(harness.LeftBehind(), ElementsAre(HasSubstr(qdisc)));
  RunShell("! tc filter show dev vif7.0 ingress | grep .");
}

// Of this hook's filters; the other hook is not ours.
TEST_F(KernelTest, UsesAnEmptyClsactQdiscAndLeavesIt) { UsesAndLeaves(harness_, "clsact", "egress"); }

// Of an older host or agent.
TEST_F(KernelTest, UsesAnEmptyIngressQdiscAndLeavesIt) { UsesAndLeaves(harness_, "ingress", ""); }

TEST_F(KernelTest, DetachLeavesFiltersOfTheOtherHook) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBuffer("p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  RunShell("tc filter add dev vif7.0 egress matchall action pass");
  ASSERT_TRUE(buffer->Detach().ok());
  RunShell("tc filter show dev vif7.0 egress | grep -q pass && ! tc filter show dev vif7.0 ingress | grep mirred");
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
  EXPECT_THAT(harness_.LeftBehind(), Each(HasSubstr("ifb-d7-1")));
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
  RunShell("tc qdisc del dev vif7.0 clsact");
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

TEST_F(KernelTest, WithAClsactQdiscInPlaceNothingIsLostOnTheWayToTheGuest) {
  RunShell("tc qdisc add dev vif7.0 clsact");
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
