// The workload that shows output commit packet by packet: sends numbered frames of every EtherType that a guest's card
// can carry, on each of its cards, for ever, to one address:
//
//     numbered_sender DESTINATION-MAC CARD[,CARD...]
//
// Every frame carries a Header behind its protocol headers (a GSO frame one per segment). Before a frame is sent, its
// number is written into a page of this program's memory, the Marker: a checkpoint that contains Marker.about_to_send
// = n for a card is one that knows of that card's frames up to n, and of no later one. Whoever reads the replication
// stream finds the page by its magic (lab/replication_tap.py).
//
// One thread. Runs in a guest's initramfs, statically linked; it never exits.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace {

constexpr size_t kPageSize = 4096;
constexpr int kMostCards = 8;
constexpr int kTicksPerSecond = 20;
constexpr size_t kSmallPayload = 64;
constexpr size_t kJumboPayload = 8900;
constexpr size_t kSegmentPayload = 1400;
constexpr size_t kSegments = 20;
constexpr uint16_t kVlan = 80;

enum class Kind : uint8_t { kIpv4, kIpv6, kArp, kVlan, kJumbo, kGso };
constexpr int kKinds = 6;

// As lab/numbered_frames.py reads it; little endian.
struct Header {
  char magic[8] = {'R', 'm', 'l', 's', 'N', 'm', 'b', 'r'};
  uint8_t card = 0;
  Kind kind = Kind::kIpv4;
  uint16_t segment = 0;  // Of a GSO frame.
  uint32_t segments = 1;
  uint64_t number = 0;  // Of this kind on this card, from 1 on.
  uint64_t order = 0;   // Of this card, from 1 on.
};
static_assert(sizeof(Header) == 32);

// virtio_net_hdr, which PACKET_VNET_HDR puts before each frame: linux/virtio_net.h is no C++.
struct VirtioHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t hdr_len = 0;
  uint16_t gso_size = 0;
  uint16_t csum_start = 0;
  uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioHeader) == 10);
constexpr uint8_t kNeedsChecksum = 1;
constexpr uint8_t kGsoTcpv4 = 1;

// As lab/replication_tap.py reads it; little endian.
struct Marker {
  char magic[32];
  uint64_t about_to_send[kMostCards];
};
static_assert(sizeof(Marker) <= kPageSize);

[[noreturn]] void Die(const char* what) {
  perror(what);
  // An init that ends panics the guest, which is what should be seen on its console.
  exit(1);
}

volatile Marker* MakeMarker() {
  void* page = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
  if (page == MAP_FAILED) Die("mmap");
  auto* marker = static_cast<volatile Marker*>(page);
  // Not a string of the program: the magic must be in no other page of the guest.
  for (size_t i = 0; i < sizeof(marker->magic); ++i) marker->magic[i] = static_cast<char>(0xa5 ^ (i * 37 + 11));
  return marker;
}

uint16_t Sum(const void* data, size_t size, uint32_t sum = 0) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i + 1 < size; i += 2) sum += bytes[i] << 8 | bytes[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

class Frame {
 public:
  template <typename T>
  Frame& Add(const T& part) {
    bytes_.append(reinterpret_cast<const char*>(&part), sizeof(part));
    return *this;
  }
  Frame& Add(const Header& header, size_t payload) {
    Add(header);
    bytes_.append(payload - sizeof(header), '\0');
    return *this;
  }
  // The rest is one large packet that the card, or whoever sends it to a wire, cuts into segments.
  void Segment(size_t headers) {
    virtio_.flags = kNeedsChecksum;
    virtio_.gso_type = kGsoTcpv4;
    virtio_.hdr_len = headers;
    virtio_.gso_size = kSegmentPayload;
    virtio_.csum_start = headers - sizeof(tcphdr);
    virtio_.csum_offset = offsetof(tcphdr, check);
  }
  std::string ToSend() const { return std::string(reinterpret_cast<const char*>(&virtio_), sizeof(virtio_)) + bytes_; }

 private:
  VirtioHeader virtio_;
  std::string bytes_;
};

struct Ethernet {
  uint8_t to[ETH_ALEN];
  uint8_t from[ETH_ALEN];
};

ip Ipv4(uint8_t protocol, size_t size) {
  ip header{};
  header.ip_v = 4;
  header.ip_hl = 5;
  header.ip_len = htons(sizeof(ip) + size);
  header.ip_off = htons(IP_DF);
  header.ip_ttl = 64;
  header.ip_p = protocol;
  header.ip_src.s_addr = htonl(0x0a500014);  // 10.80.0.20
  header.ip_dst.s_addr = htonl(0x0a5000fa);  // 10.80.0.250: nobody, so that nobody answers
  header.ip_sum = htons(static_cast<uint16_t>(~Sum(&header, sizeof(header))));
  return header;
}

udphdr Udp(size_t payload) {
  udphdr header{};
  header.source = header.dest = htons(7001);
  header.len = htons(sizeof(header) + payload);
  return header;
}

tcphdr Tcp(const Header& numbers) {
  constexpr size_t kSize = sizeof(tcphdr) + kSegments * kSegmentPayload;
  tcphdr header{};
  header.source = header.dest = htons(7001);
  header.seq = htonl(static_cast<uint32_t>(numbers.number) << 16);
  header.doff = sizeof(header) / 4;
  header.ack = 1;
  header.window = htons(65535);
  const ip address = Ipv4(IPPROTO_TCP, kSize);
  header.check = htons(Sum(&address.ip_src, 8, IPPROTO_TCP + kSize));  // of the pseudo header; the rest is the card's
  return header;
}

Frame Build(const Ethernet& ethernet, const Header& numbers) {
  Frame frame;
  frame.Add(ethernet);
  auto type = [&](uint16_t value) { frame.Add(htons(value)); };
  auto ipv4_udp = [&](size_t payload) {
    type(ETHERTYPE_IP);
    frame.Add(Ipv4(IPPROTO_UDP, sizeof(udphdr) + payload)).Add(Udp(payload)).Add(numbers, payload);
  };
  switch (numbers.kind) {
    case Kind::kIpv4:
      ipv4_udp(kSmallPayload);
      break;
    case Kind::kJumbo:
      ipv4_udp(kJumboPayload);
      break;
    case Kind::kVlan:
      type(ETHERTYPE_VLAN);
      type(kVlan);
      ipv4_udp(kSmallPayload);
      break;
    case Kind::kIpv6: {
      ip6_hdr header{};
      header.ip6_flow = htonl(6u << 28);
      header.ip6_plen = htons(sizeof(udphdr) + kSmallPayload);
      header.ip6_nxt = IPPROTO_UDP;
      header.ip6_hlim = 64;
      inet_pton(AF_INET6, "fd80::20", &header.ip6_src);
      inet_pton(AF_INET6, "fd80::250", &header.ip6_dst);
      type(ETHERTYPE_IPV6);
      frame.Add(header).Add(Udp(kSmallPayload)).Add(numbers, kSmallPayload);
      break;
    }
    case Kind::kArp: {
      type(ETHERTYPE_ARP);
      for (uint16_t word : {1, ETHERTYPE_IP, ETH_ALEN << 8 | 4, 1}) type(word);  // asks who has 10.80.0.250
      frame.Add(ethernet.from).Add(htonl(0x0a500014)).Add(std::array<uint8_t, ETH_ALEN>{}).Add(htonl(0x0a5000fa));
      frame.Add(numbers);  // where Ethernet pads
      break;
    }
    case Kind::kGso: {
      type(ETHERTYPE_IP);
      frame.Add(Ipv4(IPPROTO_TCP, sizeof(tcphdr) + kSegments * kSegmentPayload)).Add(Tcp(numbers));
      Header segment = numbers;
      segment.segments = kSegments;
      for (; segment.segment < kSegments; ++segment.segment) frame.Add(segment, kSegmentPayload);
      frame.Segment(ETH_HLEN + sizeof(ip) + sizeof(tcphdr));
      break;
    }
  }
  return frame;
}

class Card {
 public:
  Card(int index, const std::string& name, const Ethernet& to, volatile Marker* marker)
      : index_(index), ethernet_(to), marker_(marker), socket_(socket(AF_PACKET, SOCK_RAW, 0)) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = if_nametoindex(name.c_str());
    if (socket_ < 0 || bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die("bind");
    socklen_t size = sizeof(address);
    if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) Die("getsockname");
    memcpy(ethernet_.from, address.sll_addr, ETH_ALEN);
    int on = 1;
    if (setsockopt(socket_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0) Die("PACKET_VNET_HDR");
  }

  // Waits while the card takes no more.
  void Send(Kind kind) {
    Header numbers;
    numbers.card = index_;
    numbers.kind = kind;
    numbers.number = ++numbers_[static_cast<int>(kind)];
    numbers.order = ++order_;
    const std::string frame = Build(ethernet_, numbers).ToSend();
    marker_->about_to_send[index_] = order_;
    while (send(socket_, frame.data(), frame.size(), 0) < 0) {
      if (errno != ENOBUFS && errno != EINTR) Die("send");
      usleep(1000);
    }
  }

 private:
  const int index_;
  Ethernet ethernet_;
  volatile Marker* const marker_;
  const int socket_;
  uint64_t numbers_[kKinds] = {};
  uint64_t order_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) Die("usage: numbered_sender MAC CARD[,CARD...]");
  Ethernet to{};
  unsigned int bytes[ETH_ALEN];
  if (sscanf(argv[1], "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5]) != 6) {
    Die("the address");
  }
  for (int i = 0; i < ETH_ALEN; ++i) to.to[i] = bytes[i];
  volatile Marker* marker = MakeMarker();
  std::vector<Card> cards;
  for (char* name = strtok(argv[2], ","); name != nullptr && cards.size() < kMostCards; name = strtok(nullptr, ",")) {
    cards.emplace_back(cards.size(), name, to, marker);
  }
  printf("numbered_sender: sending on %zu cards\n", cards.size());
  fflush(stdout);
  const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000'000 / kTicksPerSecond};
  for (uint64_t tick = 0;; ++tick) {
    for (Card& card : cards) {
      for (Kind kind : {Kind::kIpv4, Kind::kIpv6, Kind::kArp, Kind::kVlan}) card.Send(kind);
      if (tick % 2 == 0) card.Send(Kind::kJumbo);
      if (tick % 4 == 0) card.Send(Kind::kGso);
    }
    nanosleep(&pause, nullptr);
  }
}
