#ifndef ROMULUS_COMMON_CONTROL_UUID_H_
#define ROMULUS_COMMON_CONTROL_UUID_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace romulus {

// 16 bytes as "00112233-4455-6677-8899-aabbccddeeff"; anything else as plain hexadecimal digits.
inline std::string FormatUuid(const std::string& bytes) {
  const std::string hex = absl::BytesToHexString(bytes);
  if (hex.size() != 32) return hex;
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_UUID_H_
