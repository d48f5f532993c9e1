// A guest's frames on an event loop, on a real kernel; and what the detour costs. Needs root and the modules; enters
// network namespaces of its own. README.md says how to run it in the lab.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/loop/event_loop.h"
#include "common/loop/run_until.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/agent_taps.h"
#include "netbuf/guest_taps.h"
#include "netbuf/kernel_harness.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/run_shell.h"

namespace romulus {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EgressBufferContract);

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;
using Mode = VifMode;

constexpr FrameDirection kOut = FrameDirection::kFromGuest;
constexpr FrameDirection kIn = FrameDirection::kToGuest;
constexpr absl::Duration kLimit = absl::Seconds(20);
constexpr char kOwner[] = "protections/p";

uint64_t IdOf(const GuestFrame& frame) {
  int vif = 0;
  uint64_t id = 0;
  return KernelHarness::Parse(frame.contents, &vif, &id) ? id : 0;
}

class GuestTapsTest : public ::testing::Test {
 protected:
  GuestTapsTest()
      : socket_(*NetlinkSocket::Open()),
        loop_(*EventLoop::New()),
        taps_(std::make_unique<GuestTaps>(
            socket_.get(), loop_.get(),
            [this](const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames) {
              batches_.push_back(frames.size());
              for (const GuestFrame& frame : frames) {
                ids_[{vif.device_id, direction}].push_back(IdOf(frame));
                if (!write_back_) continue;
                EXPECT_TRUE(taps_->Write(vif.device_id, direction, frame).ok());
              }
            },
            [this](const Vif&, absl::Status status) { errors_.push_back(std::move(status)); })) {}

  KernelHarness harness_;
  const std::unique_ptr<NetlinkSocket> socket_;
  const std::unique_ptr<EventLoop> loop_;
  std::map<std::pair<uint32_t, FrameDirection>, std::vector<uint64_t>> ids_;
  std::vector<size_t> batches_;
  std::vector<absl::Status> errors_;
  bool write_back_ = false;
  std::unique_ptr<GuestTaps> taps_;
};

TEST_F(GuestTapsTest, FramesComeInOrderAndNotTooManyAtOnce) {
  for (const Vif& vif : harness_.vifs()) ASSERT_TRUE(taps_->Add(vif, kOwner, Mode::kDivert).ok());
  constexpr uint64_t kFrames = 3 * GuestTaps::kFramesPerTurn;
  std::vector<uint64_t> expected;
  for (uint64_t id = 1; id <= kFrames; ++id) {
    expected.push_back(id);
    harness_.Send(0, id, 60);
  }
  harness_.Send(1, 7, 60);
  EXPECT_TRUE(RunUntil(
      loop_.get(),
      [&] {
        return ids_[{0, kOut}].size() == kFrames && !ids_[{1, kOut}].empty();
      },
      kLimit));
  EXPECT_EQ((ids_[{0, kOut}]), expected);
  EXPECT_THAT((ids_[{1, kOut}]), ElementsAre(7));
  EXPECT_THAT(batches_, testing::Each(Le(GuestTaps::kFramesPerTurn)));
}

TEST_F(GuestTapsTest, DrainDeliversWhatIsThereWithoutTheLoop) {
  ASSERT_TRUE(taps_->Add(harness_.vifs()[0], kOwner, Mode::kDivert).ok());
  for (uint64_t id = 1; id <= 200; ++id) harness_.Send(0, id, 60);
  taps_->Drain(0, kOut);
  EXPECT_EQ((ids_[{0, kOut}].size()), 200u);
  taps_->Drain(0, kIn);
  EXPECT_THAT((ids_[{0, kIn}]), IsEmpty());
}

TEST_F(GuestTapsTest, RemovingDrainedLosesAndReordersNothingThatTheKernelHas) {
  write_back_ = true;
  std::vector<uint64_t> sent;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(taps_->Add(harness_.vifs()[0], kOwner, Mode::kDivert).ok());
    for (int frames = 0; frames < 90; ++frames) {
      sent.push_back(sent.size() + 1);
      harness_.Send(0, sent.back(), 100);
    }
    ASSERT_TRUE(taps_->Remove(0, GuestTaps::Held::kDrain).ok());
  }
  EXPECT_EQ(harness_.TakeReceived(0), sent);
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
  EXPECT_TRUE(taps_->Remove(0, GuestTaps::Held::kDrain).ok()) << "it is gone";
}

TEST_F(GuestTapsTest, RemovingAVifThatIsGoneIsFine) {
  ASSERT_TRUE(taps_->Add(harness_.vifs()[0], kOwner, Mode::kIsolate).ok());
  harness_.RemoveVif(0);
  EXPECT_TRUE(taps_->Remove(0, GuestTaps::Held::kDrain).ok());
  EXPECT_EQ(taps_->CheckInPlace(0).code(), absl::StatusCode::kNotFound);
}

TEST_F(GuestTapsTest, ATapThatSomebodyRemovedIsSaidOnce) {
  ASSERT_TRUE(taps_->Add(harness_.vifs()[0], kOwner, Mode::kDivert).ok());
  RunShell("ip link del tap-d7-0o");
  EXPECT_TRUE(RunUntil(
      loop_.get(), [&] { return !errors_.empty(); }, kLimit));
  EXPECT_FALSE(RunUntil(
      loop_.get(), [&] { return errors_.size() > 1; }, absl::Milliseconds(100)));
  EXPECT_EQ(errors_[0].code(), absl::StatusCode::kUnavailable);
  harness_.Send(0, 1, 60);
  EXPECT_THAT(harness_.TakeReceived(0), IsEmpty());
}

TEST_F(GuestTapsTest, WhatIsNotThereIsSaid) {
  EXPECT_TRUE(*taps_->Exists(harness_.vifs()[0]));
  ASSERT_TRUE(taps_->Add(harness_.vifs()[0], kOwner, Mode::kIsolate).ok());
  EXPECT_EQ(taps_->Write(1, kIn, GuestFrame()).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(taps_->Write(1, kIn, std::string(60, 'x')).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(taps_->ReadDropped(1, kIn).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(taps_->Write(0, kIn, std::string("short")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(taps_->Write(0, kIn, std::string(100'000, 'x')).code(), absl::StatusCode::kInvalidArgument);
  harness_.RemoveVif(0);
  EXPECT_FALSE(*taps_->Exists(harness_.vifs()[0]));
  EXPECT_EQ(taps_->CheckInPlace(0).code(), absl::StatusCode::kUnavailable);
}

TEST_F(GuestTapsTest, OfAnAgentThatDiedItsSuccessorFindsThemAndCanClearThem) {
  AgentTaps agent(loop_.get());
  const absl::StatusOr<AgentTaps::NewFrames> new_frames = agent.Maker();
  ASSERT_TRUE(new_frames.ok()) << new_frames.status();
  std::unique_ptr<VifFrames> frames = (*new_frames)([](const Vif&, FrameDirection, std::vector<GuestFrame>) {},
                                                    [](const Vif&, absl::Status status) { FAIL() << status; });
  ASSERT_TRUE(frames->Add(harness_.vifs()[0], kOwner, Mode::kDivert).ok());
  EXPECT_THAT(*agent.FindLeftovers({}), IsEmpty()) << "it lives";
  frames.reset();
  EXPECT_THAT(*agent.FindLeftovers({kOwner}), IsEmpty()) << "its protection lives";
  const absl::StatusOr<std::vector<GuestTap::Leftover>> leftovers = agent.FindLeftovers({});
  ASSERT_TRUE(leftovers.ok()) << leftovers.status();
  ASSERT_EQ(leftovers->size(), 1u);
  EXPECT_EQ(leftovers->front().vif, "vif7.0");
  EXPECT_EQ(leftovers->front().mode, Mode::kDivert);
  ASSERT_TRUE(agent.Clear(leftovers->front()).ok());
  harness_.Send(0, 1, 60);
  EXPECT_THAT(harness_.TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_.LeftBehind(), IsEmpty());
}

// A host in a network namespace of its own, with a veth to this thread's.
class Host {
 public:
  Host(const std::string& port, const std::string& address) {
    std::thread([&] {
      EXPECT_EQ(unshare(CLONE_NEWNET), 0);
      namespace_.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      RunShell("set -e; ip link set lo up; ip link add eth0 type veth peer name " + port + " netns " +
               std::to_string(getpid()) + "; ip addr add " + address + "/24 dev eth0; ip link set eth0 up");
    }).join();
    RunShell("ip link set " + port + " master bridge up");
  }
  std::thread Run(std::function<void()> work) const {
    return std::thread([this, work = std::move(work)] {
      EXPECT_EQ(setns(namespace_.get(), CLONE_NEWNET), 0);
      work();
    });
  }

 private:
  UniqueFd namespace_;
};

struct Figures {
  double round_trip_us = 0;
  double out_mb_per_s = 0;  // From the guest.
  double in_mb_per_s = 0;
};

constexpr size_t kStreamBytes = 24 << 20;
constexpr int kRoundTrips = 300;

UniqueFd Socket() {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  const int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  return socket;
}

void SendAll(int fd, size_t bytes) {
  const std::string piece(64 << 10, 'x');
  for (size_t sent = 0; sent < bytes;) {
    const ssize_t length = send(fd, piece.data(), std::min(piece.size(), bytes - sent), 0);
    ASSERT_GT(length, 0);
    sent += length;
  }
}

void ReceiveAll(int fd, size_t bytes) {
  std::string piece(256 << 10, '\0');
  for (size_t received = 0; received < bytes;) {
    const ssize_t length = recv(fd, piece.data(), std::min(piece.size(), bytes - received), 0);
    ASSERT_GT(length, 0);
    received += length;
  }
}

// Between guest and client, while `serve` runs on this thread.
Figures Measure(const Host& guest, const Host& client, const std::function<void(std::atomic<bool>&)>& serve) {
  Figures figures;
  std::atomic<bool> listening = false, done = false;
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7000)};
  inet_pton(AF_INET, "10.9.0.2", &address.sin_addr);
  std::thread server = guest.Run([&] {
    UniqueFd listener = Socket();
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
    listening = true;
    UniqueFd socket(accept(listener.get(), nullptr, nullptr));
    const int on = 1;
    setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (int i = 0; i < kRoundTrips; ++i) {
      ReceiveAll(socket.get(), 1);
      SendAll(socket.get(), 1);
    }
    SendAll(socket.get(), kStreamBytes);
    ReceiveAll(socket.get(), kStreamBytes);
    SendAll(socket.get(), 1);
  });
  std::thread asker = client.Run([&] {
    using Clock = std::chrono::steady_clock;
    while (!listening) std::this_thread::yield();
    UniqueFd socket = Socket();
    ASSERT_EQ(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const auto start = Clock::now();
    for (int i = 0; i < kRoundTrips; ++i) {
      SendAll(socket.get(), 1);
      ReceiveAll(socket.get(), 1);
    }
    const auto asked = Clock::now();
    ReceiveAll(socket.get(), kStreamBytes);
    const auto received = Clock::now();
    SendAll(socket.get(), kStreamBytes);
    ReceiveAll(socket.get(), 1);
    const auto sent = Clock::now();
    const auto seconds = [](auto time) { return std::chrono::duration<double>(time).count(); };
    figures = {.round_trip_us = 1e6 * seconds(asked - start) / kRoundTrips,
               .out_mb_per_s = 1e-6 * kStreamBytes / seconds(received - asked),
               .in_mb_per_s = 1e-6 * kStreamBytes / seconds(sent - received)};
    done = true;
  });
  serve(done);
  server.join();
  asker.join();
  return figures;
}

// Not a check of the figures: what the way through this process costs here. Of the bytes it is one: TCP gets all there.
TEST(GuestTapsCost, OfTheDetour) {
  ASSERT_EQ(unshare(CLONE_NEWNET), 0);
  RunShell("modprobe veth; ip link add bridge type bridge mcast_snooping 0 && ip link set bridge up");
  const Host guest("vif7.0", "10.9.0.2"), client("wire", "10.9.0.1");
  const std::unique_ptr<NetlinkSocket> socket = *NetlinkSocket::Open();
  const std::unique_ptr<EventLoop> loop = *EventLoop::New();
  const auto print = [](const char* what, const Figures& figures) {
    printf("%s: round trip %.0f us, %.1f MB/s from the guest, %.1f MB/s to it\n", what, figures.round_trip_us,
           figures.out_mb_per_s, figures.in_mb_per_s);
  };
  print("direct", Measure(guest, client, [](std::atomic<bool>&) {}));
  {
    size_t frames = 0, bytes = 0;
    GuestTaps* writer = nullptr;
    GuestTaps taps(
        socket.get(), loop.get(),
        [&](const Vif& vif, FrameDirection direction, std::vector<GuestFrame> batch) {
          frames += batch.size();
          for (const GuestFrame& frame : batch) {
            bytes += frame.contents.size();
            EXPECT_TRUE(writer->Write(vif.device_id, direction, frame).ok());
          }
        },
        [](const Vif&, absl::Status status) { FAIL() << status; });
    writer = &taps;
    ASSERT_TRUE(taps.Add({"vif7.0", 7, 0}, kOwner, Mode::kDivert).ok());
    const Figures figures = Measure(guest, client, [&](std::atomic<bool>& done) {
      EXPECT_TRUE(RunUntil(
          loop.get(), [&] { return done.load(); }, absl::Minutes(5)));
    });
    print("through this process", figures);
    printf("  %zu frames of %zu bytes in the mean, %lu dropped\n", frames, bytes / std::max<size_t>(frames, 1),
           *taps.ReadDropped(0, kOut) + *taps.ReadDropped(0, kIn));
    EXPECT_GT(bytes, 2 * kStreamBytes);
    ASSERT_TRUE(taps.Remove(0, GuestTaps::Held::kDrain).ok());
  }
}

}  // namespace
}  // namespace romulus
