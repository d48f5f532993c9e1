#include "common/codec/encoding_chooser.h"

#include <algorithm>
#include <utility>

namespace romulus {
namespace {

using block_format::Stream;
using Method = EncodingChooser::Method;

// What one measurement counts for against all before; and one of a method that was not measured for long.
constexpr double kWeight = 0.25;
constexpr double kWeightAfterLong = 0.6;
// A method that was not chosen for so many blocks is tried on one.
constexpr uint32_t kStale = 32;
// The budget that is not spent is kept for a burst of this much of a checkpoint.
constexpr double kBurstBytes = 32 << 20;
// Fewer bytes by less than this don't pay for a dearer method: zstd -1 takes half again as long as its fast levels.
constexpr double kGain = 0.82;

// Before anything was measured: about what the libraries say of themselves.
constexpr std::array<double, EncodingChooser::kMethods> kRatios = {1.0, 0.55, 0.5, 0.45};
constexpr std::array<double, EncodingChooser::kMethods> kNsPerByte = {0.1, 1.5, 2.0, 2.5};

}  // namespace

EncodingChooser::EncodingChooser(Options options) : options_(options) {
  for (size_t stream = 0; stream < streams_.size(); ++stream) {
    for (size_t method = 0; method < kMethods; ++method) {
      // Nothing is expected of what looks dense; the first block tells.
      streams_[stream].methods[method] = {stream == block_format::kDense ? 1.0 : kRatios[method], kNsPerByte[method],
                                          kStale / 2};
    }
    streams_[stream].ratio = stream == block_format::kDense ? 1.0 : 0.5;
  }
  budget_ns_ = kBurstBytes * options_.budget_ns_per_byte;
}

void EncodingChooser::Earn(size_t bytes, uint64_t spent_ns) {
  budget_ns_ += static_cast<double>(bytes) * options_.budget_ns_per_byte - static_cast<double>(spent_ns);
  budget_ns_ = std::min(budget_ns_, kBurstBytes * options_.budget_ns_per_byte);
}

bool EncodingChooser::Pays(const Measured& measured) const {
  if (options_.link_bytes_per_second == 0) return measured.ratio < 1;
  const double link_ns_per_byte = 1e9 / static_cast<double>(options_.link_bytes_per_second);
  return measured.ns_per_byte / options_.threads < (1 - measured.ratio) * link_ns_per_byte;
}

Method EncodingChooser::Choose(Stream stream, size_t bytes) {
  std::array<Measured, kMethods>& methods = streams_[stream].methods;
  for (Measured& measured : methods) ++measured.age;
  size_t best = 0;
  for (size_t method = 1; method < kMethods; ++method) {
    if (methods[method].ns_per_byte * static_cast<double>(bytes) > budget_ns_) continue;
    if (methods[method].age > kStale) {
      best = method;
      methods[method].after_long = true;
      break;
    }
    if (Pays(methods[method]) && methods[method].ratio < kGain * methods[best].ratio) best = method;
  }
  methods[best].age = 0;
  return static_cast<Method>(best);
}

void EncodingChooser::Learn(Stream stream, Method method, size_t bytes, size_t coded_bytes, uint64_t spent_ns) {
  budget_ns_ -= static_cast<double>(spent_ns);
  if (bytes == 0) return;
  StreamState& state = streams_[stream];
  Measured& measured = state.methods[static_cast<size_t>(method)];
  // Small blocks say little.
  const double said = std::min(1.0, static_cast<double>(bytes) / 65536);
  const double ratio = static_cast<double>(coded_bytes) / static_cast<double>(bytes);
  const double weight = said * (std::exchange(measured.after_long, false) ? kWeightAfterLong : kWeight);
  measured.ratio += weight * (ratio - measured.ratio);
  measured.ns_per_byte += weight * (static_cast<double>(spent_ns) / static_cast<double>(bytes) - measured.ns_per_byte);
  state.ratio += said * kWeight * (ratio - state.ratio);
}

double EncodingChooser::ratio(Stream stream) const { return streams_[stream].ratio; }

}  // namespace romulus
