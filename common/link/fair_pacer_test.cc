#include "common/link/fair_pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>

namespace romulus {
namespace {

constexpr uint64_t kKib = 1024;
constexpr uint64_t kRate = 100 * kKib * kKib;

// Flows on a virtual clock that send as soon as they may.
class FairPacerTest : public testing::Test {
 protected:
  // `flow` always has another chunk of `bytes`.
  void KeepBusy(FairPacer::FlowId flow, uint64_t bytes) {
    busy_[flow] = bytes;
    pacer_.Request(flow, bytes);
  }
  // The next chunk that goes; the clock goes on to it.
  std::optional<FairPacer::FlowId> Next() {
    const absl::Duration next = pacer_.NextTime();
    if (next == absl::InfiniteDuration()) return std::nullopt;
    now_ = std::max(now_, next);
    const std::optional<FairPacer::FlowId> flow = pacer_.TakeNext(now_);
    EXPECT_TRUE(flow.has_value()) << "NextTime promised one";
    if (flow.has_value() && busy_.count(*flow) > 0) {
      sent_[*flow] += busy_[*flow];
      pacer_.Request(*flow, busy_[*flow]);
    }
    return flow;
  }
  void RunFor(absl::Duration time) {
    const absl::Duration end = now_ + time;
    while (pacer_.NextTime() < end) Next();
    now_ = end;
  }
  double Rate(FairPacer::FlowId flow) { return static_cast<double>(sent_[flow]) / absl::ToDoubleSeconds(now_); }

  FairPacer pacer_;
  absl::Duration now_;
  std::map<FairPacer::FlowId, uint64_t> busy_;
  std::map<FairPacer::FlowId, uint64_t> sent_;
};

TEST_F(FairPacerTest, WithoutLimitsEverythingGoesAtOnce) {
  for (int i = 0; i < 1000; ++i) {
    pacer_.Request(1, 1 << 20);
    EXPECT_EQ(pacer_.TakeNext(now_), 1);
    EXPECT_EQ(pacer_.TakeNext(now_), std::nullopt);
  }
}

TEST_F(FairPacerTest, TheCommonLimitIsKeptAndReached) {
  pacer_.SetLimit(kRate);
  KeepBusy(1, 64 * kKib);
  RunFor(absl::Seconds(10));
  EXPECT_NEAR(Rate(1), kRate, 0.01 * kRate);
}

TEST_F(FairPacerTest, ALateThreadMakesUpForItButAnIdleTimeDoesNot) {
  pacer_.SetLimit(kRate);
  const auto SentWhenAskedEvery = [&](absl::Duration period) {
    uint64_t sent = 0;
    const absl::Duration end = now_ + absl::Seconds(10);
    for (; now_ < end; now_ += period) {
      while (true) {
        pacer_.Request(1, 64 * kKib);
        if (!pacer_.TakeNext(now_).has_value()) break;
        sent += 64 * kKib;
      }
      pacer_.Withdraw(1);
    }
    return static_cast<double>(sent) / 10;
  };
  EXPECT_NEAR(SentWhenAskedEvery(absl::Milliseconds(3)), kRate, 0.01 * kRate);
  // In each second only what 10 ms are worth, and a chunk.
  EXPECT_LT(SentWhenAskedEvery(absl::Seconds(1)), 0.012 * kRate);
}

TEST_F(FairPacerTest, BusyFlowsGetEqualPartsWhateverTheirChunks) {
  pacer_.SetLimit(kRate);
  KeepBusy(1, 16 * kKib);
  KeepBusy(2, 1024 * kKib);
  KeepBusy(3, 100 * kKib);
  RunFor(absl::Seconds(10));
  for (const FairPacer::FlowId flow : {1, 2, 3}) EXPECT_NEAR(Rate(flow), kRate / 3.0, 0.01 * kRate) << flow;
}

TEST_F(FairPacerTest, WhatALimitedFlowMayNotTakeIsTheOthers) {
  pacer_.SetLimit(kRate);
  pacer_.SetFlowLimit(1, kRate / 10);
  KeepBusy(1, 16 * kKib);
  KeepBusy(2, 16 * kKib);
  RunFor(absl::Seconds(10));
  EXPECT_NEAR(Rate(1), 0.1 * kRate, 0.01 * kRate);
  EXPECT_NEAR(Rate(2), 0.9 * kRate, 0.01 * kRate);
}

TEST_F(FairPacerTest, ALimitOfOneFlowAloneIsKept) {
  pacer_.SetFlowLimit(1, kRate);
  KeepBusy(1, 64 * kKib);
  RunFor(absl::Seconds(10));
  EXPECT_NEAR(Rate(1), kRate, 0.01 * kRate);
}

TEST_F(FairPacerTest, AnIdleFlowsFewChunksDoNotWaitForBusyOnes) {
  pacer_.SetLimit(kRate);
  KeepBusy(1, 64 * kKib);
  KeepBusy(2, 64 * kKib);
  // Long enough that a fair share counted from the beginning would let 3 go on alone for seconds, too.
  RunFor(absl::Seconds(10));
  for (int round = 0; round < 5; ++round) {
    int others = 0;
    for (int chunk = 0; chunk < 8; ++chunk) {
      pacer_.Request(3, 64 * kKib);
      while (Next() != 3) ++others;
    }
    EXPECT_LE(others, 2 * 8) << "its checkpoint waits for more than its turns";
    EXPECT_GE(others, 2 * 6) << "it starves the busy ones";
    RunFor(absl::Seconds(1));
  }
}

TEST_F(FairPacerTest, ALimitThatIsLiftedBindsNoMore) {
  pacer_.SetLimit(1);
  pacer_.SetFlowLimit(1, 1);
  pacer_.Request(1, 1 << 20);
  EXPECT_EQ(pacer_.TakeNext(now_), 1);
  pacer_.Request(1, 1 << 20);
  EXPECT_EQ(pacer_.TakeNext(now_ + absl::Hours(1)), std::nullopt);
  pacer_.SetLimit(0);
  pacer_.SetFlowLimit(1, 0);
  EXPECT_EQ(pacer_.TakeNext(now_), 1);
}

TEST_F(FairPacerTest, WhoIsGoneOrDoesNotWantGetsNothing) {
  pacer_.SetLimit(kRate);
  pacer_.Request(1, kKib);
  pacer_.Request(2, kKib);
  pacer_.Request(3, kKib);
  pacer_.Withdraw(1);
  pacer_.RemoveFlow(2);
  EXPECT_EQ(Next(), 3);
  EXPECT_EQ(Next(), std::nullopt);
}

}  // namespace
}  // namespace romulus
