#ifndef ROMULUS_COMMON_LINK_BANDWIDTH_SHARE_H_
#define ROMULUS_COMMON_LINK_BANDWIDTH_SHARE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace romulus {

// What the checkpoints of one agent may take of its network: a limit for all of its protections together, of which they
// get fair parts (FairPacer), and one for each. Only a checkpoint's chunks ask; heartbeats, commits and every other
// message pass by. One per agent, in main. Thread safe.
class BandwidthShare {
 public:
  // One protection's part, for as long as the protection exists; its link's sender uses it. Thread safe, but for Await.
  class Flow {
   public:
    ~Flow();
    // Bytes per second, on the wire; 0: only the agent's limit. Takes effect with the next chunk.
    void SetLimit(uint64_t bytes_per_second);
    // The largest chunk to make of a checkpoint, up to `most`: smaller under a limit, so that a chunk is on its way for
    // about 10 ms at that rate, and others don't wait longer for it.
    size_t ChunkBytes(size_t most) const;
    // Waits until a chunk of `bytes` on the wire may go; false: `stopped` became true, and Wake was called. One thread
    // at a time; the one of an older link of the same protection may still be in it, then this one waits for it.
    bool Await(uint64_t bytes, const std::atomic<bool>& stopped);
    void Wake();

   private:
    friend class BandwidthShare;
    class State;
    Flow(std::shared_ptr<State> state, uint64_t id);
    const std::shared_ptr<State> state_;
    const uint64_t id_;
  };

  // Bytes per second; 0: none.
  explicit BandwidthShare(uint64_t bytes_per_second = 0);
  void SetLimit(uint64_t bytes_per_second);
  // The flow may outlive this object.
  std::shared_ptr<Flow> NewFlow(uint64_t bytes_per_second = 0);

 private:
  const std::shared_ptr<Flow::State> state_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_BANDWIDTH_SHARE_H_
