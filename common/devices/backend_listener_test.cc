// The listener as a whole, over a xenstored in memory and with scripts of the test's own.

#include "common/devices/backend_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/devices/agent_mark.h"
#include "common/devices/in_memory_xenstored.h"
#include "common/loop/run_until.h"

namespace romulus {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);
constexpr DeviceKey kVif{DeviceKind::kVif, 7, 0};
constexpr DeviceKey kVbd{DeviceKind::kVbd, 7, 51712};
constexpr DeviceKey kDisk{DeviceKind::kQdisk, 7, 51728};

class BackendListenerTest : public testing::Test {
 protected:
  explicit BackendListenerTest(uint32_t self = 3) : self_(self), store_(self), loop_(*EventLoop::New()) {
    store_.Write("domid", absl::StrCat(self));
    calls_ = absl::StrCat(testing::TempDir(), "/", getpid(), "-", self, "-calls");
    unlink(calls_.c_str());
  }

  // Logs its call; then `body`.
  std::string Script(const std::string& name, const std::string& body) {
    const std::string path = absl::StrCat(testing::TempDir(), "/", getpid(), "-", name);
    std::ofstream(path) << "#!/bin/sh\necho \"$1 $XENBUS_PATH\" >>" << calls_ << "\n" << body << "\n";
    chmod(path.c_str(), 0755);
    return path;
  }
  std::string Calls() {
    std::ifstream file(calls_);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  void Start(BackendScope scope = BackendScope::kAllDomains) {
    BackendListener::Options options;
    options.scope = scope;
    options.qemu = qemu_;
    options.qemu_log_directory = testing::TempDir();
    options.times.retry_first = absl::Milliseconds(50);
    options.times.toolstack_wait = absl::Milliseconds(200);
    options.lost = [this](absl::Status) { lost_ = true; };
    auto listener = BackendListener::Start(*loop_, std::move(options));
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  std::string Path(const DeviceKey& device, const std::string& leaf = "") {
    return absl::StrCat(BackendPath(self_, device), leaf.empty() ? "" : "/", leaf);
  }
  // As a toolstack makes it, its driver being quick.
  void Make(const DeviceKey& device, const std::string& script, int state = 2) {
    store_.Write(Path(device, "frontend"), FrontendPath(device));
    store_.Write(Path(device, "frontend-id"), absl::StrCat(device.domid));
    store_.Write(Path(device, "script"), script);
    store_.Write(Path(device, "hotplug-status"), "");
    store_.Write(Path(device, "online"), "1");
    store_.Write(Path(device, "state"), absl::StrCat(state));
  }
  void Close(const DeviceKey& device) {
    store_.Write(Path(device, "online"), "0");
    store_.Write(Path(device, "state"), "6");
  }
  bool Until(const std::function<bool()>& condition) { return RunUntil(loop_.get(), condition, kLimit); }
  std::optional<BackendView> View(const DeviceKey& device) {
    for (const BackendView& view : listener_->List()) {
      if (view.seen.device == device) return view;
    }
    return std::nullopt;
  }
  bool UntilPhase(const DeviceKey& device, DevicePhase phase) {
    return Until([&] { return View(device).has_value() && View(device)->phase == phase; });
  }
  bool UntilGone(const DeviceKey& device) {
    return Until([&] { return !View(device).has_value() && !store_.Read(Path(device)).has_value(); });
  }

  const uint32_t self_;
  InMemoryXenstored store_;
  const std::unique_ptr<EventLoop> loop_;
  std::string calls_;
  std::string qemu_ = "/nowhere/qemu";
  bool lost_ = false;
  std::unique_ptr<BackendListener> listener_;
};

// The script knows its device by its environment only; it says through xenstore how it went. Here the test does.
TEST_F(BackendListenerTest, ConnectsAndTakesDownAVbd) {
  Start();
  EXPECT_EQ(store_.Read("libxl/disable_udev"), "1");
  Make(kVbd, Script("block", "exit 0"));
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\n");
  store_.Write(Path(kVbd, "state"), "4");
  Close(kVbd);
  ASSERT_TRUE(UntilGone(kVbd));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\nremove backend/vbd/7/51712\n");
  EXPECT_FALSE(store_.Read("backend/vbd").has_value()) << "empty directories are left";
}

TEST_F(BackendListenerTest, TriesAgainAfterHavingUndoneWhatFailed) {
  Start();
  const std::string flag = absl::StrCat(testing::TempDir(), "/", getpid(), "-second");
  unlink(flag.c_str());
  Make(kVbd, Script("moody",
                    absl::StrCat("[ $1 = remove ] && exit 1; [ -e ", flag, " ] && exit 0; touch ", flag, "; exit 1")));
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\nremove backend/vbd/7/51712\nadd backend/vbd/7/51712\n");
}

TEST_F(BackendListenerTest, ReportsTheScriptsOwnWords) {
  Start();
  Make(kVbd, Script("failing", "exit 1"));
  store_.Write(Path(kVbd, "hotplug-status"), "error");
  store_.Write(Path(kVbd, "hotplug-error"), "no such image");
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kRetrying));
  EXPECT_THAT(View(kVbd)->outcome_text, testing::EndsWith("no such image"));
}

TEST_F(BackendListenerTest, ARestartFindsEverything) {
  const std::string script = Script("block", "exit 0");
  Start();
  Make(kVbd, script);
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  store_.Write(Path(kVbd, "state"), "4");
  listener_.reset();
  const DeviceKey late{DeviceKind::kVbd, 7, 51713}, closed{DeviceKind::kVbd, 8, 51712};
  Make(late, script);
  Make(closed, script);
  Close(closed);
  Start();
  EXPECT_EQ(View(kVbd)->phase, DevicePhase::kConnected);
  ASSERT_TRUE(UntilPhase(late, DevicePhase::kConnected));
  ASSERT_TRUE(UntilGone(closed));
  Close(kVbd);
  Close(late);
  ASSERT_TRUE(UntilGone(kVbd));
  ASSERT_TRUE(UntilGone(late));
}

TEST_F(BackendListenerTest, AnEndWhileAScriptRunsLeavesItRunningAndTheNextWaitsForIt) {
  Start();
  const std::string go = absl::StrCat(testing::TempDir(), "/", getpid(), "-go");
  unlink(go.c_str());
  Make(kVbd, Script("slow", absl::StrCat("while [ ! -e ", go, " ]; do sleep 0.05; done; echo done >>", calls_)));
  ASSERT_TRUE(Until([&] { return Calls() == "add backend/vbd/7/51712\n"; }));
  listener_.reset();
  Start();
  EXPECT_EQ(View(kVbd)->phase, DevicePhase::kConnecting);
  // Nothing to wait for but that it does not happen: a second call would have been made by now.
  loop_->After(absl::Milliseconds(300), [&] { std::ofstream{go}; });
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\ndone\nadd backend/vbd/7/51712\ndone\n");
}

TEST_F(BackendListenerTest, NodesTakenAwayUnderAScriptLeaveNothing) {
  Start();
  Make(kVbd, Script("late", "sleep 1000"));
  ASSERT_TRUE(Until([&] { return !Calls().empty(); }));
  store_.Remove(Path(kVbd));
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kAbandoned));
  store_.Write(Path(kVbd, "hotplug-error"), "too late");  // As a script that fails does.
  ASSERT_TRUE(UntilGone(kVbd));
}

TEST_F(BackendListenerTest, LivesThroughNonsense) {
  Start();
  const std::string root = BackendRoot(self_);
  for (const char* below : {"", "/vif", "/vif/7", "/vif/7/0", "/vif/x/0/state", "/vif/7/0/state", "/vif/7/0/online",
                            "/vif/7/0/state/deeper", "/vif/7/0/frontend", "/nonsense", "/vbd/99999999999/1/state"}) {
    for (const std::string& value : {std::string(""), std::string("1"), std::string("6"), std::string("-6"),
                                     std::string("x\0y", 3), std::string(3000, 'z')}) {
      store_.Write(root + below, value);
    }
  }
  Make(kVbd, Script("block", "exit 0"));
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\n");
  store_.Remove(root);
  ASSERT_TRUE(Until([&] { return listener_->List().empty(); }));
}

TEST_F(BackendListenerTest, AFrontendOfAnotherGuestIsNotTouched) {
  Start();
  Make(kVbd, Script("block", "exit 0"), /*state=*/1);
  store_.Write(Path(kVbd, "frontend"), "/local/domain/9/device/vbd/51712");
  store_.Write(Path(kVbd, "state"), "2");
  ASSERT_TRUE(Until([&] { return View(kVbd)->phase == DevicePhase::kListed; }));
  Close(kVbd);
  ASSERT_TRUE(Until([&] { return View(kVbd)->seen.state == XenbusState::kClosed; }));
  EXPECT_EQ(Calls(), "");
  EXPECT_TRUE(store_.Read(Path(kVbd)).has_value());
}

TEST_F(BackendListenerTest, AQdisksQemuIsStartedFoundAgainAndEnded) {
  // Says that it runs as QEMU does: in xenstore. The test does so for it.
  qemu_ = absl::StrCat(testing::TempDir(), "/", getpid(), "-qemu");
  std::ofstream(qemu_) << "#!/bin/sh\nwhile :; do sleep 0.1; done\n";
  chmod(qemu_.c_str(), 0755);
  Start();
  Make(kDisk, "", /*state=*/1);
  ASSERT_TRUE(Until([&] { return store_.Read("libxl/7/qdisk-backend-pid").has_value(); }));
  EXPECT_EQ(View(kDisk)->phase, DevicePhase::kWaiting);
  store_.Write("device-model/7/state", "running");
  ASSERT_TRUE(UntilPhase(kDisk, DevicePhase::kConnected));
  store_.Write(Path(kDisk, "state"), "4");
  const std::string pid = *store_.Read("libxl/7/qdisk-backend-pid");

  listener_.reset();
  ASSERT_EQ(kill(std::stoi(pid), 0), 0) << "it has not outlived its listener";
  Start();
  EXPECT_EQ(View(kDisk)->phase, DevicePhase::kConnected);
  EXPECT_EQ(*store_.Read("libxl/7/qdisk-backend-pid"), pid);
  Close(kDisk);
  ASSERT_TRUE(UntilGone(kDisk));
  ASSERT_TRUE(Until([&] { return !store_.Read("libxl/7").has_value() && !store_.Read("device-model/7").has_value(); }));
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string number, name, state = "Z";
  stat >> number >> name >> state;
  EXPECT_EQ(state, "Z") << "it has not ended with the last disk";
}

TEST_F(BackendListenerTest, AQemuThatCantBeStartedIsReported) {
  Start();
  Make(kDisk, "", /*state=*/1);
  ASSERT_TRUE(UntilPhase(kDisk, DevicePhase::kRetrying));
  EXPECT_THAT(View(kDisk)->outcome_text, testing::HasSubstr("/nowhere/qemu"));
}

TEST_F(BackendListenerTest, ALostXenstoredIsTold) {
  auto store = std::make_unique<InMemoryXenstored>(3);  // Listens in the other one's place.
  store->Write("domid", "3");
  Start();
  store.reset();
  ASSERT_TRUE(Until([&] { return lost_; }));
}

class Dom0ListenerTest : public BackendListenerTest {
 protected:
  Dom0ListenerTest() : BackendListenerTest(0) {}
};

TEST_F(Dom0ListenerTest, ADriverDomainsListenerRefusesDom0) {
  BackendListener::Options options;
  options.scope = BackendScope::kAllDomains;
  const auto listener = BackendListener::Start(*loop_, std::move(options));
  EXPECT_TRUE(absl::IsFailedPrecondition(listener.status())) << listener.status();
}

TEST_F(Dom0ListenerTest, OnlyDevicesOfMarkedDomainsAreTouched) {
  const std::string script = Script("block", "exit 0");
  const DeviceKey ours{DeviceKind::kVbd, 8, 51712};
  store_.Write(AgentMarkPath(8), kMarkStandby);
  Start(BackendScope::kMarkedDomains);
  EXPECT_FALSE(store_.Read("libxl/disable_udev").has_value());
  Make(kVbd, script);
  Make(ours, script);
  ASSERT_TRUE(UntilPhase(ours, DevicePhase::kConnected));
  EXPECT_EQ(View(kVbd)->phase, DevicePhase::kListed);
  Close(kVbd);
  Close(ours);
  ASSERT_TRUE(UntilGone(ours));
  EXPECT_EQ(Calls(), "add backend/vbd/8/51712\nremove backend/vbd/8/51712\n");
  EXPECT_EQ(View(kVbd)->phase, DevicePhase::kListed);
  EXPECT_TRUE(store_.Read(Path(kVbd)).has_value());
}

TEST_F(Dom0ListenerTest, WhatXlDestroyLeavesOfATakenOverGuestIsCleanedUp) {
  store_.Write(AgentMarkPath(7), kMarkStandby);
  Start(BackendScope::kMarkedDomains);
  Make(kVbd, Script("block", "exit 0"));
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kConnected));
  store_.Write(AgentMarkPath(7), kMarkGuest);
  Close(kVbd);
  ASSERT_TRUE(UntilPhase(kVbd, DevicePhase::kLeftToToolstack));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\n");
  ASSERT_TRUE(UntilGone(kVbd));
  EXPECT_EQ(Calls(), "add backend/vbd/7/51712\nremove backend/vbd/7/51712\n");
}

TEST_F(Dom0ListenerTest, AListenerWithoutAScopeOnlyLists) {
  store_.Write(AgentMarkPath(7), kMarkStandby);
  Start(BackendScope::kNone);
  Make(kVbd, Script("block", "exit 0"));
  ASSERT_TRUE(Until([&] { return View(kVbd).has_value() && View(kVbd)->seen.state == XenbusState::kInitWait; }));
  EXPECT_EQ(View(kVbd)->phase, DevicePhase::kListed);
  EXPECT_EQ(Calls(), "");
}

}  // namespace
}  // namespace romulus
