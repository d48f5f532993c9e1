#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/codec/encoding_pool.h"
#include "common/link/bandwidth_share.h"
#include "common/link/grpc_primary_link.h"
#include "common/link/grpc_replication_service.h"
#include "common/link/loopback_proxy.h"
#include "common/link/stranger.h"
#include "common/link/watch_thread.h"
#include "common/loop/scheduler.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using replication::v1::OpenSession;
using replication::v1::PrimaryMessage;
using replication::v1::ReplicationService;
using replication::v1::SecondaryMessage;

constexpr uint64_t kGeneration = 7;

// Only against a hang: no test expects time to pass.
constexpr absl::Duration kHang = absl::Seconds(60);

OpenSession Open(uint32_t heartbeat_ms = 20, uint32_t timeout_ms = 30'000) {
  OpenSession open;
  open.set_protection("protections/p");
  open.set_heartbeat_interval_ms(heartbeat_ms);
  open.set_link_timeout_ms(timeout_ms);
  open.mutable_domain()->set_memory_max_kib(64 << 10);
  open.mutable_domain()->set_vcpu_count(1);
  return open;
}

std::string Checkpoint(uint64_t epoch, int pages) {
  SyntheticStream stream;
  if (epoch == 1) stream.Preamble();
  std::vector<SyntheticStream::Page> batch;
  for (int i = 0; i < pages; ++i) {
    batch.push_back({static_cast<uint64_t>(i), 0, absl::StrCat("epoch ", epoch, " page ", i)});
    if (batch.size() == 1024 || i + 1 == pages) {
      stream.PageData(batch);
      batch.clear();
    }
  }
  return stream.State("registers").EndCheckpoint().bytes();
}

// A scheduler whose tasks run when the test lets them.
class PumpedScheduler final : public Scheduler {
 public:
  absl::Duration Now() const override { return LinkNow(); }
  void Post(std::function<void()> task) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    posted_.notify_all();
  }
  TimerId After(absl::Duration, std::function<void()>) override {
    ADD_FAILURE() << "links have no timers here";
    return kNoTimer;
  }
  void Cancel(TimerId) override {}

  // Runs what was posted, after waiting for something for up to `patience`.
  void Pump(absl::Duration patience) {
    std::deque<std::function<void()>> tasks;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      posted_.wait_for(lock, absl::ToChronoMicroseconds(patience), [this] { return !tasks_.empty(); });
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) task();
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> tasks_;
};

constexpr replication::v1::AfterCheckpoint kWaits = replication::v1::STANDBY_WAITS;

class PrimaryObserver final : public PrimaryLink::Observer {
 public:
  void OnMessage(const SecondaryMessage& message) override { messages.push_back(message); }
  void OnCheckpointSent(uint64_t) override {}
  void OnClosed(absl::Status status) override { closed.push_back(status); }

  bool accepted() const { return !messages.empty() && messages[0].has_session_accepted(); }

  std::vector<SecondaryMessage> messages;
  std::vector<absl::Status> closed;
};

class SecondaryObserver final : public SecondaryLink::Observer {
 public:
  void OnMessage(const PrimaryMessage& message) override { messages.push_back(message); }
  void OnSeeded(std::string tail, replication::v1::AfterCheckpoint) override {
    seeded.push_back(tail);
    Commit(1);
  }
  void OnCheckpoint(uint64_t epoch, CheckpointBytes bytes, replication::v1::AfterCheckpoint) override {
    checkpoints.push_back(bytes.ToString());
    Commit(epoch);
  }
  void OnClosed(absl::Status status) override { closed.push_back(status); }

  void Commit(uint64_t epoch) {
    SecondaryMessage commit;
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    link->Send(commit);
  }
  void Accept(std::shared_ptr<CheckpointSink> sink) {
    link->SetSeedSink(std::move(sink));
    SecondaryMessage accepted;
    accepted.mutable_session_accepted();
    link->Send(accepted);
  }

  std::unique_ptr<SecondaryLink> link;
  PrimaryMessage open;
  std::vector<PrimaryMessage> messages;
  std::vector<std::string> seeded;
  std::vector<std::string> checkpoints;
  std::vector<absl::Status> closed;
};

// Holds whoever comes while it is shut.
class Gate {
 public:
  explicit Gate(bool shut = false) : shut_(shut) {}
  void Shut() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = true;
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = false;
    changed_.notify_all();
  }
  // Opens it when what is called next waits, as a rule, for who is held.
  std::thread OpenSoon() {
    return std::thread([this] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      Open();
    });
  }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    changed_.wait(lock, [this] { return !shut_; });
    --waiting_;
  }
  bool holds_somebody() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return shut_ && waiting_ > 0;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool shut_;
  int waiting_ = 0;
};

// A sink that takes nothing until it is opened.
class GatedSink final : public CheckpointSink {
 public:
  absl::Status Write(absl::Span<const char> bytes) override {
    gate_.Pass();
    return sink_.Write(bytes);
  }
  void Open() { gate_.Open(); }
  bool blocked() const { return gate_.holds_somebody(); }
  std::string bytes() const { return sink_.bytes(); }

 private:
  Gate gate_{/*shut=*/true};
  MemoryCheckpointSink sink_;
};

// A checkpoint in memory that says when it is read.
class WatchedReader final : public CheckpointReader {
 public:
  WatchedReader(const std::string& bytes, bool in_place, std::function<void()> before_read)
      : reader_(bytes, bytes.size(), in_place), before_read_(std::move(before_read)) {}
  ~WatchedReader() override { EXPECT_EQ(being_read_, 0) << "destroyed by another thread"; }

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override {
    BeforeRead();
    return reader_.Read(buffer);
  }
  bool in_place() const override { return reader_.in_place(); }
  absl::StatusOr<absl::Span<const char>> ReadInPlace(size_t max) override {
    BeforeRead();
    return reader_.ReadInPlace(max);
  }
  size_t bytes_left() const override { return reader_.bytes_left(); }
  void Cancel() override { reader_.Cancel(); }

 private:
  void BeforeRead() {
    ++being_read_;
    before_read_();
    --being_read_;
  }

  MemoryCheckpointReader reader_;
  const std::function<void()> before_read_;
  std::atomic<int> being_read_ = 0;
};

// A reader that never gives anything until it is cancelled.
class StuckReader final : public CheckpointReader {
 public:
  absl::StatusOr<size_t> Read(absl::Span<char>) override {
    std::unique_lock<std::mutex> lock(mutex_);
    reading_ = true;
    changed_.wait(lock, [this] { return cancelled_; });
    return absl::CancelledError("cancelled");
  }
  void Cancel() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }
  bool reading() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reading_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reading_ = false;
  bool cancelled_ = false;
};

// Its parameter: whether both ends take themselves to have one processor.
class GrpcLinkTest : public testing::TestWithParam<bool>, public SessionAcceptor {
 protected:
  GrpcLinkTest() : loop_(std::make_unique<PumpedScheduler>()) {}
  ~GrpcLinkTest() override {
    primary_.reset();
    StopServer();
    sessions_.clear();
    service_.reset();
  }

  void OnSession(const PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) override {
    auto session = std::make_unique<SecondaryObserver>();
    session->link = std::move(link);
    session->open = open;
    session->link->Start(session.get());
    sessions_.push_back(std::move(session));
    if (sink_ != nullptr) sessions_.back()->Accept(sink_);
  }

  void StartServer(GrpcReplicationService::Options options = {}) {
    options.one_processor = GetParam();
    service_ = std::make_unique<GrpcReplicationService>(loop_.get(), this, options);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    ASSERT_TRUE(service_->Start(&builder));
    address_ = absl::StrCat("127.0.0.1:", port_);
  }
  void StopServer() {
    if (service_ != nullptr) service_->Shutdown();
  }

  // Runs the loop until `condition`.
  void Until(const std::function<bool()>& condition) {
    const absl::Duration start = loop_->Now();
    while (!condition()) {
      ASSERT_LT(loop_->Now() - start, kHang) << "hangs";
      loop_->Pump(absl::Milliseconds(5));
    }
  }
  void RunFor(absl::Duration time) {
    const absl::Duration end = loop_->Now() + time;
    for (absl::Duration now = loop_->Now(); now < end; now = loop_->Now()) loop_->Pump(end - now);
  }

  void OpenPrimary(OpenSession open = Open(), GrpcPrimaryLink::Options options = {}) {
    options.address = address_;
    options.one_processor = GetParam();
    primary_ = std::make_unique<GrpcPrimaryLink>(loop_.get(), options);
    primary_->Open(kGeneration, open, &at_primary_);
  }
  void OpenAndAccept(std::shared_ptr<CheckpointSink> sink, OpenSession open = Open(),
                     GrpcPrimaryLink::Options options = {}) {
    sink_ = std::move(sink);
    OpenPrimary(open, options);
    Until([&] { return at_primary_.accepted(); });
  }
  void SendAndAwaitCommit(uint64_t epoch, const std::string& bytes) {
    const size_t before = at_primary_.messages.size();
    // Every second one lies in memory, as the checkpoints that a real guest's save helper has staged.
    auto reader = std::make_shared<MemoryCheckpointReader>(bytes, 64 << 10, epoch % 2 == 0);
    const std::weak_ptr<CheckpointReader> watched = reader;
    primary_->SendCheckpoint(epoch, std::move(reader), /*tell_when_sent=*/false, kWaits);
    Until([&] { return at_primary_.messages.size() > before || !at_primary_.closed.empty(); });
    ASSERT_TRUE(at_primary_.closed.empty()) << at_primary_.closed[0];
    // Whoever staged it waits for this.
    Until([&] { return watched.expired(); });
    EXPECT_EQ(at_primary_.messages.back().checkpoint_commit().epoch(), epoch);
  }

  // As SendAndAwaitCommit, for one that lies in memory and is kept until the next one begins: it may be asked for
  // again.
  void SendEncodedAndAwaitCommit(uint64_t epoch) {
    primary_->SendCheckpoint(
        epoch, std::make_shared<MemoryCheckpointReader>(Checkpoint(epoch, 10), 64 << 10, /*in_place=*/true),
        /*tell_when_sent=*/false, kWaits);
    Until([&] { return at_primary_.messages.back().checkpoint_commit().epoch() == epoch; });
  }

  // What a hostile peer that writes `messages` is told.
  grpc::Status Tell(const std::vector<PrimaryMessage>& messages, bool half_close = false) {
    auto channel = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    auto stub = ReplicationService::NewStub(channel);
    auto result = std::async(std::launch::async, [&] {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
      auto stream = stub->Replicate(&context);
      for (const PrimaryMessage& message : messages) stream->Write(message);
      if (half_close) stream->WritesDone();
      SecondaryMessage reply;
      while (stream->Read(&reply)) continue;
      return stream->Finish();
    });
    Until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    return result.get();
  }
  static PrimaryMessage OpenMessage(OpenSession open = Open()) {
    PrimaryMessage message;
    message.set_generation(kGeneration);
    *message.mutable_open_session() = open;
    return message;
  }
  static PrimaryMessage DataMessage(const std::string& payload) {
    PrimaryMessage message;
    message.set_generation(kGeneration);
    message.mutable_checkpoint_data()->set_epoch(1);
    message.mutable_checkpoint_data()->set_payload(payload);
    return message;
  }

  std::unique_ptr<PumpedScheduler> loop_;
  std::unique_ptr<GrpcReplicationService> service_;
  int port_ = 0;
  std::string address_;  // Where primaries connect to.
  std::shared_ptr<CheckpointSink> sink_;
  std::vector<std::unique_ptr<SecondaryObserver>> sessions_;
  PrimaryObserver at_primary_;
  std::unique_ptr<GrpcPrimaryLink> primary_;
};

TEST_P(GrpcLinkTest, CheckpointsOfSeveralSizesArriveAsTheyWereAndAreCommitted) {
  StartServer();
  auto sink = std::make_shared<MemoryCheckpointSink>();
  GrpcPrimaryLink::Options options;
  options.chunk_bytes = 100'000;
  OpenAndAccept(sink, Open(), options);
  EXPECT_EQ(sessions_[0]->open.generation(), kGeneration);
  EXPECT_EQ(sessions_[0]->open.open_session().protection(), "protections/p");
  uint64_t sent = 0;
  for (const auto& [epoch, pages] : {std::pair(1, 3000), std::pair(2, 1), std::pair(3, 430), std::pair(4, 5000)}) {
    const std::string bytes = Checkpoint(epoch, pages);
    sent += bytes.size();
    SendAndAwaitCommit(epoch, bytes);
    if (epoch == 1) {
      ASSERT_EQ(sessions_[0]->seeded.size(), 1);
      EXPECT_TRUE(sink->bytes() + sessions_[0]->seeded[0] == bytes);
    } else {
      ASSERT_EQ(sessions_[0]->checkpoints.size(), epoch - 1);
      EXPECT_TRUE(sessions_[0]->checkpoints.back() == bytes) << epoch;
    }
  }
  EXPECT_EQ(primary_->sent_bytes(), sent);
  EXPECT_GE(sessions_[0]->link->received_bytes(), sent);
}

TEST_P(GrpcLinkTest, WithOneProcessorWhatCantBlockIsNotHandedOver) {
  StartServer();
  // How many of a checkpoint's pieces are read on this thread, the caller's. (No heartbeat is in flight then.)
  const auto ReadHere = [&](GrpcPrimaryLink::Options options, bool in_place) {
    options.chunk_bytes = 100'000;
    at_primary_ = {};
    OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(/*heartbeat_ms=*/10'000), options);
    SendAndAwaitCommit(1, Checkpoint(1, 100));
    std::mutex mutex;
    std::vector<std::thread::id> threads;
    const auto reader = std::make_shared<WatchedReader>(Checkpoint(2, 500), in_place, [&] {
      const std::lock_guard<std::mutex> lock(mutex);
      threads.push_back(std::this_thread::get_id());
    });
    primary_->SendCheckpoint(2, reader, /*tell_when_sent=*/false, kWaits);
    Until([&] { return at_primary_.messages.back().checkpoint_commit().epoch() == 2; });
    primary_.reset();
    EXPECT_GT(threads.size(), 10);
    return std::count(threads.begin(), threads.end(), std::this_thread::get_id());
  };
  EXPECT_EQ(ReadHere({}, /*in_place=*/true), GetParam() ? 1 : 0) << "the first message, and no more than that";
  EXPECT_EQ(ReadHere({}, /*in_place=*/false), 0) << "it may block";
  BandwidthShare unlimited(0);
  GrpcPrimaryLink::Options limited;
  limited.bandwidth = unlimited.NewFlow();
  EXPECT_EQ(ReadHere(limited, /*in_place=*/true), 0) << "a limit may hold it up";
}

TEST_P(GrpcLinkTest, WithOneProcessorTheReceiversAreSparedAllButTheSeed) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  GrpcReplicationService::Options service_options;
  service_options.before_decode_for_test = [&](CheckpointDecoder*) {
    const std::lock_guard<std::mutex> lock(mutex);
    threads.insert(std::this_thread::get_id());
  };
  StartServer(service_options);
  GrpcPrimaryLink::Options options;
  options.encoding_pool = std::make_shared<EncodingPool>(1);
  options.address = address_;
  sink_ = std::make_shared<MemoryCheckpointSink>();
  // The threads of a session, while those before live on. A receiver that is not back from a checkpoint yet when the
  // next comes may take that, too; not ten times.
  std::vector<std::unique_ptr<GrpcPrimaryLink>> links;
  std::deque<PrimaryObserver> observers;
  const auto ThreadsOfASession = [&] {
    PrimaryObserver& observer = observers.emplace_back();
    links.push_back(std::make_unique<GrpcPrimaryLink>(loop_.get(), options));
    links.back()->Open(kGeneration, Open(), &observer);
    Until([&] { return observer.accepted(); });
    for (uint64_t epoch = 1; epoch <= 10; ++epoch) {
      links.back()->SendCheckpoint(
          epoch, std::make_shared<MemoryCheckpointReader>(Checkpoint(epoch, 1), 64 << 10, /*in_place=*/true),
          /*tell_when_sent=*/false, kWaits);
      Until([&] { return observer.messages.back().checkpoint_commit().epoch() == epoch; });
    }
    const std::lock_guard<std::mutex> lock(mutex);
    return std::exchange(threads, {});
  };
  const std::set<std::thread::id> first = ThreadsOfASession();
  const std::set<std::thread::id> second = ThreadsOfASession();
  EXPECT_EQ(first.size(), GetParam() ? 2 : 1);
  EXPECT_EQ(second.size(), first.size());
  std::vector<std::thread::id> common;
  std::set_intersection(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(common));
  EXPECT_EQ(common.size(), GetParam() ? 1 : 0) << "the one that serves gRPC";
}

TEST_P(GrpcLinkTest, MessagesPassBothWaysInOrder) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>());
  PrimaryMessage stop;
  stop.mutable_stop_session()->set_reason("test");
  primary_->Send(stop);
  Until([&] { return !sessions_[0]->messages.empty(); });
  EXPECT_EQ(sessions_[0]->messages[0].stop_session().reason(), "test");
  EXPECT_EQ(sessions_[0]->messages[0].generation(), kGeneration);
  for (uint64_t next = 1; next <= 200; ++next) {
    SecondaryMessage fence;
    fence.mutable_fence()->set_next_generation(next);
    sessions_[0]->link->Send(fence);
  }
  Until([&] { return at_primary_.messages.size() == 201; });
  for (uint64_t next = 1; next <= 200; ++next) {
    EXPECT_EQ(at_primary_.messages[next].fence().next_generation(), next);
  }
}

TEST_P(GrpcLinkTest, WhatIsSentBeforeCloseArrivesAndTheStatusToo) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>());
  for (int i = 0; i < 50; ++i) {
    SecondaryMessage message;
    message.mutable_standby_failed()->set_reason("restore failed");
    sessions_[0]->link->Send(message);
  }
  sessions_[0]->link->Close(absl::AbortedError("generation 9 is known"));
  Until([&] { return !at_primary_.closed.empty() && !sessions_[0]->closed.empty(); });
  EXPECT_EQ(at_primary_.messages.size(), 51);
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(absl::StrContains(at_primary_.closed[0].message(), "generation 9 is known"));
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kCancelled);
}

TEST_P(GrpcLinkTest, ClosingOnThePrimaryEndsBothSidesOnce) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>());
  primary_->Close();
  EXPECT_TRUE(at_primary_.closed.empty()) << "a callback from within a call";
  Until([&] { return !at_primary_.closed.empty() && !sessions_[0]->closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kUnavailable);
  primary_->Close();
  sessions_[0]->link->Close(absl::OkStatus());
  RunFor(absl::Milliseconds(50));
  EXPECT_EQ(at_primary_.closed.size(), 1);
  EXPECT_EQ(sessions_[0]->closed.size(), 1);
}

TEST_P(GrpcLinkTest, AServerThatGoesIsALostSecondary) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>());
  StopServer();
  Until([&] { return !at_primary_.closed.empty() && !sessions_[0]->closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kUnavailable) << at_primary_.closed[0];
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(GrpcLinkTest, ARefusedConnectionSaysWhereAndWhatToDo) {
  StartServer();
  StopServer();
  OpenPrimary();
  Until([&] { return !at_primary_.closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(at_primary_.closed[0].message(), address_)) << at_primary_.closed[0];
  EXPECT_TRUE(absl::StrContains(at_primary_.closed[0].message(), "Check that romulus-secondary runs"));
}

TEST_P(GrpcLinkTest, TimesOutOfBoundsCloseTheLinkWithoutConnecting) {
  address_ = "127.0.0.1:1";
  OpenPrimary(Open(0, 0));
  Until([&] { return !at_primary_.closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(GrpcLinkTest, ASecondaryThatIsAliveButDoesNotAcceptIsGivenUp) {
  StartServer();
  GrpcPrimaryLink::Options options;
  options.accept_timeout = absl::Milliseconds(200);
  OpenPrimary(Open(), options);
  Until([&] { return !at_primary_.closed.empty(); });
  EXPECT_TRUE(absl::StrContains(at_primary_.closed[0].message(), "has not accepted")) << at_primary_.closed[0];
}

TEST_P(GrpcLinkTest, ACheckpointDoesNotWaitForWhatComesBack) {
  StartServer();
  LoopbackProxy network(port_);
  address_ = absl::StrCat("127.0.0.1:", network.port());
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(/*heartbeat_ms=*/10'000));
  SendAndAwaitCommit(1, Checkpoint(1, 1000));
  network.Hold(/*from_client=*/false, /*to_client=*/true);
  const std::string bytes = Checkpoint(2, 500);  // 2 MB, in several messages.
  primary_->SendCheckpoint(2, std::make_shared<MemoryCheckpointReader>(bytes, 64 << 10, /*in_place=*/true),
                           /*tell_when_sent=*/false, kWaits);
  Until([&] { return sessions_[0]->checkpoints.size() == 1; });
  ASSERT_EQ(sessions_[0]->checkpoints.size(), 1) << "a window that has to be opened first";
  EXPECT_TRUE(sessions_[0]->checkpoints[0] == bytes);
  EXPECT_EQ(at_primary_.messages.back().checkpoint_commit().epoch(), 1);
  network.Hold(false, false);
  Until([&] { return at_primary_.messages.back().checkpoint_commit().epoch() == 2; });
}

TEST_P(GrpcLinkTest, ASlowSinkHoldsUpTheSenderAndIsNoSilence) {
  StartServer();
  auto sink = std::make_shared<GatedSink>();
  // Silence would be noticed after 250 ms, were it counted.
  OpenAndAccept(sink, Open(20, 250));
  const std::string bytes = Checkpoint(1, 10'000);
  primary_->SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(bytes), /*tell_when_sent=*/false, kWaits);
  Until([&] { return sink->blocked(); });
  // Until the sender has come to a stop.
  uint64_t sent = 0;
  do {
    sent = primary_->sent_bytes();
    RunFor(absl::Milliseconds(300));
  } while (primary_->sent_bytes() != sent);
  EXPECT_LT(sent, uint64_t{16} << 20) << "somebody buffers without bound";
  EXPECT_TRUE(at_primary_.closed.empty());
  EXPECT_TRUE(sessions_[0]->closed.empty());
  sink->Open();
  Until([&] { return at_primary_.messages.size() == 2 || !at_primary_.closed.empty(); });
  ASSERT_TRUE(at_primary_.closed.empty()) << at_primary_.closed[0];
  EXPECT_TRUE(sink->bytes() + sessions_[0]->seeded[0] == bytes);
}

TEST_P(GrpcLinkTest, ManySlowSinksTakeMemoryForEachSessionAndNoMore) {
  StartServer();
  constexpr int kSessions = 4;
  const auto sink = std::make_shared<GatedSink>();
  sink_ = sink;
  std::vector<std::unique_ptr<PrimaryObserver>> observers;
  std::vector<std::unique_ptr<GrpcPrimaryLink>> links;
  for (int i = 0; i < kSessions; ++i) {
    observers.push_back(std::make_unique<PrimaryObserver>());
    GrpcPrimaryLink::Options options;
    options.address = address_;
    links.push_back(std::make_unique<GrpcPrimaryLink>(loop_.get(), options));
    OpenSession open = Open();
    open.set_protection(absl::StrCat("protections/", i));
    links.back()->Open(kGeneration, open, observers.back().get());
  }
  const std::string bytes = Checkpoint(1, 8'000);
  for (int i = 0; i < kSessions; ++i) {
    Until([&] { return observers[i]->accepted(); });
    links[i]->SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(bytes, 64 << 10, /*in_place=*/i % 2 == 0),
                             /*tell_when_sent=*/false, kWaits);
  }
  const auto Sent = [&] {
    uint64_t sent = 0;
    for (const auto& link : links) sent += link->sent_bytes();
    return sent;
  };
  uint64_t sent = 0;
  do {
    sent = Sent();
    RunFor(absl::Milliseconds(300));
  } while (sent == 0 || Sent() != sent);
  EXPECT_LT(sent, kSessions * (uint64_t{16} << 20)) << "somebody buffers without bound";
  sink->Open();
  for (const auto& observer : observers) {
    Until([&] { return observer->messages.size() == 2 || !observer->closed.empty(); });
    EXPECT_TRUE(observer->closed.empty()) << observer->closed[0];
  }
  EXPECT_EQ(Sent(), kSessions * bytes.size());
}

TEST_P(GrpcLinkTest, ABandwidthLimitHoldsUpCheckpointsAndNothingElse) {
  StartServer();
  BandwidthShare share(1);
  GrpcPrimaryLink::Options options;
  options.bandwidth = share.NewFlow(1);
  const auto sink = std::make_shared<MemoryCheckpointSink>();
  OpenAndAccept(sink, Open(), options);
  const std::string bytes = Checkpoint(1, 100);
  primary_->SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(bytes), /*tell_when_sent=*/false, kWaits);
  Until([&] { return primary_->sent_bytes() > 0; });
  const uint64_t first_chunk = primary_->sent_bytes();
  EXPECT_LT(first_chunk, bytes.size());
  // The next chunk is due in hours; this goes now.
  PrimaryMessage stop;
  stop.mutable_stop_session()->set_reason("test");
  primary_->Send(stop);
  Until([&] { return !sessions_[0]->messages.empty(); });
  EXPECT_EQ(primary_->sent_bytes(), first_chunk);
  share.SetLimit(0);
  EXPECT_EQ(primary_->sent_bytes(), first_chunk) << "its own limit does not bind";
  options.bandwidth->SetLimit(0);
  Until([&] { return at_primary_.messages.size() == 2 || !at_primary_.closed.empty(); });
  ASSERT_TRUE(at_primary_.closed.empty()) << at_primary_.closed[0];
  EXPECT_TRUE(sink->bytes() + sessions_[0]->seeded[0] == bytes);
}

TEST_P(GrpcLinkTest, ABandwidthLimitDoesNotHoldUpTheEndOfALink) {
  StartServer();
  BandwidthShare share(1);
  GrpcPrimaryLink::Options options;
  options.bandwidth = share.NewFlow();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(), options);
  primary_->SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(Checkpoint(1, 100)), /*tell_when_sent=*/false,
                           kWaits);
  Until([&] { return primary_->sent_bytes() > 0; });
  primary_.reset();
  Until([&] { return !sessions_[0]->closed.empty(); });
}

TEST_P(GrpcLinkTest, HeartbeatsKeepAnIdleLinkAlive) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(20, 400));
  RunFor(absl::Seconds(2));
  EXPECT_TRUE(at_primary_.closed.empty());
  EXPECT_TRUE(sessions_[0]->closed.empty());
  EXPECT_EQ(at_primary_.messages.size(), 1) << "a heartbeat reached the observer";
  EXPECT_TRUE(sessions_[0]->messages.empty());
}

TEST_P(GrpcLinkTest, APrimaryThatFallsSilentIsLost) {
  StartServer();
  sink_ = std::make_shared<MemoryCheckpointSink>();
  // Opens and then says nothing.
  const grpc::Status status = Tell({OpenMessage(Open(20, 100))});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(absl::StrContains(status.error_message(), "silent")) << status.error_message();
  Until([&] { return !sessions_[0]->closed.empty(); });
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(GrpcLinkTest, ASecondaryThatFallsSilentIsLost) {
  class Silent final : public ReplicationService::CallbackService {
    grpc::ServerBidiReactor<PrimaryMessage, SecondaryMessage>* Replicate(grpc::CallbackServerContext*) override {
      class Reactor final : public grpc::ServerBidiReactor<PrimaryMessage, SecondaryMessage> {
        void OnCancel() override { Finish(grpc::Status::OK); }
        void OnDone() override { delete this; }
      };
      return new Reactor;
    }
  };
  Silent silent;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&silent);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
  OpenPrimary(Open(20, 100));
  Until([&] { return !at_primary_.closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(at_primary_.closed[0].message(), "it never answered")) << at_primary_.closed[0];
  primary_.reset();
  server->Shutdown();
}

TEST_P(GrpcLinkTest, NothingBlocksTheEndOfThePrimarysLink) {
  StartServer();
  OpenAndAccept(std::make_shared<GatedSink>());
  auto reader = std::make_shared<StuckReader>();
  primary_->SendCheckpoint(1, reader, /*tell_when_sent=*/false, kWaits);
  Until([&] { return reader->reading(); });
  primary_.reset();
  Until([&] { return !sessions_[0]->closed.empty(); });
  EXPECT_TRUE(at_primary_.closed.empty()) << "a callback after destruction";
}

TEST_P(GrpcLinkTest, NothingBlocksTheEndOfTheSecondarysLink) {
  StartServer();
  auto sink = std::make_shared<GatedSink>();
  OpenAndAccept(sink);
  primary_->SendCheckpoint(1, std::make_shared<MemoryCheckpointReader>(Checkpoint(1, 10'000)),
                           /*tell_when_sent=*/false, kWaits);
  Until([&] { return sink->blocked(); });
  sessions_[0]->link.reset();
  Until([&] { return !at_primary_.closed.empty(); });
  EXPECT_EQ(at_primary_.closed[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(sink->blocked());
  EXPECT_TRUE(sessions_[0]->closed.empty()) << "a callback after destruction";
  sink->Open();
}

TEST_P(GrpcLinkTest, ThePrimarysLinkEndsWhenWhoMakesAMessageIsDone) {
  StartServer();
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>());
  SendAndAwaitCommit(1, Checkpoint(1, 100));
  Gate gate;
  gate.Shut();
  // The first message passes. Nobody but the link has the reader: whoever lets go of it too soon is noticed.
  bool first = true;
  auto reader = std::make_shared<WatchedReader>(Checkpoint(2, 3000), /*in_place=*/true, [&] {
    if (!std::exchange(first, false)) gate.Pass();
  });
  primary_->SendCheckpoint(2, std::move(reader), /*tell_when_sent=*/false, kWaits);
  Until([&] { return gate.holds_somebody(); });
  std::thread opener = gate.OpenSoon();
  primary_.reset();
  opener.join();
  Until([&] { return !sessions_[0]->closed.empty(); });
  EXPECT_TRUE(sessions_[0]->checkpoints.empty());
}

TEST_P(GrpcLinkTest, TheServiceEndsWhenWhoTakesAMessageIsDone) {
  Gate gate;
  GrpcReplicationService::Options service_options;
  service_options.before_decode_for_test = [&](CheckpointDecoder*) { gate.Pass(); };
  StartServer(service_options);
  GrpcPrimaryLink::Options options;
  options.encoding_pool = std::make_shared<EncodingPool>(1);
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(), options);
  for (const uint64_t epoch : {1, 2, 3}) SendEncodedAndAwaitCommit(epoch);
  gate.Shut();
  primary_->SendCheckpoint(4, std::make_shared<MemoryCheckpointReader>(Checkpoint(4, 10), 64 << 10, /*in_place=*/true),
                           /*tell_when_sent=*/false, kWaits);
  Until([&] { return gate.holds_somebody(); });
  sessions_[0]->link.reset();
  std::thread opener = gate.OpenSoon();
  StopServer();
  service_.reset();
  opener.join();
  EXPECT_EQ(sessions_[0]->checkpoints.size(), 2);
}

TEST_P(GrpcLinkTest, WhatIsAskedForAgainWaitsForNoOtherMessage) {
  int blocks = 0;
  GrpcReplicationService::Options service_options;
  service_options.before_decode_for_test = [&](CheckpointDecoder* decoder) {
    if (++blocks == 4) decoder->slots_for_test()->Clear();
  };
  StartServer(service_options);
  GrpcPrimaryLink::Options options;
  options.encoding_pool = std::make_shared<EncodingPool>(1);
  // No heartbeat within a test.
  OpenAndAccept(std::make_shared<MemoryCheckpointSink>(), Open(/*heartbeat_ms=*/200'000, /*timeout_ms=*/500'000),
                options);
  for (const uint64_t epoch : {1, 2, 3, 4}) SendEncodedAndAwaitCommit(epoch);
  EXPECT_EQ(primary_->encoding().checkpoints_resent, 1);
}

TEST_P(GrpcLinkTest, ACheckpointThatIsAskedForAgainAndThenCommittedIsLetGo) {
  const auto Answer = [] {
    SecondaryMessage message;
    message.set_generation(kGeneration);
    return message;
  };
  const auto Commit = [&](uint64_t epoch) {
    SecondaryMessage commit = Answer();
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    return commit;
  };
  SecondaryMessage accepted = Answer();
  accepted.mutable_session_accepted()->set_codec(replication::v1::PAGE_BLOCKS);
  accepted.mutable_session_accepted()->set_chunk_bytes_max(1 << 20);
  accepted.mutable_session_accepted()->set_page_cache_bytes(1 << 20);
  SecondaryMessage again = Answer();
  again.mutable_resend_checkpoint()->set_epoch(2);
  std::vector<std::pair<uint64_t, uint32_t>> ended;  // Epoch and attempt. gRPC's thread's, until the server is gone.
  Stranger stranger([&](const PrimaryMessage& message) -> std::vector<SecondaryMessage> {
    if (message.has_open_session()) return {accepted};
    // The sign to tell both of checkpoint 2, of which it has nothing.
    if (message.has_stop_session()) return {again, Commit(2)};
    if (!message.checkpoint_data().has_trailer() && !message.has_checkpoint_trailer()) return {};
    const replication::v1::CheckpointTrailer& trailer =
        message.has_checkpoint_trailer() ? message.checkpoint_trailer() : message.checkpoint_data().trailer();
    ended.emplace_back(trailer.epoch(), trailer.attempt());
    return {Commit(trailer.epoch())};
  });
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&stranger);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port_);
  GrpcPrimaryLink::Options options;
  options.encoding_pool = std::make_shared<EncodingPool>(1);
  BandwidthShare unlimited(0);
  options.bandwidth = unlimited.NewFlow();  // So that the sender's thread makes the messages, and can be held.
  OpenPrimary(Open(/*heartbeat_ms=*/10'000), options);
  Until([&] { return at_primary_.accepted(); });
  SendEncodedAndAwaitCommit(1);

  Gate gate(/*shut=*/true);
  primary_->SendCheckpoint(2,
                           std::make_shared<WatchedReader>(Checkpoint(2, 10), /*in_place=*/true, [&] { gate.Pass(); }),
                           /*tell_when_sent=*/false, kWaits);
  Until([&] { return gate.holds_somebody(); });
  PrimaryMessage sign;
  sign.mutable_stop_session();
  primary_->Send(sign);
  Until([&] { return at_primary_.messages.back().checkpoint_commit().epoch() == 2; });
  EXPECT_EQ(primary_->encoding().checkpoints_resent, 1);
  gate.Open();
  SendEncodedAndAwaitCommit(3);
  EXPECT_TRUE(at_primary_.closed.empty());
  primary_.reset();
  server.reset();
  EXPECT_EQ(ended, (std::vector<std::pair<uint64_t, uint32_t>>{{1, 0}, {3, 0}}));
}

TEST_P(GrpcLinkTest, ADamagedCheckpointIsDataLossOnBothSides) {
  StartServer();
  sink_ = std::make_shared<MemoryCheckpointSink>();
  PrimaryMessage data = DataMessage(Checkpoint(1, 2));
  PrimaryMessage trailer;
  trailer.set_generation(kGeneration);
  trailer.mutable_checkpoint_trailer()->set_epoch(1);
  trailer.mutable_checkpoint_trailer()->set_length(data.checkpoint_data().payload().size());
  // As a primary would: after SessionAccepted. The sink is set at once here, on the loop's thread.
  auto stub = ReplicationService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  auto result = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    auto stream = stub->Replicate(&context);
    stream->Write(OpenMessage());
    SecondaryMessage reply;
    while (stream->Read(&reply) && !reply.has_session_accepted()) continue;
    stream->Write(data);
    stream->Write(trailer);
    while (stream->Read(&reply)) continue;
    return stream->Finish();
  });
  Until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
  EXPECT_EQ(result.get().error_code(), grpc::StatusCode::DATA_LOSS);
  Until([&] { return !sessions_[0]->closed.empty(); });
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(sessions_[0]->seeded.empty());
}

TEST_P(GrpcLinkTest, HostileFirstMessagesAreRefused) {
  StartServer();
  const auto Words = [&](const PrimaryMessage& first) {
    const grpc::Status status = Tell({first});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_EQ(Words(PrimaryMessage()), "the first message must be OpenSession");
  EXPECT_EQ(Words(DataMessage("x")), "the first message must be OpenSession");
  PrimaryMessage no_generation = OpenMessage();
  no_generation.clear_generation();
  EXPECT_EQ(Words(no_generation), "OpenSession has no generation");
  PrimaryMessage no_name = OpenMessage();
  no_name.mutable_open_session()->clear_protection();
  EXPECT_TRUE(absl::StrContains(Words(no_name), "OpenSession.protection"));
  EXPECT_TRUE(absl::StrContains(Words(OpenMessage(Open(1, 1))), "heartbeat_interval_ms"));
  EXPECT_TRUE(sessions_.empty());
}

TEST_P(GrpcLinkTest, HostileLaterMessagesEndTheSession) {
  StartServer();
  const auto Words = [&](const PrimaryMessage& second) {
    const grpc::Status status = Tell({OpenMessage(), second});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    return status.error_message();
  };
  EXPECT_EQ(Words(OpenMessage()), "OpenSession came twice in one session");
  EXPECT_TRUE(absl::StrContains(Words(DataMessage("x")), "before the session was accepted"));
  PrimaryMessage unset;
  unset.set_generation(kGeneration);
  EXPECT_EQ(Words(unset), "a message of no known kind");
  Until([&] { return sessions_.size() == 3 && !sessions_[2]->closed.empty(); });
}

TEST_P(GrpcLinkTest, AnOversizeMessageIsRefusedToItsSender) {
  StartServer();
  const grpc::Status status = Tell({OpenMessage(), DataMessage(std::string(8 << 20, 'x'))});
  EXPECT_TRUE(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
              status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED)
      << status.error_code() << status.error_message();
  Until([&] { return !sessions_[0]->closed.empty(); });
  EXPECT_EQ(sessions_[0]->closed[0].code(), absl::StatusCode::kUnavailable);
}

TEST_P(GrpcLinkTest, AnAddressThatIsTakenIsNotServed) {
  StartServer();
  GrpcReplicationService second(loop_.get(), this, {});
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  EXPECT_FALSE(second.Start(&builder));
}

TEST_P(GrpcLinkTest, AHalfClosedStreamIsEnded) {
  StartServer();
  EXPECT_EQ(Tell({}, /*half_close=*/true).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Tell({OpenMessage()}, /*half_close=*/true).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_P(GrpcLinkTest, AStreamThatNeverOpensIsEnded) {
  GrpcReplicationService::Options options;
  options.open_timeout = absl::Milliseconds(100);
  StartServer(options);
  EXPECT_EQ(Tell({}).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_P(GrpcLinkTest, AMessageOfAnotherGenerationIsTheObserversToJudge) {
  StartServer();
  PrimaryMessage stale = DataMessage("x");
  stale.set_generation(kGeneration - 1);
  PrimaryMessage unset;
  unset.set_generation(kGeneration);
  Tell({OpenMessage(), stale, unset});
  Until([&] { return !sessions_.empty() && !sessions_[0]->closed.empty(); });
  ASSERT_EQ(sessions_[0]->messages.size(), 1);
  EXPECT_EQ(sessions_[0]->messages[0].generation(), kGeneration - 1);
}

TEST_P(GrpcLinkTest, FloodsOfSessionsAreRefusedAndLeaveNothingBehind) {
  GrpcReplicationService::Options options;
  options.sessions_max = 6;
  options.sessions_per_protection_max = 2;
  StartServer(options);
  const auto Flood = [&](bool same_protection) {
    std::vector<std::unique_ptr<GrpcPrimaryLink>> links;
    std::vector<std::unique_ptr<PrimaryObserver>> observers;
    const size_t sessions_before = sessions_.size();
    for (int i = 0; i < 12; ++i) {
      observers.push_back(std::make_unique<PrimaryObserver>());
      GrpcPrimaryLink::Options link_options;
      link_options.address = address_;
      links.push_back(std::make_unique<GrpcPrimaryLink>(loop_.get(), link_options));
      OpenSession open = Open();
      if (!same_protection) open.set_protection(absl::StrCat("protections/", i));
      links.back()->Open(kGeneration, open, observers.back().get());
    }
    const size_t admitted = same_protection ? 2 : 6;
    const auto Refused = [&] {
      size_t refused = 0;
      for (const auto& observer : observers) {
        if (observer->closed.empty()) continue;
        EXPECT_EQ(observer->closed[0].code(), absl::StatusCode::kResourceExhausted) << observer->closed[0];
        ++refused;
      }
      return refused;
    };
    Until([&] { return Refused() + admitted >= observers.size(); });
    EXPECT_LE(sessions_.size() - sessions_before, admitted);
    links.clear();
    Until([&] {
      for (const auto& session : sessions_) {
        if (session->closed.empty()) return false;
      }
      return true;
    });
  };
  // Again and again: what one flood took must be there for the next.
  for (int round = 0; round < 3; ++round) {
    Flood(/*same_protection=*/round != 1);
    // The places are free again.
    Until([&] {
      at_primary_.closed.clear();
      at_primary_.messages.clear();
      sink_ = std::make_shared<MemoryCheckpointSink>();
      OpenPrimary();
      Until([&] { return at_primary_.accepted() || !at_primary_.closed.empty(); });
      const bool accepted = at_primary_.accepted();
      primary_.reset();
      sink_.reset();
      return accepted;
    });
    Until([&] {
      for (const auto& session : sessions_) {
        if (session->closed.empty()) return false;
      }
      return true;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(SeveralProcessors, GrpcLinkTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(OneProcessor, GrpcLinkTest, testing::Values(true));

}  // namespace
}  // namespace romulus
