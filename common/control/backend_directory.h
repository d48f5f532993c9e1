#ifndef ROMULUS_COMMON_CONTROL_BACKEND_DIRECTORY_H_
#define ROMULUS_COMMON_CONTROL_BACKEND_DIRECTORY_H_

#include <vector>

#include "common/control/change_signal.h"
#include "proto/control/v1/host_service.pb.h"

namespace romulus {

// The backends of this host, for HostService. Any thread.
class BackendDirectory {
 public:
  virtual ~BackendDirectory() = default;

  // Sorted by name.
  virtual std::vector<control::v1::Backend> List() = 0;
  virtual const ChangeSignal& changes() const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_BACKEND_DIRECTORY_H_
