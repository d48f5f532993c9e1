// The ledger service's wire format, shared by the service in the guest and the client outside.
//
// One fixed-size Message each way, little-endian, over TCP (back to back) or UDP (one per datagram). Only the replies
// with history are followed by more: `chain` HistoryEntry records (TCP only). Both ends are x86-64, so the structs are
// the bytes.
//
// The service numbers everything it answers with a counter that only grows and binds each answer to all earlier ones
// by NextChain(). Whoever holds an answer can therefore prove later that the service forgot it or changed its mind.
//
// There is one ledger of all clients, whose answers depend on the order in which the questions of several connections
// come, and there are accounts: a ledger for each client_id, whose answers depend on that client's questions alone. A
// client with one connection per account gets the same answers from two copies of the service that are given the same
// questions, whatever their order across connections.
#ifndef ROMULUS_TESTS_LAB_LEDGER_PROTOCOL_H_
#define ROMULUS_TESTS_LAB_LEDGER_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace romulus::lab {

inline constexpr uint32_t kLedgerMagic = 0x4c444752;  // "RGDL"
inline constexpr uint16_t kLedgerVersion = 1;
inline constexpr uint16_t kLedgerPort = 7000;

// How many answers the service remembers of all clients' ledger and of each account; older ones fall out of its
// history. 32 bytes each.
inline constexpr uint64_t kHistoryCapacity = 500'000;
inline constexpr uint64_t kAccountHistoryCapacity = 50'000;
// More accounts than these get no answer.
inline constexpr size_t kMostAccounts = 32;

enum class MessageKind : uint16_t {
  kAsk = 1,      // answered with counter and chain
  kHistory = 2,  // counter = first wanted, chain = most entries wanted; the reply holds what is there
  kStatus = 3,   // answered with counter = last answer given, chain = first counter still remembered
  kDirty = 4,    // counter = pages to write per second (0 stops), chain = working set in pages; echoed
  kDrops = 5,    // answered with counter = datagrams that the service's full receive queue dropped since it started,
                 // chain = datagram answers that it could not send
  kDirtied = 6,  // answered with counter = pages written by kDirty's doing since the start, chain = the guest's time in
                 // microseconds, which goes on while it is suspended
  kAskAccount = 7,      // as kAsk, of the account of client_id
  kAccountHistory = 8,  // as kHistory
};

struct Message {
  uint32_t magic;
  uint16_t version;
  MessageKind kind;
  uint64_t client_id;
  uint64_t request_id;  // chosen by the client, unique within client_id
  uint64_t counter;
  uint64_t chain;
};
static_assert(sizeof(Message) == 40);

struct HistoryEntry {
  uint64_t counter;
  uint64_t client_id;
  uint64_t request_id;
  uint64_t chain;

  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};
static_assert(sizeof(HistoryEntry) == 32);

// The chain value of answer `counter`, given the chain value of answer `counter - 1` (0 before the first, which has
// counter 1). Not cryptographic: it guards against lost state, not against an adversary.
constexpr uint64_t NextChain(uint64_t previous_chain, uint64_t counter, uint64_t client_id, uint64_t request_id) {
  uint64_t chain = previous_chain;
  for (uint64_t word : {counter, client_id, request_id}) {
    chain = (chain ^ word) * 0x9e3779b97f4a7c15u;
    chain ^= chain >> 29;
  }
  return chain;
}

}  // namespace romulus::lab

#endif  // ROMULUS_TESTS_LAB_LEDGER_PROTOCOL_H_
