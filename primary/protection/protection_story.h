#ifndef ROMULUS_PRIMARY_PROTECTION_PROTECTION_STORY_H_
#define ROMULUS_PRIMARY_PROTECTION_PROTECTION_STORY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "primary/protection/protection.h"

// For tests of Protection.
namespace romulus::protection {

// An action in one word or two, for stories.
struct Teller {
  std::string operator()(const action::AttachEgress&) { return "attach"; }
  std::string operator()(const action::OpenEpoch& a) { return absl::StrCat("end-epoch-", a.ended_epoch); }
  std::string operator()(const action::ReleaseEpoch& a) { return absl::StrCat("release-", a.epoch); }
  std::string operator()(const action::NoteCommit&) { return ""; }
  std::string operator()(const action::PassThrough&) { return "pass-through"; }
  std::string operator()(const action::DiscardHeld&) { return "discard"; }
  std::string operator()(const action::DetachEgress&) { return "detach"; }
  std::string operator()(const action::PauseGuest&) { return "pause"; }
  std::string operator()(const action::UnpauseGuest&) { return "unpause"; }
  std::string operator()(const action::WriteRecord& a) {
    return absl::StrCat("record(", a.generation, a.ownership_moved ? " moved" : "", a.ended ? " ended)" : ")");
  }
  std::string operator()(const action::OpenLink& a) { return absl::StrCat("open-link(", a.generation, ")"); }
  std::string operator()(const action::CloseLink&) { return "close-link"; }
  std::string operator()(const action::SendStopSession&) { return "send-StopSession"; }
  std::string operator()(const action::SendFenced& a) { return absl::StrCat("send-Fenced(", a.next_generation, ")"); }
  std::string operator()(const action::SendCheckpoint& a) {
    return absl::StrCat("send-checkpoint-", a.epoch, a.after == AfterCheckpoint::kRuns ? "-run" : "",
                        a.tell_when_sent || a.epoch == 1 ? "" : "-untold");
  }
  std::string operator()(const action::CancelTransfer&) { return "cancel-transfer"; }
  std::string operator()(const action::StartSource&) { return "start-source"; }
  std::string operator()(const action::RequestCheckpoint& a) {
    return absl::StrCat("request-", a.epoch, a.with_standby_pages ? "-and-suspend-standby" : "");
  }
  std::string operator()(const action::AddStandbyPages& a) { return absl::StrCat("standby-pages-", a.epoch); }
  std::string operator()(const action::FollowEpoch& a) {
    return a.after == AfterCheckpoint::kRuns ? absl::StrCat("copy-input-", a.epoch) : "";
  }
  std::string operator()(const action::Compare& a) { return absl::StrCat("compare-", a.epoch); }
  std::string operator()(const action::StopComparing&) { return "stop-comparing"; }
  std::string operator()(const action::PermitResume& a) { return absl::StrCat("resume-", a.epoch); }
  std::string operator()(const action::StopSource&) { return "stop-source"; }
  std::string operator()(const action::ArmTimer& a) {
    return absl::StrCat("in ", absl::FormatDuration(a.delay), " ", Name(a.timer));
  }
  std::string operator()(const action::CancelTimer&) { return ""; }
  std::string operator()(const action::Reply& a) {
    return absl::StrCat("reply-", a.request, " ", absl::StatusCodeToString(a.status.code()));
  }
  std::string operator()(const action::Continue&) { return "continue"; }
  static const char* Name(Timer timer) {
    switch (timer) {
      case Timer::kReconnect:
        return "reconnect";
      case Timer::kEpoch:
        return "epoch-over";
      case Timer::kBoundary:
        return "copied";
      case Timer::kCommit:
        return "commit-overdue";
      case Timer::kStandby:
        return "standby-overdue";
      case Timer::kStop:
        return "stop-overdue";
      case Timer::kEnforce:
        return "enforce";
    }
    return "";
  }
};

inline absl::Duration At(int64_t milliseconds) { return absl::Milliseconds(milliseconds); }

// Plays a story: each event answers with what is done and the state it leads to.
class Story : public testing::Test {
 protected:
  std::string On(const event::Event& event) {
    std::vector<std::string> told;
    for (const action::Action& action : core->Step(event)) {
      std::string word = std::visit(Teller{}, action);
      if (!word.empty()) told.push_back(word);
    }
    return absl::StrCat(absl::StrJoin(told, ", "), " => ", core->state_name());
  }
  void Begin(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Config config;
    config.loss_policy = policy;
    core.emplace(config);
  }
  // Up to the given point of a first session.
  void Connecting(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Begin(policy);
    On(event::Start{1, 1});
    On(event::EgressAttached{false});
  }
  void Seeding(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Connecting(policy);
    On(event::SessionAccepted{});
    On(event::SeedingBegun{});
  }
  void Replicating1(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Seeding(policy);
    On(event::Suspended{1, At(1000)});
    On(event::Captured{1});
  }
  void Running2(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Replicating1(policy);
    On(event::Commit{1, At(1010)});
  }
  void Replicating2(LossPolicy policy = LossPolicy::kRunUnprotected) {
    Running2(policy);
    On(event::TimerFired{Timer::kEpoch});
    On(event::Suspended{2, At(1100)});
    On(event::Captured{2});
  }
  // Lost with the policy holding, its source ended.
  void Holding(LossPolicy policy = LossPolicy::kHoldOutput) {
    Replicating2(policy);
    On(event::LinkClosed{absl::UnavailableError("silent")});
    On(event::SourceEnded{});
  }
  Protection::Phase phase() const { return core->snapshot().phase; }

  std::optional<Protection> core;
};

}  // namespace romulus::protection

#endif  // ROMULUS_PRIMARY_PROTECTION_PROTECTION_STORY_H_
