#include "common/control/resource_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr size_t kIdLengthMax = 63;

bool IsIdCharacter(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; }

}  // namespace

absl::Status CheckResourceId(absl::string_view id) {
  bool valid = !id.empty() && id.size() <= kIdLengthMax && absl::ascii_islower(id[0]);
  for (const char c : id) valid = valid && IsIdCharacter(c);
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", id.substr(0, kIdLengthMax), "' is not an id: 1 to 63 of a-z, 0-9 and '-', starting with a letter"));
}

absl::StatusOr<std::string> ParseResourceName(absl::string_view name, absl::string_view collection) {
  const std::string prefix = absl::StrCat(collection, "/");
  if (!absl::StartsWith(name, prefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("name: '", name.substr(0, 2 * kIdLengthMax), "' should be '", prefix, "<id>'"));
  }
  const absl::string_view id = name.substr(prefix.size());
  if (absl::Status status = CheckResourceId(id); !status.ok()) return status;
  return std::string(id);
}

std::string MakeResourceId(absl::string_view text) {
  std::string id;
  for (const char c : text.substr(0, kIdLengthMax)) {
    const char lower = absl::ascii_tolower(c);
    id.push_back(IsIdCharacter(lower) ? lower : '-');
  }
  if (id.empty() || !absl::ascii_islower(id[0])) id = absl::StrCat("guest-", id).substr(0, kIdLengthMax);
  return id;
}

}  // namespace romulus
