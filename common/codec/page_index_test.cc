#include "common/codec/page_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace romulus {
namespace {

TEST(PageIndex, FindsWhatWasInsertedAndForgetsWhatWasErased) {
  // Against a plain map, with keys that collide, through many evictions.
  std::mt19937_64 random(1);
  for (const uint32_t slots : {1u, 2u, 7u, 64u, 300u}) {
    PageIndex index(slots);
    std::map<uint64_t, uint32_t> known;
    for (int i = 0; i < 20000; ++i) {
      if (i % 5 == 0) index.BeginEpoch();
      const uint64_t key = random() % (slots * 3) << (random() % 2 * 32);
      if (random() % 4 == 0) {
        index.Erase(key);
        known.erase(key);
      } else if (const auto found = index.Find(key)) {
        ASSERT_TRUE(known.count(key));
        ASSERT_EQ(known[key], *found);
      } else {
        ASSERT_FALSE(known.count(key));
        const auto slot = index.Insert(key, random() % 2 == 0);
        if (slot.has_value()) {
          ASSERT_LT(*slot, slots);
          for (auto it = known.begin(); it != known.end();) it = it->second == *slot ? known.erase(it) : std::next(it);
          known[key] = *slot;
        } else {
          ASSERT_EQ(known.size(), slots);
        }
      }
      ASSERT_EQ(index.used(), known.size());
    }
    std::set<uint32_t> used;
    for (const auto& [key, slot] : known) {
      EXPECT_EQ(index.Find(key), slot);
      EXPECT_TRUE(used.insert(slot).second);
    }
  }
}

TEST(PageIndex, ErasesWhatWasIdleForLongerThanAsked) {
  PageIndex index(300);
  for (uint64_t key = 0; key < 300; ++key) {
    if (key % 10 == 0) index.BeginEpoch();
    ASSERT_TRUE(index.Insert(key, false).has_value());
  }
  index.Find(5);  // Used again, now.
  index.EraseIdle(9);
  EXPECT_EQ(index.used(), 101);
  for (uint64_t key = 0; key < 300; ++key) EXPECT_EQ(index.Find(key).has_value(), key == 5 || key >= 200) << key;
  // Their slots are free.
  for (uint64_t key = 1000; key < 1199; ++key) EXPECT_TRUE(index.Insert(key, false).has_value());
  EXPECT_FALSE(index.Insert(2000, false).has_value());
}

TEST(PageIndex, WithoutSlotsTakesNothing) {
  PageIndex index(0);
  EXPECT_FALSE(index.Insert(1, true).has_value());
  EXPECT_FALSE(index.Find(1).has_value());
}

TEST(PageIndex, EvictsOnlyWhenAllowed) {
  PageIndex index(2);
  ASSERT_TRUE(index.Insert(1, false).has_value());
  ASSERT_TRUE(index.Insert(2, false).has_value());
  index.BeginEpoch();
  EXPECT_FALSE(index.Insert(3, true).has_value());  // Both were used in the last epoch.
  index.BeginEpoch();
  EXPECT_FALSE(index.Insert(3, false).has_value());
  EXPECT_TRUE(index.Insert(3, true).has_value());
  EXPECT_EQ(index.evictions(), 1);
  EXPECT_EQ(index.used(), 2);
}

TEST(PageIndex, SparesWhatIsUsedOverWhatIsNot) {
  PageIndex index(100);
  for (uint64_t key = 0; key < 100; ++key) index.Insert(key, true);
  int hits = 0;
  for (uint64_t round = 0; round < 200; ++round) {
    index.BeginEpoch();
    for (uint64_t key = 0; key < 50; ++key) hits += index.Find(key).has_value();
    index.Insert(1000 + round, true);
  }
  EXPECT_EQ(hits, 200 * 50);
  EXPECT_GT(index.evictions(), 100);
}

TEST(PageIndex, KeepsAPartOfWhatGoesRoundAndRound) {
  // Twice as many as there are slots: evicting the oldest would find none of them. All in one epoch, or a tenth in
  // each.
  for (const uint64_t epoch_keys : {200, 20}) {
    PageIndex index(100);
    int hits = 0;
    for (int round = 0; round < 50; ++round) {
      for (uint64_t key = 0; key < 200; ++key) {
        if (key % epoch_keys == 0) index.BeginEpoch();
        if (index.Find(key).has_value()) {
          ++hits;
        } else {
          index.Insert(key, true);
        }
      }
    }
    EXPECT_GT(hits, 50 * 200 / 20) << epoch_keys;
  }
}

TEST(PageIndex, FollowsAGuestThatTurnsToOtherPages) {
  PageIndex index(100);
  int hits = 0;
  for (uint64_t epoch = 0; epoch < 40; ++epoch) {
    index.BeginEpoch();
    for (uint64_t key = 0; key < 90; ++key) {
      const uint64_t page = epoch < 20 ? key : 1000 + key;
      if (index.Find(page).has_value()) {
        hits += epoch >= 30;
      } else {
        index.Insert(page, true);
      }
    }
  }
  EXPECT_GT(hits, 10 * 90 * 3 / 4);
}

}  // namespace
}  // namespace romulus
