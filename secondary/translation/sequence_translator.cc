#include "secondary/translation/sequence_translator.h"

#include "common/base/log.h"

namespace romulus::translation {
namespace {

using packet::kTcpAck;
using packet::kTcpFin;
using packet::kTcpRst;
using packet::kTcpSyn;

bool IsAtOrAfter(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) >= 0; }

uint32_t BehindFin(const packet::Frame& parsed) {
  return parsed.tcp.sequence + static_cast<uint32_t>(parsed.payload_size()) + 1;
}

bool IsIcmpError(const packet::Frame& parsed) {
  if (parsed.source.size == 4) return parsed.icmp_type == 3 || parsed.icmp_type == 11 || parsed.icmp_type == 12;
  return parsed.icmp_type >= 1 && parsed.icmp_type <= 4;
}

// Of the guest's packet that an ICMP error quotes.
struct Quote {
  packet::Connection connection;
  size_t sequence_at = 0;
};

std::optional<Quote> QuotedTcp(uint32_t device_id, absl::string_view frame, const packet::Frame& parsed) {
  const size_t at = parsed.transport_at + 8;
  const bool v6 = parsed.source.size == 16;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(frame[i]); };
  if (parsed.end < at + (v6 ? 40 : 20) || byte(at) >> 4 != (v6 ? 6 : 4)) return std::nullopt;
  const size_t tcp = at + (v6 ? 40 : (byte(at) & 0xf) * 4);
  const bool is_first_fragment = v6 || ((byte(at + 6) & 0x1f) == 0 && byte(at + 7) == 0);
  if (tcp < at + 20 || byte(at + (v6 ? 6 : 9)) != 6 || !is_first_fragment || parsed.end < tcp + 8) return std::nullopt;
  const auto port = [&](size_t i) { return static_cast<uint16_t>(byte(i) << 8 | byte(i + 1)); };
  const size_t addresses = at + (v6 ? 8 : 12);
  const size_t size = v6 ? 16 : 4;
  return Quote{{device_id, packet::AddressFrom(frame.substr(addresses, size)),
                packet::AddressFrom(frame.substr(addresses + size, size)), port(tcp), port(tcp + 2)},
               tcp + 4};
}

}  // namespace

SequenceTranslator::SequenceTranslator(const TranslatorSettings& settings) : settings_(settings) {
  ROMULUS_CHECK(settings.connections_max > 0);
}

bool SequenceTranslator::Add(absl::Duration now, const packet::SequenceOffset& offset) {
  Erase(offset.connection);
  EraseExpired(now);
  if (by_connection_.size() >= settings_.connections_max) {
    if (ended_.empty()) return false;
    Erase(packet::Connection(ended_.front().connection));
  }
  living_.push_back({.connection = offset.connection,
                     .offset = offset.primary_initial - offset.standby_initial,
                     .standby_initial = offset.standby_initial,
                     .last_frame = now});
  by_connection_.emplace(offset.connection, std::prev(living_.end()));
  return true;
}

bool SequenceTranslator::TranslateInput(absl::Duration now, uint32_t device_id, absl::Span<char> frame,
                                        packet::Checksum checksum) {
  const packet::Frame parsed = packet::Parse({frame.data(), frame.size()});
  if (parsed.kind == packet::Kind::kIcmp && IsIcmpError(parsed)) {
    return TranslateIcmpError(now, device_id, frame, parsed);
  }
  if (parsed.kind != packet::Kind::kTcp) return false;
  Entry* entry = Find(now, packet::ConnectionOfPeerFrame(device_id, parsed));
  if (entry == nullptr) return false;
  const packet::TcpHeader& header = parsed.tcp;
  const bool opens = header.has(kTcpSyn) && !header.has(kTcpAck);
  if (opens && entry->ended()) {
    Erase(packet::Connection(entry->connection));
    return false;
  }
  entry->reset = header.has(kTcpRst);
  if (header.has(kTcpFin)) entry->peer_fin = BehindFin(parsed);
  if (header.has(kTcpAck) && entry->standby_fin.has_value()) {
    entry->standby_fin_acknowledged |= IsAtOrAfter(header.acknowledgement - entry->offset, *entry->standby_fin);
  }
  const packet::TcpShift shift{.sequence = 0, .acknowledgement = 0 - entry->offset};
  Touch(now, *entry);
  if (shift.acknowledgement == 0 || !header.has(kTcpAck)) return false;
  packet::ShiftTcpNumbers(frame, parsed, shift, checksum);
  return true;
}

bool SequenceTranslator::TranslateIcmpError(absl::Duration now, uint32_t device_id, absl::Span<char> frame,
                                            const packet::Frame& parsed) {
  const std::optional<Quote> quote = QuotedTcp(device_id, {frame.data(), frame.size()}, parsed);
  if (!quote.has_value()) return false;
  const Entry* entry = Find(now, quote->connection);
  if (entry == nullptr || entry->offset == 0) return false;
  const auto read = [&](size_t at) {
    return static_cast<uint16_t>(static_cast<uint8_t>(frame[at]) << 8 | static_cast<uint8_t>(frame[at + 1]));
  };
  const auto write = [&](size_t at, uint16_t value) {
    frame[at] = static_cast<char>(value >> 8);
    frame[at + 1] = static_cast<char>(value);
  };
  const uint32_t before = static_cast<uint32_t>(read(quote->sequence_at)) << 16 | read(quote->sequence_at + 2);
  const uint32_t after = before - entry->offset;
  uint16_t field = read(parsed.transport_at + 2);
  field = packet::UpdatedChecksum(field, static_cast<uint16_t>(before >> 16), static_cast<uint16_t>(after >> 16));
  field = packet::UpdatedChecksum(field, static_cast<uint16_t>(before), static_cast<uint16_t>(after));
  write(quote->sequence_at, static_cast<uint16_t>(after >> 16));
  write(quote->sequence_at + 2, static_cast<uint16_t>(after));
  write(parsed.transport_at + 2, field);
  return true;
}

bool SequenceTranslator::TranslateOutput(absl::Duration now, uint32_t device_id, absl::Span<char> frame,
                                         packet::Checksum checksum) {
  const packet::Frame parsed = packet::Parse({frame.data(), frame.size()});
  const Entry* entry = NoteParsedOutput(now, device_id, parsed);
  if (entry == nullptr || entry->offset == 0) return false;
  packet::ShiftTcpNumbers(frame, parsed, {.sequence = entry->offset}, checksum);
  return true;
}

void SequenceTranslator::NoteOutput(absl::Duration now, uint32_t device_id, absl::string_view frame) {
  NoteParsedOutput(now, device_id, packet::Parse(frame));
}

SequenceTranslator::Entry* SequenceTranslator::NoteParsedOutput(absl::Duration now, uint32_t device_id,
                                                                const packet::Frame& parsed) {
  if (parsed.kind != packet::Kind::kTcp) return nullptr;
  Entry* entry = Find(now, packet::ConnectionOfGuestFrame(device_id, parsed));
  if (entry == nullptr) return nullptr;
  const packet::TcpHeader& header = parsed.tcp;
  if (header.has(kTcpSyn) && header.sequence != entry->standby_initial) {
    // The guest's next one: with the number that it chooses now the remote end will get to know it.
    Erase(packet::Connection(entry->connection));
    return nullptr;
  }
  entry->reset = header.has(kTcpRst);
  if (header.has(kTcpFin)) entry->standby_fin = BehindFin(parsed);
  if (header.has(kTcpAck) && entry->peer_fin.has_value()) {
    entry->peer_fin_acknowledged |= IsAtOrAfter(header.acknowledgement, *entry->peer_fin);
  }
  Touch(now, *entry);
  return entry;
}

void SequenceTranslator::OnCheckpointApplied() {
  by_connection_.clear();
  living_.clear();
  ended_.clear();
}

SequenceTranslator::Entry* SequenceTranslator::Find(absl::Duration now, const packet::Connection& connection) {
  EraseExpired(now);
  const auto found = by_connection_.find(connection);
  return found == by_connection_.end() ? nullptr : &*found->second;
}

void SequenceTranslator::Erase(const packet::Connection& connection) {
  const auto found = by_connection_.find(connection);
  if (found == by_connection_.end()) return;
  (found->second->in_ended ? ended_ : living_).erase(found->second);
  by_connection_.erase(found);
}

void SequenceTranslator::EraseExpired(absl::Duration now) {
  while (!living_.empty() && now - living_.front().last_frame >= settings_.idle_max) {
    Erase(packet::Connection(living_.front().connection));
  }
  while (!ended_.empty() && now - ended_.front().last_frame >= settings_.linger) {
    Erase(packet::Connection(ended_.front().connection));
  }
}

void SequenceTranslator::Touch(absl::Duration now, const Entry& entry) {
  const Entries::iterator at = by_connection_.find(entry.connection)->second;
  at->last_frame = now;
  Entries& from = at->in_ended ? ended_ : living_;
  at->in_ended = at->ended();
  Entries& to = at->in_ended ? ended_ : living_;
  to.splice(to.end(), from, at);
}

}  // namespace romulus::translation
