#ifndef ROMULUS_COMMON_CONTROL_REQUEST_LOG_H_
#define ROMULUS_COMMON_CONTROL_REQUEST_LOG_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"

namespace romulus {

// Makes mutating calls idempotent: a request that succeeded, sent again with its request_id, answers as it did and does
// nothing. A repeat that comes while the first is still at work waits for it. A request that failed changed nothing
// and is carried out again. Remembers a success for ten minutes, and at most 10,000 of them.
// Thread safe; Run blocks for as long as `action` does.
class RequestLog {
 public:
  explicit RequestLog(std::function<absl::Duration()> now) : now_(std::move(now)) {}

  // Runs `action`, which fills `response`, unless (method, request_id) has succeeded before: then `response` is what it
  // was. INVALID_ARGUMENT if the id was used for another request. An empty request_id is never remembered.
  absl::Status Run(const std::string& method, const std::string& request_id, const google::protobuf::Message& request,
                   google::protobuf::Message& response, const std::function<absl::Status()>& action);

 private:
  struct Entry {
    std::string request;
    bool running = true;
    std::string response;
    absl::Duration finished;
  };
  void Forget();

  const std::function<absl::Duration()> now_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::map<std::string, Entry> entries_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_REQUEST_LOG_H_
