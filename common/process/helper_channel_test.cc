#include "common/process/helper_channel.h"

#include <gtest/gtest.h>

#include <string>

#include "common/process/packet_socket.h"

namespace romulus {
namespace {

class HelperChannelTest : public testing::Test {
 protected:
  std::pair<UniqueFd, UniqueFd> sockets_ = *NewPacketSocketPair();
  int agent_socket_ = sockets_.first.get();
  int helper_socket_ = sockets_.second.get();
  std::unique_ptr<AgentEnd> agent_ = std::make_unique<AgentEnd>(std::move(sockets_.first));
  std::unique_ptr<HelperEnd> helper_ = std::make_unique<HelperEnd>(std::move(sockets_.second));
};

helper::v1::HelperToAgent SuspendedMessage(uint64_t epoch) {
  helper::v1::HelperToAgent message;
  message.mutable_suspended()->set_epoch(epoch);
  return message;
}

TEST_F(HelperChannelTest, MessagesArriveInOrderAndWhole) {
  ASSERT_TRUE(helper_->Send(SuspendedMessage(1)).ok());
  ASSERT_TRUE(helper_->Send(SuspendedMessage(2)).ok());
  EXPECT_EQ(agent_->Receive()->suspended().epoch(), 1);
  EXPECT_EQ(agent_->Receive()->suspended().epoch(), 2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(agent_->Receive().status()));
}

TEST_F(HelperChannelTest, WhatWasSentBeforeTheEndOfFileIsReceived) {
  ASSERT_TRUE(helper_->Send(SuspendedMessage(1)).ok());
  helper_.reset();
  EXPECT_TRUE(agent_->Receive().ok());
  EXPECT_TRUE(absl::IsUnavailable(agent_->Receive().status()));
}

TEST_F(HelperChannelTest, LastWordsAreReceivedAlsoFromAHelperThatHasNotReadOurs) {
  helper::v1::AgentToHelper stop;
  stop.mutable_stop();
  ASSERT_TRUE(agent_->Send(stop).ok());
  ASSERT_TRUE(helper_->Send(SuspendedMessage(1)).ok());
  helper_.reset();
  EXPECT_EQ(agent_->Receive()->suspended().epoch(), 1);
  EXPECT_TRUE(absl::IsUnavailable(agent_->Receive().status()));
}

TEST_F(HelperChannelTest, SendingToAClosedEndIsAnErrorAndNoSignal) {
  agent_.reset();
  EXPECT_TRUE(absl::IsUnavailable(helper_->Send(SuspendedMessage(1))));
  EXPECT_TRUE(absl::IsUnavailable(helper_->Receive(absl::InfiniteDuration()).status()));
}

TEST_F(HelperChannelTest, AnAgentThatDoesNotReadIsWaitedForOnlySoLong) {
  absl::Status sent;
  int count = 0;
  for (; sent.ok() && count < 100'000; ++count) sent = helper_->Send(SuspendedMessage(1), absl::ZeroDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(sent)) << sent << " after " << count;
  EXPECT_TRUE(absl::IsDeadlineExceeded(helper_->Send(SuspendedMessage(1), absl::Milliseconds(5))));
}

TEST_F(HelperChannelTest, MalformedMessagesAreErrors) {
  ASSERT_TRUE(SendPacket(helper_socket_, "\xff\xff", {}, absl::ZeroDuration()).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(agent_->Receive().status()));
  // Field 99, which this build does not know.
  ASSERT_TRUE(SendPacket(agent_socket_, "\x9a\x06\x01x", {}, absl::ZeroDuration()).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(helper_->Receive(absl::ZeroDuration()).status()));
}

TEST_F(HelperChannelTest, AHelperMustNotSendDescriptors) {
  const int descriptor = 0;
  ASSERT_TRUE(
      SendPacket(helper_socket_, SuspendedMessage(1).SerializeAsString(), {descriptor}, absl::ZeroDuration()).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(agent_->Receive().status()));
}

TEST_F(HelperChannelTest, MessagesOverTheLimitsAreErrorsOnBothSides) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      SendPacket(agent_socket_, std::string(kMaxPacketBytes + 1, 'x'), {}, absl::ZeroDuration())));
  helper::v1::HelperToAgent log;
  log.mutable_log()->set_text(std::string(kMaxPacketBytes - 16, 'x'));
  ASSERT_TRUE(helper_->Send(log).ok());
  EXPECT_EQ(agent_->Receive()->log().text().size(), kMaxPacketBytes - 16);
}

}  // namespace
}  // namespace romulus
