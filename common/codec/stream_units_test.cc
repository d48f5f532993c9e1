#include "common/codec/stream_units.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "common/codec/scripted_guest.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: tests of that format.
using Kind = StreamUnits::Kind;

std::vector<StreamUnits::Unit> Cut(bool first, const std::string& stream) {
  StreamUnits units(first);
  std::vector<StreamUnits::Unit> all;
  absl::Span<const char> left(stream.data(), stream.size());
  while (!left.empty()) {
    EXPECT_LE(units.needed(), 4096);
    all.push_back(units.Take(&left));
  }
  // They are the stream, in order.
  const char* at = stream.data();
  for (const StreamUnits::Unit& unit : all) {
    EXPECT_EQ(unit.bytes.data(), at);
    EXPECT_FALSE(unit.bytes.empty());
    at += unit.bytes.size();
  }
  EXPECT_EQ(at, stream.data() + stream.size());
  return all;
}

TEST(StreamUnits, FindsPagesAndTheirFrames) {
  SyntheticStream stream;
  stream.Preamble()
      .PageData({{7, 0, "seven"}, {8, kFrameTypeXtab, ""}, {9, 12, "pinned table"}})
      .PageData({{1, kFrameTypeBroken, ""}})
      .State(std::string(5000, 's'))
      .EndCheckpoint();
  std::vector<uint64_t> pages;
  std::vector<size_t> state;
  size_t frames = 0;
  for (const StreamUnits::Unit& unit : Cut(true, stream.bytes())) {
    if (unit.kind == Kind::kPage) {
      pages.push_back(unit.key);
      EXPECT_EQ(unit.bytes.size(), kPageBytes);
      EXPECT_EQ(unit.bytes[0], unit.key == 7 ? 's' : 'p');
    }
    if (unit.kind == Kind::kState) state.push_back(unit.bytes.size());
    if (unit.kind == Kind::kFrames) frames += unit.bytes.size() / 8;
  }
  EXPECT_EQ(pages, (std::vector<uint64_t>{7, 9}));
  EXPECT_EQ(frames, 4);
  EXPECT_EQ(state, (std::vector<size_t>{4096, 904}));
}

TEST(StreamUnits, GivesThePiecesOfARecordTheSameKeysInEachCheckpoint) {
  SyntheticStream before;
  before.PageData({{1, 0, "x"}}).State(std::string(9000, 'a')).EndCheckpoint();
  SyntheticStream after;
  after.State(std::string(9000, 'b')).EndCheckpoint();
  const auto Keys = [](const std::vector<StreamUnits::Unit>& units) {
    std::vector<uint64_t> keys;
    for (const StreamUnits::Unit& unit : units) {
      if (unit.kind == Kind::kState) keys.push_back(unit.key);
    }
    return keys;
  };
  EXPECT_EQ(Keys(Cut(false, before.bytes())), Keys(Cut(false, after.bytes())));
  EXPECT_EQ(Keys(Cut(false, after.bytes())).size(), 3);
}

TEST(StreamUnits, TakesWhatIsNoStreamForBytes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    ScriptedGuest guest(i, 20);
    std::string stream = guest.NextCheckpoint();
    for (int k = 0; k < 5; ++k) stream[random() % std::min<size_t>(stream.size(), 200)] = static_cast<char>(random());
    stream.resize(random() % stream.size());
    Cut(random() % 2 == 0, stream);
  }
}

TEST(StreamUnits, DoesNotTakeARecordForPagesThatHasTooFew) {
  SyntheticStream stream;
  std::string body(16, '\0');
  body[0] = 1;
  stream.Record(kPageData, body + std::string(kPageBytes - 8, 'x')).Record(kCheckpoint, "");
  const std::vector<StreamUnits::Unit> units = Cut(false, stream.bytes());
  for (const StreamUnits::Unit& unit : units) EXPECT_NE(unit.kind, Kind::kPage);
  EXPECT_EQ(units.back().bytes.size(), kRecordHeaderBytes);
}

}  // namespace
}  // namespace romulus
