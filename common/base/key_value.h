#ifndef ROMULUS_COMMON_BASE_KEY_VALUE_H_
#define ROMULUS_COMMON_BASE_KEY_VALUE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"

namespace romulus {

// "key=value", an argument of a developer's tool. The agents have flags.
struct KeyValue {
  std::string key;
  std::string value;
  std::optional<uint64_t> number;  // The value, where it is one.
};

// Nothing where `text` has no '='. A value may have some.
inline std::optional<KeyValue> ParseKeyValue(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return std::nullopt;
  KeyValue parsed{.key = text.substr(0, equals), .value = text.substr(equals + 1), .number = std::nullopt};
  if (uint64_t number = 0; absl::SimpleAtoi(parsed.value, &number)) parsed.number = number;
  return parsed;
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_KEY_VALUE_H_
