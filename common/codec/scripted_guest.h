#ifndef ROMULUS_COMMON_CODEC_SCRIPTED_GUEST_H_
#define ROMULUS_COMMON_CODEC_SCRIPTED_GUEST_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace romulus {

// A guest's pages and vCPU state as a seed makes them, and its checkpoints as libxc v3 streams. The pages are of the
// kinds that the codec treats differently, and change from checkpoint to checkpoint as such pages do.
class ScriptedGuest {
 public:
  explicit ScriptedGuest(uint64_t seed, size_t pages = 400);

  // The first: every page. Later ones: what has changed, and some that have not.
  std::string NextCheckpoint();
  uint64_t epoch() const { return epoch_; }

  std::string RandomBytes(size_t count);
  std::string Text(size_t count);

 private:
  void Change(std::string* page);
  std::string NewPage();

  std::mt19937_64 random_;
  uint64_t epoch_ = 0;
  std::map<uint64_t, std::string> pages_;
  std::string state_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_SCRIPTED_GUEST_H_
