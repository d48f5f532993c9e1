#include "common/stream/checkpoint_bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/stream/block_pool.h"

namespace romulus {
namespace {

constexpr size_t kBlock = BlockPool::kBlockBytes;

std::string Pattern(size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(i * 2654435761u >> 24));
  return bytes;
}

TEST(CheckpointBytes, HoldsWhatWasAppendedInOrderAcrossBlocks) {
  const std::string all = Pattern(2 * kBlock + 12345);
  for (const size_t piece : {size_t{1000}, kBlock - 1, kBlock, all.size()}) {
    CheckpointBytes bytes(BlockPool::New());
    for (size_t at = 0; at < all.size(); at += piece) {
      ASSERT_TRUE(bytes.Append(absl::MakeConstSpan(all).subspan(at, piece)).ok());
    }
    EXPECT_EQ(bytes.size(), all.size());
    EXPECT_EQ(bytes.pieces().size(), 3);
    const CheckpointBytes moved = std::move(bytes);
    EXPECT_TRUE(moved.ToString() == all) << piece;
  }
}

TEST(CheckpointBytes, IsFilledInPlaceToo) {
  CheckpointBytes bytes(BlockPool::New());
  ASSERT_TRUE(bytes.Append(Pattern(kBlock - 10)).ok());
  // Ten are left: not enough, so the next block, from its beginning.
  const auto room = bytes.Room(11);
  ASSERT_TRUE(room.ok());
  EXPECT_EQ(room->size(), kBlock);
  std::string("hello").copy(room->data(), 5);
  bytes.Extend(5);
  EXPECT_EQ(bytes.size(), kBlock - 5);
  EXPECT_TRUE(bytes.ToString() == Pattern(kBlock - 10) + "hello");
}

TEST(CheckpointBytes, WhatIsHeldAndWhatIsCopiedStayInOrder) {
  const std::string all = Pattern(kBlock + 50'000);
  for (const size_t copied : {size_t{1}, size_t{1000}, kBlock}) {
    CheckpointBytes bytes(BlockPool::New());
    size_t held = 0;
    std::weak_ptr<const std::string> last;
    for (size_t at = 0; at < all.size();) {
      ASSERT_TRUE(bytes.Append(absl::MakeConstSpan(all).subspan(at, copied)).ok());
      at = std::min(at + copied, all.size());
      const auto string = std::make_shared<const std::string>(all.substr(at, 3000));
      bytes.AppendHeld(*string, string);
      last = string;
      at += string->size();
      ++held;
    }
    EXPECT_EQ(bytes.size(), all.size());
    EXPECT_GT(held, 0);
    CheckpointBytes moved = std::move(bytes);
    EXPECT_TRUE(moved.ToString() == all) << copied;
    EXPECT_FALSE(last.expired());
    moved = CheckpointBytes();
    EXPECT_TRUE(last.expired());
  }
}

TEST(CheckpointBytes, TakesAStringAsItIs) {
  CheckpointBytes bytes(std::string("short"));
  const CheckpointBytes moved = std::move(bytes);
  EXPECT_EQ(moved.ToString(), "short");
  EXPECT_TRUE(CheckpointBytes(std::string()).pieces().empty());
}

TEST(BlockPool, GivesOutTheSameBlocksAgain) {
  const auto pool = BlockPool::New();
  const char* first = nullptr;
  {
    CheckpointBytes bytes(pool);
    ASSERT_TRUE(bytes.Append(Pattern(3 * kBlock)).ok());
    first = bytes.pieces()[0].data();
  }
  EXPECT_EQ(pool->held_bytes(), 3 * kBlock);
  CheckpointBytes again(pool);
  ASSERT_TRUE(again.Append(Pattern(3 * kBlock)).ok());
  EXPECT_EQ(pool->held_bytes(), 3 * kBlock);
  bool reused = false;
  for (const auto& piece : again.pieces()) reused = reused || piece.data() == first;
  EXPECT_TRUE(reused);
}

TEST(BlockPool, GivesBackWhatNobodyHasNeededForAPeriod) {
  const auto pool = BlockPool::New();
  const auto Use = [&](size_t count) {
    std::vector<BlockPool::Block> blocks;
    for (size_t i = 0; i < count; ++i) blocks.push_back(*pool->Take());
  };
  Use(20);
  for (size_t i = 0; i < BlockPool::kPeriod; ++i) Use(2);
  EXPECT_EQ(pool->held_bytes(), 2 * kBlock) << "one extraordinary checkpoint's memory stays for good";
  // What is needed now and then in each period stays.
  Use(20);
  size_t least = pool->held_bytes();
  for (int period = 0; period < 4; ++period) {
    for (size_t i = 0; i < BlockPool::kPeriod / 4; ++i) {
      Use(2);
      least = std::min(least, pool->held_bytes());
    }
    Use(20);
  }
  EXPECT_EQ(least, 20 * kBlock);
  pool->Trim();
  EXPECT_EQ(pool->held_bytes(), 0);
}

}  // namespace
}  // namespace romulus
