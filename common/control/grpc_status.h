#ifndef ROMULUS_COMMON_CONTROL_GRPC_STATUS_H_
#define ROMULUS_COMMON_CONTROL_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace romulus {

// The codes are the same numbers.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

inline absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_GRPC_STATUS_H_
