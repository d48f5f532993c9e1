#include "common/codec/checkpoint_pipeline.h"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "common/codec/checkpoint_decoder.h"
#include "common/codec/encoding_pool.h"
#include "common/codec/rewindable_reader.h"
#include "common/codec/scripted_guest.h"
#include "common/stream/memory_checkpoint.h"

namespace romulus {
namespace {

constexpr uint64_t kCache = 4 << 20;

// One session: a guest, its encoder on the pool, a decoder.
class Session {
 public:
  Session(EncodingPool* pool, uint64_t seed)
      : guest_(seed, 120), pipeline_(pool, {.cache_bytes_max = kCache}), decoder_({kCache}) {}

  void Next() { stream_ = guest_.NextCheckpoint(); }
  // `count` pieces of the checkpoint, of which as many as possible stay in the pipeline.
  void Put(size_t count, size_t piece_bytes) {
    pipeline_.Begin(guest_.epoch(), true);
    for (size_t piece = 0; piece < count; ++piece) {
      if (pipeline_.full()) pipeline_.Next([](absl::Span<const char>, uint32_t) {});
      pipeline_.Put(absl::MakeConstSpan(stream_.data() + piece * piece_bytes, piece_bytes), false);
    }
  }
  // The bytes that come out at the other end.
  std::string Send(size_t piece_bytes) {
    std::string decoded;
    const auto Decode = [&](absl::Span<const char> block, uint32_t raw_bytes) {
      if (block.empty()) return;
      std::string bytes(raw_bytes, '\0');
      const absl::Status status = decoder_.Decode(block, absl::MakeSpan(bytes));
      EXPECT_TRUE(status.ok()) << status;
      decoded += bytes;
    };
    pipeline_.Begin(guest_.epoch(), true);
    for (size_t at = 0; at < stream_.size(); at += piece_bytes) {
      if (pipeline_.full()) pipeline_.Next(Decode);
      const size_t size = std::min(piece_bytes, stream_.size() - at);
      pipeline_.Put(absl::MakeConstSpan(stream_.data() + at, size), at + size == stream_.size());
    }
    while (!pipeline_.empty()) pipeline_.Next(Decode);
    return decoded;
  }

  ScriptedGuest guest_;
  std::string stream_;
  CheckpointPipeline pipeline_;
  CheckpointDecoder decoder_;
};

TEST(CheckpointPipeline, KeepsTheOrderOfManySessionsOnFewThreads) {
  for (const unsigned threads : {1u, 3u}) {
    EncodingPool pool(threads);
    std::vector<std::thread> senders;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      senders.emplace_back([&pool, seed] {
        Session session(&pool, seed);
        for (int i = 0; i < 6; ++i) {
          session.Next();
          EXPECT_TRUE(session.Send(30'000 + 10'000 * seed) == session.stream_);
        }
        EXPECT_GT(session.pipeline_.counts().patched_pages, 0);
      });
    }
    for (std::thread& sender : senders) sender.join();
  }
}

TEST(CheckpointPipeline, ACheckpointIsGivenUpAndSentAgainWithAnEmptyCache) {
  EncodingPool pool(2);
  Session session(&pool, 1);
  for (int i = 0; i < 3; ++i) {
    session.Next();
    EXPECT_TRUE(session.Send(50'000) == session.stream_);
  }
  // On the sender's thread, and on the pool's.
  for (const size_t pieces : {size_t{1}, CheckpointPipeline::kPiecesHere + 2}) {
    session.Next();
    session.Put(pieces, 10'000);
    session.pipeline_.ResetCache();
    EXPECT_TRUE(session.Send(50'000) == session.stream_);
  }
  EXPECT_EQ(session.pipeline_.counts().cache_resets, 2);
}

TEST(CheckpointPipeline, GoesWhileItsPiecesAreBeingEncoded) {
  EncodingPool pool(2);
  for (int i = 0; i < 20; ++i) {
    Session session(&pool, i);
    session.Next();
    session.Put(CheckpointPipeline::kPiecesHere + CheckpointPipeline::kDepth, 10'000);
    EXPECT_TRUE(session.pipeline_.full());
  }
}

TEST(EncodingPool, ABusyLaneDoesNotKeepAnIdleOneWaiting) {
  EncodingPool pool(1);
  EncodingPool::Lane busy(&pool);
  EncodingPool::Lane idle(&pool);
  std::promise<void> begin;
  std::shared_future<void> begun = begin.get_future().share();
  std::promise<void> end;
  int busy_done = 0;
  int busy_done_before_idle = -1;
  busy.Submit({[begun] { begun.wait(); }, [](Compressor*) {}});
  for (int i = 0; i < 50; ++i) busy.Submit({[&] { ++busy_done; }, [](Compressor*) {}});
  idle.Submit({[&] { busy_done_before_idle = busy_done; }, [&](Compressor*) { end.set_value(); }});
  begin.set_value();
  end.get_future().wait();
  EXPECT_LE(busy_done_before_idle, 1);
}

TEST(RewindableReader, GivesTheSameBytesAgainAndThenTheRest) {
  const std::string bytes = "what lies in memory can be read again";
  for (const size_t before : {0, 1, 3, 100}) {
    RewindableReader reader(std::make_shared<MemoryCheckpointReader>(bytes, 5, /*in_place=*/true));
    ASSERT_TRUE(reader.in_place());
    for (size_t i = 0; i < before; ++i) ASSERT_TRUE(reader.ReadInPlace(4).ok());
    for (int round = 0; round < 2; ++round) {
      reader.Rewind();
      std::string again;
      while (true) {
        const auto piece = reader.ReadInPlace(round == 0 ? 3 : 100);
        ASSERT_TRUE(piece.ok());
        if (piece->empty()) break;
        again.append(piece->data(), piece->size());
      }
      EXPECT_EQ(again, bytes);
    }
  }
}

}  // namespace
}  // namespace romulus
