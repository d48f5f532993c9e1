#include "primary/control/protection_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "absl/time/time.h"
#include "common/control/durations.h"

namespace romulus {
namespace {

using control::v1::Protection;
using control::v1::UpdateProtectionRequest;

Protection Minimal() {
  Protection protection;
  protection.set_domain("ledger");
  protection.set_secondary_address("beta:7452");
  return protection;
}

absl::StatusCode Check(const std::function<void(Protection&)>& spoil) {
  Protection protection = Minimal();
  spoil(protection);
  return CompleteAndCheck(protection).code();
}

TEST(ProtectionSpec, TheLeastThatCanBeSaidIsEnough) {
  Protection protection = Minimal();
  ASSERT_TRUE(CompleteAndCheck(protection).ok());
  EXPECT_EQ(protection.generation(), 1);
  EXPECT_EQ(FromProto(protection.settings().interval()), absl::Milliseconds(100));
  EXPECT_EQ(protection.settings().failover_policy(), replication::v1::BY_REQUEST);
  EXPECT_EQ(EffectiveLossPolicy(protection.settings()), control::v1::RUN_UNPROTECTED);
}

TEST(ProtectionSpec, RefusesWhatCannotWork) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(Check([](Protection&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(Check([](Protection& p) { p.clear_domain(); }), kInvalid);
  for (const char* address : {"", "beta", "beta:", ":7452", "beta:99999", "beta:x"}) {
    EXPECT_EQ(Check([&](Protection& p) { p.set_secondary_address(address); }), kInvalid) << address;
  }
  EXPECT_EQ(Check([](Protection& p) { *p.mutable_settings()->mutable_interval() = ToProto(absl::Milliseconds(9)); }),
            kInvalid);
  EXPECT_EQ(Check([](Protection& p) { *p.mutable_settings()->mutable_interval() = ToProto(-absl::Seconds(1)); }),
            kInvalid);
  EXPECT_EQ(
      Check([](Protection& p) { *p.mutable_settings()->mutable_link_timeout() = ToProto(absl::Milliseconds(999)); }),
      kInvalid)
      << "less than two heartbeats";
  EXPECT_EQ(
      Check([](Protection& p) { p.mutable_settings()->set_stream_mode(static_cast<replication::v1::StreamMode>(3)); }),
      kInvalid);
  EXPECT_EQ(Check([](Protection& p) { p.mutable_settings()->set_stream_mode(replication::v1::COLO); }),
            absl::StatusCode::kOk);
  for (uint64_t bytes : {uint64_t{1}, (uint64_t{128} << 10) - 1, uint64_t{1} << 32}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_egress_buffer_bytes(bytes); }), kInvalid) << bytes;
  }
  for (uint64_t bytes : {uint64_t{0}, uint64_t{128} << 10, (uint64_t{1} << 32) - 1}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_egress_buffer_bytes(bytes); }),
              absl::StatusCode::kOk)
        << bytes;
  }
}

TEST(ProtectionSpec, ABandwidthLimitIsOneThatALinkCanHave) {
  for (uint64_t limit : {uint64_t{1}, (uint64_t{64} << 10) - 1, (uint64_t{1} << 40) + 1}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_bandwidth_limit(limit); }),
              absl::StatusCode::kInvalidArgument)
        << limit;
  }
  for (uint64_t limit : {uint64_t{0}, uint64_t{64} << 10, uint64_t{1} << 40}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_bandwidth_limit(limit); }), absl::StatusCode::kOk)
        << limit;
  }
}

TEST(ProtectionSpec, TheEncodingAdaptsUnlessItIsForced) {
  Protection protection = Minimal();
  ASSERT_TRUE(CompleteAndCheck(protection).ok());
  EXPECT_EQ(protection.settings().encoding(), control::v1::ADAPTIVE);
  EXPECT_EQ(protection.settings().page_cache_bytes(), 64 << 20);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(Check([](Protection& p) { p.mutable_settings()->set_encoding(control::v1::RAW); }), absl::StatusCode::kOk);
  EXPECT_EQ(Check([](Protection& p) { p.mutable_settings()->set_encoding(static_cast<control::v1::Encoding>(9)); }),
            kInvalid);
  for (uint64_t bytes : {uint64_t{4095}, (uint64_t{16} << 30) + 1}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_page_cache_bytes(bytes); }), kInvalid) << bytes;
  }
}

TEST(ProtectionSpec, TheStagingBoundIsThatOfACheckpoint) {
  for (uint64_t bytes : {uint64_t{1}, (uint64_t{1} << 20) - 1, (uint64_t{1} << 40) + 1}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_staging_bytes_max(bytes); }),
              absl::StatusCode::kInvalidArgument)
        << bytes;
  }
  for (uint64_t bytes : {uint64_t{0}, uint64_t{1} << 20, uint64_t{1} << 40}) {
    EXPECT_EQ(Check([&](Protection& p) { p.mutable_settings()->set_staging_bytes_max(bytes); }), absl::StatusCode::kOk)
        << bytes;
  }
}

TEST(ProtectionSpec, APacingGoalNamesWhatToKeepAndTheRangeToKeepItIn) {
  Protection protection = Minimal();
  protection.mutable_settings()->mutable_pacing_goal()->set_pause_share(0.1);
  ASSERT_TRUE(CompleteAndCheck(protection).ok());
  EXPECT_EQ(FromProto(protection.settings().pacing_goal().interval_min()), absl::Milliseconds(10));
  EXPECT_EQ(FromProto(protection.settings().pacing_goal().interval_max()), absl::Seconds(1));

  const auto check = [](const std::function<void(control::v1::PacingGoal&)>& spoil) {
    Protection spoiled = Minimal();
    spoil(*spoiled.mutable_settings()->mutable_pacing_goal());
    const absl::Status status = CompleteAndCheck(spoiled);
    EXPECT_TRUE(status.ok() || status.message().find("settings.pacing_goal") == 0) << status;
    return status.code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(check([](auto&) {}), kInvalid) << "nothing to keep";
  for (double share : {-0.1, 0.0001, 0.95, 1.5, std::nan("")}) {
    EXPECT_EQ(check([share](auto& goal) { goal.set_pause_share(share); }), kInvalid) << share;
  }
  for (absl::Duration delay : {absl::ZeroDuration(), absl::Milliseconds(4), -absl::Seconds(1), absl::Seconds(61)}) {
    EXPECT_EQ(check([delay](auto& goal) { *goal.mutable_output_delay_p99() = ToProto(delay); }), kInvalid) << delay;
  }
  EXPECT_EQ(check([](auto& goal) {
              goal.set_pause_share(0.1);
              *goal.mutable_interval_min() = ToProto(absl::Milliseconds(9));
            }),
            kInvalid);
  EXPECT_EQ(check([](auto& goal) {
              goal.set_pause_share(0.1);
              *goal.mutable_interval_min() = ToProto(absl::Seconds(2));
            }),
            kInvalid)
      << "more than interval_max";
  EXPECT_EQ(check([](auto& goal) {
              *goal.mutable_output_delay_p99() = ToProto(absl::Milliseconds(200));
              goal.set_pause_share(0.05);
              *goal.mutable_interval_max() = ToProto(absl::Seconds(5));
            }),
            absl::StatusCode::kOk);
}

TEST(ProtectionSpec, NeverLetsBothHostsRunTheGuestAfterALinkFailure) {
  Protection protection = Minimal();
  protection.mutable_settings()->set_failover_policy(replication::v1::ON_LINK_LOSS);
  ASSERT_TRUE(CompleteAndCheck(protection).ok());
  EXPECT_EQ(EffectiveLossPolicy(protection.settings()), control::v1::PAUSE_GUEST);
  protection.mutable_settings()->set_secondary_loss_policy(control::v1::RUN_UNPROTECTED);
  EXPECT_EQ(CompleteAndCheck(protection).code(), absl::StatusCode::kInvalidArgument);
}

class UpdateTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(CompleteAndCheck(protection_).ok());
    protection_.set_generation(5);
    update_.mutable_protection()->set_generation(5);
  }

  Protection protection_ = Minimal();
  UpdateProtectionRequest update_;
};

TEST_F(UpdateTest, ChangesOnlyWhatTheMaskNames) {
  update_.mutable_update_mask()->add_paths("settings.interval");
  *update_.mutable_protection()->mutable_settings()->mutable_interval() = ToProto(absl::Milliseconds(40));
  update_.mutable_protection()->mutable_settings()->set_secondary_loss_policy(control::v1::PAUSE_GUEST);
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(FromProto(protection_.settings().interval()), absl::Milliseconds(40));
  EXPECT_EQ(EffectiveLossPolicy(protection_.settings()), control::v1::RUN_UNPROTECTED);
}

TEST_F(UpdateTest, APacingGoalIsSetReplacedAndTakenBack) {
  update_.mutable_update_mask()->add_paths("settings.pacing_goal");
  update_.mutable_protection()->mutable_settings()->mutable_pacing_goal()->set_pause_share(0.1);
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(protection_.settings().pacing_goal().pause_share(), 0.1);
  EXPECT_EQ(FromProto(protection_.settings().pacing_goal().interval_max()), absl::Seconds(1));
  update_.mutable_protection()->mutable_settings()->mutable_pacing_goal()->set_pause_share(2);
  EXPECT_EQ(ApplyUpdate(update_, protection_).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(protection_.settings().pacing_goal().pause_share(), 0.1);
  update_.mutable_protection()->mutable_settings()->clear_pacing_goal();
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_FALSE(protection_.settings().has_pacing_goal());
  EXPECT_EQ(FromProto(protection_.settings().interval()), absl::Milliseconds(100));
}

TEST_F(UpdateTest, TheBandwidthLimitIsSetAndTakenAway) {
  update_.mutable_update_mask()->add_paths("settings.bandwidth_limit");
  update_.mutable_protection()->mutable_settings()->set_bandwidth_limit(1 << 20);
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(protection_.settings().bandwidth_limit(), 1 << 20);
  update_.mutable_protection()->mutable_settings()->clear_bandwidth_limit();
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(protection_.settings().bandwidth_limit(), 0);
}

TEST_F(UpdateTest, TheEncodingIsChanged) {
  update_.mutable_update_mask()->add_paths("settings.encoding");
  update_.mutable_update_mask()->add_paths("settings.page_cache_bytes");
  update_.mutable_protection()->mutable_settings()->set_encoding(control::v1::RAW);
  update_.mutable_protection()->mutable_settings()->set_page_cache_bytes(1 << 20);
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(protection_.settings().encoding(), control::v1::RAW);
  EXPECT_EQ(protection_.settings().page_cache_bytes(), 1 << 20);
}

TEST_F(UpdateTest, ALowerGenerationIsRefusedAndAHigherOneTaken) {
  update_.mutable_update_mask()->add_paths("generation");
  update_.mutable_protection()->set_generation(4);
  EXPECT_EQ(ApplyUpdate(update_, protection_).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(protection_.generation(), 5);
  update_.mutable_protection()->set_generation(6);
  ASSERT_TRUE(ApplyUpdate(update_, protection_).ok());
  EXPECT_EQ(protection_.generation(), 6);
}

TEST_F(UpdateTest, AFailedUpdateChangesNothing) {
  const std::string before = protection_.SerializeAsString();
  EXPECT_FALSE(ApplyUpdate(update_, protection_).ok()) << "no mask";
  update_.mutable_update_mask()->add_paths("settings.interval");
  *update_.mutable_protection()->mutable_settings()->mutable_interval() = ToProto(absl::Hours(1));
  EXPECT_FALSE(ApplyUpdate(update_, protection_).ok()) << "out of range";
  update_.mutable_update_mask()->add_paths("domain");
  EXPECT_FALSE(ApplyUpdate(update_, protection_).ok()) << "immutable";
  EXPECT_EQ(protection_.SerializeAsString(), before);
}

}  // namespace
}  // namespace romulus
