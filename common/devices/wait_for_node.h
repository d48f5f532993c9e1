#ifndef ROMULUS_COMMON_DEVICES_WAIT_FOR_NODE_H_
#define ROMULUS_COMMON_DEVICES_WAIT_FOR_NODE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Blocks until `path` has a value that `wanted` accepts (empty: the node does not exist). DEADLINE_EXCEEDED names the
// value it had. Not from the thread that serves `store`'s other watches: it dispatches them.
absl::Status WaitForNode(Xenstore& store, const std::string& path,
                         const std::function<bool(const std::string& value)>& wanted, absl::Duration timeout);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_WAIT_FOR_NODE_H_
