#include "primary/control/protection_registry.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <utility>

#include "common/loop/manual_scheduler.h"
#include "common/ownership/memory_generation_store.h"
#include "primary/quiet_seams.h"

// The registry over a host whose guests never answer: what it refuses, and what it leaves behind when it does.
namespace romulus {
namespace {

using control::v1::CreateProtectionRequest;
using control::v1::Protection;

// A secondary that ends every session at once with `answer`.
class RefusingLink final : public PrimaryLink {
 public:
  RefusingLink(Scheduler* scheduler, absl::Status answer) : scheduler_(scheduler), answer_(std::move(answer)) {}
  void Open(uint64_t, const replication::v1::OpenSession&, Observer* observer) override {
    scheduler_->Post([observer, alive = std::weak_ptr<int>(alive_), answer = answer_] {
      if (alive.lock() != nullptr) observer->OnClosed(answer);
    });
  }
  void SendCheckpoint(uint64_t, std::shared_ptr<CheckpointReader>, bool, replication::v1::AfterCheckpoint) override {}
  bool SendTraffic(replication::v1::PrimaryMessage) override { return true; }
  void Send(replication::v1::PrimaryMessage) override {}
  void Close() override {}
  uint64_t sent_bytes() const override { return 0; }

 private:
  Scheduler* const scheduler_;
  const absl::Status answer_;
  const std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

class FakeHost final : public ProtectedHost {
 public:
  explicit FakeHost(ManualScheduler* scheduler) : scheduler_(scheduler) {}

  absl::StatusOr<replication::v1::DomainDescription> Describe(const std::string& domain) override {
    if (domain != "ledger" && domain != "1") return absl::NotFoundError("no such domain; running here: ledger");
    replication::v1::DomainDescription description;
    description.set_name("ledger");
    description.set_domid(1);
    description.set_uuid(std::string(16, '\1'));
    return description;
  }
  absl::StatusOr<replication::v1::HostCompatibility> Compatibility() override {
    return replication::v1::HostCompatibility();
  }
  void RecoverGuest(uint32_t, std::function<void(absl::Status)> done) override {
    if (recovers_at_once) return done(absl::OkStatus());
    recovery_done = std::move(done);
  }
  void RemoveLeftovers(const std::set<std::string>&) override {}
  absl::StatusOr<ProtectionDriver::Seams> MakeSeams(const std::string&, const Protection&,
                                                    const replication::v1::DomainDescription&) override {
    ++seams_made;
    ProtectionDriver::Seams seams;
    seams.new_link = [this] { return std::make_unique<RefusingLink>(scheduler_, secondary_says); };
    seams.new_source = []() -> std::unique_ptr<CheckpointSource> { return nullptr; };
    seams.guest = std::make_unique<QuietGuestControl>();
    seams.egress = std::make_unique<QuietEgressBuffer>();
    return seams;
  }

  void ApplySettings(const std::string& id, const control::v1::ProtectionSettings& settings) override {
    applied[id] = settings;
  }

  std::map<std::string, control::v1::ProtectionSettings> applied;
  bool recovers_at_once = true;
  std::function<void(absl::Status)> recovery_done;
  int seams_made = 0;
  absl::Status secondary_says = absl::UnavailableError("connection refused: does the secondary agent run there?");

 private:
  ManualScheduler* const scheduler_;
};

class ProtectionRegistryTest : public testing::Test {
 protected:
  CreateProtectionRequest Request() {
    CreateProtectionRequest request;
    request.mutable_protection()->set_domain("ledger");
    request.mutable_protection()->set_secondary_address("beta:7452");
    return request;
  }
  absl::StatusOr<Protection> Create(const CreateProtectionRequest& request) {
    std::optional<absl::StatusOr<Protection>> answer;
    registry_.Create(request, [&](absl::StatusOr<Protection> given) { answer = std::move(given); });
    scheduler_.Pass(absl::ZeroDuration());
    if (!answer.has_value()) return absl::DeadlineExceededError("no answer");
    return *answer;
  }
  // On disk, from before.
  void Recorded(const std::string& protection, const GenerationStore::Record& record) {
    ASSERT_TRUE(store_.Write(protection, record).ok());
  }

  ManualScheduler scheduler_;
  MemoryGenerationStore store_;
  FakeHost host_{&scheduler_};
  ProtectionRegistry registry_{&scheduler_, &store_, &host_};
};

TEST_F(ProtectionRegistryTest, AnUnknownDomainIsNotFoundAndNothingIsTouched) {
  CreateProtectionRequest request = Request();
  request.mutable_protection()->set_domain("nobody");
  const absl::StatusOr<Protection> answer = Create(request);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(answer.status().message().find("ledger"), std::string::npos) << "names what there is";
  EXPECT_EQ(host_.seams_made, 0);
  EXPECT_TRUE(registry_.List().empty());
}

TEST_F(ProtectionRegistryTest, AnUnreachableSecondaryIsTheCallsErrorAndLeavesNothing) {
  const absl::StatusOr<Protection> answer = Create(Request());
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable) << answer.status();
  EXPECT_TRUE(registry_.List().empty());
  for (const auto& [protection, record] : store_.records()) {
    EXPECT_TRUE(record.detail.empty()) << protection << " would be recovered after a restart";
  }
}

TEST_F(ProtectionRegistryTest, ValidateOnlyChecksAndChangesNothing) {
  CreateProtectionRequest request = Request();
  request.set_validate_only(true);
  const absl::StatusOr<Protection> answer = Create(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->name(), "protections/ledger");
  EXPECT_EQ(host_.seams_made, 0);
  EXPECT_TRUE(store_.records().empty());
}

TEST_F(ProtectionRegistryTest, ASupersededGenerationIsRefused) {
  Recorded("protections/ledger", {7, false, ""});
  CreateProtectionRequest request = Request();
  request.mutable_protection()->set_generation(6);
  EXPECT_EQ(Create(request).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_.records().at("protections/ledger").generation, 7);
}

TEST_F(ProtectionRegistryTest, AnUpdateSurvivesARestart) {
  Protection spec;
  spec.set_name("protections/ledger");
  spec.set_domain("ledger");
  spec.set_secondary_address("beta:7452");
  spec.set_generation(3);
  spec.mutable_settings()->mutable_heartbeat_interval()->set_seconds(1);
  spec.mutable_settings()->mutable_link_timeout()->set_seconds(3);
  spec.mutable_settings()->mutable_suspend_timeout()->set_seconds(10);
  spec.mutable_settings()->mutable_interval()->set_seconds(1);
  spec.mutable_status()->set_domain_uuid("ledger");
  Recorded("protections/ledger", {3, false, spec.SerializeAsString()});
  ASSERT_TRUE(registry_.Recover("protections/ledger"));
  scheduler_.Pass(absl::ZeroDuration());

  control::v1::UpdateProtectionRequest request;
  request.mutable_protection()->set_name("protections/ledger");
  request.mutable_protection()->set_generation(3);
  request.mutable_protection()->mutable_settings()->mutable_interval()->set_seconds(2);
  request.mutable_protection()->mutable_settings()->set_stream_mode(replication::v1::REMUS);
  request.mutable_update_mask()->add_paths("settings.interval");
  absl::StatusOr<Protection> answer = absl::UnknownError("no answer");
  registry_.Update(request, [&](absl::StatusOr<Protection> given) { answer = std::move(given); });
  scheduler_.Pass(absl::ZeroDuration());
  ASSERT_TRUE(answer.ok()) << answer.status();
  Protection kept;
  ASSERT_TRUE(kept.ParseFromString(store_.records().at("protections/ledger").detail));
  EXPECT_EQ(kept.settings().interval().seconds(), 2);
  EXPECT_EQ(host_.applied["ledger"].interval().seconds(), 2) << "what is behind the seams learns of it, too";
}

TEST_F(ProtectionRegistryTest, RequestsOnWhatDoesNotExist) {
  EXPECT_EQ(registry_.Get("protections/web").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.Get("web").status().code(), absl::StatusCode::kInvalidArgument);
  control::v1::DeleteProtectionRequest request;
  request.set_name("protections/web");
  request.set_generation(1);
  absl::Status status;
  registry_.Delete(request, [&](absl::Status given) { status = given; });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  request.set_allow_missing(true);
  registry_.Delete(request, [&](absl::Status given) { status = given; });
  EXPECT_TRUE(status.ok());
}

TEST_F(ProtectionRegistryTest, RecoversOnlyWhatHadNotEndedAndWhoseGuestIsHere) {
  Protection spec;
  spec.set_name("protections/ledger");
  spec.set_domain("ledger");
  spec.set_secondary_address("beta:7452");
  spec.mutable_status()->set_domain_uuid("ledger");
  Recorded("protections/ledger", {3, false, spec.SerializeAsString()});
  Recorded("protections/ended", {2, false, ""});
  spec.set_name("protections/moved");
  spec.mutable_status()->set_domain_uuid("nobody");
  Recorded("protections/moved", {4, false, spec.SerializeAsString()});

  EXPECT_TRUE(registry_.Recover("protections/ledger"));
  EXPECT_FALSE(registry_.Recover("protections/ended"));
  EXPECT_FALSE(registry_.Recover("protections/moved"));
  ASSERT_EQ(registry_.List().size(), 1);
  EXPECT_EQ(registry_.List()[0].generation(), 3);
  EXPECT_TRUE(store_.records().at("protections/moved").detail.empty());
  EXPECT_EQ(store_.records().at("protections/moved").generation, 4) << "the generation is never forgotten";
}

TEST_F(ProtectionRegistryTest, WhileAGuestIsRecoveredItsProtectionDoesNotClaimToHaveReleasedAnything) {
  Protection spec;
  spec.set_name("protections/ledger");
  spec.set_domain("ledger");
  spec.set_secondary_address("beta:7452");
  spec.mutable_status()->set_domain_uuid("ledger");
  Recorded("protections/ledger", {3, false, spec.SerializeAsString()});
  host_.recovers_at_once = false;

  EXPECT_TRUE(registry_.Recover("protections/ledger"));
  ASSERT_EQ(registry_.List().size(), 1);
  EXPECT_EQ(registry_.List()[0].status().phase(), control::v1::CONNECTING);
  EXPECT_EQ(registry_.List()[0].generation(), 3);
  host_.recovery_done(absl::OkStatus());
  EXPECT_EQ(registry_.List()[0].status().phase(), control::v1::UNPROTECTED) << "no buffer was found in place";
}

}  // namespace
}  // namespace romulus
