#ifndef ROMULUS_COMMON_DEVICES_QEMU_COMMAND_H_
#define ROMULUS_COMMON_DEVICES_QEMU_COMMAND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace romulus {

// What makes a QEMU the backend of a guest's qdisks and of nothing else (libxl_dm.c, libxl__spawn_qdisk_backend, 4.17).
inline std::vector<std::string> QdiskQemuArguments(uint32_t domid) {
  return {"-xen-domid",
          absl::StrCat(domid),
          "-xen-attach",
          "-name",
          absl::StrCat("domain-", domid),
          "-nographic",
          "-M",
          "xenpv",
          "-monitor",
          "/dev/null",
          "-serial",
          "/dev/null",
          "-parallel",
          "/dev/null"};
}

// Whether a process with this command line (/proc/PID/cmdline: NUL after each argument) is such a QEMU.
inline bool IsQdiskQemu(const std::string& command_line, uint32_t domid) {
  const std::string wanted = absl::StrCat(std::string(1, '\0'), "-xen-domid", std::string(1, '\0'), domid,
                                          std::string(1, '\0'), "-xen-attach", std::string(1, '\0'));
  return command_line.find(wanted) != std::string::npos;
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_QEMU_COMMAND_H_
