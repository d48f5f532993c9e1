#include "primary/control/epoch_feed.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"

namespace romulus {
namespace {

using control::v1::EpochTrace;
using control::v1::WatchEpochsResponse;

EpochTrace Epoch(const std::string& protection, uint64_t epoch) {
  EpochTrace trace;
  trace.set_protection(protection);
  trace.set_epoch(epoch);
  return trace;
}

std::string Next(EpochFeed::Reader& reader) {
  const std::optional<WatchEpochsResponse> next = reader.Next(absl::ZeroDuration());
  if (!next.has_value()) return reader.over() ? "over" : "none";
  return next->epoch().protection() + " " + std::to_string(next->epoch().epoch()) +
         (next->missed() > 0 ? " missed " + std::to_string(next->missed()) : "");
}

TEST(EpochFeed, ReadersGetWhatTheyAskedForFromThenOnInOrder) {
  EpochFeed feed;
  EXPECT_FALSE(feed.watched());
  feed.Publish(Epoch("a", 1));
  const auto all = feed.Subscribe("");
  const auto only_a = feed.Subscribe("a");
  EXPECT_TRUE(feed.watched());
  feed.Publish(Epoch("a", 2));
  feed.Publish(Epoch("b", 7));
  feed.Publish(Epoch("a", 3));
  EXPECT_EQ(Next(*all), "a 2");
  EXPECT_EQ(Next(*all), "b 7");
  EXPECT_EQ(Next(*all), "a 3");
  EXPECT_EQ(Next(*all), "none");
  EXPECT_EQ(Next(*only_a), "a 2");
  EXPECT_EQ(Next(*only_a), "a 3");
  EXPECT_EQ(Next(*only_a), "none");
}

TEST(EpochFeed, ASlowReaderLosesTheOldestAndIsToldHowMany) {
  EpochFeed feed;
  const auto slow = feed.Subscribe("a");
  const auto quick = feed.Subscribe("a");
  for (uint64_t epoch = 1; epoch <= EpochFeed::kWaitingMax + 10; ++epoch) {
    feed.Publish(Epoch("a", epoch));
    EXPECT_EQ(Next(*quick), "a " + std::to_string(epoch));
  }
  EXPECT_EQ(Next(*slow), "a 11 missed 10");
  EXPECT_EQ(Next(*slow), "a 12");
  size_t left = 0;
  while (Next(*slow) != "none") ++left;
  EXPECT_EQ(left, EpochFeed::kWaitingMax - 2);
}

TEST(EpochFeed, EndsWithItsProtectionAfterWhatStillWaits) {
  EpochFeed feed;
  const auto all = feed.Subscribe("");
  const auto only_a = feed.Subscribe("a");
  const auto only_b = feed.Subscribe("b");
  feed.Publish(Epoch("a", 1));
  feed.End("a");
  EXPECT_EQ(Next(*only_a), "a 1");
  EXPECT_EQ(Next(*only_a), "over");
  EXPECT_EQ(Next(*only_b), "none");
  EXPECT_EQ(Next(*all), "a 1");
  EXPECT_EQ(Next(*all), "none");
}

TEST(EpochFeed, GoneReadersCostNothingAndReadersMayOutliveTheFeed) {
  auto feed = std::make_unique<EpochFeed>();
  feed->Subscribe("");
  EXPECT_FALSE(feed->watched());
  const auto reader = feed->Subscribe("");
  feed.reset();
  EXPECT_EQ(Next(*reader), "over");
}

TEST(EpochFeed, AWaitingReaderIsWoken) {
  EpochFeed feed;
  const auto reader = feed.Subscribe("");
  std::thread publisher([&feed] { feed.Publish(Epoch("a", 1)); });
  EXPECT_EQ(reader->Next(absl::InfiniteDuration())->epoch().epoch(), 1);
  publisher.join();
  std::thread ender([&feed] { feed.End(""); });
  EXPECT_FALSE(reader->Next(absl::InfiniteDuration()).has_value());
  ender.join();
}

TEST(EpochFeed, WhatGathersWakesNobodyButTheEndDoes) {
  EpochFeed feed;
  const auto reader = feed.Subscribe("a");
  std::thread publisher([&feed] {
    feed.Publish(Epoch("a", 1));
    feed.Publish(Epoch("a", 2));
  });
  const absl::Time begun = absl::Now();
  reader->Gather(absl::Milliseconds(50));
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(50));
  publisher.join();
  EXPECT_EQ(Next(*reader), "a 1");
  EXPECT_EQ(Next(*reader), "a 2");
  std::thread ender([&feed] { feed.End("a"); });
  reader->Gather(absl::Hours(1));
  EXPECT_EQ(Next(*reader), "over");
  ender.join();
}

}  // namespace
}  // namespace romulus
