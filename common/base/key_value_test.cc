#include "common/base/key_value.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

TEST(KeyValue, KnowsKeyValueAndNumber) {
  const std::optional<KeyValue> text = ParseKeyValue("helper=/opt/a=b");
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->key, "helper");
  EXPECT_EQ(text->value, "/opt/a=b");
  EXPECT_FALSE(text->number.has_value());
  EXPECT_EQ(ParseKeyValue("count=18446744073709551615")->number, ~uint64_t{0});
  for (const char* none : {"count=", "count=-1", "count=12x", "count=18446744073709551616"}) {
    EXPECT_FALSE(ParseKeyValue(none)->number.has_value()) << none;
  }
  EXPECT_FALSE(ParseKeyValue("count").has_value());
}

}  // namespace
}  // namespace romulus
