// For page traces: a database in memory's file system that many clients work on. SQLite with a write-ahead log; a table
// of accounts with two indexes, a table of payments that grows at its end and is trimmed. Each transaction moves an
// amount between two accounts drawn at random, a few of them hot, and notes that. Never exits.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include <random>
#include <string>

namespace {

constexpr int kAccounts = 60'000;
constexpr int kHotAccounts = 500;
constexpr int kPaymentsKept = 20'000;

class Database {
 public:
  explicit Database(const char* path) {
    Check(sqlite3_open(path, &handle_));
    Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-2000");
  }

  void Execute(const char* text) { Check(sqlite3_exec(handle_, text, nullptr, nullptr, nullptr)); }
  sqlite3_stmt* Prepare(const char* text) {
    sqlite3_stmt* statement = nullptr;
    Check(sqlite3_prepare_v2(handle_, text, -1, &statement, nullptr));
    return statement;
  }
  void Run(sqlite3_stmt* statement) {
    if (sqlite3_step(statement) != SQLITE_DONE) Check(sqlite3_errcode(handle_));
    Check(sqlite3_reset(statement));
  }

 private:
  void Check(int result) {
    if (result == SQLITE_OK) return;
    fprintf(stderr, "database_workload: %s\n", sqlite3_errmsg(handle_));
    exit(1);
  }
  sqlite3* handle_ = nullptr;
};

class Clients {
 public:
  int Account() { return 1 + static_cast<int>(random_() % (random_() % 4 == 0 ? kHotAccounts : kAccounts)); }
  int Amount() { return 1 + static_cast<int>(random_() % 10'000); }
  std::string Word(int least, int most) {
    std::string word;
    for (int left = least + static_cast<int>(random_() % (most - least + 1)); left > 0; --left) {
      word += static_cast<char>('a' + random_() % 26);
    }
    return word;
  }

 private:
  std::mt19937_64 random_{1};
};

void Fill(Database& database, Clients& clients) {
  database.Execute(
      "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, city TEXT, email TEXT, balance INT, changed INT);"
      "CREATE TABLE payments (id INTEGER PRIMARY KEY, source INT, target INT, amount INT, note TEXT);"
      "BEGIN");
  sqlite3_stmt* insert = database.Prepare("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, 0)");
  for (int id = 1; id <= kAccounts; ++id) {
    const std::string name = clients.Word(4, 10) + " " + clients.Word(5, 14);
    const std::string city = clients.Word(4, 12);
    const std::string email = name.substr(0, 4) + clients.Word(3, 8) + "@" + clients.Word(4, 8) + ".example";
    sqlite3_bind_int(insert, 1, id);
    sqlite3_bind_text(insert, 2, name.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 3, city.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 4, email.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(insert, 5, clients.Amount() * 100);
    database.Run(insert);
  }
  sqlite3_finalize(insert);
  database.Execute(
      "COMMIT; CREATE INDEX by_name ON accounts (name); CREATE INDEX by_balance ON accounts (balance);"
      "PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace

int main() {
  Database database("/tmp/bank.db");
  Clients clients;
  Fill(database, clients);
  sqlite3_stmt* change =
      database.Prepare("UPDATE accounts SET balance = balance + ?, changed = changed + 1 WHERE id = ?");
  sqlite3_stmt* note = database.Prepare("INSERT INTO payments VALUES (?, ?, ?, ?, ?)");
  sqlite3_stmt* trim = database.Prepare("DELETE FROM payments WHERE id = ?");
  if (FILE* console = fopen("/dev/console", "w")) {
    fprintf(console, "workload: running\n");
    fclose(console);
  }
  for (int payment = 1;; ++payment) {
    const int source = clients.Account(), target = clients.Account(), amount = clients.Amount();
    const std::string text = clients.Word(8, 40);
    database.Execute("BEGIN");
    for (const bool taken : {true, false}) {
      sqlite3_bind_int(change, 1, taken ? -amount : amount);
      sqlite3_bind_int(change, 2, taken ? source : target);
      database.Run(change);
    }
    sqlite3_bind_int(note, 1, payment);
    sqlite3_bind_int(note, 2, source);
    sqlite3_bind_int(note, 3, target);
    sqlite3_bind_int(note, 4, amount);
    sqlite3_bind_text(note, 5, text.c_str(), -1, SQLITE_TRANSIENT);
    database.Run(note);
    sqlite3_bind_int(trim, 1, payment - kPaymentsKept);
    database.Run(trim);
    database.Execute("COMMIT");
  }
}
