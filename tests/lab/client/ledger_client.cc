// The external client of the lab: opens its connections to the ledger service before anything is cut, keeps asking at
// a steady rate, remembers every answer, and at the end asks the service for its history and checks that it kept its
// word (tests/lab/ledger/checker.h).
//
// Reads commands from stdin, one per line: `mark` (the moment of the cut), `stop`, `rate PER_SECOND`, `dirty
// PAGES_PER_SECOND WORKING_SET_PAGES`, `window` (the times of the answers since the last one, and what the guest has
// dirtied). SIGTERM and end of stdin mean `stop`. Writes JSON lines to stdout: {"event":"connected"}, one
// {"event":"stats"} per period, {"event":"window"} and {"event":"dirtied"} where asked for, at last
// {"event":"verdict"}. Durations in milliseconds. Exits 0 if nothing was forgotten, contradicted or unverifiable and no
// TCP connection was lost, 1 if something was, 2 if it could not tell.
//
// One thread, one poll loop.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tests/lab/ledger/checker.h"
#include "tests/lab/ledger/protocol.h"

namespace romulus::lab {
namespace {

constexpr size_t kUnansweredShown = 50;
constexpr size_t kHistoryChunk = 20'000;

struct Options {
  std::string server = "10.80.0.10";
  int tcp = 4;
  int udp = 2;
  double rate_per_second = 100;
  double seconds = 0;  // 0: until stopped
  double stats_ms = 1000;
  double drain_ms = 120'000;    // how long the last answers may take after the end of asking
  double connect_ms = 120'000;  // how long the first connections may take
  // A connection that waits for this many answers asks no more until some come: the outage bounds the backlog.
  size_t most_outstanding = 256;
  bool accounts = false;  // each connection and datagram socket asks for an account of its own
};

volatile sig_atomic_t stop_requested = 0;

double NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

// {p50, p99} and the maximum of what it was given.
struct Distribution {
  std::vector<double> values;

  double At(double quantile) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1, static_cast<size_t>(quantile * values.size()))];
  }
};

struct Channel {
  Channel(int fd, bool tcp, uint64_t client_id, size_t ledger)
      : fd(fd), tcp(tcp), client_id(client_id), ledger(ledger) {}

  int fd;
  bool tcp;
  uint64_t client_id;
  size_t ledger;      // which one its answers are from: index of the client's checkers
  bool lost = false;  // reset or closed by the other side
  std::string why_lost;
  std::string in;
  std::string out;
  std::unordered_map<uint64_t, double> asked_at_ms;  // by request id
  bool answered_after_mark = false;                  // an answer to a question asked after the mark
};

std::string JsonString(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < ' ' ? ' ' : c;
  }
  return out + "\"";
}

class Client {
 public:
  explicit Client(const Options& options)
      : options_(options),
        client_id_((static_cast<uint64_t>(getpid()) << 32) ^ static_cast<uint64_t>(time(nullptr))),
        ask_(options.accounts ? MessageKind::kAskAccount : MessageKind::kAsk),
        rate_per_second_(options.rate_per_second) {
    address_.sin_family = AF_INET;
    address_.sin_port = htons(kLedgerPort);
    if (inet_pton(AF_INET, options.server.c_str(), &address_.sin_addr) != 1) {
      fprintf(stderr, "ledger_client: %s is no IPv4 address\n", options.server.c_str());
      exit(2);
    }
  }

  int Run() {
    for (int i = 0; i < options_.tcp; ++i) {
      int fd = Connect(options_.connect_ms);
      if (fd < 0) return CannotTell("can't connect to the service");
      AddChannel(fd, /*tcp=*/true);
    }
    for (int i = 0; i < options_.udp; ++i) {
      int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) != 0) {
        return CannotTell("can't make a UDP socket");
      }
      int room = 4 << 20;  // answers that were held come all at once
      setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
      AddChannel(fd, /*tcp=*/false);
    }
    if (channels_.empty()) return CannotTell("no connections asked for");
    printf("{\"event\":\"connected\",\"tcp\":%d,\"udp\":%d}\n", options_.tcp, options_.udp);
    fflush(stdout);
    started_ms_ = last_reply_ms_ = NowMs();
    Ask();
    Drain();
    return Judge();
  }

 private:
  using Histories = std::vector<std::vector<HistoryEntry>>;  // of each ledger that was asked, as ledgers_

  int CannotTell(const char* why) {
    printf("{\"event\":\"verdict\",\"ok\":false,\"why\":%s}\n", JsonString(why).c_str());
    fflush(stdout);
    return 2;
  }

  void AddChannel(int fd, bool tcp) {
    const uint64_t client_id = options_.accounts ? client_id_ + channels_.size() : client_id_;
    if (options_.accounts || ledgers_.empty()) ledgers_.push_back({client_id, LedgerChecker()});
    channels_.emplace_back(fd, tcp, client_id, ledgers_.size() - 1);
  }

  // A connected TCP socket, or -1.
  int Connect(double timeout_ms) {
    double deadline = NowMs() + timeout_ms;
    do {
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) return -1;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      if (connect(fd, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) == 0) return fd;
      pollfd ready{fd, POLLOUT, 0};
      int error = errno;
      socklen_t size = sizeof(error);
      if (error == EINPROGRESS && poll(&ready, 1, std::max(0, static_cast<int>(deadline - NowMs()))) == 1 &&
          getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
        return fd;
      }
      close(fd);
      usleep(50'000);
    } while (NowMs() < deadline);
    return -1;
  }

  void Ask() {
    double next_ask_ms = started_ms_;
    double next_stats_ms = started_ms_ + options_.stats_ms;
    double end_ms = options_.seconds > 0 ? started_ms_ + options_.seconds * 1000 : 0;
    size_t turn = 0;
    while (!stop_requested && (end_ms == 0 || NowMs() < end_ms)) {
      double now = NowMs();
      // A client that was kept from running (a busy machine) doesn't make up for what it missed.
      if (now - next_ask_ms > 1000) next_ask_ms = now;
      for (; next_ask_ms <= now; next_ask_ms += 1000 / rate_per_second_) AskOn(channels_[turn++ % channels_.size()]);
      if (now >= next_stats_ms) {
        Stats(now);
        next_stats_ms += options_.stats_ms;
        if (next_stats_ms < now) next_stats_ms = now + options_.stats_ms;
      }
      Poll(std::max(0.0, std::min(next_ask_ms, next_stats_ms) - NowMs()), /*commands=*/true);
    }
  }

  void AskOn(Channel& channel) {
    if (channel.lost) return;
    if (channel.tcp && channel.asked_at_ms.size() >= options_.most_outstanding) {
      ++held_back_;
      return;
    }
    Message request{kLedgerMagic, kLedgerVersion, ask_, channel.client_id, ++last_request_, 0, 0};
    channel.asked_at_ms[request.request_id] = NowMs();
    ++asked_;
    if (!channel.tcp) ++datagrams_asked_;
    Send(channel, request);
  }

  void Send(Channel& channel, const Message& request) {
    if (!channel.tcp) {
      if (send(channel.fd, &request, sizeof(request), MSG_NOSIGNAL) < 0) ++datagrams_not_sent_;
      return;
    }
    channel.out.append(reinterpret_cast<const char*>(&request), sizeof(request));
    Flush(channel);
  }

  void Flush(Channel& channel) {
    while (!channel.out.empty()) {
      ssize_t sent = send(channel.fd, channel.out.data(), channel.out.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) Lose(channel, strerror(errno));
        return;
      }
      channel.out.erase(0, sent);
    }
  }

  void Lose(Channel& channel, const std::string& why) {
    channel.lost = true;
    channel.why_lost = why;
    channel.out.clear();
  }

  void Poll(double timeout_ms, bool commands) {
    std::vector<pollfd> fds;
    for (const Channel& channel : channels_) {
      short events = channel.out.empty() ? POLLIN : POLLIN | POLLOUT;
      fds.push_back({channel.lost ? -1 : channel.fd, events, 0});
    }
    fds.push_back({commands && stdin_open_ ? 0 : -1, POLLIN, 0});
    int64_t timeout_ns = static_cast<int64_t>(timeout_ms * 1e6);
    timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
    if (ppoll(fds.data(), fds.size(), &timeout, nullptr) <= 0) return;
    for (size_t i = 0; i < channels_.size(); ++i) {
      if (fds[i].revents & POLLOUT) Flush(channels_[i]);
      if (fds[i].revents & ~POLLOUT) Receive(channels_[i]);
    }
    if (fds.back().revents) ReadCommands();
  }

  void Receive(Channel& channel) {
    char buffer[65536];
    for (;;) {
      ssize_t got = recv(channel.fd, buffer, sizeof(buffer), 0);
      if (got < 0) {
        // A datagram socket reports an unreachable port or host of the past here: not fatal.
        if (channel.tcp && errno != EAGAIN && errno != EINTR) Lose(channel, strerror(errno));
        return;
      }
      if (!channel.tcp) {
        Message reply;
        if (got == sizeof(reply)) {
          memcpy(&reply, buffer, sizeof(reply));
          Answered(channel, reply);
        }
        continue;
      }
      if (got == 0) return Lose(channel, "closed by the service");
      channel.in.append(buffer, got);
      size_t used = 0;
      for (; channel.in.size() - used >= sizeof(Message); used += sizeof(Message)) {
        Message reply;
        memcpy(&reply, channel.in.data() + used, sizeof(reply));
        Answered(channel, reply);
      }
      channel.in.erase(0, used);
    }
  }

  void Answered(Channel& channel, const Message& reply) {
    if (reply.magic != kLedgerMagic || reply.version != kLedgerVersion) {
      if (channel.tcp) Lose(channel, "garbage on the connection");
      ++garbage_;
      return;
    }
    if (reply.kind == MessageKind::kDirty) return;
    if (reply.kind == MessageKind::kDirtied) {
      printf("{\"event\":\"dirtied\",\"pages\":%" PRIu64 ",\"guest_us\":%" PRIu64 "}\n", reply.counter, reply.chain);
      fflush(stdout);
      return;
    }
    HistoryEntry answer{reply.counter, reply.client_id, reply.request_id, reply.chain};
    LedgerChecker& checker = ledgers_[channel.ledger].checker;
    auto asked = channel.asked_at_ms.find(reply.request_id);
    if (reply.kind != ask_ || reply.client_id != channel.client_id ||
        (channel.tcp && asked == channel.asked_at_ms.end()) || reply.request_id > last_request_) {
      checker.ReceivedUnasked(answer);
      return;
    }
    double now = NowMs();
    checker.Received(static_cast<uint64_t>(channel.fd), channel.tcp, answer);
    ++answers_;
    if (mark_ms_) ++answers_after_;
    if (now - last_reply_ms_ > longest_gap_ms_) longest_gap_ms_ = now - last_reply_ms_;
    last_reply_ms_ = now;
    if (asked == channel.asked_at_ms.end()) return;  // a datagram delivered twice
    double asked_ms = asked->second;
    channel.asked_at_ms.erase(asked);
    rtt_window_.values.push_back(now - asked_ms);
    if (!mark_ms_) {
      rtt_before_.values.push_back(now - asked_ms);
    } else if (asked_ms > *mark_ms_) {
      // Only a question asked after the mark proves a living service: older answers may have been on their way.
      channel.answered_after_mark = true;
      rtt_after_.values.push_back(now - asked_ms);
      if (!first_reply_ms_) first_reply_ms_ = now - *mark_ms_;
      if (channel.tcp && !first_tcp_reply_ms_) first_tcp_reply_ms_ = now - *mark_ms_;
    }
  }

  void ReadCommands() {
    char buffer[4096];
    ssize_t got = read(0, buffer, sizeof(buffer));
    if (got <= 0) {
      stdin_open_ = false;
      stop_requested = 1;
      return;
    }
    commands_.append(buffer, got);
    for (size_t end; (end = commands_.find('\n')) != std::string::npos; commands_.erase(0, end + 1)) {
      std::string line = commands_.substr(0, end);
      uint64_t pages = 0, working_set = 0;
      double rate = 0;
      if (line == "mark") {
        mark_ms_ = NowMs();
        answers_before_ = answers_;
        // The gap that counts begins with the last answer before the mark, but only gaps that end after it do.
        longest_gap_before_ms_ = longest_gap_ms_;
        longest_gap_ms_ = 0;
      } else if (line == "stop") {
        stop_requested = 1;
      } else if (sscanf(line.c_str(), "rate %lf", &rate) == 1 && rate > 0) {
        rate_per_second_ = rate;
      } else if (sscanf(line.c_str(), "dirty %" SCNu64 " %" SCNu64, &pages, &working_set) == 2) {
        SendOnTcp({kLedgerMagic, kLedgerVersion, MessageKind::kDirty, client_id_, 0, pages, working_set});
      } else if (line == "window") {
        Window();
        SendOnTcp({kLedgerMagic, kLedgerVersion, MessageKind::kDirtied, client_id_, 0, 0, 0});
      } else {
        fprintf(stderr, "ledger_client: unknown command: %s\n", line.c_str());
      }
    }
  }

  void SendOnTcp(const Message& request) {
    for (Channel& channel : channels_) {
      if (!channel.tcp || channel.lost) continue;
      Send(channel, request);
      return;
    }
  }

  void Window() {
    printf("{\"event\":\"window\",\"answers\":%zu,\"rtt_ms\":{\"p50\":%.3f,\"p99\":%.3f}}\n", rtt_window_.values.size(),
           rtt_window_.At(0.5), rtt_window_.At(0.99));
    fflush(stdout);
    rtt_window_.values.clear();
  }

  int OpenTcp() const {
    return std::count_if(channels_.begin(), channels_.end(), [](const Channel& c) { return c.tcp && !c.lost; });
  }

  size_t UnansweredDatagrams() const {
    size_t count = 0;
    for (const Channel& channel : channels_) count += channel.tcp ? 0 : channel.asked_at_ms.size();
    return count;
  }

  void Stats(double now) {
    printf("{\"event\":\"stats\",\"elapsed_ms\":%.0f,\"asked\":%" PRIu64 ",\"answers\":%" PRIu64
           ",\"since_last_reply_ms\":%.1f,\"longest_gap_ms\":%.1f,\"tcp_open\":%d,\"udp_unanswered\":%zu}\n",
           now - started_ms_, asked_, answers_, now - last_reply_ms_, longest_gap_ms_, OpenTcp(),
           UnansweredDatagrams());
    fflush(stdout);
  }

  // Waits for the answers still owed on TCP: they show whether each connection lives. After the mark, one to a question
  // asked after it.
  void Drain() {
    double deadline = NowMs() + options_.drain_ms;
    bool owed = true;
    while (owed && NowMs() < deadline) {
      owed = false;
      for (Channel& channel : channels_) {
        if (!channel.tcp || channel.lost) continue;
        if (channel.asked_at_ms.empty() && mark_ms_ && !channel.answered_after_mark) AskOn(channel);
        owed |= !channel.asked_at_ms.empty();
      }
      if (owed) Poll(100, /*commands=*/false);
    }
  }

  static bool ReadExactly(int fd, void* data, size_t size, double deadline_ms) {
    for (char* at = static_cast<char*>(data); size > 0;) {
      pollfd ready{fd, POLLIN, 0};
      if (poll(&ready, 1, std::max(0, static_cast<int>(deadline_ms - NowMs()))) <= 0) return false;
      ssize_t got = recv(fd, at, size, 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got <= 0) return false;
      at += got;
      size -= got;
    }
    return true;
  }

  // Fetches the history of each ledger that was asked, over `fd`.
  std::optional<Histories> FetchHistories(int fd) {
    Histories histories;
    for (const AskedLedger& ledger : ledgers_) {
      std::optional<std::vector<HistoryEntry>> history = FetchHistory(fd, ledger.client_id);
      if (!history) return std::nullopt;
      histories.push_back(*std::move(history));
    }
    return histories;
  }

  std::optional<std::vector<HistoryEntry>> FetchHistory(int fd, uint64_t client_id) {
    const MessageKind kind = options_.accounts ? MessageKind::kAccountHistory : MessageKind::kHistory;
    std::vector<HistoryEntry> history;
    uint64_t next = 0;
    for (;;) {
      double deadline_ms = NowMs() + options_.drain_ms;
      Message request{kLedgerMagic, kLedgerVersion, kind, client_id, 0, next, kHistoryChunk};
      if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) return std::nullopt;
      Message reply;
      do {  // late answers to other kinds of requests may still come
        if (!ReadExactly(fd, &reply, sizeof(reply), deadline_ms) || reply.magic != kLedgerMagic) return std::nullopt;
      } while (reply.kind != kind);
      if (reply.chain == 0) return history;
      if (reply.chain > kHistoryChunk) return std::nullopt;
      size_t size = history.size();
      history.resize(size + reply.chain);
      if (!ReadExactly(fd, &history[size], reply.chain * sizeof(HistoryEntry), deadline_ms)) return std::nullopt;
      next = reply.counter + reply.chain;
    }
  }

  // Asks the service, over a TCP connection that still lives or a new one, for its side of lost datagrams.
  std::optional<Message> AskDrops() {
    int own = -1, fd = -1;
    for (const Channel& channel : channels_) {
      if (channel.tcp && !channel.lost && channel.asked_at_ms.empty()) fd = channel.fd;
    }
    if (fd < 0) fd = own = Connect(options_.drain_ms);
    Message message{kLedgerMagic, kLedgerVersion, MessageKind::kDrops, client_id_, 0, 0, 0};
    bool answered = fd >= 0 && send(fd, &message, sizeof(message), MSG_NOSIGNAL) == sizeof(message);
    double deadline_ms = NowMs() + options_.drain_ms;
    do {  // late answers to other kinds of requests may still come
      answered = answered && ReadExactly(fd, &message, sizeof(message), deadline_ms) && message.magic == kLedgerMagic;
    } while (answered && message.kind != MessageKind::kDrops);
    if (own >= 0) close(own);
    return answered ? std::optional(message) : std::nullopt;
  }

  // What became of the datagrams, as JSON: the questions without an answer, whether each reached the service (then it
  // is the answer that was lost), and what both ends know to have dropped.
  std::string Datagrams(const Histories& histories, const Message& service) {
    std::unordered_set<uint64_t> reached;  // request ids are unique among all that this client asks
    for (size_t i = 0; i < histories.size(); ++i) {
      for (const HistoryEntry& entry : histories[i]) {
        if (entry.client_id == ledgers_[i].client_id) reached.insert(entry.request_id);
      }
    }
    uint64_t dropped = 0;
    int questions_lost = 0, answers_lost = 0;
    std::vector<std::pair<double, bool>> unanswered;
    for (const Channel& channel : channels_) {
      if (channel.tcp) continue;
      uint32_t memory[SK_MEMINFO_VARS] = {};
      socklen_t size = sizeof(memory);
      if (getsockopt(channel.fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0) dropped += memory[SK_MEMINFO_DROPS];
      for (const auto& [request, asked_ms] : channel.asked_at_ms) {
        unanswered.emplace_back(asked_ms - started_ms_, reached.count(request) > 0);
        ++(unanswered.back().second ? answers_lost : questions_lost);
      }
    }
    std::sort(unanswered.begin(), unanswered.end());
    std::string out = "{\"asked\":" + std::to_string(datagrams_asked_) +
                      ",\"questions_lost\":" + std::to_string(questions_lost) +
                      ",\"answers_lost\":" + std::to_string(answers_lost) +
                      ",\"not_sent_by_client\":" + std::to_string(datagrams_not_sent_) +
                      ",\"dropped_by_full_service\":" + std::to_string(service.counter) +
                      ",\"not_sent_by_service\":" + std::to_string(service.chain) +
                      ",\"dropped_by_full_client\":" + std::to_string(dropped) + ",\"unanswered\":[";
    for (size_t i = 0; i < unanswered.size() && i < kUnansweredShown; ++i) {
      out += (i ? ",{" : "{") + ("\"asked_at_ms\":" + std::to_string(llround(unanswered[i].first))) +
             ",\"reached\":" + (unanswered[i].second ? "true}" : "false}");
    }
    return out + "]}";
  }

  int Judge() {
    int lost = 0, silent = 0;
    std::string why;
    std::optional<Histories> histories;
    for (Channel& channel : channels_) {
      if (!channel.tcp) continue;
      if (channel.lost) {
        ++lost;
        if (why.empty()) why = "TCP connection lost: " + channel.why_lost;
      } else if (!channel.asked_at_ms.empty() || (mark_ms_ && !channel.answered_after_mark)) {
        ++silent;
        if (why.empty()) why = "a TCP connection answers no more";
      } else if (!histories) {
        histories = FetchHistories(channel.fd);
      }
    }
    if (!histories) {
      int fd = Connect(options_.drain_ms);
      if (fd >= 0) histories = FetchHistories(fd);
      if (fd >= 0) close(fd);
    }
    if (!histories) return CannotTell("the service does not show its history");
    std::optional<Message> service = AskDrops();
    if (!service) return CannotTell("the service does not say what its receive queue dropped");
    LedgerVerdict verdict;
    for (size_t i = 0; i < ledgers_.size(); ++i) verdict.Add(ledgers_[i].checker.Verify((*histories)[i]));
    if (!verdict.first_problem.empty()) why = verdict.first_problem;
    bool survived = options_.tcp > 0 && lost == 0 && silent == 0;
    bool ok = verdict.kept_its_word() && (survived || options_.tcp == 0) && garbage_ == 0 &&
              (!mark_ms_ || answers_after_ > 0);
    if (!ok && why.empty()) why = garbage_ ? "garbage received" : "no answer after the mark";
    auto optional_ms = [](const std::optional<double>& value) {
      return value ? std::to_string(*value) : std::string("null");
    };
    printf("{\"event\":\"verdict\",\"ok\":%s,\"why\":%s,\"asked\":%" PRIu64 ",\"answers\":%" PRIu64
           ",\"answers_before\":%" PRIu64 ",\"answers_after\":%" PRIu64 ",\"forgotten\":%" PRIu64
           ",\"contradicted\":%" PRIu64 ",\"unverifiable\":%" PRIu64 ",\"broken_chain\":%" PRIu64
           ",\"tcp_connection_survived\":%s,\"tcp_lost\":%d,\"tcp_silent\":%d,\"held_back\":%" PRIu64,
           ok ? "true" : "false", JsonString(why).c_str(), asked_, answers_, mark_ms_ ? answers_before_ : answers_,
           answers_after_, verdict.forgotten, verdict.contradicted, verdict.unverifiable, verdict.broken_chain,
           survived ? "true" : "false", lost, silent, held_back_);
    printf(",\"longest_gap_before_ms\":%.3f,\"longest_gap_ms\":%.3f,\"first_reply_ms\":%s,\"first_tcp_reply_ms\":%s",
           mark_ms_ ? longest_gap_before_ms_ : longest_gap_ms_, longest_gap_ms_, optional_ms(first_reply_ms_).c_str(),
           optional_ms(first_tcp_reply_ms_).c_str());
    printf(",\"rtt_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"rtt_after_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"udp\":%s}\n",
           rtt_before_.At(0.5), rtt_before_.At(0.99), rtt_after_.At(0.5), rtt_after_.At(0.99),
           Datagrams(*histories, *service).c_str());
    fflush(stdout);
    return ok ? 0 : 1;
  }

  const Options options_;
  const uint64_t client_id_;
  const MessageKind ask_;
  double rate_per_second_;
  sockaddr_in address_{};
  std::vector<Channel> channels_;
  struct AskedLedger {
    uint64_t client_id;
    LedgerChecker checker;
  };
  std::vector<AskedLedger> ledgers_;  // of one ledger, or of each channel's account
  bool stdin_open_ = true;
  std::string commands_;
  uint64_t last_request_ = 0;
  uint64_t asked_ = 0;
  uint64_t datagrams_asked_ = 0;
  uint64_t datagrams_not_sent_ = 0;
  uint64_t answers_ = 0;
  uint64_t answers_before_ = 0;
  uint64_t answers_after_ = 0;
  uint64_t held_back_ = 0;
  uint64_t garbage_ = 0;
  double started_ms_ = 0;
  double last_reply_ms_ = 0;
  double longest_gap_ms_ = 0;
  double longest_gap_before_ms_ = 0;
  std::optional<double> mark_ms_;
  std::optional<double> first_reply_ms_;
  std::optional<double> first_tcp_reply_ms_;
  Distribution rtt_window_;
  Distribution rtt_before_;
  Distribution rtt_after_;
};

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    size_t equals = argument.find('=');
    if (equals == std::string_view::npos) return false;
    std::string_view name = argument.substr(0, equals);
    const char* value = argv[i] + equals + 1;
    if (name == "--server")
      options.server = value;
    else if (name == "--tcp")
      options.tcp = atoi(value);
    else if (name == "--udp")
      options.udp = atoi(value);
    else if (name == "--rate")
      options.rate_per_second = atof(value);
    else if (name == "--seconds")
      options.seconds = atof(value);
    else if (name == "--stats-ms")
      options.stats_ms = atof(value);
    else if (name == "--drain-ms")
      options.drain_ms = atof(value);
    else if (name == "--connect-ms")
      options.connect_ms = atof(value);
    else if (name == "--most-outstanding")
      options.most_outstanding = strtoul(value, nullptr, 10);
    else if (name == "--accounts")
      options.accounts = atoi(value) != 0;
    else
      return false;
  }
  return options.rate_per_second > 0 && options.stats_ms > 0 && options.tcp >= 0 && options.udp >= 0 &&
         options.most_outstanding > 0;
}

}  // namespace
}  // namespace romulus::lab

int main(int argc, char** argv) {
  romulus::lab::Options options;
  if (!romulus::lab::Parse(argc, argv, options)) {
    fprintf(stderr,
            "usage: ledger_client [--server=IP] [--tcp=N] [--udp=N] [--rate=PER_SECOND] [--seconds=S] "
            "[--stats-ms=MS] [--drain-ms=MS] [--connect-ms=MS] [--most-outstanding=N] [--accounts=0|1]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct sigaction on_stop {};
  on_stop.sa_handler = [](int) { romulus::lab::stop_requested = 1; };
  sigaction(SIGTERM, &on_stop, nullptr);
  sigaction(SIGINT, &on_stop, nullptr);
  return romulus::lab::Client(options).Run();
}
