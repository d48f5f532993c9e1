#include "common/devices/backend_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

namespace action = backend_action;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr DeviceKey kVif{DeviceKind::kVif, 7, 0};
constexpr DeviceKey kVbd{DeviceKind::kVbd, 7, 51712};
constexpr DeviceKey kDisk{DeviceKind::kQdisk, 7, 51728};
constexpr DeviceKey kDisk2{DeviceKind::kQdisk, 7, 51744};

DeviceSnapshot Seen(const DeviceKey& device, int state, int online, DeviceOwner owner = DeviceOwner::kOurs) {
  DeviceSnapshot seen;
  seen.device = device;
  seen.exists = true;
  seen.state = ParseXenbusState(absl::StrCat(state));
  seen.online = online == 1;
  seen.frontend_fits = true;
  seen.owner = owner;
  return seen;
}

DeviceSnapshot Gone(const DeviceKey& device) {
  DeviceSnapshot seen;
  seen.device = device;
  return seen;
}

DeviceSnapshot WithStatus(DeviceSnapshot seen, const std::string& status, const std::string& error = "") {
  seen.hotplug_status = status;
  seen.hotplug_error = error;
  return seen;
}

// What was asked for, without the log's lines: "run 1 vif/7/0 online".
std::vector<std::string> Effects(const BackendActions& actions) {
  std::vector<std::string> effects;
  for (const action::Action& each : actions) {
    std::visit(
        [&](const auto& todo) {
          using Todo = std::decay_t<decltype(todo)>;
          if constexpr (std::is_same_v<Todo, action::RunScript>) {
            effects.push_back(absl::StrCat("run ", todo.run, " ", FormatDevice(todo.device),
                                           todo.online ? " online" : " offline", todo.again ? " again" : ""));
          } else if constexpr (std::is_same_v<Todo, action::EndScript>) {
            effects.push_back(absl::StrCat("end ", todo.run));
          } else if constexpr (std::is_same_v<Todo, action::RemovePath>) {
            effects.push_back(absl::StrCat("remove ", FormatDevice(todo.device)));
          } else if constexpr (std::is_same_v<Todo, action::StartQemu>) {
            effects.push_back(absl::StrCat("start qemu ", todo.domid));
          } else if constexpr (std::is_same_v<Todo, action::EndQemu>) {
            effects.push_back(absl::StrCat("end qemu ", todo.domid));
          } else if constexpr (std::is_same_v<Todo, action::CleanGuest>) {
            effects.push_back(absl::StrCat("clean ", todo.domid));
          }
        },
        each);
  }
  return effects;
}

class BackendTrackerTest : public testing::Test {
 protected:
  ~BackendTrackerTest() override { tracker_.CheckInvariants(); }

  std::vector<std::string> Observe(const DeviceSnapshot& seen, bool at_start = false) {
    return Checked(tracker_.Observe(seen, at_start, now_));
  }
  std::vector<std::string> Ended(uint64_t run, const DeviceSnapshot& seen, absl::Status result = absl::OkStatus()) {
    return Checked(tracker_.ScriptEnded(run, result, seen, now_));
  }
  std::vector<std::string> Checked(const BackendActions& actions) {
    tracker_.CheckInvariants();
    return Effects(actions);
  }
  // Lets time pass until the next deadline.
  std::vector<std::string> Wait() {
    now_ = tracker_.next_deadline().value();
    return Checked(tracker_.Tick(now_));
  }
  BackendView View(const DeviceKey& device) {
    for (const BackendView& view : tracker_.List()) {
      if (view.seen.device == device) return view;
    }
    ADD_FAILURE() << FormatDevice(device) << " is not tracked";
    return {};
  }
  // A vif whose script (run 1) has connected it.
  void ConnectVif() {
    Observe(Seen(kVif, 2, 1));
    Ended(1, WithStatus(Seen(kVif, 2, 1), "connected"));
    ASSERT_EQ(View(kVif).phase, DevicePhase::kConnected);
  }

  absl::Duration now_ = absl::Seconds(1000);
  BackendTracker tracker_;
};

// ---- the table ----

TEST_F(BackendTrackerTest, AnUnknownClosedDeviceIsSkipped) {
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), IsEmpty());
  EXPECT_THAT(Observe(Seen(kVif, 6, 1)), IsEmpty());
  EXPECT_EQ(tracker_.device_count(), 0u);
  EXPECT_EQ(tracker_.guest_count(), 0u);
}

TEST_F(BackendTrackerTest, AnUnknownDeviceIsAddedOnceItsDriverWaits) {
  EXPECT_THAT(Observe(Seen(kVif, 1, 1)), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kWaiting);
  EXPECT_THAT(Observe(Seen(kVif, 2, 1)), ElementsAre("run 1 vif/7/0 online"));
  EXPECT_EQ(View(kVif).outcome, ScriptOutcome::kRunning);
  EXPECT_THAT(Ended(1, WithStatus(Seen(kVif, 2, 1), "connected")), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
  EXPECT_EQ(View(kVif).outcome, ScriptOutcome::kOk);
  EXPECT_FALSE(tracker_.next_deadline().has_value());
}

TEST_F(BackendTrackerTest, WithoutOnlineNothingIsDone) {
  DeviceSnapshot seen = Seen(kVif, 2, 1);
  seen.online.reset();
  EXPECT_THAT(Observe(seen), IsEmpty());
  EXPECT_EQ(tracker_.device_count(), 0u);
  ConnectVif();
  seen.state = XenbusState::kClosed;
  EXPECT_THAT(Observe(seen), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
}

TEST_F(BackendTrackerTest, AKnownClosedDeviceThatIsOnlineStays) {  // The first listener removed it.
  ConnectVif();
  EXPECT_THAT(Observe(Seen(kVif, 6, 1)), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
  EXPECT_THAT(Observe(Seen(kVif, 2, 1)), IsEmpty());
}

TEST_F(BackendTrackerTest, AKnownClosedDeviceThatIsOfflineIsRemovedWithItsGuest) {
  ConnectVif();
  EXPECT_THAT(Observe(Seen(kVif, 4, 1)), IsEmpty());
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre("run 2 vif/7/0 offline"));
  EXPECT_THAT(Ended(2, Seen(kVif, 6, 0)), ElementsAre("remove vif/7/0"));
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("clean 7"));
  EXPECT_EQ(tracker_.device_count(), 0u);
  EXPECT_EQ(tracker_.guest_count(), 0u);
}

TEST_F(BackendTrackerTest, OtherStatesOfAKnownDeviceChangeNothing) {
  ConnectVif();
  for (const int state : {2, 3, 4, 5, 7, 8}) EXPECT_THAT(Observe(Seen(kVif, state, 1)), IsEmpty()) << state;
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
}

TEST_F(BackendTrackerTest, TheGuestIsCleanedWithItsLastDeviceOnly) {
  ConnectVif();
  Observe(Seen(kVbd, 2, 1));
  Ended(2, WithStatus(Seen(kVbd, 2, 1), "connected"));
  Observe(Seen(kVif, 6, 0));
  Ended(3, Seen(kVif, 6, 0));
  EXPECT_THAT(Observe(Gone(kVif)), IsEmpty());
  Observe(Seen(kVbd, 6, 0));
  EXPECT_THAT(Ended(4, Seen(kVbd, 6, 0)), ElementsAre("remove vbd/7/51712"));
  EXPECT_THAT(Observe(Gone(kVbd)), ElementsAre("clean 7"));
}

// ---- what was there at the start ----

TEST_F(BackendTrackerTest, DevicesConnectedAtTheStartAreTakenDown) {  // The first listener did not know them.
  EXPECT_THAT(Observe(Seen(kVif, 4, 1), /*at_start=*/true), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre("run 1 vif/7/0 offline"));
  EXPECT_THAT(Ended(1, Seen(kVif, 6, 0)), ElementsAre("remove vif/7/0"));
}

TEST_F(BackendTrackerTest, DevicesWhoseScriptHasRunAreNotConnectedAgainAtTheStart) {
  EXPECT_THAT(Observe(WithStatus(Seen(kVif, 2, 1), "connected"), /*at_start=*/true), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
}

TEST_F(BackendTrackerTest, DevicesThatWereClosedMeanwhileAreTakenDownAtTheStart) {
  EXPECT_THAT(Observe(Seen(kVbd, 6, 0), /*at_start=*/true), ElementsAre("run 1 vbd/7/51712 offline"));
}

TEST_F(BackendTrackerTest, DevicesThatWaitAtTheStartAreConnected) {
  EXPECT_THAT(Observe(WithStatus(Seen(kVif, 2, 1), ""), /*at_start=*/true), ElementsAre("run 1 vif/7/0 online"));
}

// ---- failures ----

TEST_F(BackendTrackerTest, AFailedScriptIsReportedVerbatimAndTriedAgainWithGrowingPauses) {
  EXPECT_THAT(Observe(Seen(kVbd, 2, 1)), ElementsAre("run 1 vbd/7/51712 online"));
  const DeviceSnapshot failed = WithStatus(Seen(kVbd, 2, 1), "error", "/dev/loop7 is in use");
  EXPECT_THAT(Ended(1, failed, absl::InternalError("block exited with 1")), IsEmpty());
  EXPECT_EQ(View(kVbd).phase, DevicePhase::kRetrying);
  EXPECT_EQ(View(kVbd).outcome, ScriptOutcome::kFailed);
  EXPECT_EQ(View(kVbd).outcome_text, "block exited with 1: /dev/loop7 is in use");
  const absl::Duration failed_at = now_;
  EXPECT_THAT(Wait(), ElementsAre("run 2 vbd/7/51712 online again"));
  const absl::Duration first_pause = now_ - failed_at;
  Ended(2, failed, absl::InternalError("block exited with 1"));
  const absl::Duration second_pause = *tracker_.next_deadline() - now_;
  EXPECT_EQ(second_pause, 2 * first_pause);
  EXPECT_THAT(Wait(), ElementsAre("run 3 vbd/7/51712 online again"));
  Ended(3, WithStatus(Seen(kVbd, 2, 1), "connected"));
  EXPECT_EQ(View(kVbd).phase, DevicePhase::kConnected);
  EXPECT_EQ(View(kVbd).outcome_text, "");
}

TEST_F(BackendTrackerTest, AFailedAddIsGivenUpAfterAWhileAndStillTakenDown) {
  uint64_t run = 1;
  Observe(Seen(kVif, 2, 1));
  for (; run < kBackendAttemptsMax; ++run) {
    Ended(run, Seen(kVif, 2, 1), absl::InternalError("no"));
    EXPECT_THAT(Wait(), ElementsAre(absl::StrCat("run ", run + 1, " vif/7/0 online again")));
  }
  EXPECT_THAT(Ended(run, Seen(kVif, 2, 1), absl::InternalError("no")), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kGivenUp);
  EXPECT_EQ(View(kVif).attempts, kBackendAttemptsMax);
  EXPECT_FALSE(tracker_.next_deadline().has_value());
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre(absl::StrCat("run ", run + 1, " vif/7/0 offline")));
}

TEST_F(BackendTrackerTest, AScriptThatEndsWellButSaysErrorHasFailed) {
  Observe(Seen(kVbd, 2, 1));
  Ended(1, WithStatus(Seen(kVbd, 2, 1), "error", "no such image"));
  EXPECT_EQ(View(kVbd).phase, DevicePhase::kRetrying);
  EXPECT_EQ(View(kVbd).outcome_text, "no such image");
}

TEST_F(BackendTrackerTest, AVifsScriptMustSayConnected) {
  Observe(Seen(kVif, 2, 1));
  Ended(1, Seen(kVif, 2, 1));
  EXPECT_EQ(View(kVif).phase, DevicePhase::kRetrying);
  EXPECT_THAT(View(kVif).outcome_text, HasSubstr("not connected"));
}

TEST_F(BackendTrackerTest, ADriverThatDoesNotComeIsReportedAndWaitedForAgain) {
  Observe(Seen(kVif, 1, 1));
  EXPECT_THAT(Wait(), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kRetrying);
  EXPECT_THAT(View(kVif).outcome_text, HasSubstr("Initialising after 10s"));
  Wait();
  EXPECT_EQ(View(kVif).phase, DevicePhase::kWaiting);
  EXPECT_THAT(Observe(Seen(kVif, 2, 1)), ElementsAre("run 1 vif/7/0 online again"));
}

TEST_F(BackendTrackerTest, AFailureToDisconnectDoesNotKeepTheDevice) {
  ConnectVif();
  Observe(Seen(kVif, 6, 0));
  EXPECT_THAT(Ended(2, Seen(kVif, 6, 0), absl::InternalError("killed")), ElementsAre("remove vif/7/0"));
}

TEST_F(BackendTrackerTest, NodesThatCantBeRemovedAreTriedAgainAndGivenUp) {
  ConnectVif();
  Observe(Seen(kVif, 6, 0));
  Ended(2, Seen(kVif, 6, 0));
  int attempts = 1;
  while (tracker_.next_deadline().has_value()) {
    EXPECT_THAT(Observe(Seen(kVif, 6, 0)), IsEmpty());
    attempts += Wait() == std::vector<std::string>{"remove vif/7/0"} ? 1 : 0;
  }
  EXPECT_EQ(attempts, kBackendAttemptsMax);
  EXPECT_EQ(View(kVif).phase, DevicePhase::kGivenUp);
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("clean 7"));
}

// ---- races ----

TEST_F(BackendTrackerTest, ARemovalDuringAnAddEndsTheScriptAndDisconnects) {
  Observe(Seen(kVif, 2, 1));
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre("end 1"));
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), IsEmpty());  // Told once.
  EXPECT_THAT(Ended(1, Seen(kVif, 6, 0), absl::CancelledError("ended")), ElementsAre("run 2 vif/7/0 offline"));
  EXPECT_THAT(Ended(2, Seen(kVif, 6, 0)), ElementsAre("remove vif/7/0"));
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("clean 7"));
}

TEST_F(BackendTrackerTest, ARemovalBeforeTheScriptNeedsNone) {
  Observe(Seen(kVif, 1, 1));
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre("remove vif/7/0"));
}

TEST_F(BackendTrackerTest, ADeviceThatVanishesUnderItsScriptIsForgottenWithIt) {
  Observe(Seen(kVif, 2, 1));
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("end 1"));
  EXPECT_THAT(Ended(1, Gone(kVif), absl::CancelledError("ended")), ElementsAre("remove vif/7/0", "clean 7"));
  EXPECT_EQ(tracker_.device_count(), 0u);
}

TEST_F(BackendTrackerTest, ADeviceMadeAnewUnderTheOldOnesScriptIsAdded) {
  ConnectVif();
  Observe(Seen(kVif, 6, 0));
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("end 2"));
  EXPECT_THAT(Observe(Seen(kVif, 1, 1)), IsEmpty());
  EXPECT_THAT(Ended(2, Seen(kVif, 2, 1)), ElementsAre("run 3 vif/7/0 online"));
}

TEST_F(BackendTrackerTest, ADeviceMadeAnewIsNotRemoved) {
  ConnectVif();
  Observe(Seen(kVif, 6, 0));
  EXPECT_THAT(Ended(2, Seen(kVif, 2, 1)), ElementsAre("run 3 vif/7/0 online"));
}

TEST_F(BackendTrackerTest, ADeviceMadeAnewInThePlaceOfAConnectedOneIsAdded) {
  ConnectVif();
  EXPECT_THAT(Observe(Seen(kVif, 1, 1)), IsEmpty());
  EXPECT_THAT(Observe(Seen(kVif, 2, 1)), ElementsAre("run 2 vif/7/0 online"));
}

TEST_F(BackendTrackerTest, AClosingDeviceGetsTimeToClose) {
  ConnectVif();
  EXPECT_THAT(Observe(Seen(kVif, 5, 0)), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kClosing);
  EXPECT_THAT(Observe(Seen(kVif, 6, 0)), ElementsAre("run 2 vif/7/0 offline"));
}

TEST_F(BackendTrackerTest, ADriverThatDoesNotCloseIsNotWaitedForForEver) {
  ConnectVif();
  Observe(Seen(kVif, 5, 0));
  EXPECT_THAT(Wait(), ElementsAre("run 2 vif/7/0 offline"));
}

// ---- whose ----

TEST_F(BackendTrackerTest, WhatIsNotOursIsOnlyListed) {
  const auto others = [](int state, int online) { return Seen(kVif, state, online, DeviceOwner::kOthers); };
  for (const bool at_start : {true, false}) EXPECT_THAT(Observe(others(2, 1), at_start), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kListed);
  EXPECT_THAT(Observe(others(4, 1)), IsEmpty());
  EXPECT_THAT(Observe(others(6, 0)), IsEmpty());
  EXPECT_FALSE(tracker_.next_deadline().has_value());
  EXPECT_EQ(View(kVif).seen.state, XenbusState::kClosed);
  EXPECT_THAT(Observe(Gone(kVif)), IsEmpty());
  EXPECT_EQ(tracker_.device_count(), 0u);
}

TEST_F(BackendTrackerTest, WhatStopsToBeOursIsLeftAlone) {
  ConnectVif();
  EXPECT_THAT(Observe(Seen(kVif, 6, 0, DeviceOwner::kOthers)), ElementsAre("clean 7"));
  EXPECT_EQ(View(kVif).phase, DevicePhase::kListed);
}

TEST_F(BackendTrackerTest, WhatStopsToBeOursUnderItsScriptIsLeftAlone) {
  Observe(Seen(kVif, 2, 1));
  EXPECT_THAT(Observe(Seen(kVif, 2, 1, DeviceOwner::kOthers)), ElementsAre("end 1", "clean 7"));
  EXPECT_THAT(Ended(1, Seen(kVif, 2, 1, DeviceOwner::kOthers)), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kListed);
}

TEST_F(BackendTrackerTest, AFrontendThatDoesNotFitIsNotTouched) {
  DeviceSnapshot seen = Seen(kVif, 2, 1);
  seen.frontend_fits = false;
  EXPECT_THAT(Observe(seen), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kListed);
  seen.state = XenbusState::kClosed;
  seen.online = false;
  EXPECT_THAT(Observe(seen), IsEmpty());
}

TEST_F(BackendTrackerTest, XlDestroyTakesDownAGuestsDevicesAndWeOnlyWhatItLeaves) {
  const auto guests = [](int state, int online) { return Seen(kVif, state, online, DeviceOwner::kOursToConnect); };
  Observe(guests(4, 1), /*at_start=*/true);
  EXPECT_THAT(Observe(guests(5, 0)), IsEmpty());
  EXPECT_THAT(Observe(guests(6, 0)), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kLeftToToolstack);
  EXPECT_THAT(Wait(), ElementsAre("run 1 vif/7/0 offline"));
  EXPECT_THAT(Ended(1, guests(6, 0)), ElementsAre("remove vif/7/0"));
  EXPECT_THAT(Observe(Gone(kVif)), ElementsAre("clean 7"));
}

// ---- qdisk ----

TEST_F(BackendTrackerTest, OneQemuServesAllDisksOfAGuestAndEndsWithTheLast) {
  EXPECT_THAT(Observe(Seen(kDisk, 1, 1)), ElementsAre("start qemu 7"));
  EXPECT_THAT(Observe(Seen(kDisk2, 1, 1)), IsEmpty());
  EXPECT_THAT(Checked(tracker_.QemuStarted(7, now_)), IsEmpty());
  EXPECT_EQ(View(kDisk).phase, DevicePhase::kConnected);
  EXPECT_EQ(View(kDisk2).phase, DevicePhase::kConnected);
  EXPECT_THAT(Observe(Seen(kDisk, 6, 0)), ElementsAre("remove qdisk/7/51728"));
  EXPECT_THAT(Observe(Gone(kDisk)), IsEmpty());
  EXPECT_THAT(Observe(Seen(kDisk2, 6, 0)), ElementsAre("remove qdisk/7/51744", "end qemu 7"));
  EXPECT_THAT(Observe(Gone(kDisk2)), IsEmpty());
  EXPECT_THAT(Checked(tracker_.QemuEnded(7, "exited", now_)), ElementsAre("clean 7"));
}

TEST_F(BackendTrackerTest, AQdiskThatItsQemuHasNotSeenYetIsNotMadeAnew) {
  Observe(Seen(kDisk, 1, 1));
  Checked(tracker_.QemuStarted(7, now_));
  EXPECT_THAT(tracker_.Observe(Seen(kDisk, 1, 1), false, now_), IsEmpty());
  EXPECT_THAT(tracker_.Observe(Seen(kDisk, 2, 1), false, now_), IsEmpty());
}

TEST_F(BackendTrackerTest, AQemuThatDiesIsStartedAgainAndReported) {
  Observe(Seen(kDisk, 1, 1));
  Checked(tracker_.QemuStarted(7, now_));
  EXPECT_THAT(Checked(tracker_.QemuEnded(7, "killed by signal 11", now_)), IsEmpty());
  EXPECT_EQ(View(kDisk).phase, DevicePhase::kRetrying);
  EXPECT_EQ(View(kDisk).outcome_text, "killed by signal 11");
  EXPECT_THAT(Wait(), ElementsAre("start qemu 7"));
  Checked(tracker_.QemuStarted(7, now_));
  EXPECT_EQ(View(kDisk).phase, DevicePhase::kConnected);
}

TEST_F(BackendTrackerTest, AQemuThatNeverRunsIsGivenUp) {
  Observe(Seen(kDisk, 1, 1));
  int starts = 1;
  for (; starts < 100 && tracker_.next_deadline().has_value(); ++starts) {
    Checked(tracker_.QemuEnded(7, "exited with 1", now_));
    if (!tracker_.next_deadline().has_value()) break;
    EXPECT_THAT(Wait(), ElementsAre("start qemu 7"));
  }
  EXPECT_EQ(starts, kBackendAttemptsMax);
  EXPECT_EQ(View(kDisk).phase, DevicePhase::kGivenUp);
  EXPECT_THAT(Observe(Seen(kDisk, 5, 0)), ElementsAre("remove qdisk/7/51728"));
  EXPECT_THAT(Observe(Gone(kDisk)), ElementsAre("clean 7"));
}

TEST_F(BackendTrackerTest, AQemuThatHangsIsEndedAndStartedAgain) {
  Observe(Seen(kDisk, 1, 1));
  EXPECT_THAT(Wait(), ElementsAre("end qemu 7"));
  EXPECT_THAT(Checked(tracker_.QemuEnded(7, "killed", now_)), IsEmpty());
  EXPECT_THAT(Wait(), ElementsAre("start qemu 7"));
}

TEST_F(BackendTrackerTest, AQemuAtTheStartIsAdoptedOrEndedIfItServesNobody) {
  EXPECT_THAT(Observe(Seen(kDisk, 4, 1), /*at_start=*/true), ElementsAre("start qemu 7"));
  EXPECT_THAT(Checked(tracker_.GuestFound(7, now_)), IsEmpty());
  EXPECT_THAT(Checked(tracker_.GuestFound(8, now_)), ElementsAre("end qemu 8"));
  EXPECT_THAT(Checked(tracker_.QemuEnded(8, "gone", now_)), ElementsAre("clean 8"));
}

// ---- bounds ----

TEST_F(BackendTrackerTest, ThereIsRoomForSoManyDevicesOnly) {
  for (uint32_t id = 0; id < kTrackedBackendsMax; ++id) {
    tracker_.Observe(Seen({DeviceKind::kVif, 9, id}, 4, 1, DeviceOwner::kOthers), true, now_);
  }
  EXPECT_EQ(tracker_.device_count(), kTrackedBackendsMax);
  EXPECT_THAT(Observe(Seen(kVif, 2, 1)), IsEmpty());
  EXPECT_THAT(Observe(Seen(kVbd, 2, 1)), IsEmpty());
  EXPECT_EQ(tracker_.device_count(), kTrackedBackendsMax);
  EXPECT_EQ(tracker_.refused(), 2u);
}

TEST_F(BackendTrackerTest, ErrorsAreKeptUpToALength) {
  Observe(Seen(kVbd, 2, 1));
  Ended(1, WithStatus(Seen(kVbd, 2, 1), "error", std::string(100000, 'x')));
  EXPECT_EQ(View(kVbd).outcome_text.size(), kErrorTextBytesMax);
}

TEST_F(BackendTrackerTest, NonsenseChangesNothing) {
  ConnectVif();
  DeviceSnapshot seen = Seen(kVif, 6, 0);
  seen.state.reset();
  EXPECT_THAT(Observe(seen), IsEmpty());
  EXPECT_EQ(View(kVif).phase, DevicePhase::kConnected);
  EXPECT_EQ(View(kVif).seen.state, XenbusState::kInitWait);
  EXPECT_THAT(Ended(99, Gone(kVif)), IsEmpty());
  EXPECT_THAT(Checked(tracker_.QemuEnded(99, "?", now_)), IsEmpty());
  EXPECT_THAT(Checked(tracker_.QemuStarted(99, now_)), IsEmpty());
}

}  // namespace
}  // namespace romulus
