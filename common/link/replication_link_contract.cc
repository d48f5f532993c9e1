#include "common/link/replication_link_contract.h"

#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/loop/call_scope.h"
#include "common/stream/record_scanner.h"
#include "common/stream/stream_digest.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"
#include "gmock/gmock.h"

namespace romulus {

using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace {

std::string Checkpoint(uint64_t epoch, int pages) {
  SyntheticStream stream;
  if (epoch == 1) stream.Preamble();
  for (int i = 0; i < pages; ++i) {
    stream.PageData({{static_cast<uint64_t>(i), 0, absl::StrCat("epoch ", epoch, " page ", i)}});
  }
  return stream.State("registers").EndCheckpoint().bytes();
}

// Gives half of a checkpoint, then fails.
class FailingReader final : public CheckpointReader {
 public:
  explicit FailingReader(std::string bytes) : bytes_(std::move(bytes)) {}
  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override {
    if (offset_ >= bytes_.size() / 2) return absl::UnavailableError("the helper has died");
    const size_t count = std::min({buffer.size(), size_t{1000}, bytes_.size() - offset_});
    bytes_.copy(buffer.data(), count, offset_);
    offset_ += count;
    return count;
  }
  void Cancel() override {}

 private:
  const std::string bytes_;
  size_t offset_ = 0;
};

// A call in progress.
}  // namespace

// ---- observers ----

void ReplicationLinkContract::Watched::OnCallback() {
  EXPECT_EQ(std::this_thread::get_id(), contract_->thread_) << "not on the scheduler's thread";
  EXPECT_EQ(contract_->calls_, 0) << "a callback from within a call";
  EXPECT_TRUE(closed.empty()) << "a callback after OnClosed(" << closed.back() << ")";
  ++contract_->callbacks_;
}

void ReplicationLinkContract::Primary::OnMessage(const SecondaryMessage& message) {
  OnCallback();
  EXPECT_FALSE(message.has_heartbeat());
  messages.push_back(message);
  if (on_message) on_message();
}

void ReplicationLinkContract::Primary::OnCheckpointSent(uint64_t epoch) {
  OnCallback();
  sent.push_back(epoch);
}

void ReplicationLinkContract::Primary::OnClosed(absl::Status status) {
  OnCallback();
  EXPECT_FALSE(status.ok());
  closed.push_back(std::move(status));
}

uint64_t ReplicationLinkContract::Primary::committed() const {
  uint64_t epoch = 0;
  for (const SecondaryMessage& message : messages) {
    if (message.has_checkpoint_commit()) epoch = message.checkpoint_commit().epoch();
  }
  return epoch;
}

void ReplicationLinkContract::Primary::Send(const std::string& stop_reason) {
  PrimaryMessage message;
  message.mutable_stop_session()->set_reason(stop_reason);
  const CallScope call(&contract_->calls_);
  link->Send(std::move(message));
}

void ReplicationLinkContract::Primary::SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader,
                                                      replication::v1::AfterCheckpoint after) {
  const CallScope call(&contract_->calls_);
  link->SendCheckpoint(epoch, std::move(reader), tell_when_sent, after);
}

bool ReplicationLinkContract::Primary::SendTraffic(uint64_t epoch, const std::string& frame) {
  PrimaryMessage message;
  message.mutable_standby_input()->set_epoch(epoch);
  message.mutable_standby_input()->add_frames()->set_contents(frame);
  const CallScope call(&contract_->calls_);
  return link->SendTraffic(std::move(message));
}

void ReplicationLinkContract::Primary::Close() {
  const CallScope call(&contract_->calls_);
  link->Close();
}

void ReplicationLinkContract::Secondary::OnMessage(const PrimaryMessage& message) {
  OnCallback();
  if (message.generation() == open.generation()) {
    EXPECT_FALSE(message.has_heartbeat() || message.has_checkpoint_data() || message.has_checkpoint_trailer());
  }
  messages.push_back(message);
  if (on_message) on_message();
}

void ReplicationLinkContract::Secondary::OnSeeded(std::string the_tail, replication::v1::AfterCheckpoint after) {
  OnCallback();
  afters.push_back(after);
  EXPECT_EQ(epoch, 0);
  epoch = 1;
  tail = std::move(the_tail);
  checkpoints.push_back(absl::StrCat(sink->bytes(), tail));
  if (commits) Commit(1);
}

void ReplicationLinkContract::Secondary::OnCheckpoint(uint64_t the_epoch, CheckpointBytes bytes,
                                                      replication::v1::AfterCheckpoint after) {
  OnCallback();
  afters.push_back(after);
  EXPECT_EQ(the_epoch, epoch + 1) << "a gap";
  epoch = the_epoch;
  checkpoints.push_back(bytes.ToString());
  if (commits) Commit(epoch);
}

void ReplicationLinkContract::Secondary::OnClosed(absl::Status status) {
  OnCallback();
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDataLoss(status) || absl::IsInvalidArgument(status) ||
              absl::IsCancelled(status))
      << status;
  closed.push_back(std::move(status));
}

void ReplicationLinkContract::Secondary::Accept() {
  const CallScope call(&contract_->calls_);
  link->SetSeedSink(sink);
  SecondaryMessage accepted;
  accepted.mutable_session_accepted();
  link->Send(std::move(accepted));
}

void ReplicationLinkContract::Secondary::Commit(uint64_t committed) {
  SecondaryMessage commit;
  commit.mutable_checkpoint_commit()->set_epoch(committed);
  const CallScope call(&contract_->calls_);
  link->Send(std::move(commit));
}

void ReplicationLinkContract::Secondary::SendFence(uint64_t next_generation) {
  SecondaryMessage fence;
  fence.mutable_fence()->set_next_generation(next_generation);
  const CallScope call(&contract_->calls_);
  link->Send(std::move(fence));
}

bool ReplicationLinkContract::Secondary::SendTraffic(uint64_t epoch, const std::string& frame) {
  SecondaryMessage output;
  output.mutable_standby_output()->set_epoch(epoch);
  output.mutable_standby_output()->add_frames()->set_contents(frame);
  const CallScope call(&contract_->calls_);
  return link->SendTraffic(std::move(output));
}

void ReplicationLinkContract::Secondary::Close(absl::Status status) {
  const CallScope call(&contract_->calls_);
  link->Close(std::move(status));
}

// ---- fixture ----

ReplicationLinkContract::~ReplicationLinkContract() {
  primary_.link.reset();
  for (const auto& secondary : secondaries_) secondary->link.reset();
  harness_->StopListening();
}

void ReplicationLinkContract::TearDown() {
  harness_->Settle();  // What comes after OnClosed, or after the link has gone, is noticed.
}

void ReplicationLinkContract::OnSession(const PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) {
  EXPECT_EQ(std::this_thread::get_id(), thread_);
  EXPECT_EQ(calls_, 0) << "a callback from within a call";
  if (answer_ == Answer::kLetGo) return;
  secondaries_.push_back(std::make_unique<Secondary>(this));
  Secondary& taken = secondary();
  taken.commits = commits_;
  taken.sink->set_status(sink_status_);
  taken.open = open;
  taken.link = std::move(link);
  {
    const CallScope call(&calls_);
    taken.link->Start(&taken);
  }
  if (answer_ == Answer::kAccept) taken.Accept();
  if (answer_ == Answer::kRefuse) taken.Close(absl::ResourceExhaustedError("too little memory here"));
}

replication::v1::OpenSession ReplicationLinkContract::OpenSession(uint32_t heartbeat_ms, uint32_t timeout_ms) const {
  replication::v1::OpenSession open;
  open.set_protection("protections/contract");
  open.set_heartbeat_interval_ms(heartbeat_ms);
  open.set_link_timeout_ms(timeout_ms);
  open.mutable_domain()->set_memory_max_kib(64 << 10);
  open.mutable_domain()->set_vcpu_count(1);
  return open;
}

PrimaryMessage ReplicationLinkContract::OpenMessage() const {
  PrimaryMessage message;
  message.set_generation(kGeneration);
  *message.mutable_open_session() = OpenSession();
  return message;
}

void ReplicationLinkContract::Open(const replication::v1::OpenSession& open, bool impatient) {
  primary_.link = harness_->NewPrimaryLink(impatient);
  const CallScope call(&calls_);
  primary_.link->Open(kGeneration, open, &primary_);
}

void ReplicationLinkContract::Connect(const replication::v1::OpenSession& open) {
  harness_->Listen(this);
  Open(open);
  RunUntil([&] { return primary_.accepted() || primary_.is_closed(); });
  ASSERT_THAT(primary_.closed, IsEmpty());
}

void ReplicationLinkContract::SendAndAwaitCommit(uint64_t epoch, const std::string& bytes) {
  primary_.SendCheckpoint(epoch, std::make_shared<MemoryCheckpointReader>(bytes));
  RunUntil([&] { return primary_.committed() == epoch || primary_.is_closed(); });
  ASSERT_THAT(primary_.closed, IsEmpty());
}

void ReplicationLinkContract::RunUntil(const std::function<bool()>& condition) {
  // Ends the test: what follows relies on the condition.
  if (!harness_->RunUntil(condition)) throw std::runtime_error("hangs: what was waited for never came");
}

void ReplicationLinkContract::RunUntilBothClosed() {
  RunUntil([&] { return primary_.is_closed() && secondary().is_closed(); });
}

std::vector<PrimaryMessage> ReplicationLinkContract::MessagesOf(uint64_t epoch, const std::string& bytes,
                                                                size_t chunk_bytes) {
  std::vector<PrimaryMessage> messages;
  for (size_t offset = 0; offset < bytes.size(); offset += chunk_bytes) {
    messages.emplace_back().set_generation(kGeneration);
    auto* const data = messages.back().mutable_checkpoint_data();
    data->set_epoch(epoch);
    data->set_offset(offset);
    data->set_payload(bytes.substr(offset, chunk_bytes));
  }
  RecordScanner scanner(epoch == 1 ? RecordScanner::Checkpoint::kFirst : RecordScanner::Checkpoint::kLater);
  EXPECT_TRUE(scanner.Feed(bytes).ok());
  StreamDigest digest;
  digest.Add(bytes);
  messages.emplace_back().set_generation(kGeneration);
  auto* const trailer = messages.back().mutable_checkpoint_trailer();
  trailer->set_epoch(epoch);
  trailer->set_length(bytes.size());
  trailer->set_page_count(scanner.page_count());
  trailer->set_digest_xxh3(digest.value());
  return messages;
}

// ---- a session that works ----

TEST_P(ReplicationLinkContract, CheckpointsArriveAsTheyWereInOrderWithoutGaps) {
  Connect();
  EXPECT_EQ(secondary().open.generation(), kGeneration);
  EXPECT_EQ(secondary().open.open_session().protection(), "protections/contract");
  uint64_t sent = 0;
  for (const auto& [epoch, pages] : {std::pair(1, 300), std::pair(2, 1), std::pair(3, 43), std::pair(4, 600)}) {
    const std::string bytes = Checkpoint(epoch, pages);
    sent += bytes.size();
    SendAndAwaitCommit(epoch, bytes);
    ASSERT_THAT(secondary().checkpoints, SizeIs(epoch));
    EXPECT_TRUE(secondary().checkpoints.back() == bytes) << epoch;
    if (primary_.link->encoding().codec == replication::v1::PAGE_BLOCKS) {
      EXPECT_LT(primary_.link->sent_bytes(), sent / 10) << "these pages are nearly empty";
    } else {
      EXPECT_EQ(primary_.link->sent_bytes(), sent) << "the bytes of checkpoints";
    }
    EXPECT_GT(secondary().link->received_bytes(), primary_.link->sent_bytes()) << "all messages";
  }
  EXPECT_THAT(primary_.messages, SizeIs(5));
  EXPECT_THAT(secondary().messages, IsEmpty());
}

TEST_P(ReplicationLinkContract, ThePrimaryIsToldWhenAllOfACheckpointWasSent) {
  Connect();
  secondary().commits = false;
  const std::string bytes = Checkpoint(1, 300);
  const std::unique_ptr<GrowingCheckpoint> growing = harness_->NewGrowingCheckpoint();
  growing->Append(bytes.substr(0, bytes.size() - 1));
  primary_.SendCheckpoint(1, growing->reader());
  RunUntil([&] { return !secondary().sink->bytes().empty(); });
  harness_->Settle();
  EXPECT_THAT(primary_.sent, IsEmpty());
  growing->Append(bytes.substr(bytes.size() - 1));
  growing->Finish();
  RunUntil([&] { return !primary_.sent.empty() && secondary().epoch == 1; });
  harness_->Settle();
  EXPECT_THAT(primary_.sent, ElementsAre(1));
}

TEST_P(ReplicationLinkContract, ThePrimaryIsNotToldOfASendingThatItDoesNotAskFor) {
  Connect();
  primary_.tell_when_sent = false;
  SendAndAwaitCommit(1, Checkpoint(1, 3));
  primary_.tell_when_sent = true;
  SendAndAwaitCommit(2, Checkpoint(2, 3));
  RunUntil([&] { return !primary_.sent.empty(); });
  harness_->Settle();
  EXPECT_THAT(primary_.sent, ElementsAre(2));
}

TEST_P(ReplicationLinkContract, OfCheckpoint1TheSinkGetsWhatComesBeforeTheCheckpointRecord) {
  Connect();
  const std::string bytes = Checkpoint(1, 20);
  SendAndAwaitCommit(1, bytes);
  EXPECT_EQ(secondary().tail.size(), stream_format::kRecordHeaderBytes);
  EXPECT_TRUE(secondary().sink->bytes() == bytes.substr(0, bytes.size() - stream_format::kRecordHeaderBytes));
}

TEST_P(ReplicationLinkContract, MessagesPassBothWaysInOrderWithTheSessionsGeneration) {
  Connect();
  for (int i = 0; i < 100; ++i) {
    primary_.Send(absl::StrCat(i));
    secondary().SendFence(i);
  }
  RunUntil([&] { return secondary().messages.size() == 100 && primary_.messages.size() == 101; });
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(secondary().messages[i].generation(), kGeneration);
    EXPECT_EQ(secondary().messages[i].stop_session().reason(), absl::StrCat(i));
    EXPECT_EQ(primary_.messages[i + 1].generation(), kGeneration);
    EXPECT_EQ(primary_.messages[i + 1].fence().next_generation(), i);
  }
}

TEST_P(ReplicationLinkContract, AMessagePassesBetweenTwoChunksOfACheckpoint) {
  Connect();
  const std::string bytes = Checkpoint(1, 1000);
  const std::unique_ptr<GrowingCheckpoint> growing = harness_->NewGrowingCheckpoint();
  growing->Append(bytes.substr(0, bytes.size() / 2));
  primary_.SendCheckpoint(1, growing->reader());
  RunUntil([&] { return !secondary().sink->bytes().empty(); });
  primary_.Send("in between");
  secondary().SendFence(9);
  RunUntil([&] { return !secondary().messages.empty() && primary_.messages.size() == 2; });
  EXPECT_EQ(secondary().epoch, 0);
  growing->Append(bytes.substr(bytes.size() / 2));
  growing->Finish();
  RunUntil([&] { return primary_.committed() == 1; });
  EXPECT_TRUE(secondary().checkpoints[0] == bytes);
}

// ---- lockstep ----

TEST_P(ReplicationLinkContract, WhatTheStandbyDoesAfterACheckpointComesWithIt) {
  Connect();
  using replication::v1::STANDBY_RUNS;
  using replication::v1::STANDBY_WAITS;
  uint64_t epoch = 0;
  for (const replication::v1::AfterCheckpoint after : {STANDBY_RUNS, STANDBY_WAITS, STANDBY_WAITS, STANDBY_RUNS}) {
    ++epoch;
    primary_.SendCheckpoint(epoch, std::make_shared<MemoryCheckpointReader>(Checkpoint(epoch, 3)), after);
    RunUntil([&] { return primary_.committed() == epoch; });
  }
  EXPECT_THAT(secondary().afters, ElementsAre(STANDBY_RUNS, STANDBY_WAITS, STANDBY_WAITS, STANDBY_RUNS));
}

TEST_P(ReplicationLinkContract, TrafficPassesBothWaysInOrder) {
  Connect();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(primary_.SendTraffic(3, absl::StrCat("in ", i)));
    ASSERT_TRUE(secondary().SendTraffic(3, absl::StrCat("out ", i)));
  }
  RunUntil([&] { return secondary().messages.size() == 100 && primary_.messages.size() == 101; });
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(secondary().messages[i].generation(), kGeneration);
    EXPECT_EQ(secondary().messages[i].standby_input().frames(0).contents(), absl::StrCat("in ", i));
    EXPECT_EQ(primary_.messages[i + 1].generation(), kGeneration);
    EXPECT_EQ(primary_.messages[i + 1].standby_output().frames(0).contents(), absl::StrCat("out ", i));
  }
}

TEST_P(ReplicationLinkContract, TrafficPassesBetweenTwoChunksOfACheckpoint) {
  Connect();
  const std::string bytes = Checkpoint(1, 1000);
  const std::unique_ptr<GrowingCheckpoint> growing = harness_->NewGrowingCheckpoint();
  growing->Append(bytes.substr(0, bytes.size() / 2));
  primary_.SendCheckpoint(1, growing->reader());
  RunUntil([&] { return !secondary().sink->bytes().empty(); });
  ASSERT_TRUE(primary_.SendTraffic(1, "in between"));
  RunUntil([&] { return !secondary().messages.empty(); });
  EXPECT_EQ(secondary().epoch, 0);
  growing->Append(bytes.substr(bytes.size() / 2));
  growing->Finish();
  RunUntil([&] { return primary_.committed() == 1; });
  EXPECT_TRUE(secondary().checkpoints[0] == bytes);
}

// What a peer that does not read costs here is bounded, and the caller knows what was dropped: what comes is what was
// taken, in order.
TEST_P(ReplicationLinkContract, TrafficThatFindsNoRoomIsDropped) {
  Connect();
  // Neither agent's loop runs meanwhile.
  const std::string frame(60'000, 'x');
  std::vector<int> taken_in, taken_out;
  int dropped_in = 0, dropped_out = 0;
  for (int i = 0; i < 2000; ++i) {
    (primary_.SendTraffic(i, frame) ? (void)taken_in.push_back(i) : (void)++dropped_in);
    (secondary().SendTraffic(i, frame) ? (void)taken_out.push_back(i) : (void)++dropped_out);
  }
  EXPECT_GT(dropped_in, 0);
  EXPECT_GT(dropped_out, 0);
  // Everything else still gets through.
  primary_.Send("a message");
  RunUntil([&] {
    return secondary().messages.size() == taken_in.size() + 1 && primary_.messages.size() == taken_out.size() + 1;
  });
  std::vector<int> came_in, came_out;
  for (const PrimaryMessage& message : secondary().messages) {
    if (message.has_standby_input()) came_in.push_back(static_cast<int>(message.standby_input().epoch()));
  }
  for (const SecondaryMessage& message : primary_.messages) {
    if (message.has_standby_output()) came_out.push_back(static_cast<int>(message.standby_output().epoch()));
  }
  EXPECT_EQ(came_in, taken_in);
  EXPECT_EQ(came_out, taken_out);
  EXPECT_TRUE(primary_.SendTraffic(1, frame));
}

// The standby would not understand its input without them: they come all, in order with the rest.
TEST_P(ReplicationLinkContract, SequenceOffsetsAreNotDropped) {
  Connect();
  const std::string frame(60'000, 'x');
  while (primary_.SendTraffic(1, frame)) {
  }
  constexpr uint32_t kOffsets = 2000;
  for (uint32_t i = 0; i < kOffsets; ++i) {
    PrimaryMessage message;
    message.mutable_sequence_offset()->set_epoch(1);
    message.mutable_sequence_offset()->set_primary_initial(i);
    ASSERT_TRUE(primary_.link->SendTraffic(std::move(message)));
  }
  std::vector<uint32_t> came;
  RunUntil([&] {
    return !secondary().messages.empty() &&
           secondary().messages.back().sequence_offset().primary_initial() == kOffsets - 1;
  });
  EXPECT_FALSE(secondary().messages.front().has_sequence_offset()) << "behind what was sent before";
  for (const PrimaryMessage& message : secondary().messages) {
    if (message.has_sequence_offset()) came.push_back(message.sequence_offset().primary_initial());
  }
  ASSERT_THAT(came, SizeIs(kOffsets));
  for (uint32_t i = 0; i < kOffsets; ++i) EXPECT_EQ(came[i], i);
}

TEST_P(ReplicationLinkContract, AClosedLinkTakesNoTraffic) {
  Connect();
  primary_.Close();
  EXPECT_FALSE(primary_.SendTraffic(1, "too late"));
  RunUntilBothClosed();
  EXPECT_FALSE(secondary().SendTraffic(1, "too late"));
}

TEST_P(ReplicationLinkContract, AnIdleLinkStaysOpenAndItsHeartbeatsAreNobodysBusiness) {
  Connect(OpenSession(50, 1000));
  absl::Duration longest;
  // 30 heartbeats: longer than the link timeout.
  const uint64_t before = secondary().link->received_bytes();
  RunUntil([&] { return secondary().link->received_bytes() > before; });
  const uint64_t heartbeat = secondary().link->received_bytes() - before;
  RunUntil([&] {
    longest = std::max(longest, secondary().link->silence());
    return secondary().link->received_bytes() > before + 30 * heartbeat || secondary().is_closed();
  });
  EXPECT_THAT(primary_.closed, IsEmpty());
  EXPECT_THAT(secondary().closed, IsEmpty());
  EXPECT_THAT(primary_.messages, SizeIs(1));
  EXPECT_THAT(secondary().messages, IsEmpty());
  EXPECT_GT(longest, absl::ZeroDuration());
}

TEST_P(ReplicationLinkContract, NoHeartbeatGoesWhereMessagesDo) {
  const absl::Duration interval = absl::Milliseconds(50);
  Connect(OpenSession(50, 10'000));
  // Each message is the answer to the one before, until there are enough.
  absl::Time last = absl::Now();
  absl::Duration longest;
  size_t enough = 100;
  primary_.on_message = [&] {
    const absl::Time now = absl::Now();
    longest = std::max(longest, now - std::exchange(last, now));
    primary_.Send("question");
  };
  secondary().on_message = [&] {
    if (secondary().messages.size() < enough) secondary().SendFence(1);
  };
  const auto talk = [&] {
    last = absl::Now();
    primary_.Send("question");
    RunUntil([&] { return secondary().messages.size() == enough; });
  };
  talk();
  const uint64_t before = secondary().link->received_bytes();
  longest = absl::ZeroDuration();
  enough += 3000;  // Some intervals long.
  talk();
  const uint64_t questions = 3000 * secondary().messages.back().ByteSizeLong();
  if (longest >= interval / 2) GTEST_SKIP() << "this machine stood still for " << longest;
  EXPECT_EQ(secondary().link->received_bytes() - before, questions);
}

// ---- its end ----

TEST_P(ReplicationLinkContract, ThePrimaryCloses) {
  Connect();
  primary_.Close();
  primary_.Close();
  primary_.Send("too late");
  primary_.SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(Checkpoint(1, 1)));
  RunUntilBothClosed();
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
  secondary().Close(absl::OkStatus());
  secondary().SendFence(9);
  primary_.Close();
  harness_->Settle();
  EXPECT_THAT(primary_.messages, SizeIs(1));
  EXPECT_THAT(secondary().messages, IsEmpty());
  EXPECT_EQ(secondary().epoch, 0);
}

TEST_P(ReplicationLinkContract, TheSecondaryClosesAndThePrimaryLearnsWhyAfterAllThatWasSent) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kAborted, absl::StatusCode::kFailedPrecondition, absl::StatusCode::kInvalidArgument,
        absl::StatusCode::kResourceExhausted, absl::StatusCode::kDataLoss, absl::StatusCode::kUnavailable,
        absl::StatusCode::kCancelled, absl::StatusCode::kOk}) {
    if (secondaries_.empty()) {
      Connect();
    } else {
      primary_.messages.clear();
      primary_.closed.clear();
      Open();
      RunUntil([&] { return primary_.accepted(); });
    }
    for (int i = 0; i < 50; ++i) secondary().SendFence(i);
    secondary().Close(absl::Status(code, "the reason for it"));
    secondary().Close(absl::AlreadyExistsError("too late"));
    secondary().SendFence(99);
    RunUntilBothClosed();
    EXPECT_THAT(primary_.messages, SizeIs(51));
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kCancelled);
    if (code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled) {
      // Nobody ends a session well but with StopSession; and CANCELLED is what this side does.
      EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
    } else {
      EXPECT_EQ(primary_.closed[0].code(), code);
      EXPECT_THAT(std::string(primary_.closed[0].message()), HasSubstr("the reason for it"));
    }
    primary_.link.reset();
  }
}

TEST_P(ReplicationLinkContract, BothCloseAtOnce) {
  Connect();
  primary_.Close();
  secondary().Close(absl::AbortedError("a higher generation"));
  RunUntilBothClosed();
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kCancelled);
}

TEST_P(ReplicationLinkContract, AfterACloseFromWithinACallbackOnlyOnClosedComes) {
  Connect();
  secondary().on_message = [&] { secondary().Close(absl::AbortedError("enough")); };
  for (int i = 0; i < 5; ++i) primary_.Send("more");
  harness_->LetArrive();
  RunUntilBothClosed();
  EXPECT_THAT(secondary().messages, SizeIs(1));
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kAborted);
}

TEST_P(ReplicationLinkContract, AfterACloseFromWithinAPrimarysCallbackOnlyOnClosedComes) {
  Connect();
  primary_.on_message = [&] { primary_.Close(); };
  for (int i = 0; i < 5; ++i) secondary().SendFence(i);
  harness_->LetArrive();
  RunUntilBothClosed();
  EXPECT_THAT(primary_.messages, SizeIs(2));
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kCancelled);
}

TEST_P(ReplicationLinkContract, ALinkThatIsDestroyedCallsNobodyAndIsGoneForItsPeer) {
  Connect();
  secondary().SendFence(1);
  primary_.link.reset();
  RunUntil([&] { return secondary().is_closed(); });
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
  harness_->Settle();
  EXPECT_THAT(primary_.messages, SizeIs(1));
  EXPECT_THAT(primary_.closed, IsEmpty());

  primary_.messages.clear();
  Open();
  RunUntil([&] { return primary_.accepted(); });
  primary_.Send("never heard");
  secondary().link.reset();
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  harness_->Settle();
  EXPECT_THAT(secondary().messages, IsEmpty());
  EXPECT_THAT(secondary().closed, IsEmpty());
}

TEST_P(ReplicationLinkContract, ALinkThatIsDestroyedBetweenCloseAndOnClosedCallsNobody) {
  Connect();
  const int before = callbacks_;
  primary_.Close();
  primary_.link.reset();
  secondary().Close(absl::AbortedError("a higher generation"));
  secondary().link.reset();
  harness_->Settle();
  EXPECT_EQ(callbacks_, before);
}

TEST_P(ReplicationLinkContract, AConnectionThatIsResetIsUnavailableOnBothSides) {
  Connect();
  harness_->ResetConnections();
  RunUntilBothClosed();
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(ReplicationLinkContract, ASecondaryAgentThatGoesIsUnavailable) {
  Connect();
  for (const auto& secondary : secondaries_) secondary->link.reset();
  harness_->StopListening();
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(ReplicationLinkContract, ALinkThatIsSilentForLinkTimeoutIsUnavailableOnBothSidesWhicheverWayIsCut) {
  for (const auto& [to_secondary, to_primary] :
       {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    if (secondaries_.empty()) {
      Connect(OpenSession(50, 1000));
    } else {
      primary_.messages.clear();
      primary_.closed.clear();
      Open(OpenSession(50, 1000));
      RunUntil([&] { return primary_.accepted(); });
    }
    harness_->Partition(to_secondary, to_primary);
    RunUntilBothClosed();
    EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
    if (to_secondary) {
      EXPECT_THAT(std::string(secondary().closed[0].message()), HasSubstr("silent"));
    }
    harness_->Partition(false, false);
    primary_.link.reset();
  }
}

// ---- its beginning ----

TEST_P(ReplicationLinkContract, APeerThatCantBeReachedIsUnavailable) {
  harness_->Listen(this);
  harness_->StopListening();
  Open(OpenSession(50, 1000));
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(ReplicationLinkContract, APeerThatSaysNothingCostsLinkTimeout) {
  harness_->ListenAsStranger({});
  Open(OpenSession(50, 1000));
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(primary_.closed[0].message()), HasSubstr("silent"));
}

TEST_P(ReplicationLinkContract, APeerThatIsAliveButDoesNotAcceptIsUnavailable) {
  harness_->Listen(this);
  answer_ = Answer::kLater;
  Open(OpenSession(), /*impatient=*/true);
  RunUntil([&] { return primary_.is_closed() && !secondaries_.empty() && secondary().is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(primary_.closed[0].message()), HasSubstr("has not accepted"));
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(ReplicationLinkContract, ASessionCanBeAcceptedLater) {
  harness_->Listen(this);
  answer_ = Answer::kLater;
  Open();
  RunUntil([&] { return !secondaries_.empty(); });
  harness_->Settle();
  EXPECT_THAT(primary_.messages, IsEmpty());
  secondary().Accept();
  RunUntil([&] { return primary_.accepted(); });
  SendAndAwaitCommit(1, Checkpoint(1, 5));
}

TEST_P(ReplicationLinkContract, ASessionCanBeRefusedAtOnce) {
  harness_->Listen(this);
  answer_ = Answer::kRefuse;
  Open();
  RunUntil([&] { return primary_.is_closed() && secondary().is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(primary_.closed[0].message()), HasSubstr("too little memory here"));
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kCancelled);
}

TEST_P(ReplicationLinkContract, ASessionThatTheAcceptorLetsGoIsUnavailable) {
  harness_->Listen(this);
  answer_ = Answer::kLetGo;
  Open();
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(ReplicationLinkContract, TimesOutOfBoundsAreInvalidAndNobodyHearsOfThem) {
  harness_->Listen(this);
  Open(OpenSession(0, 0));
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kInvalidArgument);
  primary_.Send("too late");
  primary_.Close();
  harness_->Settle();
  EXPECT_THAT(secondaries_, IsEmpty());
}

TEST_P(ReplicationLinkContract, ClosedBeforeTheAnswer) {
  harness_->Listen(this);
  answer_ = Answer::kLater;
  Open();
  primary_.Close();
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kCancelled);
  harness_->Settle();
  // It may have heard of the session, or not.
  for (const auto& secondary : secondaries_) {
    ASSERT_THAT(secondary->closed, SizeIs(1));
    EXPECT_EQ(secondary->closed[0].code(), absl::StatusCode::kUnavailable);
  }
}

// ---- checkpoints that never become whole ----

TEST_P(ReplicationLinkContract, AReaderThatFailsHasNoTrailerAndTheLinkStays) {
  Connect();
  primary_.SendCheckpoint(1, std::make_shared<FailingReader>(Checkpoint(1, 50)));
  RunUntil([&] { return !secondary().sink->bytes().empty(); });
  harness_->Settle();
  primary_.Send("still here");
  RunUntil([&] { return !secondary().messages.empty(); });
  EXPECT_EQ(secondary().epoch, 0);
  EXPECT_THAT(primary_.closed, IsEmpty());
  EXPECT_THAT(secondary().closed, IsEmpty());
}

TEST_P(ReplicationLinkContract, AReaderThatGivesNoCheckpointIsInternal) {
  Connect();
  const std::string bytes = Checkpoint(1, 10);
  primary_.SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(bytes.substr(0, bytes.size() - 8)));
  RunUntilBothClosed();
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kInternal);
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(secondary().epoch, 0);
}

TEST_P(ReplicationLinkContract, TheEndOfALinkCancelsTheReaderThatItHas) {
  for (const bool destroyed : {false, true}) {
    if (secondaries_.empty()) {
      Connect();
    } else {
      primary_.messages.clear();
      primary_.closed.clear();
      Open();
      RunUntil([&] { return primary_.accepted(); });
    }
    const std::unique_ptr<GrowingCheckpoint> growing = harness_->NewGrowingCheckpoint();
    const std::string bytes = Checkpoint(1, 1000);
    growing->Append(bytes.substr(0, bytes.size() / 2));
    primary_.SendCheckpoint(1, growing->reader());
    RunUntil([&] { return !secondary().sink->bytes().empty(); });
    EXPECT_FALSE(growing->cancelled());
    if (destroyed) {
      primary_.link.reset();
    } else {
      primary_.Close();
    }
    EXPECT_TRUE(growing->cancelled());
    RunUntil([&] { return secondary().is_closed(); });
    EXPECT_EQ(secondary().epoch, 0);
    primary_.link.reset();
  }
}

TEST_P(ReplicationLinkContract, APeerThatGoesAnywhereInACheckpointLeavesNoneOfIt) {
  harness_->Listen(this);
  const std::vector<PrimaryMessage> messages = MessagesOf(1, Checkpoint(1, 3), 2000);
  for (size_t count = 0; count < messages.size(); ++count) {
    harness_->TellSecondary(OpenMessage(), {messages.begin(), messages.begin() + count}, /*hang_up=*/true)
        .IgnoreError();
    ASSERT_THAT(secondaries_, SizeIs(count + 1));
    RunUntil([&] { return secondary().is_closed(); });
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(secondary().epoch, 0) << "after " << count << " messages";
  }
}

TEST_P(ReplicationLinkContract, ACheckpointThatDoesNotVerifyIsDataLossOnBothSides) {
  harness_->Listen(this);
  for (const int damage : {0, 1, 2, 3}) {
    std::vector<PrimaryMessage> messages = MessagesOf(1, Checkpoint(1, 3), 2000);
    std::string* const payload = messages[3].mutable_checkpoint_data()->mutable_payload();
    auto* const trailer = messages.back().mutable_checkpoint_trailer();
    if (damage == 0) payload->back() = static_cast<char>(payload->back() ^ 1);
    if (damage == 1) trailer->set_digest_xxh3(trailer->digest_xxh3() + 1);
    if (damage == 2) trailer->set_length(trailer->length() + 1);
    if (damage == 3) trailer->set_page_count(trailer->page_count() + 1);
    EXPECT_EQ(harness_->TellSecondary(OpenMessage(), messages, /*hang_up=*/false).code(), absl::StatusCode::kDataLoss)
        << damage;
    RunUntil([&] { return secondary().is_closed(); });
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kDataLoss) << damage;
    EXPECT_EQ(secondary().epoch, 0) << damage;
  }
}

TEST_P(ReplicationLinkContract, ASinkThatTakesNothingMoreIsUnavailableOnBothSides) {
  for (const absl::Status& status : {absl::InternalError("the restore helper has died"), absl::AbortedError("gone"),
                                     absl::CancelledError("discarded")}) {
    sink_status_ = status;
    if (secondaries_.empty()) {
      Connect();
    } else {
      primary_.messages.clear();
      primary_.closed.clear();
      Open();
      RunUntil([&] { return primary_.accepted(); });
    }
    primary_.SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(Checkpoint(1, 10)));
    RunUntilBothClosed();
    EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(secondary().closed[0].message()), HasSubstr(std::string(status.message())));
    EXPECT_EQ(secondary().epoch, 0);
    primary_.link.reset();
  }
}

// ---- peers that are none of ours ----

TEST_P(ReplicationLinkContract, ABrokenProtocolIsInvalidOnBothSides) {
  harness_->Listen(this);
  commits_ = false;
  const std::vector<PrimaryMessage> first = MessagesOf(1, Checkpoint(1, 1), 1000);
  struct Case {
    std::string name;
    std::vector<PrimaryMessage> messages;
  };
  std::vector<Case> cases;
  cases.push_back({"of no known kind", {PrimaryMessage()}});
  cases.push_back({"OpenSession twice", {OpenMessage()}});
  cases.push_back({"out of order", MessagesOf(2, Checkpoint(2, 1), 3000)});
  cases.push_back({"a gap in the data", {first[0], first[2]}});
  cases.push_back({"no data", {first[0]}});
  cases.back().messages[0].mutable_checkpoint_data()->clear_payload();
  cases.push_back({"no checkpoint", {first[0]}});
  cases.back().messages[0].mutable_checkpoint_data()->mutable_payload()->assign(100, 'x');
  std::vector<PrimaryMessage> too_early = first;
  for (const PrimaryMessage& message : MessagesOf(2, Checkpoint(2, 1), 3000)) too_early.push_back(message);
  cases.push_back({"before the commit of the one before", too_early});
  for (Case& broken : cases) {
    for (PrimaryMessage& message : broken.messages) message.set_generation(kGeneration);
    const absl::Status told = harness_->TellSecondary(OpenMessage(), broken.messages, /*hang_up=*/false);
    EXPECT_EQ(told.code(), absl::StatusCode::kInvalidArgument) << broken.name << ": " << told;
    RunUntil([&] { return secondary().is_closed(); });
    EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kInvalidArgument) << broken.name;
    EXPECT_THAT(secondary().messages, IsEmpty()) << broken.name;
    EXPECT_EQ(secondary().epoch, &broken == &cases.back() ? 1 : 0) << broken.name;
  }
}

TEST_P(ReplicationLinkContract, DataBeforeTheAcceptanceIsInvalid) {
  harness_->Listen(this);
  answer_ = Answer::kLater;
  Open();
  RunUntil([&] { return !secondaries_.empty(); });
  primary_.SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(Checkpoint(1, 1)));
  RunUntilBothClosed();
  EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(secondary().closed[0].code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(ReplicationLinkContract, ThePrimarysMessagesOfAnotherGenerationAreTheSecondarysToJudge) {
  harness_->Listen(this);
  std::vector<PrimaryMessage> messages = MessagesOf(1, Checkpoint(1, 1), 8000);
  messages.insert(messages.begin() + 1, OpenMessage());
  messages.push_back(PrimaryMessage());
  for (PrimaryMessage& message : messages) message.set_generation(kGeneration - 1);
  const size_t foreign = messages.size();
  messages.push_back(PrimaryMessage());
  messages.back().set_generation(kGeneration);  // Ends the session.
  harness_->TellSecondary(OpenMessage(), messages, /*hang_up=*/false).IgnoreError();
  RunUntil([&] { return secondary().is_closed(); });
  ASSERT_THAT(secondary().messages, SizeIs(foreign));
  for (const PrimaryMessage& message : secondary().messages) EXPECT_EQ(message.generation(), kGeneration - 1);
  EXPECT_EQ(secondary().epoch, 0);
  EXPECT_THAT(secondary().sink->bytes(), IsEmpty());
}

TEST_P(ReplicationLinkContract, TheSecondarysMessagesOfAnotherGenerationOrOfNoKindAreInvalid) {
  SecondaryMessage accepted;
  accepted.mutable_session_accepted();
  accepted.set_generation(kGeneration + 1);
  SecondaryMessage unset;
  unset.set_generation(kGeneration);
  for (const SecondaryMessage& message : {accepted, unset}) {
    harness_->ListenAsStranger({message});
    primary_.closed.clear();
    Open();
    RunUntil([&] { return primary_.is_closed(); });
    EXPECT_EQ(primary_.closed[0].code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(primary_.messages, IsEmpty());
    primary_.link.reset();
  }
}

}  // namespace romulus
