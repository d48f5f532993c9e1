#include "primary/comparison/datagram_comparison.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace romulus::comparison {
namespace {

using packet::Frame;
using packet::Kind;

// Of what follows the IP headers, the bytes before the checksum and those behind it.
struct Compared {
  absl::string_view before;
  absl::string_view behind;
};

Compared ComparedBytes(const Frame& parsed, absl::string_view contents) {
  const absl::string_view body = contents.substr(parsed.transport_at, parsed.end - parsed.transport_at);
  if (parsed.kind == Kind::kUdp) return {body.substr(0, 6), body.substr(8)};
  if (parsed.kind == Kind::kIcmp) return {body.substr(0, 2), body.substr(4)};
  return {body, {}};
}

// Of what is compared.
size_t HashOf(const Frame& parsed, absl::string_view contents) {
  const Compared compared = ComparedBytes(parsed, contents);
  return absl::HashOf(compared.before, compared.behind, parsed.fragment_offset, parsed.more_fragments);
}

bool SamePlace(const Frame& a, const Frame& b) {
  return a.fragment_offset == b.fragment_offset && a.more_fragments == b.more_fragments;
}

}  // namespace

Verdict DatagramComparison::Judge(const HeldFrame& frame, uint32_t, std::vector<packet::SequenceOffset>&) {
  while (!standby_.empty()) {
    const Datagram& other = standby_.front();
    const Compared ours = ComparedBytes(frame.parsed, *frame.contents);
    const Compared theirs = ComparedBytes(other.parsed, other.contents);
    const bool same =
        ours.before == theirs.before && ours.behind == theirs.behind && SamePlace(frame.parsed, other.parsed);
    const bool repeat = !same && repeated_.has_value() && IsRepeat(other, *repeated_);
    if (same || repeat) {
      bytes_ -= other.contents.size() + kDatagramCost;
      standby_.pop_front();
    }
    if (repeat) continue;
    repeated_.reset();
    if (same) return Verdict::Leaves();
    return Verdict::Differs(DifferenceReason::kPacket,
                            absl::StrCat("the next packet is of ", frame.parsed.end - frame.parsed.transport_at,
                                         " bytes, the standby's of ", other.parsed.end - other.parsed.transport_at,
                                         ", and they are not the same"));
  }
  return Verdict::Waits();
}

void DatagramComparison::OnLeft(const HeldFrame& frame) {
  left_.push_back(HashOf(frame.parsed, *frame.contents));
  if (left_.size() > kLeftMax) left_.pop_front();
}

bool DatagramComparison::IsRepeat(const Datagram& datagram, size_t& from) const {
  const size_t hash = HashOf(datagram.parsed, datagram.contents);
  const auto found = std::find(left_.begin() + from, left_.end(), hash);
  if (found == left_.end()) return false;
  from = found - left_.begin() + 1;
  return true;
}

std::optional<Difference> DatagramComparison::OnStandby(absl::Duration now, const Frame& parsed,
                                                        absl::string_view contents) {
  const size_t cost = contents.size() + kDatagramCost;
  if (bytes_ + cost > settings_.standby_bytes_per_flow_max) {
    return Difference{DifferenceReason::kBound,
                      absl::StrCat("the standby is more than ", settings_.standby_bytes_per_flow_max, " bytes ahead")};
  }
  bytes_ += cost;
  standby_.push_back({std::string(contents), parsed, now});
  return std::nullopt;
}

void DatagramComparison::OnEpochEnd() {
  standby_.clear();
  bytes_ = 0;
  repeated_ = 0;
}

std::optional<absl::Duration> DatagramComparison::StandbyAloneSince() const {
  std::optional<size_t> repeated = repeated_;
  for (const Datagram& datagram : standby_) {
    if (!repeated.has_value() || !IsRepeat(datagram, *repeated)) return datagram.came;
  }
  return std::nullopt;
}

}  // namespace romulus::comparison
