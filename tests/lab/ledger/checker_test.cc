#include "tests/lab/ledger/checker.h"

#include <gtest/gtest.h>

#include <vector>

namespace romulus::lab {
namespace {

constexpr uint64_t kClient = 77;
constexpr uint64_t kTcp = 1;
constexpr uint64_t kUdp = 2;

std::vector<HistoryEntry> HonestHistory(uint64_t length, uint64_t first_request = 1000) {
  std::vector<HistoryEntry> history;
  uint64_t chain = 0;
  for (uint64_t counter = 1; counter <= length; ++counter) {
    uint64_t request = first_request + counter;
    chain = NextChain(chain, counter, kClient, request);
    history.push_back({counter, kClient, request, chain});
  }
  return history;
}

LedgerChecker ThatReceivedAll(const std::vector<HistoryEntry>& answers) {
  LedgerChecker checker;
  for (const HistoryEntry& answer : answers) checker.Received(kTcp, /*ordered=*/true, answer);
  return checker;
}

TEST(LedgerCheckerTest, AnHonestServiceKeptItsWord) {
  auto history = HonestHistory(100);
  LedgerVerdict verdict = ThatReceivedAll(history).Verify(history);
  EXPECT_TRUE(verdict.kept_its_word()) << verdict.first_problem;
  EXPECT_EQ(verdict.answers, 100u);
}

TEST(LedgerCheckerTest, AnswersThatNobodyReceivedMayBeInTheHistory) {
  auto history = HonestHistory(100);
  LedgerChecker checker;
  checker.Received(kTcp, true, history[3]);
  checker.Received(kTcp, true, history[90]);
  EXPECT_TRUE(checker.Verify(history).kept_its_word());
}

TEST(LedgerCheckerTest, AHistoryThatEndsBeforeAReceivedAnswerForgotIt) {
  auto history = HonestHistory(100);
  LedgerChecker checker = ThatReceivedAll(history);
  history.resize(97);
  LedgerVerdict verdict = checker.Verify(history);
  EXPECT_EQ(verdict.forgotten, 3u);
  EXPECT_EQ(verdict.contradicted, 0u);
  EXPECT_FALSE(verdict.kept_its_word());
}

TEST(LedgerCheckerTest, AnEmptyHistoryForgotEverything) {
  EXPECT_EQ(ThatReceivedAll(HonestHistory(5)).Verify({}).forgotten, 5u);
}

// What a client sees of a host that released output before the checkpoint was safe: the guest falls back and gives
// the same numbers to other questions.
TEST(LedgerCheckerTest, AServiceThatFellBackAndWentOnForgotAndContradicted) {
  auto before = HonestHistory(100);
  LedgerChecker checker = ThatReceivedAll(before);
  std::vector<HistoryEntry> after(before.begin(), before.begin() + 90);
  for (uint64_t counter = 91; counter <= 150; ++counter) {
    uint64_t request = 5000 + counter;
    after.push_back({counter, kClient, request, NextChain(after.back().chain, counter, kClient, request)});
  }
  LedgerVerdict verdict = checker.Verify(after);
  EXPECT_EQ(verdict.forgotten, 10u);
  EXPECT_EQ(verdict.contradicted, 10u);
  EXPECT_EQ(verdict.broken_chain, 0u);
}

TEST(LedgerCheckerTest, TwoAnswersWithOneCounterContradict) {
  auto history = HonestHistory(10);
  LedgerChecker checker;
  checker.Received(kUdp, false, history[4]);
  HistoryEntry other = history[4];
  other.request_id = 1;
  checker.Received(kUdp, false, other);
  LedgerVerdict verdict = checker.Verify(history);
  EXPECT_EQ(verdict.contradicted, 1u);
  EXPECT_EQ(verdict.forgotten, 1u);
}

TEST(LedgerCheckerTest, ADuplicatedDatagramIsNoContradiction) {
  auto history = HonestHistory(10);
  LedgerChecker checker;
  checker.Received(kUdp, false, history[4]);
  checker.Received(kUdp, false, history[4]);
  EXPECT_TRUE(checker.Verify(history).kept_its_word());
}

TEST(LedgerCheckerTest, ACounterThatGoesBackOnOneConnectionContradicts) {
  auto history = HonestHistory(10);
  LedgerChecker checker;
  checker.Received(kTcp, true, history[5]);
  checker.Received(kTcp, true, history[4]);
  EXPECT_EQ(checker.Verify(history).contradicted, 1u);
}

TEST(LedgerCheckerTest, DatagramsMayOvertakeEachOther) {
  auto history = HonestHistory(10);
  LedgerChecker checker;
  checker.Received(kUdp, false, history[5]);
  checker.Received(kUdp, false, history[4]);
  EXPECT_TRUE(checker.Verify(history).kept_its_word());
}

TEST(LedgerCheckerTest, AnotherChainValueForTheSameQuestionIsACorruptedPast) {
  auto history = HonestHistory(10);
  LedgerChecker checker = ThatReceivedAll(history);
  history[9].chain ^= 1;
  LedgerVerdict verdict = checker.Verify(history);
  EXPECT_EQ(verdict.contradicted, 1u);
  EXPECT_EQ(verdict.broken_chain, 1u);
}

TEST(LedgerCheckerTest, AHoleInTheHistoryBreaksTheChain) {
  auto history = HonestHistory(10);
  history.erase(history.begin() + 5);
  EXPECT_GT(LedgerChecker().Verify(history).broken_chain, 0u);
}

TEST(LedgerCheckerTest, AnAnswerThatWasNotAskedForContradicts) {
  LedgerChecker checker;
  checker.ReceivedUnasked({3, kClient, 4, 5});
  EXPECT_EQ(checker.Verify(HonestHistory(10)).contradicted, 1u);
}

TEST(LedgerCheckerTest, AnswersOlderThanTheHistoryAreReportedNotPassed) {
  auto history = HonestHistory(10);
  LedgerChecker checker = ThatReceivedAll(history);
  history.erase(history.begin(), history.begin() + 4);
  LedgerVerdict verdict = checker.Verify(history);
  EXPECT_EQ(verdict.unverifiable, 4u);
  EXPECT_EQ(verdict.forgotten, 0u);
  EXPECT_FALSE(verdict.kept_its_word());
}

TEST(LedgerVerdictTest, AVerdictOnSeveralLedgersIsTheWorstOfAll) {
  auto history = HonestHistory(10);
  const LedgerVerdict good = ThatReceivedAll(history).Verify(history);
  LedgerChecker deceived = ThatReceivedAll(history);
  history.pop_back();
  const LedgerVerdict bad = deceived.Verify(history);
  for (LedgerVerdict sum : {good, bad}) {
    sum.Add(sum.kept_its_word() ? bad : good);
    EXPECT_EQ(sum.answers, 20u);
    EXPECT_EQ(sum.forgotten, 1u);
    EXPECT_EQ(sum.first_problem, bad.first_problem);
    EXPECT_FALSE(sum.kept_its_word());
  }
}

}  // namespace
}  // namespace romulus::lab
