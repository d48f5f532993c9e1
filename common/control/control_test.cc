#include <gtest/gtest.h>

#include <thread>

#include "common/control/durations.h"
#include "common/control/request_log.h"
#include "common/control/resource_name.h"
#include "common/control/watch_stream.h"
#include "proto/control/v1/protection_service.pb.h"

namespace romulus {
namespace {

using control::v1::Protection;

TEST(ResourceName, TakesOnlyWhatCanBeAFileName) {
  EXPECT_EQ(*ParseResourceName("protections/ledger-1", "protections"), "ledger-1");
  for (const char* bad : {"", "ledger", "standbys/ledger", "protections/", "protections/../etc", "protections/Ledger",
                          "protections/1ledger", "protections/a/b"}) {
    EXPECT_EQ(ParseResourceName(bad, "protections").status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(CheckResourceId(std::string(64, 'a')).ok());
}

TEST(ResourceName, MakesAnIdFromAnyDomainName) {
  for (const char* name : {"ledger", "Web Server_7", "42", "", "ä"}) {
    EXPECT_TRUE(CheckResourceId(MakeResourceId(name)).ok()) << name << " gives " << MakeResourceId(name);
  }
}

class RequestLogTest : public testing::Test {
 protected:
  absl::Status Run(const std::string& request_id, const std::string& name, absl::Status outcome, Protection& response) {
    Protection request;
    request.set_name(name);
    return log_.Run("Create", request_id, request, response, [&] {
      ++actions_;
      response.set_name("made " + name);
      return outcome;
    });
  }

  absl::Duration now_ = absl::Seconds(1);
  RequestLog log_{[this] { return now_; }};
  int actions_ = 0;
};

TEST_F(RequestLogTest, ASuccessIsAnsweredAgainAndDoneOnce) {
  Protection first, again;
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), first).ok());
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), again).ok());
  EXPECT_EQ(actions_, 1);
  EXPECT_EQ(again.name(), "made a");
}

TEST_F(RequestLogTest, AFailureIsCarriedOutAgain) {
  Protection response;
  EXPECT_FALSE(Run("id", "a", absl::UnavailableError("no"), response).ok());
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), response).ok());
  EXPECT_EQ(actions_, 2);
}

TEST_F(RequestLogTest, AnIdIsOneRequests) {
  Protection response;
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), response).ok());
  EXPECT_EQ(Run("id", "b", absl::OkStatus(), response).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RequestLogTest, ForgetsAfterTenMinutesAndNeverRemembersWithoutId) {
  Protection response;
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), response).ok());
  now_ += absl::Minutes(11);
  EXPECT_TRUE(Run("id", "a", absl::OkStatus(), response).ok());
  EXPECT_TRUE(Run("", "a", absl::OkStatus(), response).ok());
  EXPECT_TRUE(Run("", "a", absl::OkStatus(), response).ok());
  EXPECT_EQ(actions_, 4);
}

Protection Named(const std::string& name, uint64_t generation) {
  Protection protection;
  protection.set_name(name);
  protection.set_generation(generation);
  return protection;
}

TEST(WatchStream, TellsWhatWasCreatedChangedAndDeletedAndNothingElse) {
  std::map<std::string, Protection> known{
      {"same", Named("same", 1)}, {"grown", Named("grown", 1)}, {"gone", Named("gone", 1)}};
  const auto events = DiffForWatch(known, {Named("same", 1), Named("grown", 2), Named("new", 1)});
  ASSERT_EQ(events.size(), 3);
  EXPECT_EQ(events[0].first, control::v1::CHANGED);
  EXPECT_EQ(events[0].second.name(), "grown");
  EXPECT_EQ(events[1].first, control::v1::CREATED);
  EXPECT_EQ(events[2].first, control::v1::DELETED);
  EXPECT_EQ(events[2].second.name(), "gone");
  EXPECT_TRUE(DiffForWatch(known, {Named("same", 1), Named("grown", 2), Named("new", 1)}).empty());
}

TEST(WatchStream, BeginsWithASnapshotAndTheMarkerAndWakesForAChange) {
  ChangeSignal signal;
  std::vector<Protection> resources{Named("a", 1)};
  std::vector<control::v1::WatchEvent> events;
  ServeWatch<Protection>(
      signal, absl::Hours(1), [&] { return resources; }, [] { return false; },
      [&](control::v1::WatchEvent event, const Protection*) {
        events.push_back(event);
        if (event == control::v1::SYNCED) {
          resources.push_back(Named("b", 1));
          signal.Notify();
        }
        return event != control::v1::CREATED;
      });
  EXPECT_EQ(events,
            (std::vector<control::v1::WatchEvent>{control::v1::SNAPSHOT, control::v1::SYNCED, control::v1::CREATED}));
}

TEST(Durations, SurviveTheWayThere) {
  const absl::Duration duration = absl::Seconds(3) + absl::Nanoseconds(5);
  EXPECT_EQ(FromProto(ToProto(duration)), duration);
}

}  // namespace
}  // namespace romulus
