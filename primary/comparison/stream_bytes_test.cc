#include "primary/comparison/stream_bytes.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace romulus::comparison {
namespace {

constexpr absl::Duration kNow = absl::Seconds(1);

TEST(StreamBytesTest, ComparesWhatIsThereAndKnowsWhatIsNot) {
  StreamBytes bytes(absl::ZeroDuration());
  ASSERT_TRUE(bytes.Add(kNow, 100, "abcdef"));
  EXPECT_EQ(bytes.Compare(100, "abcdef"), Match::kEqual);
  EXPECT_EQ(bytes.Compare(102, "cd"), Match::kEqual);
  EXPECT_EQ(bytes.Compare(104, "efg"), Match::kMissing);
  EXPECT_EQ(bytes.Compare(98, "xxab"), Match::kMissing);
  EXPECT_EQ(bytes.Compare(98, "xxaX"), Match::kDiffers);
  EXPECT_EQ(bytes.Compare(200, ""), Match::kEqual);
}

TEST(StreamBytesTest, OverlapsMustAgree) {
  StreamBytes bytes(absl::ZeroDuration());
  ASSERT_TRUE(bytes.Add(kNow, 100, "abcdef"));
  EXPECT_TRUE(bytes.Add(kNow, 98, "..abcdefgh"));
  EXPECT_FALSE(bytes.Add(kNow, 104, "eX"));
  EXPECT_EQ(bytes.Compare(98, "..abcdefgh"), Match::kEqual);
  EXPECT_EQ(bytes.end(), 108);
}

TEST(StreamBytesTest, KnowsSinceWhenBytesAreThere) {
  StreamBytes bytes(absl::Milliseconds(10));
  ASSERT_TRUE(bytes.Add(kNow, 0, "a"));
  ASSERT_TRUE(bytes.Add(kNow + absl::Milliseconds(5), 1, "b"));
  ASSERT_TRUE(bytes.Add(kNow + absl::Milliseconds(50), 2, "c"));
  EXPECT_EQ(bytes.CameAt(1), kNow) << "within the resolution";
  EXPECT_EQ(bytes.CameAt(2), kNow + absl::Milliseconds(50));
  EXPECT_FALSE(bytes.CameAt(3).has_value());
}

TEST(StreamBytesTest, AgainstAMap) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    StreamBytes bytes(absl::Milliseconds(static_cast<int64_t>(random() % 3)));
    std::map<int64_t, char> model;
    for (int step = 0; step < 100; ++step) {
      const int64_t at = static_cast<int64_t>(random() % 60);
      std::string some;
      for (uint64_t size = random() % 12; some.size() < size;) {
        // Mostly the same byte for the same place.
        some += static_cast<char>(random() % 20 == 0 ? 'X' : 'a' + (at + static_cast<int64_t>(some.size())) % 26);
      }
      bool missing = false;
      bool differs = false;
      for (size_t i = 0; i < some.size(); ++i) {
        const auto there = model.find(at + static_cast<int64_t>(i));
        missing |= there == model.end();
        differs |= there != model.end() && there->second != some[i];
      }
      ASSERT_EQ(bytes.Compare(at, some), differs ? Match::kDiffers : missing ? Match::kMissing : Match::kEqual);
      if (random() % 3 == 0) {
        const int64_t end = at + static_cast<int64_t>(random() % 20);
        bytes.Erase(at, end);
        model.erase(model.lower_bound(at), model.lower_bound(end));
      } else {
        ASSERT_EQ(bytes.Add(kNow + absl::Milliseconds(step), at, some), !differs);
        for (size_t i = 0; i < some.size() && !differs; ++i) model[at + static_cast<int64_t>(i)] = some[i];
      }
      ASSERT_EQ(bytes.end().has_value(), !model.empty());
      ASSERT_TRUE(model.empty() || *bytes.end() == model.rbegin()->first + 1);
      ASSERT_GE(bytes.cost(), model.size());
      ASSERT_EQ(bytes.CameAt(at).has_value(), model.lower_bound(at) != model.end());
    }
    bytes.Erase(0, 100);
    ASSERT_EQ(bytes.cost(), 0);
  }
}

TEST(RecentBytesTest, KeepsTheNewestUpToItsBound) {
  RecentBytes recent(4);
  size_t known = 0;
  recent.Add(10, "abc");
  EXPECT_EQ(recent.Compare(10, "abc", &known), Match::kEqual);
  recent.Add(12, "cde");
  EXPECT_EQ(recent.Compare(11, "bcde", &known), Match::kEqual);
  EXPECT_EQ(recent.Compare(10, "a", &known), Match::kMissing) << "forgotten";
  EXPECT_EQ(known, 0);
  EXPECT_EQ(recent.Compare(13, "dexx", &known), Match::kMissing);
  EXPECT_EQ(known, 2);
  EXPECT_EQ(recent.Compare(13, "dX", &known), Match::kDiffers);
  recent.Add(11, "b");
  EXPECT_EQ(recent.Compare(11, "bcde", &known), Match::kEqual) << "a repeat changes nothing";
  recent.Add(100, "behind a gap");
  EXPECT_EQ(recent.Compare(11, "b", &known), Match::kMissing);
  EXPECT_EQ(recent.Compare(108, " gap", &known), Match::kEqual);
}

TEST(RecentBytesTest, AgainstAString) {
  std::mt19937_64 random(4);
  constexpr size_t kMax = 50;
  RecentBytes recent(kMax);
  std::string all;
  for (int step = 0; step < 5000; ++step) {
    const size_t back = std::min<size_t>(random() % 10, all.size());
    std::string fresh = all.substr(all.size() - back);
    for (uint64_t size = random() % 80; size > 0; --size) fresh += static_cast<char>(random());
    recent.Add(static_cast<int64_t>(all.size() - back), fresh);
    all += fresh.substr(back);
    const size_t at = all.size() - std::min(all.size(), kMax);
    size_t known = 0;
    ASSERT_EQ(recent.Compare(static_cast<int64_t>(at), all.substr(at), &known), Match::kEqual);
    ASSERT_LE(recent.cost(), 4 * kMax);
  }
}

}  // namespace
}  // namespace romulus::comparison
