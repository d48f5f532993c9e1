#ifndef ROMULUS_COMMON_OWNERSHIP_MEMORY_GENERATION_STORE_H_
#define ROMULUS_COMMON_OWNERSHIP_MEMORY_GENERATION_STORE_H_

#include <map>
#include <string>

#include "common/ownership/generation_store.h"

namespace romulus {

// The simulated GenerationStore: a host's disk as far as ownership goes. It survives the agent and the host's power.
class MemoryGenerationStore final : public GenerationStore {
 public:
  // The next `count` writes fail.
  void FailWrites(int count) { failing_writes_ = count; }

  const std::map<std::string, Record>& records() const { return records_; }

  absl::StatusOr<Record> Read(const std::string& protection) const override {
    auto found = records_.find(protection);
    if (found == records_.end()) return absl::NotFoundError("no record");
    return found->second;
  }
  absl::Status Write(const std::string& protection, const Record& record) override {
    if (failing_writes_ > 0) {
      --failing_writes_;
      return absl::UnavailableError("simulated: the disk does not take the record (EIO)");
    }
    records_[protection] = record;
    return absl::OkStatus();
  }
  absl::Status Erase(const std::string& protection) override {
    records_.erase(protection);
    return absl::OkStatus();
  }

 private:
  int failing_writes_ = 0;
  std::map<std::string, Record> records_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_OWNERSHIP_MEMORY_GENERATION_STORE_H_
