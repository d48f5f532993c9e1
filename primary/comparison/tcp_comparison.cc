#include "primary/comparison/tcp_comparison.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus::comparison {
namespace {

using packet::kTcpAck;
using packet::kTcpFin;
using packet::kTcpRst;
using packet::kTcpSyn;
using packet::kTcpUrg;
using packet::TcpHeader;

constexpr uint8_t kFlagsThatMatter = kTcpSyn | kTcpFin | kTcpRst;
// Sequence numbers that are further apart are of no stream that goes on: no window is larger than 2^30.
constexpr int64_t kFar = int64_t{1} << 30;

bool IsAfter(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

bool SameOptions(const TcpHeader& a, const TcpHeader& b) {
  return a.has_mss == b.has_mss && a.mss == b.mss && a.has_window_scale == b.has_window_scale &&
         a.window_scale == b.window_scale && a.sack_permitted == b.sack_permitted &&
         a.has_timestamps == b.has_timestamps;
}

std::string FlagsText(const TcpHeader& header) {
  std::string text;
  if (header.has(kTcpSyn)) text += " SYN";
  if (header.has(kTcpFin)) text += " FIN";
  if (header.has(kTcpRst)) text += " RST";
  if (header.has(kTcpAck)) text += " ACK";
  return text.empty() ? " no flags" : text;
}

}  // namespace

TcpComparison::TcpComparison(const Settings& settings, const packet::Connection& connection)
    : settings_(settings),
      connection_(connection),
      history_(settings.history_bytes_per_flow_max),
      standby_(settings.timeout / 16) {}

TcpComparison::Syn TcpComparison::SynOf(const TcpHeader& header) {
  return {header.sequence, static_cast<uint8_t>(header.flags & (kFlagsThatMatter | kTcpAck)),
          header.has(kTcpAck) ? header.acknowledgement : 0};
}

int64_t TcpComparison::Unwrap(uint32_t sequence) const {
  if (!position_.has_value()) return (int64_t{1} << 32) + sequence;
  return *position_ + static_cast<int32_t>(sequence - static_cast<uint32_t>(*position_));
}

bool TcpComparison::IsNear(uint32_t sequence) const {
  return !position_.has_value() || std::abs(Unwrap(sequence) - *position_) <= kFar;
}

int64_t TcpComparison::PayloadAt(const TcpHeader& header) const {
  return Unwrap(header.sequence) + (header.has(kTcpSyn) ? 1 : 0);
}

void TcpComparison::MoveTo(int64_t position) { position_ = std::max(position, position_.value_or(position)); }

void TcpComparison::StartAnew(const Syn& syn, uint32_t standby_initial) {
  position_.reset();
  MoveTo(Unwrap(syn.initial));
  syn_ = syn;
  left_acknowledgement_.reset();
  left_end_.reset();
  left_fin_.reset();
  left_rsts_.clear();
  history_.Clear();
  delta_ = standby_initial - syn.initial;
  standby_initial_ = standby_initial;
  standby_.Clear();
  standby_acknowledgement_.reset();
  standby_fin_.reset();
  standby_rsts_.clear();
}

void TcpComparison::OnEpochEnd() {
  delta_ = 0;
  standby_initial_.reset();
  if (syn_.has_value()) standby_initial_ = syn_->initial;
  standby_.Clear();
  standby_acknowledgement_.reset();
  standby_fin_.reset();
  standby_rsts_.clear();
  waiting_.clear();
  waiting_bytes_ = 0;
}

std::optional<Difference> TcpComparison::OnStandby(absl::Duration now, const packet::Frame& parsed,
                                                   absl::string_view contents) {
  Segment segment{parsed.tcp, std::string(packet::PayloadOf(parsed, contents)), now};
  const bool opens = segment.header.has(kTcpSyn);
  if (waiting_.empty() && !(opens && segment.header.sequence != standby_initial_)) return Take(segment);
  const bool repeated = opens && !waiting_.empty() && SynOf(segment.header) == SynOf(waiting_.front().header);
  if (repeated) return std::nullopt;
  waiting_bytes_ += segment.payload.size() + kSegmentCost;
  waiting_.push_back(std::move(segment));
  if (standby_bytes() > settings_.standby_bytes_per_flow_max) {
    return Difference{DifferenceReason::kBound, "the standby has opened a connection and is too far ahead"};
  }
  return std::nullopt;
}

// Of the present connection, or a repeat of its SYN.
std::optional<Difference> TcpComparison::Take(const Segment& segment) {
  const TcpHeader& header = segment.header;
  if (header.has(kTcpAck) &&
      !(standby_acknowledgement_.has_value() && !IsAfter(header.acknowledgement, *standby_acknowledgement_))) {
    standby_acknowledgement_ = header.acknowledgement;
  }
  if (header.has(kTcpRst)) {
    const uint32_t sequence = header.sequence - delta_;
    const auto same = [&](const Rst& rst) { return rst.sequence == sequence; };
    if (std::any_of(standby_rsts_.begin(), standby_rsts_.end(), same)) return std::nullopt;
    if (standby_rsts_.size() == kRstsMax) return Difference{DifferenceReason::kBound, "too many different RSTs"};
    standby_rsts_.push_back({sequence, segment.came});
    return std::nullopt;
  }
  if (segment.payload.empty() && !header.has(kTcpFin)) return std::nullopt;
  return TakePayload(segment);
}

std::optional<Difference> TcpComparison::TakePayload(const Segment& segment) {
  TcpHeader header = segment.header;
  header.sequence -= delta_;
  if (!IsNear(header.sequence)) {
    return Difference{DifferenceReason::kSequence, absl::StrCat("the standby sent sequence number ",
                                                                segment.header.sequence, ", far from the stream")};
  }
  int64_t position = PayloadAt(header);
  absl::string_view payload = segment.payload;
  const int64_t end = position + static_cast<int64_t>(payload.size());
  MoveTo(end);

  size_t known = 0;
  const Match with_history = history_.Compare(position, payload, &known);
  const bool added = with_history != Match::kDiffers &&
                     standby_.Add(segment.came, position + static_cast<int64_t>(known), payload.substr(known));
  if (!added) {
    return Difference{DifferenceReason::kContent,
                      absl::StrCat("the standby sent other bytes than before at sequence number ", header.sequence)};
  }
  if (standby_bytes() > settings_.standby_bytes_per_flow_max) {
    return Difference{DifferenceReason::kBound,
                      absl::StrCat("the standby is more than ", settings_.standby_bytes_per_flow_max, " bytes ahead")};
  }
  if (header.has(kTcpFin)) {
    const std::optional<int64_t> fin = standby_fin_.has_value() ? standby_fin_ : left_fin_;
    if (fin.has_value() && *fin != end) return Difference{DifferenceReason::kFlags, "the standby sent a second FIN"};
    if (!standby_fin_.has_value()) {
      standby_fin_ = end;
      standby_fin_came_ = segment.came;
    }
  }
  return std::nullopt;
}

Verdict TcpComparison::Judge(const HeldFrame& frame, uint32_t offsets_left,
                             std::vector<packet::SequenceOffset>& offsets) {
  const TcpHeader& header = frame.parsed.tcp;
  if (header.has(kTcpUrg)) return Verdict::Differs(DifferenceReason::kUrgent, "urgent data is not compared");
  if (header.has(kTcpRst) && frame.parsed.payload_size() > 0) {
    return Verdict::Differs(DifferenceReason::kFlags, "a RST with text is not compared");
  }
  if (header.has(kTcpSyn) && syn_ != SynOf(header)) {
    Verdict verdict = JudgeSyn(frame, offsets_left, offsets);
    if (verdict.kind != Verdict::Kind::kLeaves) return verdict;
  }
  if (header.has(kTcpRst)) {
    const auto same = [&](const Rst& rst) { return rst.sequence == header.sequence; };
    const bool sent = RstLeft(header.sequence) || std::any_of(standby_rsts_.begin(), standby_rsts_.end(), same);
    if (!sent) return Verdict::Waits();
  } else {
    Verdict verdict = JudgeStream(frame);
    if (verdict.kind != Verdict::Kind::kLeaves) return verdict;
  }
  return Acknowledged(header) ? Verdict::Leaves() : Verdict::Waits();
}

// The first SYN of a connection. kLeaves: as far as the SYN goes.
Verdict TcpComparison::JudgeSyn(const HeldFrame& frame, uint32_t offsets_left,
                                std::vector<packet::SequenceOffset>& offsets) {
  const TcpHeader& header = frame.parsed.tcp;
  if (waiting_.empty()) return Verdict::Waits();
  const TcpHeader& other = waiting_.front().header;
  const Syn ours = SynOf(header);
  const Syn theirs = SynOf(other);
  if (ours.flags != theirs.flags || ours.acknowledgement != theirs.acknowledgement) {
    return Verdict::Differs(
        DifferenceReason::kFlags,
        absl::StrCat("the primary opens a connection with", FlagsText(header), " and acknowledges ",
                     ours.acknowledgement, ", the standby with", FlagsText(other), " and ", theirs.acknowledgement));
  }
  if (!SameOptions(header, other)) {
    return Verdict::Differs(DifferenceReason::kOptions, "MSS, window scale, SACK or timestamps are not the same");
  }
  if (PresentAloneSince().has_value()) {
    return Verdict::Differs(DifferenceReason::kFlags, "the standby sent more on the connection before");
  }
  if (offsets_left == 0) {
    return Verdict::Differs(DifferenceReason::kBound, "too many connections were opened since the last checkpoint");
  }
  StartAnew(ours, theirs.initial);
  offsets.push_back({connection_, ours.initial, theirs.initial});
  // What the standby sent on it, up to its next SYN.
  while (!waiting_.empty()) {
    const Segment& segment = waiting_.front();
    if (segment.header.has(kTcpSyn) && segment.header.sequence != *standby_initial_) break;
    const std::optional<Difference> difference = Take(segment);
    waiting_bytes_ -= segment.payload.size() + kSegmentCost;
    waiting_.pop_front();
    if (difference.has_value()) return {Verdict::Kind::kDiffers, *difference};
  }
  return Verdict::Leaves();
}

Verdict TcpComparison::JudgeStream(const HeldFrame& frame) {
  const TcpHeader& header = frame.parsed.tcp;
  const absl::string_view payload = packet::PayloadOf(frame.parsed, *frame.contents);
  if (payload.empty() && !header.has(kTcpFin)) return Verdict::Leaves();
  if (!IsNear(header.sequence)) {
    return Verdict::Differs(DifferenceReason::kSequence,
                            absl::StrCat("sequence number ", header.sequence, " is far from the stream"));
  }
  const int64_t position = PayloadAt(header);
  const int64_t end = position + static_cast<int64_t>(payload.size());
  if (standby_fin_.has_value() && end > *standby_fin_) {
    return Verdict::Differs(DifferenceReason::kFlags, "the standby ended its stream, the primary goes on");
  }
  const Match match = ComparePayload(position, payload);
  if (match == Match::kDiffers) {
    return Verdict::Differs(DifferenceReason::kContent, absl::StrCat("other bytes behind sequence number ",
                                                                     header.sequence, ", in ", payload.size()));
  }
  const bool ends = header.has(kTcpFin);
  if (ends && left_fin_ != end) {
    if (standby_fin_.has_value() && *standby_fin_ != end) {
      return Verdict::Differs(DifferenceReason::kFlags, "the streams end at different places");
    }
    if (standby_.end().value_or(end) > end) {
      return Verdict::Differs(DifferenceReason::kFlags, "the primary ends its stream, the standby went on");
    }
  }
  const bool complete = match == Match::kEqual && (!ends || left_fin_ == end || standby_fin_ == end);
  if (complete) return Verdict::Leaves();
  const auto alone = [&](const Rst& rst) { return !RstLeft(rst.sequence); };
  if (std::any_of(standby_rsts_.begin(), standby_rsts_.end(), alone)) {
    return Verdict::Differs(DifferenceReason::kFlags, "the standby reset the connection, the primary goes on");
  }
  return Verdict::Waits();
}

// Piece by piece: what has left, then what the standby has sent.
Match TcpComparison::ComparePayload(int64_t position, absl::string_view payload) const {
  size_t known = 0;
  if (history_.Compare(position, payload, &known) == Match::kDiffers) return Match::kDiffers;
  return standby_.Compare(position + static_cast<int64_t>(known), payload.substr(known));
}

bool TcpComparison::Acknowledged(const TcpHeader& header) const {
  if (!header.has(kTcpAck)) return true;
  return (left_acknowledgement_.has_value() && !IsAfter(header.acknowledgement, *left_acknowledgement_)) ||
         StandbyAcknowledged(header.acknowledgement);
}

bool TcpComparison::StandbyAcknowledged(uint32_t acknowledgement) const {
  return standby_acknowledgement_.has_value() && !IsAfter(acknowledgement, *standby_acknowledgement_);
}

bool TcpComparison::RstLeft(uint32_t sequence) const {
  return std::find(left_rsts_.begin(), left_rsts_.end(), sequence) != left_rsts_.end();
}

void TcpComparison::OnLeft(const HeldFrame& frame) {
  const TcpHeader& header = frame.parsed.tcp;
  // By commit: both guests have it with the same number.
  if (header.has(kTcpSyn) && syn_ != SynOf(header)) StartAnew(SynOf(header), header.sequence);
  const bool acknowledges_more = header.has(kTcpAck) && (!left_acknowledgement_.has_value() ||
                                                         IsAfter(header.acknowledgement, *left_acknowledgement_));
  if (acknowledges_more) left_acknowledgement_ = header.acknowledgement;
  if (header.has(kTcpRst)) {
    if (!RstLeft(header.sequence)) left_rsts_.push_back(header.sequence);
    if (left_rsts_.size() > kRstsMax) left_rsts_.pop_front();
    return;
  }
  const absl::string_view payload = packet::PayloadOf(frame.parsed, *frame.contents);
  if (payload.empty() && !header.has(kTcpFin)) return;
  // By commit the stream may be anywhere.
  if (!IsNear(header.sequence)) {
    position_.reset();
    left_end_.reset();
    history_.Clear();
  }
  const int64_t position = PayloadAt(header);
  const int64_t end = position + static_cast<int64_t>(payload.size());
  MoveTo(end);
  history_.Add(position, payload);
  standby_.Erase(position, end);
  left_end_ = std::max(end, left_end_.value_or(end));
  if (header.has(kTcpFin)) left_fin_ = end;
}

std::optional<absl::Duration> TcpComparison::PresentAloneSince() const {
  std::optional<absl::Duration> since;
  const auto add = [&](absl::Duration came) { since = std::min(came, since.value_or(came)); };
  // Behind what has left: before it, the standby repeats what the primary's guest need not.
  if (const std::optional<absl::Duration> came = standby_.CameAt(left_end_.value_or(0)); came.has_value()) add(*came);
  if (standby_fin_.has_value() && standby_fin_ != left_fin_) add(standby_fin_came_);
  for (const Rst& rst : standby_rsts_) {
    if (!RstLeft(rst.sequence)) add(rst.came);
  }
  return since;
}

std::optional<absl::Duration> TcpComparison::StandbyAloneSince() const {
  const std::optional<absl::Duration> present = PresentAloneSince();
  if (present.has_value() || waiting_.empty()) return present;
  return waiting_.front().came;
}

}  // namespace romulus::comparison
