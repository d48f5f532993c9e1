#include "tests/bench/xbzrle.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace romulus::xbzrle {
namespace {

struct Encoded {
  int size = 0;
  std::string bytes;
};

Encoded Encoding(const std::string& before, const std::string& after) {
  std::string to(kPageBytes, '\0');
  const int size = Encode(before.data(), after.data(), to.data());
  return {size, to.substr(0, size < 0 ? 0 : size)};
}

std::string Page(char fill) { return std::string(kPageBytes, fill); }

// The example in QEMU's docs/xbzrle.txt.
TEST(Xbzrle, WritesWhatQemusDescriptionSays) {
  std::string before = Page(0), after = Page(0);
  before.replace(1001, 21,
                 std::string("\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x68\0\0\x6b\0\x6d", 21));
  after.replace(1001, 21,
                std::string("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x68\0\0\x67\0\x69", 21));
  EXPECT_EQ(
      Encoding(before, after).bytes,
      std::string("\xe9\x07\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x03\x01\x67\x01\x01\x69",
                  24));
}

TEST(Xbzrle, BeginsWithARunOfNothingIfTheFirstByteChanged) {
  std::string after = Page(0);
  after[0] = 9;
  after[4095] = 7;
  EXPECT_EQ(Encoding(Page(0), after).bytes, std::string("\x00\x01\x09\xfe\x1f\x01\x07", 7));
}

TEST(Xbzrle, AnUnchangedPageTakesNothing) { EXPECT_EQ(Encoding(Page(3), Page(3)).size, 0); }

TEST(Xbzrle, GivesUpWhereTheRunsOutgrowThePage) {
  EXPECT_EQ(Encoding(Page(0), Page(1)).size, -1);  // 4096 changed bytes and their length
  std::string after = Page(0);
  for (size_t i = 0; i < kPageBytes; i += 2) after[i] = 1;
  EXPECT_EQ(Encoding(Page(0), after).size, -1);
}

TEST(Xbzrle, DecodesWhatItEncoded) {
  std::mt19937_64 random(1);
  int encoded = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string before = Page(0);
    for (char& each : before) each = static_cast<char>(random() % 3);
    std::string after = before;
    for (uint64_t runs = random() % 40; runs > 0; --runs) {
      const size_t at = random() % kPageBytes;
      for (size_t i = at; i < std::min(kPageBytes, at + 1 + random() % 30); ++i) after[i] = static_cast<char>(random());
    }
    const Encoded result = Encoding(before, after);
    ASSERT_GE(result.size, 0);
    encoded += result.size > 0;
    ASSERT_TRUE(Decode(result.bytes.data(), result.bytes.size(), before.data()));
    ASSERT_EQ(before, after);
  }
  EXPECT_GT(encoded, 2000);
}

TEST(Xbzrle, RefusesWhatLeavesThePage) {
  std::string page = Page(0);
  const auto decodes = [&page](std::string encoded) { return Decode(encoded.data(), encoded.size(), page.data()); };
  EXPECT_TRUE(decodes(std::string("\xff\x1f\x01\x01", 4)));
  EXPECT_FALSE(decodes(std::string("\xff\x1f\x02\x01\x01", 5)));
  EXPECT_FALSE(decodes(std::string("\x01\x02\x01", 3)));
  EXPECT_FALSE(decodes(std::string("\x01", 1)));
  EXPECT_FALSE(decodes(std::string("\x80\x80\x01\x01\x01", 5)));
}

}  // namespace
}  // namespace romulus::xbzrle
