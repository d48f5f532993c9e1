#include "common/attachments/frontend_nodes.h"

#include <string>

#include "gtest/gtest.h"

namespace romulus {
namespace {

absl::Status Check(const std::string& key, const std::string& value) {
  replication::v1::GuestAttachments::Frontend frontend;
  (*frontend.mutable_entries())[key] = value;
  return ValidateFrontend(frontend);
}

TEST(FrontendNodes, AreThoseThatAFrontendWrites) {
  for (const char* key : {"tx-ring-ref", "rx-ring-ref", "event-channel-tx", "event-channel", "request-rx-copy",
                          "feature-sg", "multi-queue-num-queues", "queue-0/tx-ring-ref", "queue-11/event-channel-rx"}) {
    EXPECT_TRUE(Check(key, "8").ok()) << key;
  }
}

TEST(FrontendNodes, NothingElseIsTakenFromAnotherHost) {
  for (const char* key : {"", "backend", "backend-id", "state", "mac", "../../../0/backend/vif", "queue-0/../state",
                          "queue-x/tx-ring-ref", "queue-/tx-ring-ref", "feature-sg/..", "queue-0/state", "/state"}) {
    EXPECT_EQ(Check(key, "8").code(), absl::StatusCode::kInvalidArgument) << key;
  }
  EXPECT_EQ(Check("tx-ring-ref", std::string(65, '8')).code(), absl::StatusCode::kInvalidArgument);
  replication::v1::GuestAttachments::Frontend many;
  for (int i = 0; i < 300; ++i) (*many.mutable_entries())["feature-" + std::to_string(i)] = "1";
  EXPECT_EQ(ValidateFrontend(many).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace romulus
