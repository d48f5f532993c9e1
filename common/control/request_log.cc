#include "common/control/request_log.h"

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr absl::Duration kRememberedFor = absl::Minutes(10);
constexpr size_t kRememberedMax = 10'000;

}  // namespace

absl::Status RequestLog::Run(const std::string& method, const std::string& request_id,
                             const google::protobuf::Message& request, google::protobuf::Message& response,
                             const std::function<absl::Status()>& action) {
  if (request_id.empty()) return action();
  const std::string key = absl::StrCat(method, "/", request_id);
  const std::string request_bytes = request.SerializeAsString();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    Forget();
    // A repeat waits for the first; if that one failed its entry is gone, and the repeat is carried out.
    for (auto found = entries_.find(key); found != entries_.end(); found = entries_.find(key)) {
      if (found->second.request != request_bytes) {
        return absl::InvalidArgumentError(
            absl::StrCat("request_id: '", request_id, "' was used for another ", method, " request: make a new id"));
      }
      if (!found->second.running) {
        response.ParseFromString(found->second.response);
        return absl::OkStatus();
      }
      finished_.wait(lock);
    }
    if (entries_.size() >= kRememberedMax) {
      return absl::ResourceExhaustedError("too many requests with a request_id in the last ten minutes: wait a little");
    }
    entries_[key].request = request_bytes;
  }
  const absl::Status status = action();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (status.ok()) {
    Entry& entry = entries_[key];
    entry.running = false;
    entry.response = response.SerializeAsString();
    entry.finished = now_();
  } else {
    entries_.erase(key);
  }
  finished_.notify_all();
  return status;
}

void RequestLog::Forget() {
  const absl::Duration now = now_();
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const bool old = !entry->second.running && now - entry->second.finished > kRememberedFor;
    entry = old ? entries_.erase(entry) : std::next(entry);
  }
}

}  // namespace romulus
