#include "primary/comparison/stream_bytes.h"

#include <algorithm>
#include <utility>

namespace romulus::comparison {

StreamBytes::Chunks::const_iterator StreamBytes::FirstBehind(int64_t position) const {
  auto chunk = chunks_.upper_bound(position);
  if (chunk != chunks_.begin()) {
    const auto before = std::prev(chunk);
    if (before->first + static_cast<int64_t>(before->second.bytes.size()) > position) return before;
  }
  return chunk;
}

Match StreamBytes::Compare(int64_t position, absl::string_view bytes) const {
  const int64_t end = position + static_cast<int64_t>(bytes.size());
  int64_t covered = position;
  bool gap = false;
  for (auto chunk = FirstBehind(position); chunk != chunks_.end() && chunk->first < end; ++chunk) {
    const int64_t from = std::max(chunk->first, position);
    const int64_t to = std::min<int64_t>(chunk->first + chunk->second.bytes.size(), end);
    gap |= from > covered;
    covered = to;
    const absl::string_view here = absl::string_view(chunk->second.bytes).substr(from - chunk->first, to - from);
    if (here != bytes.substr(from - position, to - from)) return Match::kDiffers;
  }
  return gap || covered < end ? Match::kMissing : Match::kEqual;
}

bool StreamBytes::Add(absl::Duration now, int64_t position, absl::string_view bytes) {
  if (Compare(position, bytes) == Match::kDiffers) return false;
  const int64_t end = position + static_cast<int64_t>(bytes.size());
  int64_t at = position;
  while (at < end) {
    const auto next = FirstBehind(at);
    if (next != chunks_.end() && next->first <= at) {
      at = next->first + static_cast<int64_t>(next->second.bytes.size());
      continue;
    }
    const int64_t to = next == chunks_.end() ? end : std::min(end, next->first);
    const absl::string_view fresh = bytes.substr(at - position, to - at);
    bytes_ += fresh.size();
    const auto before = next == chunks_.begin() ? chunks_.end() : chunks_.find(std::prev(next)->first);
    if (before != chunks_.end() && before->first + static_cast<int64_t>(before->second.bytes.size()) == at &&
        before->second.bytes.size() < kChunkBytes && now - before->second.came <= resolution_) {
      before->second.bytes.append(fresh.data(), fresh.size());
    } else {
      chunks_.emplace(at, Chunk{std::string(fresh), now});
    }
    at = to;
  }
  return true;
}

void StreamBytes::Erase(int64_t begin, int64_t end) {
  if (begin >= end) return;
  while (true) {
    const auto found = FirstBehind(begin);
    if (found == chunks_.end() || found->first >= end) return;
    const int64_t at = found->first;
    Chunk chunk = std::move(chunks_.extract(found).mapped());
    bytes_ -= chunk.bytes.size();
    const int64_t chunk_end = at + static_cast<int64_t>(chunk.bytes.size());
    if (chunk_end > end) {
      std::string tail = chunk.bytes.substr(end - at);
      bytes_ += tail.size();
      chunks_.emplace(end, Chunk{std::move(tail), chunk.came});
    }
    if (at < begin) {
      chunk.bytes.resize(begin - at);
      bytes_ += chunk.bytes.size();
      chunks_.emplace(at, std::move(chunk));
    }
  }
}

void StreamBytes::Clear() {
  chunks_.clear();
  bytes_ = 0;
}

std::optional<int64_t> StreamBytes::end() const {
  if (chunks_.empty()) return std::nullopt;
  return chunks_.rbegin()->first + static_cast<int64_t>(chunks_.rbegin()->second.bytes.size());
}

std::optional<absl::Duration> StreamBytes::CameAt(int64_t position) const {
  const auto chunk = FirstBehind(position);
  if (chunk == chunks_.end()) return std::nullopt;
  return chunk->second.came;
}

void RecentBytes::Add(int64_t position, absl::string_view bytes) {
  if (bytes_max_ == 0) return;
  const int64_t end = begin_ + static_cast<int64_t>(bytes_.size() - skipped_);
  if (bytes_.size() == skipped_ || position > end) {
    bytes_.clear();
    skipped_ = 0;
    begin_ = position;
  } else {
    const int64_t known = end - position;
    if (known >= static_cast<int64_t>(bytes.size())) return;
    bytes.remove_prefix(known);
  }
  if (bytes.size() > bytes_max_) {
    begin_ += static_cast<int64_t>(bytes_.size() - skipped_ + bytes.size() - bytes_max_);
    bytes_.clear();
    skipped_ = 0;
    bytes.remove_prefix(bytes.size() - bytes_max_);
  }
  const size_t present = bytes_.size() - skipped_ + bytes.size();
  if (present > bytes_max_) {
    skipped_ += present - bytes_max_;
    begin_ += static_cast<int64_t>(present - bytes_max_);
  }
  // Moved down once it would be twice the bound: each byte once, on average.
  if (bytes_.size() + bytes.size() > 2 * bytes_max_) {
    bytes_.erase(0, skipped_);
    skipped_ = 0;
  }
  bytes_.append(bytes.data(), bytes.size());
}

Match RecentBytes::Compare(int64_t position, absl::string_view bytes, size_t* known) const {
  *known = 0;
  const absl::string_view here = absl::string_view(bytes_).substr(skipped_);
  if (position < begin_ || position >= begin_ + static_cast<int64_t>(here.size())) return Match::kMissing;
  const absl::string_view from = here.substr(position - begin_, bytes.size());
  if (from != bytes.substr(0, from.size())) return Match::kDiffers;
  *known = from.size();
  return from.size() == bytes.size() ? Match::kEqual : Match::kMissing;
}

void RecentBytes::Clear() {
  bytes_ = std::string();
  skipped_ = 0;
}

}  // namespace romulus::comparison
