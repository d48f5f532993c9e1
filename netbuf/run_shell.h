#ifndef ROMULUS_NETBUF_RUN_SHELL_H_
#define ROMULUS_NETBUF_RUN_SHELL_H_

#include <cstdlib>
#include <string>

#include "common/base/log.h"

namespace romulus {

// For tests, with sh; crashes if it fails.
inline void RunShell(const std::string& command) { ROMULUS_CHECK_MESSAGE(system(command.c_str()) == 0, command); }

}  // namespace romulus

#endif  // ROMULUS_NETBUF_RUN_SHELL_H_
