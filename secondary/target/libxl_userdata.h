#ifndef ROMULUS_SECONDARY_TARGET_LIBXL_USERDATA_H_
#define ROMULUS_SECONDARY_TARGET_LIBXL_USERDATA_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace romulus {

// libxl's own file about a domain, from which `xl list -l`, `xl save` and hotplug take the configuration:
// /var/lib/xen/userdata-d.<domid>.<uuid>.libxl-json. libxl corrects the name, uuid and domid in it from xenstore when
// it reads it, so it is stored as it came.
absl::Status StoreLibxlJson(uint32_t domid, const std::string& uuid, const std::string& json);

// Removes all of the domain's userdata files, its lock included. Missing ones are no error.
void RemoveLibxlUserdata(uint32_t domid, const std::string& uuid);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_LIBXL_USERDATA_H_
