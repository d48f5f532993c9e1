#ifndef ROMULUS_COMMON_CODEC_GROWABLE_BYTES_H_
#define ROMULUS_COMMON_CODEC_GROWABLE_BYTES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/types/span.h"
#include "common/base/log.h"

namespace romulus {

// Bytes to append to. Unlike std::string it does not zero what it grows by, and keeps its memory when cleared.
class GrowableBytes {
 public:
  // Room for `count` more bytes, uninitialised; they count once they are committed. Valid until the next call.
  char* Reserve(size_t count) {
    if (count > capacity_ - size_) Grow(size_ + count);
    return bytes_.get() + size_;
  }
  void Commit(size_t count) {
    ROMULUS_CHECK(count <= capacity_ - size_);
    size_ += count;
  }
  void Append(absl::Span<const char> bytes) {
    if (bytes.empty()) return;
    memcpy(Reserve(bytes.size()), bytes.data(), bytes.size());
    Commit(bytes.size());
  }
  void clear() { size_ = 0; }

  char* data() { return bytes_.get(); }
  const char* data() const { return bytes_.get(); }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  absl::Span<const char> span() const { return absl::MakeConstSpan(bytes_.get(), size_); }

 private:
  void Grow(size_t least) {
    const size_t capacity = std::max<size_t>({least, 2 * capacity_, 256});
    std::unique_ptr<char[]> bytes(new char[capacity]);
    if (size_ > 0) memcpy(bytes.get(), bytes_.get(), size_);
    bytes_ = std::move(bytes);
    capacity_ = capacity;
  }

  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_GROWABLE_BYTES_H_
