#ifndef ROMULUS_COMMON_CONTROL_RESOURCE_NAME_H_
#define ROMULUS_COMMON_CONTROL_RESOURCE_NAME_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Resource names of the control API: "<collection>/<id>", id: 1 to 63 of [a-z0-9-], starting with a letter.
// An id is also a file name (FileGenerationStore): nothing else may ever become one.
namespace romulus {

absl::Status CheckResourceId(absl::string_view id);

// "protections/ledger" with collection "protections" gives "ledger". INVALID_ARGUMENT says what is expected.
absl::StatusOr<std::string> ParseResourceName(absl::string_view name, absl::string_view collection);

// A valid id as like to `text` (a domain's name) as can be.
std::string MakeResourceId(absl::string_view text);

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_RESOURCE_NAME_H_
