// A guest's frames in user space, on a real kernel. Needs root and the modules; enters network namespaces of its own.
// README.md says how to run it in the lab.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/guest_tap.h"
#include "netbuf/kernel_harness.h"
#include "netbuf/kernel_support.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/run_shell.h"

namespace romulus {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EgressBufferContract);

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Mode = GuestTap::Mode;

constexpr FrameDirection kOut = FrameDirection::kFromGuest;
constexpr FrameDirection kIn = FrameDirection::kToGuest;
constexpr uint32_t kLimit = 1 << 20;
// What goes wrong shows at once; what must not come is waited for that long.
constexpr int kQuietMs = 100;
constexpr size_t kEthernetBytes = 14;

uint64_t IdOf(const std::string& contents) {
  int vif = 0;
  uint64_t id = 0;
  return KernelHarness::Parse(contents, &vif, &id) ? id : 0;
}

std::string ToTheGuest(int vif, uint64_t id) { return KernelHarness::Frame(vif, id, 100, std::string("\x88\xb5", 2)); }

uint16_t OnesComplementSum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

// Of TCP over IPv4 without options.
bool ChecksumsAreRight(const std::string& frame) {
  const std::string ip = frame.substr(kEthernetBytes, 20);
  const std::string tcp = frame.substr(kEthernetBytes + 20);
  std::string pseudo = ip.substr(12, 8);
  pseudo += {0, 6, static_cast<char>(tcp.size() >> 8), static_cast<char>(tcp.size())};
  return OnesComplementSum(ip) == 0xffff && OnesComplementSum(pseudo + tcp) == 0xffff;
}

class GuestTapTest : public ::testing::Test {
 protected:
  GuestTapTest() : socket_(*NetlinkSocket::Open()) {}

  std::unique_ptr<GuestTap> Attach(int vif, Mode mode) {
    absl::StatusOr<std::unique_ptr<GuestTap>> tap = GuestTap::Attach(*socket_, harness_.vifs()[vif], owner_, mode);
    EXPECT_TRUE(tap.ok()) << tap.status();
    return tap.ok() ? *std::move(tap) : nullptr;
  }
  absl::Status AttachStatus(int vif, Mode mode) {
    return GuestTap::Attach(*socket_, harness_.vifs()[vif], owner_, mode).status();
  }
  // All frames that are there.
  static std::vector<GuestFrame> Read(GuestTap& tap, FrameDirection direction) {
    std::vector<GuestFrame> frames;
    while (true) {
      absl::StatusOr<std::optional<GuestFrame>> frame = tap.Read(direction);
      EXPECT_TRUE(frame.ok()) << frame.status();
      if (!frame.ok() || !frame->has_value()) return frames;
      frames.push_back(**std::move(frame));
    }
  }
  static std::vector<uint64_t> Ids(const std::vector<GuestFrame>& frames) {
    std::vector<uint64_t> ids;
    for (const GuestFrame& frame : frames) ids.push_back(IdOf(frame.contents));
    return ids;
  }
  std::vector<uint64_t> TakeReceivedByGuest(int vif) {
    std::vector<uint64_t> ids;
    while (std::optional<std::string> frame = harness_.tap(vif).Read(kQuietMs)) {
      if (const uint64_t id = IdOf(*frame); id != 0) ids.push_back(id);
    }
    return ids;
  }
  // Numbered frames that the network is still to get, written by the guest without pause while `change` runs.
  void SendWhile(const std::function<void()>& change, uint64_t* sent) {
    std::atomic<bool> stop = false;
    std::atomic<uint64_t> count = 0;
    std::thread sender([&] {
      while (!stop && count < 900) {
        harness_.Send(0, count + 1, 100);
        ++count;
        std::this_thread::yield();
      }
    });
    // On a busy machine it may not have begun.
    while (count < 3) std::this_thread::yield();
    change();
    stop = true;
    sender.join();
    *sent = count;
  }

  // Of what a dead agent left.
  std::vector<std::pair<std::string, Mode>> Leftovers(const std::set<std::string>& living = {}) {
    std::vector<std::pair<std::string, Mode>> found;
    const absl::StatusOr<std::vector<GuestTap::Leftover>> leftovers = GuestTap::FindLeftovers(*socket_, living);
    EXPECT_TRUE(leftovers.ok()) << leftovers.status();
    for (const GuestTap::Leftover& each : *leftovers) {
      found.emplace_back(each.vif, each.mode);
    }
    return found;
  }

  KernelHarness harness_;
  const std::unique_ptr<NetlinkSocket> socket_;
  std::string owner_ = "protections/p";
};

TEST_F(GuestTapTest, DivertHoldsWhatTheGuestSendsAndWritesItBackInOrder) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  for (uint64_t id = 1; id <= 5; ++id) harness_.Send(0, id, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  const std::vector<GuestFrame> frames = Read(*tap, kOut);
  EXPECT_THAT(Ids(frames), ElementsAre(1, 2, 3, 4, 5));
  for (const GuestFrame& frame : frames) ASSERT_TRUE(tap->Write(kOut, frame).ok());
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(Read(*tap, kOut), IsEmpty()) << "what is written back does not come again";
  ASSERT_TRUE(tap->Detach().ok());
}

TEST_F(GuestTapTest, DivertHoldsWhatGoesToTheGuest) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  for (uint64_t id = 1; id <= 3; ++id) harness_.network().Write(ToTheGuest(0, id));
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty());
  const std::vector<GuestFrame> frames = Read(*tap, kIn);
  EXPECT_THAT(Ids(frames), ElementsAre(1, 2, 3));
  EXPECT_THAT(Read(*tap, kOut), IsEmpty());
  for (const GuestFrame& frame : frames) ASSERT_TRUE(tap->Write(kIn, frame).ok());
  EXPECT_THAT(TakeReceivedByGuest(0), ElementsAre(1, 2, 3));
  EXPECT_THAT(Read(*tap, kIn), IsEmpty()) << "what is written to the guest does not come again";
  ASSERT_TRUE(tap->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

TEST_F(GuestTapTest, EveryKindOfFrameComesBackAsItWas) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  uint64_t id = 0;
  for (const FrameKind kind : {FrameKind::kExperimental, FrameKind::kIpv4, FrameKind::kIpv6, FrameKind::kArp,
                               FrameKind::kVlan, FrameKind::kDoubleVlan, FrameKind::kLlc}) {
    harness_.Send(0, ++id, 9000, kind);
    const std::vector<GuestFrame> frames = Read(*tap, kOut);
    ASSERT_EQ(frames.size(), 1u) << id;
    const std::string sent = frames[0].contents;
    EXPECT_EQ(sent.size(), 9000u);
    ASSERT_TRUE(tap->Write(kOut, frames[0]).ok());
    const std::optional<std::string> received = harness_.network().Read(kQuietMs);
    EXPECT_EQ(received, sent) << id;
  }
}

TEST_F(GuestTapTest, IsolateLetsNothingThroughInEitherDirection) {
  std::unique_ptr<GuestTap> standby = Attach(0, Mode::kIsolate);
  harness_.Send(0, 1, 100);
  harness_.Send(1, 2, 100);  // Another guest of the host, to all.
  harness_.network().Write(ToTheGuest(0, 3));
  EXPECT_THAT(Ids(Read(*standby, kOut)), ElementsAre(1));
  EXPECT_THAT(Read(*standby, kIn), IsEmpty());
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty());
  EXPECT_THAT(TakeReceivedByGuest(1), ElementsAre(3)) << "and nothing of the standby's reaches the other guest";
}

TEST_F(GuestTapTest, WhatIsWrittenReachesTheIsolatedGuestAloneAndInOrder) {
  std::unique_ptr<GuestTap> standby = Attach(0, Mode::kIsolate);
  for (uint64_t id = 1; id <= 5; ++id) {
    const std::optional<GuestFrame> frame = ToGuestFrame(ToTheGuest(0, id), standby->mtu());
    ASSERT_TRUE(standby->Write(kIn, *frame).ok());
  }
  EXPECT_THAT(TakeReceivedByGuest(0), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  EXPECT_THAT(TakeReceivedByGuest(1), IsEmpty());
}

TEST_F(GuestTapTest, TranslateTakesBothDirectionsThroughUs) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kIsolate);
  ASSERT_TRUE(tap->SetMode(Mode::kTranslate).ok());
  harness_.Send(0, 1, 100);
  harness_.network().Write(ToTheGuest(0, 2));
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty());
  const std::vector<GuestFrame> out = Read(*tap, kOut), in = Read(*tap, kIn);
  EXPECT_THAT(Ids(out), ElementsAre(1));
  EXPECT_THAT(Ids(in), ElementsAre(2));
  ASSERT_TRUE(tap->Write(kOut, out[0]).ok());
  ASSERT_TRUE(tap->Write(kIn, in[0]).ok());
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(TakeReceivedByGuest(0), ElementsAre(2));
  ASSERT_TRUE(tap->SetMode(Mode::kDirect).ok());
  harness_.Send(0, 3, 100);
  harness_.network().Write(ToTheGuest(0, 4));
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(3));
  EXPECT_THAT(TakeReceivedByGuest(0), ElementsAre(4));
  ASSERT_TRUE(tap->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// Of what the standby sends, from isolation until it is the guest, nothing is lost that the kernel has.
TEST_F(GuestTapTest, TakeoverUnderTrafficLosesNothing) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kIsolate);
  uint64_t sent = 0;
  SendWhile(
      [&] {
        usleep(2000);
        ASSERT_TRUE(tap->SetMode(Mode::kTranslate).ok());
        usleep(2000);
        ASSERT_TRUE(tap->SetMode(Mode::kDirect).ok());
        usleep(2000);
      },
      &sent);
  const std::vector<GuestFrame> held = Read(*tap, kOut);
  std::vector<uint64_t> received = harness_.TakeReceived(0);
  EXPECT_THAT(held, testing::Not(IsEmpty()));
  EXPECT_EQ(held.size() + received.size(), sent);
  for (const GuestFrame& frame : held) ASSERT_TRUE(tap->Write(kOut, frame).ok());
  EXPECT_EQ(harness_.TakeReceived(0).size(), held.size());
  EXPECT_EQ(*tap->ReadDropped(kOut), 0u);
}

TEST_F(GuestTapTest, DivertingAndEndingItUnderTrafficLosesAndReordersNothing) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDirect);
  uint64_t sent = 0;
  SendWhile(
      [&] {
        ASSERT_TRUE(tap->SetMode(Mode::kDivert).ok());
        usleep(2000);
      },
      &sent);
  std::vector<uint64_t> all = harness_.TakeReceived(0);
  for (const uint64_t id : Ids(Read(*tap, kOut))) all.push_back(id);
  EXPECT_EQ(all.size(), sent);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_GT(sent, 2u);
}

TEST_F(GuestTapTest, SegmentsOfTheGuestsTcpAreOneFrameHereAndRightOnTheWire) {
  RunShell("ip link del network");
  TapDevice wire("wire", /*offloads=*/false);
  RunShell("ip link set wire mtu 1500 master bridge up; ip link set vif7.0 mtu 1500");
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  constexpr uint32_t kBytes = 60000;
  harness_.Send(0, 7, kBytes, FrameKind::kGso);
  const std::vector<GuestFrame> frames = Read(*tap, kOut);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].contents.size(), kBytes);
  EXPECT_TRUE(frames[0].checksum_partial());
  EXPECT_EQ(frames[0].offload.gso_type, OffloadHeader::kGsoTcp4);
  ASSERT_TRUE(tap->Write(kOut, frames[0]).ok());
  size_t payload = 0, packets = 0;
  while (std::optional<std::string> packet = wire.Read(kQuietMs)) {
    EXPECT_LE(packet->size(), 1500 + kEthernetBytes);
    EXPECT_TRUE(ChecksumsAreRight(*packet));
    payload += packet->size() - kGsoHeaderBytes;
    ++packets;
  }
  EXPECT_EQ(payload, kBytes - kGsoHeaderBytes);
  EXPECT_GT(packets, 1u);
}

// On the standby's host: contents that came from the primary's, larger than the MTU.
TEST_F(GuestTapTest, ContentsOfALargeSegmentReachTheGuestInPacketsWithRightChecksums) {
  harness_.RemoveVif(0);
  TapDevice guest("vif7.0", /*offloads=*/false);
  RunShell("ip link set vif7.0 mtu 1500 master bridge up");
  std::unique_ptr<GuestTap> primary = Attach(1, Mode::kDivert);
  std::unique_ptr<GuestTap> standby = Attach(0, Mode::kIsolate);
  constexpr uint32_t kBytes = 60000;
  harness_.Send(1, 7, kBytes, FrameKind::kGso);
  std::vector<GuestFrame> frames = Read(*primary, kOut);
  ASSERT_EQ(frames.size(), 1u);
  std::optional<std::string> contents = ToContents(std::move(frames[0]));
  ASSERT_TRUE(contents.has_value());
  EXPECT_TRUE(OnesComplementSum(contents->substr(kEthernetBytes, 20)) != 0);
  const std::optional<GuestFrame> made = ToGuestFrame(*std::move(contents), standby->mtu());
  ASSERT_TRUE(made.has_value());
  ASSERT_TRUE(standby->Write(kIn, *made).ok());
  size_t payload = 0, packets = 0;
  while (std::optional<std::string> packet = guest.Read(kQuietMs)) {
    EXPECT_LE(packet->size(), 1500 + kEthernetBytes);
    EXPECT_TRUE(ChecksumsAreRight(*packet));
    payload += packet->size() - kGsoHeaderBytes;
    ++packets;
  }
  EXPECT_EQ(payload, kBytes - kGsoHeaderBytes);
  EXPECT_GT(packets, 1u);
}

TEST_F(GuestTapTest, WithNobodyToReadTheGuestIsMuteAndTheSuccessorTakesOver) {
  std::unique_ptr<GuestTap> dead = Attach(0, Mode::kDivert);
  harness_.Send(0, 1, 100);
  dead.reset();
  harness_.Send(0, 2, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty()) << "dropped, never let through";
  harness_.network().Write(ToTheGuest(0, 3));
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty()) << "nor does it get what nobody copied";
  EXPECT_THAT(Leftovers(), ElementsAre(Pair("vif7.0", Mode::kDivert)));
  EXPECT_THAT(Leftovers({"protections/q", "protections/p"}), IsEmpty());

  std::unique_ptr<GuestTap> successor = Attach(0, Mode::kDirect);
  EXPECT_TRUE(successor->adopted());
  EXPECT_EQ(successor->mode(), Mode::kDivert) << "it stays held until somebody says otherwise";
  EXPECT_THAT(Leftovers(), IsEmpty());
  harness_.Send(0, 4, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  EXPECT_THAT(Ids(Read(*successor, kOut)), ElementsAre(4));
  ASSERT_TRUE(successor->SetMode(Mode::kDirect).ok());
  harness_.Send(0, 5, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(5));
  ASSERT_TRUE(successor->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

TEST_F(GuestTapTest, NothingSlipsThroughWhileSuccessorsComeAndGo) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  uint64_t sent = 0;
  SendWhile(
      [&] {
        for (int i = 0; i < 10; ++i) {
          tap.reset();
          tap = Attach(0, Mode::kDivert);
        }
      },
      &sent);
  EXPECT_GT(sent, 10u);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
}

TEST_F(GuestTapTest, AnIsolatedGuestStaysSoWithoutItsAgent) {
  Attach(0, Mode::kIsolate).reset();
  harness_.Send(0, 1, 100);
  harness_.network().Write(ToTheGuest(0, 2));
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty());
  std::unique_ptr<GuestTap> successor = Attach(0, Mode::kIsolate);
  EXPECT_TRUE(successor->adopted());
  harness_.network().Write(ToTheGuest(0, 3));
  EXPECT_THAT(TakeReceivedByGuest(0), IsEmpty());
  ASSERT_TRUE(successor->Detach().ok());
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// After each of Attach's requests, and of those of a change of mode.
TEST_F(GuestTapTest, WhateverADeadOneLeftIsRepairedWithoutAGap) {
  for (const char* left :
       {"ingress prio 1", "ingress prio 2", "ingress prio 3", "egress prio 1", "egress prio 3", "egress prio 4"}) {
    Attach(0, Mode::kDivert).reset();
    RunShell("tc filter del dev vif7.0 " + std::string(left));
    std::unique_ptr<GuestTap> successor = Attach(0, Mode::kDivert);
    ASSERT_NE(successor, nullptr) << left;
    EXPECT_TRUE(successor->CheckInPlace().ok()) << left;
    harness_.Send(0, 1, 100);
    EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
    EXPECT_THAT(Ids(Read(*successor, kOut)), ElementsAre(1)) << left;
    ASSERT_TRUE(successor->Detach().ok());
    EXPECT_THAT(harness_.LeftBehind(), IsEmpty()) << left;
  }
}

TEST_F(GuestTapTest, ClearUnmutesAGuestOfADeadAgentOnly) {
  std::unique_ptr<GuestTap> living = Attach(0, Mode::kDivert);
  const absl::Status refused = GuestTap::Clear(*socket_, "vif7.0");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(living->CheckInPlace().ok());
  living.reset();
  ASSERT_TRUE(GuestTap::Clear(*socket_, "vif7.0").ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
  EXPECT_TRUE(GuestTap::Clear(*socket_, "vif7.0").ok());
  EXPECT_TRUE(GuestTap::Clear(*socket_, "vif99.0").ok());
}

TEST_F(GuestTapTest, ClearOfAnOwnerTouchesNobodyElses) {
  Attach(0, Mode::kDivert).reset();
  ASSERT_TRUE(GuestTap::Clear(*socket_, "vif7.0", "protections/another").ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty()) << "still mute";
  ASSERT_TRUE(GuestTap::Clear(*socket_, "vif7.0", owner_).ok());
  harness_.Send(0, 2, 100);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(2));
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
  std::unique_ptr<GuestTap> living = Attach(0, Mode::kDivert);
  EXPECT_TRUE(GuestTap::Clear(*socket_, "vif7.0", owner_).ok());
  EXPECT_TRUE(living->CheckInPlace().ok());
  EXPECT_TRUE(GuestTap::Clear(*socket_, "vif99.0", owner_).ok());
}

TEST_F(GuestTapTest, FiltersOfAnotherProtectionAreNotTakenOver) {
  Attach(0, Mode::kDivert).reset();
  owner_ = "protections/another";
  EXPECT_EQ(AttachStatus(0, Mode::kDirect).code(), absl::StatusCode::kFailedPrecondition);
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
}

// A guest that was taken over runs, and must not wait for its agent.
TEST_F(GuestTapTest, OfALeftoverIsKnownWhetherItsGuestWasTakenOver) {
  std::unique_ptr<GuestTap> standby = Attach(0, Mode::kIsolate);
  std::unique_ptr<GuestTap> active = Attach(1, Mode::kIsolate);
  ASSERT_TRUE(active->SetMode(Mode::kTranslate).ok());
  EXPECT_THAT(Leftovers(), IsEmpty());
  standby.reset();
  active.reset();
  EXPECT_THAT(Leftovers(), ElementsAre(Pair("vif7.0", Mode::kIsolate), Pair("vif7.1", Mode::kTranslate)));
}

TEST_F(GuestTapTest, TwoAgentsDoNotShareAGuest) {
  std::unique_ptr<GuestTap> first = Attach(0, Mode::kDivert);
  EXPECT_EQ(AttachStatus(0, Mode::kDivert).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(first->CheckInPlace().ok());
}

TEST_F(GuestTapTest, WhatNobodyReadsInTimeIsDroppedAndCounted) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  constexpr uint64_t kTooMany = 10;
  for (uint64_t id = 1; id <= FrameTap::kQueueFrames + kTooMany; ++id) harness_.Send(0, id, 60);
  EXPECT_EQ(*tap->ReadDropped(kOut), kTooMany);
  EXPECT_EQ(*tap->ReadDropped(kIn), 0u);
  EXPECT_EQ(Read(*tap, kOut).size(), FrameTap::kQueueFrames);
  for (uint64_t id = 1; id <= FrameTap::kQueueFrames + kTooMany; ++id) harness_.network().Write(ToTheGuest(0, id));
  EXPECT_EQ(*tap->ReadDropped(kIn), kTooMany);
}

// What the host itself would say on a device must not be taken for a guest's words.
TEST_F(GuestTapTest, TheHostIsSilentOnTheTaps) {
  RunShell("echo 0 | tee /proc/sys/net/ipv6/conf/default/disable_ipv6 > /dev/null");
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kIsolate);
  RunShell("! ip -6 addr show dev tap-d7-0o | grep inet6 && ip link show tap-d7-0o | grep -q NOARP");
  usleep(1'500'000);  // Duplicate address detection and router solicitations come within a second.
  EXPECT_THAT(Read(*tap, kOut), IsEmpty());
  EXPECT_THAT(Read(*tap, kIn), IsEmpty());
}

TEST_F(GuestTapTest, AnEmptyIngressQdiscOfAnOlderHostBecomesAClsactAndStays) {
  RunShell("tc qdisc add dev vif7.0 ingress");
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  harness_.Send(0, 1, 100);
  EXPECT_THAT(Ids(Read(*tap, kOut)), ElementsAre(1));
  ASSERT_TRUE(tap->Detach().ok());
  tap.reset();
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("clsact")));
  tap = Attach(0, Mode::kIsolate);
  tap.reset();
  ASSERT_TRUE(GuestTap::Clear(*socket_, "vif7.0").ok());
  EXPECT_THAT(harness_.LeftBehind(), ElementsAre(HasSubstr("clsact"))) << "one that was there is used, and stays";
}

TEST_F(GuestTapTest, LeavesForeignFiltersAlone) {
  RunShell("tc qdisc add dev vif7.0 clsact && tc filter add dev vif7.0 egress prio 9 matchall action pass");
  const absl::Status status = AttachStatus(0, Mode::kDivert);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tc filter show dev vif7.0"));
  RunShell("tc filter show dev vif7.0 egress | grep -q pass; test $(tc filter show dev vif7.0 ingress | wc -l) = 0");
}

TEST_F(GuestTapTest, AGuestHasAnEgressBufferOrTapsNotBoth) {
  std::unique_ptr<EgressBuffer> buffer = harness_.NewBufferOf({harness_.vifs()[0]}, "p", kLimit);
  ASSERT_TRUE(buffer->Attach().ok());
  EXPECT_EQ(AttachStatus(0, Mode::kDivert).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(buffer->OpenEpoch().ok());
  ASSERT_TRUE(buffer->Detach().ok());
  Attach(0, Mode::kDivert).reset();
  const absl::Status status = buffer->Attach();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lockstep session"));
  ASSERT_TRUE(buffer->Detach().ok());
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty()) << "still mute";
}

TEST_F(GuestTapTest, NoticesThatAFilterOrTheVifIsGone) {
  std::unique_ptr<GuestTap> tap = Attach(0, Mode::kDivert);
  EXPECT_TRUE(tap->CheckInPlace().ok());
  RunShell("tc filter del dev vif7.0 ingress prio 2");
  EXPECT_EQ(tap->CheckInPlace().code(), absl::StatusCode::kUnavailable);
  harness_.Send(0, 1, 100);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty()) << "the last filter shuts";
  harness_.RemoveVif(0);
  EXPECT_EQ(tap->CheckInPlace().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(tap->Detach().ok());
}

TEST_F(GuestTapTest, TheCheckOfTheKernelFindsAllOfItAndLeavesNothing) {
  for (const KernelRequirement& requirement : CheckGuestTapSupport()) {
    EXPECT_TRUE(requirement.holds) << requirement.name << ": " << requirement.finding << ": " << requirement.remedy;
  }
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

TEST_F(GuestTapTest, WithoutPrivilegeSaysSo) {
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(100);
    _exit(static_cast<int>(AttachStatus(0, Mode::kDivert).code()));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace romulus
