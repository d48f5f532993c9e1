#include "common/codec/scripted_guest.h"

#include <algorithm>

#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {

using stream_format::kPageBytes;

ScriptedGuest::ScriptedGuest(uint64_t seed, size_t pages) : random_(seed) {
  uint64_t frame = random_() % 1000;
  for (size_t i = 0; i < pages; ++i) {
    frame += 1 + (random_() % 8 == 0 ? random_() % 100000 : 0);
    pages_[frame] = NewPage();
  }
  state_ = Text(9000);
}

std::string ScriptedGuest::RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random_());
  return bytes;
}

std::string ScriptedGuest::Text(size_t count) {
  static constexpr const char* kWords[] = {"epoch ", "page ", "checkpoint ", "guest ", "\n",
                                           "0x7f",   "lock",  "== ",         "{"};
  std::string text;
  while (text.size() < count) text += kWords[random_() % std::size(kWords)];
  text.resize(count);
  return text;
}

std::string ScriptedGuest::NewPage() {
  switch (random_() % 5) {
    case 0:
      return std::string(kPageBytes, '\0');
    case 1:
      return RandomBytes(kPageBytes);
    case 2: {
      std::string page(kPageBytes, '\0');
      for (int i = 0; i < 20; ++i) page[random_() % kPageBytes] = static_cast<char>(random_());
      return page;
    }
    default:
      return Text(kPageBytes);
  }
}

void ScriptedGuest::Change(std::string* page) {
  switch (random_() % 8) {
    case 0:
      *page = NewPage();
      return;
    case 1:
      return;  // Written, but with what was there.
    case 2:
      for (size_t i = 0; i < kPageBytes; i += 2) (*page)[i] = static_cast<char>(random_());
      return;
    case 3:
      (*page)[0] ^= 1;
      (*page)[kPageBytes - 1] ^= 1;
      return;
    default:
      for (uint64_t i = random_() % 60; i > 0; --i) (*page)[random_() % kPageBytes] = static_cast<char>(random_());
  }
}

std::string ScriptedGuest::NextCheckpoint() {
  ++epoch_;
  SyntheticStream stream;
  if (epoch_ == 1) stream.Preamble();
  std::vector<SyntheticStream::Page> batch;
  const size_t batch_pages = 1 + random_() % 200;
  for (auto& [frame, contents] : pages_) {
    if (epoch_ > 1) {
      if (random_() % 4 != 0) continue;
      Change(&contents);
    }
    batch.push_back({frame, 0, contents});
    if (random_() % 50 == 0) batch.push_back({frame + 1, stream_format::kFrameTypeXtab, ""});
    if (batch.size() >= batch_pages) {
      stream.PageData(batch);
      batch.clear();
    }
  }
  if (!batch.empty()) stream.PageData(batch);
  for (int i = 0; i < 30; ++i) state_[random_() % state_.size()] = static_cast<char>(random_());
  stream.State(state_).EndCheckpoint();
  return stream.bytes();
}

}  // namespace romulus
